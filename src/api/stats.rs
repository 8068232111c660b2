//! What the server holds and has counted, for operators.

use axum::Json;
use axum::extract::State as Extract;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::caller::Caller;
use super::error::ApiError;
use super::objects::{Problems, ShardStats, Stats};
use super::state::State;

pub(super) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(stats))
}

/// Tells how many users, connections and rooms there are. For any server key.
#[utoipa::path(get, path = "/api/v1/stats", tag = "server",
    responses((status = OK, body = Stats), Problems), security(("server_key" = [])))]
async fn stats(Extract(state): Extract<State>, caller: Caller) -> Result<Json<Stats>, ApiError> {
    caller.any_server()?;
    let mut stats = Stats {
        total_users: 0,
        total_connections: 0,
        rooms: 0,
        uptime_s: state.clock.now().monotonic_ms / 1000,
        shards: Vec::new(),
    };
    for shard in state.shards() {
        let here = state.on_shard(shard, |app, context| {
            let rooms = app.stats();
            ShardStats {
                users: context.user_count() as u64,
                connections: context.connection_count() as u64,
                pending: context.pending_count() as u64,
                rooms: rooms.rooms as u64,
                members: rooms.members as u64,
                history_messages: rooms.history_messages as u64,
                history_bytes: rooms.history_bytes as u64,
                posted: rooms.counts.posted,
                refused: rooms.counts.refused,
            }
        });
        let here = here.await?;
        stats.total_users += here.users;
        stats.total_connections += here.connections;
        stats.rooms += here.rooms;
        stats.shards.push(here);
    }
    Ok(Json(stats))
}
