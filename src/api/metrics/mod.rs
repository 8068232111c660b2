//! `GET /metrics`: what all shards, the store and the process have counted, for Prometheus.
//!
//! Each shard is asked once, all at the same time, and answers with plain numbers between two events
//! of its own. So a scrape costs as much with a million connections as with none: shards times names.
//! One that does not answer within a second is shown by `campanile_shard_up 0`, without its numbers.

mod exposition;
mod families;
mod gate;
mod process;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use utoipa::openapi::OpenApi;

use super::objects::Problems;
use crate::ServerHandle;
use crate::metrics::Histogram;
use crate::realtime::{Realtime, Stats};
use crate::server::{Answered, MemoryReading};
use crate::shard::Figures;
use crate::store::{Store, StoreStats};

pub(super) use families::number;
pub use families::{Families, Labels};
pub use gate::of_gate;
pub use process::Process;

/// How long a shard may take to answer.
const ANSWER_WAIT: Duration = Duration::from_secs(1);
const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// More metrics, from somebody who has counted them.
type Source = Arc<dyn Fn(&mut Families<'_>) -> fmt::Result + Send + Sync>;

/// What is shown at `/metrics`. Clones are cheap and equal.
#[derive(Clone)]
pub struct Exposition {
    server: ServerHandle<Realtime>,
    store: Option<Store>,
    sources: Vec<Source>,
}

impl fmt::Debug for Exposition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Exposition({:?}, {} more)",
            self.server,
            self.sources.len()
        )
    }
}

/// What one shard has said of itself.
#[derive(Clone, Debug)]
pub struct ShardReport {
    /// Of the core.
    pub figures: Figures,
    /// Of the application.
    pub realtime: Stats,
    /// The types of messages by their handlers' numbers: see [`Figures::handlers`].
    pub handlers: Vec<Box<str>>,
}

impl ShardReport {
    /// How long messages took to be handled, by type; `other` for those that share a number.
    pub fn handler_times(&self) -> impl Iterator<Item = (&str, &Histogram)> {
        let times = self.figures.handlers.iter().enumerate();
        times.map(|(number, times)| (self.handlers.get(number).map_or("other", |n| n), times))
    }
}

/// All numbers of one moment, or nearly so: shards answer at the same time, each for itself.
#[derive(Clone, Debug)]
pub struct Report {
    /// By shard, in order; `None`: it did not answer within a second.
    pub shards: Vec<Option<Answered<ShardReport>>>,
    /// Of the store, if there is one.
    pub store: Option<StoreStats>,
    /// What memory is used of how much.
    pub memory: MemoryReading,
    /// What the system says about the process; `None` if it says nothing, which is logged.
    pub process: Option<Process>,
    /// Whether the server was told to shut down.
    pub is_draining: bool,
}

impl Exposition {
    /// Of a server and its store.
    pub fn new(server: ServerHandle<Realtime>, store: Option<Store>) -> Self {
        Self {
            server,
            store,
            sources: Vec::new(),
        }
    }

    /// Adds metrics that somebody else has counted. `source` is called at each scrape, on the service
    /// thread, and must not block.
    #[must_use]
    pub fn with(
        mut self,
        source: impl Fn(&mut Families<'_>) -> fmt::Result + Send + Sync + 'static,
    ) -> Self {
        self.sources.push(Arc::new(source));
        self
    }

    /// Asks everybody. Takes a second at most.
    pub async fn report(&self) -> Report {
        let shards = self
            .server
            .ask_all(ANSWER_WAIT, |app, context| ShardReport {
                figures: context.figures(),
                realtime: app.stats(),
                handlers: app.handler_names().to_vec(),
            });
        let shards = shards.await;
        let process = Process::read()
            .inspect_err(|error| tracing::warn!(%error, "nothing is known of the process"))
            .ok();
        Report {
            shards,
            store: self.store.as_ref().map(Store::stats),
            memory: self.server.memory(),
            process,
            is_draining: self.server.is_draining(),
        }
    }

    /// Asks everybody and writes it down, as OpenMetrics 1.0.0 text.
    ///
    /// Errors: none but of a source of its own.
    pub async fn open_metrics(&self) -> Result<String, fmt::Error> {
        let report = self.report().await;
        exposition::write(report, self.sources.clone())
    }
}

/// `GET /metrics`. Whoever accepts OpenMetrics gets it, everybody else the classic text format.
pub fn routes<S: Clone + Send + Sync + 'static>(exposition: Exposition) -> Router<S> {
    Router::new()
        .route("/metrics", get(metrics))
        .with_state(exposition)
}

#[derive(utoipa::OpenApi)]
#[openapi(paths(metrics))]
struct Document;

/// What [`routes`] are, for the document about the API.
pub(super) fn openapi() -> OpenApi {
    <Document as utoipa::OpenApi>::openapi()
}

/// What everything has counted, for Prometheus: OpenMetrics 1.0.0 for who accepts it, else the classic
/// text format.
#[utoipa::path(get, path = "/metrics", tag = "health",
    responses((status = OK, body = String, content_type = "text/plain"), Problems),
    security((), ("server_key" = [])))]
async fn metrics(State(exposition): State<Exposition>, headers: HeaderMap) -> Response {
    let Ok(text) = exposition.open_metrics().await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let accepts = headers.get_all(header::ACCEPT).iter();
    let is_open = accepts
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.contains("application/openmetrics-text"));
    let (kind, text) = match is_open {
        true => (OPEN_METRICS, text),
        false => (CLASSIC, families::to_classic(&text)),
    };
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}
