//! An axum service with Campanile beside it, on one port: plain HTTP goes to the router, WebSockets
//! to the shards, and a handler reaches every socket through the [`ServerHandle`].
//!
//! `cargo run --example axum -- --listen 127.0.0.1:9003 --shards 1`, then open
//! <http://127.0.0.1:9003/> and `curl -d 'Lunch!' http://127.0.0.1:9003/announce`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Html;
use axum::routing::{get, post};
use axum::{Json, Router};
use campanile::{App, Message, Server, ServerHandle, Socket, StartError};
use serde_json::{Value, json};

const PAGE: &str = "<!doctype html><title>Announcements</title><ul></ul><script>
new WebSocket(`ws://${location.host}/`).onmessage = ({ data }) =>
  document.querySelector('ul').appendChild(document.createElement('li')).textContent = data
</script>";

/// The WebSocket side: whoever connects hears the announcements, and has nothing to say.
struct Announcements;

impl App for Announcements {
    type Data = ();
    type Mail = ();

    fn message(&mut self, _socket: &mut Socket<'_, Self>, _message: Message<'_>) {}
}

type Handle = ServerHandle<Announcements>;

/// The HTTP side: an ordinary router with ordinary state.
fn router(handle: Handle) -> Router {
    Router::new()
        .route("/", get(|| async { Html(PAGE) }))
        .route("/announce", post(announce))
        .route("/stats", get(stats))
        .with_state(handle)
}

async fn announce(State(handle): State<Handle>, text: String) -> Result<StatusCode, StatusCode> {
    match handle.broadcast(text.as_str()) {
        Ok(()) => Ok(StatusCode::ACCEPTED),
        Err(_busy) => Err(StatusCode::SERVICE_UNAVAILABLE),
    }
}

async fn stats(State(handle): State<Handle>) -> Result<Json<Value>, StatusCode> {
    match handle.stats().await {
        Ok(stats) => Ok(Json(json!({
            "users": stats.total_users,
            "connections": stats.total_connections,
        }))),
        Err(_busy) => Err(StatusCode::SERVICE_UNAVAILABLE),
    }
}

fn main() -> Result<(), StartError> {
    let (listen, shards) = arguments::parse();
    Server::new(|_shard| Announcements)
        .listen(listen)
        .shards(shards)
        .options(arguments::generous())
        .router_with(router)
        .run()
}

#[path = "support/arguments.rs"]
mod arguments;
