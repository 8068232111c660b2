// The HTTP API of the listener that the page came from. Knows what it answers, so that no other part does.

import { token } from "./token.js";

const TIMEOUT_MS = 10_000;
/** Entries asked for at once. */
const PAGE = 50;

/** Why a request came to nothing: a `code` of docs/PROTOCOL.md, `disconnected`, or `timeout`. */
export class ApiError extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

async function call(method, path, body) {
  const headers = { Accept: "application/json" };
  if (token.value) headers.Authorization = `Bearer ${token.value}`;
  if (body) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(new URL(`../api/v1/${path}`, document.baseURI), {
      method,
      headers,
      body: body && JSON.stringify(body),
      credentials: "omit",
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
  } catch (error) {
    const isLate = error.name === "TimeoutError";
    throw isLate ? new ApiError("timeout", "No answer came.") : new ApiError("disconnected", "The server does not answer.");
  }
  const answer = await response.json().catch(() => ({}));
  if (response.ok) return answer;
  throw new ApiError(answer.code ?? `status_${response.status}`, explain(response.status, answer.error));
}

function explain(status, error) {
  if (status === 401) return "The server wants a token for this: sign out and in again.";
  if (status === 403) return "This token may not do that.";
  if (status === 404) return error ? `Not there: ${error}.` : "Not there.";
  if (status === 429) return "Too many requests. Try again in a moment.";
  return error ? `The server says: ${error}.` : `The server answered with status ${status}.`;
}

const list = (query) => new URLSearchParams({ limit: PAGE, ...query });
const part = encodeURIComponent;

/** `{ rooms: [{ id, name, members, … }], next_cursor }` */
export const rooms = (prefix) => call("GET", `rooms?${list({ prefix })}`);
/** `{ users: [{ user_id, connections }], next_cursor }` */
export const users = (prefix) => call("GET", `users?${list({ prefix })}`);
/** `{ id, name, created_at, created_by, max_clients, is_private, metadata, members }` */
export const room = (id) => call("GET", `rooms/${part(id)}`);
/** `{ count, members: [{ user_id, connections, since, info }], next_cursor }` */
export const participants = (id) => call("GET", `rooms/${part(id)}/participants?${list({})}`);
/** `{ user_id, connections: [{ connection_id, … }] }` */
export const connections = (user) => call("GET", `users/${part(user)}/connections`);
/** `{ closed }`. With a connection only that one is closed. */
export const disconnect = (user, connection) =>
  call("POST", `users/${part(user)}/disconnect`, {
    reason: "disconnected by an administrator",
    ...(connection && { connection_id: connection }),
  });
export const closeRoom = (id) => call("DELETE", `rooms/${part(id)}`);
export const announce = (message) => call("POST", "broadcast", { type: "announcement", data: { message } });
/** `{ connections }` */
export const sendTo = (user, message) =>
  call("POST", `users/${part(user)}/send`, { type: "announcement", data: { message } });
