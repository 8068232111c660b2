// The HTTP API of the listener that the page came from. Knows what it answers, so that no other part does.

import { token } from "./token.js";

const TIMEOUT_MS = 10_000;
/** Entries shown at once. */
const PAGE = 50;
/** Users are looked through in no order, so many pages at most; a page may be empty and not the last. */
const USER_PAGES_MAX = 20;

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
    if (error.name === "TimeoutError") throw new ApiError("timeout", "No answer came.");
    throw new ApiError("disconnected", "The server does not answer.");
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

/** `{ rooms: [{ id, name, members, … }], hasMore }` */
export async function rooms(prefix) {
  const { rooms, next_cursor } = await call("GET", `rooms?${list({ prefix })}`);
  return { rooms, hasMore: next_cursor !== null };
}

/** `{ users: [{ user_id, connections }], hasMore }`, by identifier. Who is called exactly `prefix` is among
 *  them, however many users there are. `signal` ends the search. */
export async function users(prefix, signal) {
  const exact = await connections(prefix);
  const found = new Map();
  if (exact.connections.length > 0) found.set(prefix, exact.connections.length);
  let cursor = null;
  for (let pages = 0; pages < USER_PAGES_MAX && found.size < PAGE && !signal.aborted; pages += 1) {
    const page = await call("GET", `users?${list({ prefix, ...(cursor && { cursor }) })}`);
    for (const user of page.users) found.set(user.user_id, user.connections);
    cursor = page.next_cursor;
    if (cursor === null) break;
  }
  const users = [...found].map(([user_id, connections]) => ({ user_id, connections }));
  users.sort((one, other) => one.user_id.localeCompare(other.user_id, "en", { numeric: true }));
  return { users: users.slice(0, PAGE), hasMore: cursor !== null || users.length > PAGE };
}

/** `{ id, name, created_at, created_by, max_clients, is_private, metadata, members }` */
export const room = (id) => call("GET", `rooms/${part(id)}`);
/** `{ count, members: [{ user_id, connections, since, info }], next_cursor }` */
export const participants = (id) => call("GET", `rooms/${part(id)}/participants?${list({})}`);
/** `{ user_id, connections: [{ connection_id, remote_address, profile, roles, rooms, buffered_bytes }] }` */
export const connections = (user) => call("GET", `users/${part(user)}/connections`);
/** `{ closed }`. With a connection only that one is closed. */
export const disconnect = (user, connection) =>
  call("POST", `users/${part(user)}/disconnect`, {
    reason: "disconnected by an administrator",
    ...(connection && { connection_id: connection }),
  });
export const closeRoom = (id) => call("DELETE", `rooms/${part(id)}`);
/** `{ connections }` */
export const announce = (message) => call("POST", "broadcast", { type: "announcement", data: { message } });
/** `{ connections }` */
export const sendTo = (user, message) =>
  call("POST", `users/${part(user)}/send`, { type: "announcement", data: { message } });
