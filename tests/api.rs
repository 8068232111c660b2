//! The HTTP API over real sockets, against a server with two shards, with WebSocket clients beside.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "api/callers.rs"]
mod callers;
#[path = "api/document.rs"]
mod document;
#[path = "api/hostile.rs"]
mod hostile;
#[path = "api/idempotency.rs"]
mod idempotency;
#[path = "api/messages.rs"]
mod messages;
#[path = "api/rooms.rs"]
mod rooms;
#[path = "api/site.rs"]
mod site;
#[path = "api/users.rs"]
mod users;
