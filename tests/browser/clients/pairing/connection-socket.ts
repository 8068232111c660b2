// Pushes of the server, by event type. No polling.

import type { ServerConnection } from './connection-data.ts';

export interface ConnectionEstablished {
  status: 'established' | 'draining' | 'moved';
  timestamp: string;
  user_id?: string;
  connection_id?: string;
}

export interface RequestNotification {
  request_id: string;
  sender_id: string;
  receiver_id: string;
  status: ServerConnection['status'];
  timestamp: string;
}

export interface ServerErrorMessage {
  error: string;
  code: string;
  timestamp: string;
}

/** What stands in `data`, by `type`. */
export interface SocketEvents {
  'connection-status': ConnectionEstablished;
  'pairing-status': ServerConnection;
  'request-notification': RequestNotification;
  error: ServerErrorMessage;
}

export type SocketEvent = keyof SocketEvents;
type Handler<E extends SocketEvent> = (data: SocketEvents[E]) => void;

/** The part of the WebSocket interface that is used; browsers and Node have it. */
export interface SocketLike {
  onmessage: ((event: { data: unknown }) => void) | null;
  onerror: ((event: unknown) => void) | null;
  onclose: ((event: unknown) => void) | null;
  close(code?: number, reason?: string): void;
}

export class ConnectionSocket {
  private readonly handlers = new Map<SocketEvent, Set<Handler<never>>>();
  private socket: SocketLike | null = null;

  constructor(
    private readonly baseUrl: string,
    private readonly open: (url: string) => SocketLike,
  ) {}

  /** Adds a handler of one event type; what comes back takes it away. */
  on<E extends SocketEvent>(event: E, handler: Handler<E>): () => void {
    const handlers = this.handlers.get(event) ?? new Set<Handler<never>>();
    this.handlers.set(event, handlers);
    handlers.add(handler);
    return () => handlers.delete(handler);
  }

  /** Resolves when the server has said that the connection stands. */
  connect(playerId: string): Promise<ConnectionEstablished> {
    const url = new URL('/v1/connect', this.baseUrl.replace(/^http/, 'ws'));
    url.searchParams.set('player_id', playerId);
    return new Promise((resolve, reject) => {
      const stop = this.on('connection-status', (data) => {
        stop();
        resolve(data);
      });
      this.socket = this.open(url.href);
      this.socket.onmessage = (event) => this.receive(String(event.data));
      this.socket.onerror = () => reject(new Error(`no connection to ${url.host}`));
      this.socket.onclose = () => reject(new Error('closed'));
    });
  }

  disconnect(): void {
    this.socket?.close(1000, 'User initiated disconnect');
    this.socket = null;
  }

  private receive(text: string): void {
    const frame = JSON.parse(text) as { type: string; data: never };
    for (const handler of this.handlers.get(frame.type as SocketEvent) ?? []) handler(frame.data);
  }
}
