// The API without a server, for tests of what uses it: the same rules, in memory.

import { ApiError, err, ok, typeOfStatus, type Result } from './api-error.ts';
import type { ConnectionApi, CreateOptions } from './connection-api-service.ts';
import { ConnectionStatus, statusToServer, type ServerConnection } from './connection-data.ts';

export class MockConnectionApi implements ConnectionApi {
  private readonly connections = new Map<string, ServerConnection>();
  private readonly codes = new Map<string, string>();
  private failure: ApiError | null = null;
  /** The calls so far. */
  readonly calls: string[] = [];

  /** The next call fails so. */
  failNext(error: ApiError): void {
    this.failure = error;
  }

  async createConnection(playerId: string, options: CreateOptions = {}) {
    return this.call('create', () => {
      const number = this.connections.size + 1;
      const now = new Date();
      const code = `MCK${String(number).padStart(3, '2')}`;
      const connection: ServerConnection = {
        id: `mock-${number}`,
        code,
        status: 'pending',
        name: null,
        initiator_id: playerId,
        target_player_id: options.targetPlayerId ?? null,
        partner_id: null,
        player_ids: [playerId],
        created_at: now.toISOString(),
        updated_at: now.toISOString(),
        expires_at: new Date(now.getTime() + (options.expiresInS ?? 600) * 1000).toISOString(),
        metadata: options.metadata ?? {},
      };
      this.codes.set(code, connection.id);
      return this.put(connection);
    });
  }

  async joinConnection(code: string, playerId: string) {
    return this.call('join', () => this.join(this.codes.get(code.toUpperCase()), playerId));
  }

  async joinConnectionById(id: string, playerId: string) {
    return this.call('join', () => this.join(id, playerId));
  }

  async updateStatus(id: string, status: ConnectionStatus, playerId: string) {
    return this.call('update', () => {
      const connection = this.find(id, playerId);
      if (connection.status === 'expired') throw refused(410, 'this pairing has expired');
      const to = statusToServer(status);
      if (to === connection.status) return connection;
      if (to !== 'expired') throw refused(409, `a pairing that is ${connection.status} cannot become ${to}`);
      return this.put({ ...connection, status: to, code: null, expires_at: new Date().toISOString() });
    });
  }

  async getConnection(id: string, playerId: string) {
    return this.call('get', () => this.find(id, playerId));
  }

  async listConnections(playerId: string, status?: ConnectionStatus) {
    return this.call('list', () =>
      [...this.connections.values()]
        .filter((connection) => concerns(connection, playerId))
        .filter((connection) => status === undefined || connection.status === statusToServer(status)),
    );
  }

  private join(id: string | undefined, playerId: string): ServerConnection {
    const connection = this.connections.get(id ?? '');
    const target = connection?.target_player_id ?? null;
    if (connection === undefined || (target !== null && !concerns(connection, playerId))) {
      throw refused(404, 'there is no such pairing');
    }
    if (connection.status === 'expired') throw refused(410, 'this pairing has expired');
    if (connection.initiator_id === playerId) throw refused(409, 'you cannot join your own pairing');
    if (connection.partner_id === playerId) return connection;
    if (connection.status === 'active') throw refused(409, 'somebody else has joined this pairing');
    return this.put({
      ...connection,
      status: 'active',
      code: null,
      partner_id: playerId,
      player_ids: [connection.initiator_id, playerId],
      updated_at: new Date().toISOString(),
      expires_at: null,
    });
  }

  private find(id: string, playerId: string): ServerConnection {
    const connection = this.connections.get(id);
    if (connection === undefined || !concerns(connection, playerId)) throw refused(404, 'there is no such pairing');
    return connection;
  }

  private put(connection: ServerConnection): ServerConnection {
    this.connections.set(connection.id, connection);
    return connection;
  }

  private call<T>(name: string, work: () => T): Result<T> {
    this.calls.push(name);
    const failure = this.failure;
    this.failure = null;
    if (failure !== null) return err(failure);
    try {
      return ok(work());
    } catch (error) {
      if (error instanceof ApiError) return err(error);
      throw error;
    }
  }
}

function concerns(connection: ServerConnection, playerId: string): boolean {
  return [...connection.player_ids, connection.target_player_id].includes(playerId);
}

function refused(status: number, message: string): ApiError {
  return new ApiError(typeOfStatus(status), message, status);
}
