//! Every message goes to everybody in the sender's room, the sender included; `?room=` names the room.
//! `GET /stats` tells what the server has counted. All limits are as they come.
//!
//! `cargo run --release --example rooms -- --listen 127.0.0.1:9005 --shards 1 --slow-policy gap`, and a
//! client on `ws://127.0.0.1:9005/?room=kitchen`. `scripts/overload` gives it more than it can take.

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use campanile::http::Refusal;
use campanile::limits::TOPIC_BYTES_MAX;
use campanile::shard::{Options, SlowPolicy};
use campanile::{Accept, App, Message, Request, Server, ServerHandle, Socket, StartError, Upgrade};
use serde_json::{Map, Value};

struct Rooms;

impl App for Rooms {
    /// The room.
    type Data = Box<str>;
    type Mail = ();

    fn upgrade(&mut self, request: &Request<'_>) -> Upgrade<Box<str>> {
        match request.head().query_param("room") {
            Ok(Some(room)) if (1..=TOPIC_BYTES_MAX).contains(&room.len()) => {
                Accept::new(Box::from(room)).into()
            }
            _ => {
                let (status, error) = (StatusCode::BAD_REQUEST, "?room= says which room");
                Upgrade::Refuse(Refusal::new(status, "invalid_room", error))
            }
        }
    }

    fn open(&mut self, socket: &mut Socket<'_, Self>) {
        let room = socket.data().clone();
        let _ = socket.subscribe(&room);
    }

    fn message(&mut self, socket: &mut Socket<'_, Self>, message: Message<'_>) {
        let room = std::mem::take(socket.data_mut());
        socket.context().publish(&room, message, None);
        *socket.data_mut() = room;
    }
}

/// The counters of all shards together, by name.
async fn stats(
    State(handle): State<ServerHandle<Rooms>>,
) -> Result<Json<Map<String, Value>>, StatusCode> {
    let stats = handle.stats().await;
    let stats = stats.map_err(|_busy| StatusCode::SERVICE_UNAVAILABLE)?;
    let mut all = campanile::metrics::Counters::default();
    for shard in &stats.shards {
        all.merge(&shard.counters);
    }
    let mut told: Map<_, _> = all
        .iter()
        .map(|(name, n)| (name.to_owned(), n.into()))
        .collect();
    told.insert("connections".to_owned(), stats.total_connections.into());
    Ok(Json(told))
}

fn router(handle: ServerHandle<Rooms>) -> Router {
    Router::new().route("/stats", get(stats)).with_state(handle)
}

fn slow_policy(name: &str) -> SlowPolicy {
    match name {
        "gap" => SlowPolicy::Gap,
        "latest" => SlowPolicy::Latest,
        "disconnect" => SlowPolicy::Disconnect,
        other => panic!("--slow-policy takes gap, latest or disconnect, not {other}"),
    }
}

fn main() -> Result<(), StartError> {
    let mut options = Options::default();
    let (listen, shards) = arguments::parse_with(|name, value| {
        let is_ours = name == "--slow-policy";
        if is_ours {
            options.slow_policy = slow_policy(value);
        }
        is_ours
    });
    Server::new(|_shard| Rooms)
        .listen(listen)
        .shards(shards)
        .options(options)
        .router_with(router)
        .run()
}

#[path = "support/arguments.rs"]
#[expect(
    dead_code,
    reason = "what other examples take; here limits are what it is about"
)]
mod arguments;
