// Local connections, and their agreement with the server: the server first, then what it says.

import type { Result } from './api-error.ts';
import { ok } from './api-error.ts';
import type { ConnectionApi, CreateOptions } from './connection-api-service.ts';
import {
  ConnectionStatus,
  fromServer,
  fromStored,
  toStored,
  type ConnectionData,
  type ServerConnection,
} from './connection-data.ts';
import type { ConnectionSocket } from './connection-socket.ts';

/** `localStorage`, or anything like it. */
export interface KeyValueStorage {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
}

const PREFIX = 'connection:';

/** Local operations only. */
export class ConnectionService {
  constructor(private readonly storage: KeyValueStorage) {}

  get(id: string): ConnectionData | null {
    const text = this.storage.getItem(PREFIX + id);
    return text === null ? null : fromStored(text);
  }

  save(data: ConnectionData): void {
    this.storage.setItem(PREFIX + data.id, toStored(data));
  }

  /** Takes over what the server says, and keeps the local name. What is older than what is there, is not. */
  update(connection: ServerConnection, localName?: string): ConnectionData {
    const known = this.get(connection.id);
    const data = fromServer(connection, localName ?? known?.name);
    if (known !== null && known.updatedAt > data.updatedAt) return known;
    this.save(data);
    return data;
  }
}

/** Local storage follows the server: nothing is stored that the server has not confirmed. */
export class ConnectionSync {
  constructor(
    private readonly api: ConnectionApi,
    private readonly local: ConnectionService,
    private readonly playerId: string,
  ) {}

  create(name: string, options?: CreateOptions): Promise<Result<ConnectionData>> {
    return this.store(this.api.createConnection(this.playerId, options), name);
  }

  join(code: string, name: string): Promise<Result<ConnectionData>> {
    return this.store(this.api.joinConnection(code, this.playerId), name);
  }

  accept(requestId: string, name: string): Promise<Result<ConnectionData>> {
    return this.store(this.api.joinConnectionById(requestId, this.playerId), name);
  }

  expire(id: string): Promise<Result<ConnectionData>> {
    return this.store(this.api.updateStatus(id, ConnectionStatus.EXPIRED, this.playerId));
  }

  /** Stores every change that is pushed; what comes back ends that. */
  follow(socket: ConnectionSocket, changed: (data: ConnectionData) => void = () => {}): () => void {
    return socket.on('pairing-status', (connection) => changed(this.local.update(connection)));
  }

  private async store(call: Promise<Result<ServerConnection>>, name?: string): Promise<Result<ConnectionData>> {
    const result = await call;
    return result.ok ? ok(this.local.update(result.value, name)) : result;
  }
}
