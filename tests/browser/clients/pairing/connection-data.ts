// A connection as the client keeps it, as the server sends it, and the way between the two.

export enum ConnectionStatus {
  PENDING = 'PENDING',
  ACTIVE = 'ACTIVE',
  EXPIRED = 'EXPIRED',
}

/** What the client keeps. `name` is for display, and local; players go by their identifiers. */
export interface ConnectionData {
  id: string;
  name: string;
  code: string | null;
  status: ConnectionStatus;
  playerIds: string[];
  initiatorId: string;
  partnerId: string | null;
  createdAt: Date;
  updatedAt: Date;
  expiresAt: Date | null;
  metadata: Record<string, unknown>;
}

/** What the server sends: the body of answers, and the data of `pairing-status`. */
export interface ServerConnection {
  id: string;
  code: string | null;
  status: 'pending' | 'active' | 'expired';
  name: string | null;
  initiator_id: string;
  target_player_id: string | null;
  partner_id: string | null;
  player_ids: string[];
  created_at: string;
  updated_at: string;
  expires_at: string | null;
  metadata: Record<string, unknown>;
}

export function statusFromServer(status: string): ConnectionStatus {
  const upper = status.toUpperCase();
  if (upper in ConnectionStatus) return upper as ConnectionStatus;
  throw new TypeError(`${status} is no status of a connection`);
}

export function statusToServer(status: ConnectionStatus): ServerConnection['status'] {
  return status.toLowerCase() as ServerConnection['status'];
}

function dateFromServer(text: string): Date {
  const date = new Date(text);
  if (Number.isNaN(date.getTime())) throw new TypeError(`${text} is no date`);
  return date;
}

/** The local view of a connection: `localName` is what this client calls it. */
export function fromServer(connection: ServerConnection, localName?: string): ConnectionData {
  return {
    id: connection.id,
    name: localName ?? connection.name ?? connection.partner_id ?? 'Unnamed',
    code: connection.code,
    status: statusFromServer(connection.status),
    playerIds: [...connection.player_ids],
    initiatorId: connection.initiator_id,
    partnerId: connection.partner_id,
    createdAt: dateFromServer(connection.created_at),
    updatedAt: dateFromServer(connection.updated_at),
    expiresAt: connection.expires_at === null ? null : dateFromServer(connection.expires_at),
    metadata: connection.metadata,
  };
}

/** As local storage keeps it: dates are texts. */
export function toStored(data: ConnectionData): string {
  return JSON.stringify(data);
}

export function fromStored(text: string): ConnectionData {
  const data = JSON.parse(text);
  return {
    ...data,
    createdAt: new Date(data.createdAt),
    updatedAt: new Date(data.updatedAt),
    expiresAt: data.expiresAt === null ? null : new Date(data.expiresAt),
  };
}
