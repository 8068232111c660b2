//! The dashboard at `/admin/`: a page inside the binary, and the numbers that it shows.
//!
//! ```text
//! GET /admin/        the page: files.rs, static and the same for everybody, so without a token
//! GET /admin/live    a WebSocket, one snapshot a second: live.rs; who may listen: gate.rs
//! ```
//!
//! The page searches and acts by the HTTP API of the same listener, with the same token: nothing here
//! changes anything. The numbers are taken by one sampler for all viewers, which runs only while
//! somebody watches: feed.rs. What a snapshot says: snapshot.rs.

mod feed;
mod files;
mod gate;
mod live;
mod snapshot;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware;
use axum::response::Redirect;
use axum::routing::get;
use tokio::sync::Semaphore;

use super::error;
use crate::ServerHandle;
use crate::realtime::Realtime;
use crate::store::Store;
use crate::time::Clock;
use feed::Feed;
use gate::Gate;
use snapshot::Sampler;

/// Pages that watch at once. Each costs a connection and a small message a second.
pub const VIEWERS_MAX: usize = 16;
/// Connections that have not shown their token yet, besides the viewers.
const STRANGERS_MAX: usize = 16;

/// What the answer to a request may take: everything is at hand.
const ANSWER_TIME: Duration = Duration::from_secs(30);

/// What the dashboard shows, and to whom.
#[derive(Clone)]
pub struct DashboardOptions {
    /// The server that is looked at.
    pub server: ServerHandle<Realtime>,
    /// Its store, if it has one.
    pub store: Option<Store>,
    /// What a viewer must know, not empty. `None`: nothing, which is for a listener on loopback only;
    /// then the page must be asked for by address or as `localhost`, so that no name of a stranger's
    /// that resolves to this machine gets at it from a browser on it.
    pub token: Option<String>,
}

impl fmt::Debug for DashboardOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DashboardOptions")
            .field("server", &self.server)
            .field("has_token", &self.token.is_some())
            .finish_non_exhaustive()
    }
}

/// What the routes share.
#[derive(Debug)]
struct Dashboard {
    gate: Gate,
    feed: Arc<Feed>,
    viewers: Semaphore,
    strangers: Arc<Semaphore>,
}

/// The routes below `/admin`, to be merged into the router of a listener that serves HTTP upgrades.
///
/// Wrong tokens are counted by address if the listener tells it as `ConnectInfo<SocketAddr>`, and
/// together if it does not.
///
/// Panics if the token is empty.
pub fn routes<S: Clone + Send + Sync + 'static>(options: DashboardOptions) -> Router<S> {
    build(options).0
}

/// The routes, and the feed behind them, for tests to look at.
fn build<S: Clone + Send + Sync + 'static>(options: DashboardOptions) -> (Router<S>, Arc<Feed>) {
    let clock = Clock::start();
    let sampler = Sampler::new(options.server, options.store, clock);
    let feed = Arc::new(Feed::new(sampler));
    let dashboard = Dashboard {
        gate: Gate::new(options.token, clock),
        feed: Arc::clone(&feed),
        viewers: Semaphore::new(VIEWERS_MAX),
        strangers: Arc::new(Semaphore::new(STRANGERS_MAX)),
    };
    let router = files::routes()
        .route("/admin", get(async || Redirect::permanent("/admin/")))
        .route("/admin/live", get(live::live))
        .layer(middleware::from_fn_with_state(
            (clock, ANSWER_TIME),
            error::finish,
        ))
        .with_state(Arc::new(dashboard));
    (router, feed)
}

#[cfg(test)]
mod tests;
