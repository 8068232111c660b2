//! Everybody has a name, given as `?user=`. A text beginning with `@name ` goes to that user only,
//! wherever that user's connections are, as it was sent; any other text goes to everybody.
//! `/stats` tells over plain HTTP who is there and what the server has counted.
//!
//! `cargo run --release --example directory -- --listen 127.0.0.1:9004 --shards 1`, and a client on
//! `ws://127.0.0.1:9004/?user=ann`.

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use campanile::http::Refusal;
use campanile::limits::USER_ID_BYTES_MAX;
use campanile::metrics::Counters;
use campanile::shard::Accept;
use campanile::{App, Message, Request, Server, ServerHandle, Socket, StartError, Upgrade};
use http::StatusCode;
use serde_json::{Map, Value, json};

struct Directory;

impl App for Directory {
    type Data = ();
    type Mail = ();

    fn upgrade(&mut self, request: &Request<'_>) -> Upgrade<()> {
        match request.head().query_param("user") {
            Ok(Some(name)) if (1..=USER_ID_BYTES_MAX).contains(&name.len()) => {
                Accept::default().user(name).into()
            }
            _ => {
                let (status, error) = (StatusCode::BAD_REQUEST, "?user= says who you are");
                Upgrade::Refuse(Refusal::new(status, "invalid_user_id", error))
            }
        }
    }

    fn message(&mut self, socket: &mut Socket<'_, Self>, message: Message<'_>) {
        let addressed = match message {
            Message::Text(text) => text.strip_prefix('@').and_then(|text| text.split_once(' ')),
            Message::Binary(_) => None,
        };
        match addressed {
            Some((user, _)) => socket.context().send_to_user(user, message),
            None => socket.context().broadcast(message, None),
        }
    }
}

async fn stats(State(handle): State<ServerHandle<Directory>>) -> Result<Json<Value>, StatusCode> {
    let stats = handle.stats().await;
    let stats = stats.map_err(|_busy| StatusCode::SERVICE_UNAVAILABLE)?;
    let mut counters = Counters::default();
    for shard in &stats.shards {
        counters.merge(&shard.counters);
    }
    let counters = counters
        .iter()
        .map(|(name, count)| (name.to_owned(), count.into()));
    Ok(Json(json!({
        "users": stats.total_users,
        "connections": stats.total_connections,
        "shards": stats.shards.len(),
        "ping_period_s": arguments::generous().ping_period.as_secs(),
        "counters": counters.collect::<Map<String, Value>>(),
    })))
}

fn main() -> Result<(), StartError> {
    let (listen, shards) = arguments::parse();
    Server::new(|_shard| Directory)
        .listen(listen)
        .shards(shards)
        .options(arguments::generous())
        .router_with(|handle| Router::new().route("/stats", get(stats)).with_state(handle))
        .run()
}

#[path = "support/arguments.rs"]
mod arguments;
