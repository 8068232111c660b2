// Errors of the network, apart from those of local storage; and results in place of exceptions.

export enum ApiErrorType {
  VALIDATION = 'VALIDATION',
  UNAUTHORIZED = 'UNAUTHORIZED',
  FORBIDDEN = 'FORBIDDEN',
  NOT_FOUND = 'NOT_FOUND',
  CONFLICT = 'CONFLICT',
  EXPIRED = 'EXPIRED',
  TOO_LARGE = 'TOO_LARGE',
  RATE_LIMITED = 'RATE_LIMITED',
  SERVER = 'SERVER',
  NETWORK = 'NETWORK',
}

/** The body of every error of the server. */
export interface ApiErrorBody {
  error: string;
  code: string;
  status: number;
  details: Record<string, unknown>;
  request_id: string;
  timestamp: string;
}

const TYPES: ReadonlyMap<number, ApiErrorType> = new Map([
  [400, ApiErrorType.VALIDATION],
  [401, ApiErrorType.UNAUTHORIZED],
  [403, ApiErrorType.FORBIDDEN],
  [404, ApiErrorType.NOT_FOUND],
  [409, ApiErrorType.CONFLICT],
  [410, ApiErrorType.EXPIRED],
  [413, ApiErrorType.TOO_LARGE],
  [422, ApiErrorType.VALIDATION],
  [429, ApiErrorType.RATE_LIMITED],
]);

/** The type of a status; other statuses of the 400s are faults of the request. */
export function typeOfStatus(status: number): ApiErrorType {
  return TYPES.get(status) ?? (status >= 500 ? ApiErrorType.SERVER : ApiErrorType.VALIDATION);
}

export class ApiError extends Error {
  constructor(
    readonly type: ApiErrorType,
    message: string,
    readonly status: number | null = null,
    readonly code: string | null = null,
    readonly details: Record<string, unknown> = {},
  ) {
    super(message);
    this.name = 'ApiError';
  }

  /** How long the server asks to wait before the next try. */
  get retryAfterMs(): number | null {
    const value = this.details.retry_after_ms;
    return typeof value === 'number' ? value : null;
  }

  static fromBody(status: number, body: Partial<ApiErrorBody> | null): ApiError {
    const message = body?.error ?? `the server answered ${status}`;
    return new ApiError(typeOfStatus(status), message, status, body?.code ?? null, body?.details ?? {});
  }

  static network(cause: unknown): ApiError {
    return new ApiError(ApiErrorType.NETWORK, `the server did not answer: ${String(cause)}`);
  }
}

export type Result<T, E = ApiError> = { ok: true; value: T } | { ok: false; error: E };

export const ok = <T>(value: T): Result<T, never> => ({ ok: true, value });
export const err = <E>(error: E): Result<never, E> => ({ ok: false, error });
