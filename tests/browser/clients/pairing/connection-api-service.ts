// The server's connections over HTTP. Nothing here throws: every call gives a result.

import { ApiError, err, ok, type Result } from './api-error.ts';
import { ConnectionStatus, statusToServer, type ServerConnection } from './connection-data.ts';

export interface CreateOptions {
  targetPlayerId?: string;
  expiresInS?: number;
  metadata?: Record<string, unknown>;
}

/** What the rest of the application knows of it; the mock has it, too. */
export interface ConnectionApi {
  createConnection(playerId: string, options?: CreateOptions): Promise<Result<ServerConnection>>;
  joinConnection(code: string, playerId: string): Promise<Result<ServerConnection>>;
  joinConnectionById(id: string, playerId: string): Promise<Result<ServerConnection>>;
  updateStatus(id: string, status: ConnectionStatus, playerId: string): Promise<Result<ServerConnection>>;
  getConnection(id: string, playerId: string): Promise<Result<ServerConnection>>;
  listConnections(playerId: string, status?: ConnectionStatus): Promise<Result<ServerConnection[]>>;
}

export class ConnectionApiService implements ConnectionApi {
  constructor(private readonly baseUrl: string) {}

  createConnection(playerId: string, options: CreateOptions = {}) {
    return this.request<ServerConnection>('POST', '', {
      player_id: playerId,
      target_player_id: options.targetPlayerId,
      expires_in_s: options.expiresInS,
      metadata: options.metadata,
    });
  }

  joinConnection(code: string, playerId: string) {
    return this.request<ServerConnection>('POST', '/join', { code, player_id: playerId });
  }

  joinConnectionById(id: string, playerId: string) {
    return this.request<ServerConnection>('POST', `/${encodeURIComponent(id)}/join`, { player_id: playerId });
  }

  updateStatus(id: string, status: ConnectionStatus, playerId: string) {
    const body = { player_id: playerId, status: statusToServer(status) };
    return this.request<ServerConnection>('PATCH', `/${encodeURIComponent(id)}`, body);
  }

  getConnection(id: string, playerId: string) {
    const query = new URLSearchParams({ player_id: playerId });
    return this.request<ServerConnection>('GET', `/${encodeURIComponent(id)}?${query}`);
  }

  /** All pages of the list. */
  async listConnections(playerId: string, status?: ConnectionStatus): Promise<Result<ServerConnection[]>> {
    const all: ServerConnection[] = [];
    let cursor: string | null = null;
    do {
      const query = new URLSearchParams({ player_id: playerId });
      if (status !== undefined) query.set('status', statusToServer(status));
      if (cursor !== null) query.set('cursor', cursor);
      type Page = { connections: ServerConnection[]; next_cursor: string | null };
      const page: Result<Page> = await this.request<Page>('GET', `?${query}`);
      if (!page.ok) return page;
      all.push(...page.value.connections);
      cursor = page.value.next_cursor;
    } while (cursor !== null);
    return ok(all);
  }

  private async request<T>(method: string, path: string, body?: unknown): Promise<Result<T>> {
    let response: Response;
    try {
      response = await fetch(`${this.baseUrl}/api/v1/connections${path}`, {
        method,
        headers: body === undefined ? {} : { 'content-type': 'application/json' },
        body: body === undefined ? undefined : JSON.stringify(body),
      });
    } catch (cause) {
      return err(ApiError.network(cause));
    }
    const answer = await response.json().catch(() => null);
    return response.ok ? ok(answer as T) : err(ApiError.fromBody(response.status, answer));
  }
}
