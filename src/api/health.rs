//! `GET /healthz`, `/readyz` and `/startupz`: what an orchestrator asks before it restarts the process
//! or sends it clients.
//!
//! All of them are answered by the service thread and ask every shard at the same time, so that they
//! take a second at most. 200: yes; 503: no. The body is JSON and says why.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use utoipa::openapi::OpenApi;

use crate::ServerHandle;
use crate::metrics::Pressure;
use crate::realtime::Realtime;
use crate::store::Store;

/// How long a shard may take to answer.
const ANSWER_WAIT: Duration = Duration::from_secs(1);

/// What is asked after the server's health. Clones are cheap and equal.
#[derive(Clone, Debug)]
pub struct Probes {
    server: ServerHandle<Realtime>,
    store: Option<Store>,
    /// All shards have answered once.
    started: Arc<AtomicBool>,
}

impl Probes {
    /// Of a server and its store.
    pub fn new(server: ServerHandle<Realtime>, store: Option<Store>) -> Self {
        Self {
            server,
            store,
            started: Arc::default(),
        }
    }

    /// By shard, in order: whether it takes new sockets; `None` if it did not answer.
    async fn shards(&self) -> Vec<Option<bool>> {
        let asked = self
            .server
            .ask_all(ANSWER_WAIT, |_, context| context.is_accepting());
        let answers = asked.await.into_iter();
        answers
            .map(|answered| answered.map(|answered| answered.value))
            .collect()
    }

    /// Whether every shard answers; `silent` names those that do not. If it stays so, a restart is the
    /// remedy.
    pub async fn health(&self) -> Health {
        let shards = self.shards().await;
        let numbered = shards.iter().enumerate();
        let silent: Vec<usize> = numbered
            .filter(|(_, answer)| answer.is_none())
            .map(|(shard, _)| shard)
            .collect();
        let body = json!({ "shards": shards.len(), "silent": silent });
        Health::new(silent.is_empty(), ["ok", "failing"], body)
    }

    /// Whether clients can be sent here.
    pub async fn readiness(&self) -> Health {
        let shards = self.shards().await;
        let is_failing = self
            .store
            .as_ref()
            .is_some_and(|store| store.stats().is_failing);
        let checks = [
            ("shards", shards.iter().all(Option::is_some)),
            (
                "accepting",
                shards.iter().flatten().all(|&accepting| accepting),
            ),
            ("draining", !self.server.is_draining()),
            ("memory", self.server.memory().pressure < Pressure::Hard),
            ("store", !is_failing),
        ];
        let is_ready = checks.iter().all(|&(_, is_passed)| is_passed);
        let shown = checks.map(|(name, is_passed)| {
            (
                name.to_owned(),
                json!(if is_passed { "ok" } else { "failing" }),
            )
        });
        let shown: serde_json::Map<String, Value> = shown.into_iter().collect();
        Health::new(is_ready, ["ready", "not ready"], json!({ "checks": shown }))
    }

    /// Whether every shard has answered once. Stays so.
    pub async fn startup(&self) -> Health {
        if !self.started.load(Ordering::Relaxed) {
            let answered = self.shards().await.iter().all(Option::is_some);
            self.started.store(answered, Ordering::Relaxed);
        }
        let is_started = self.started.load(Ordering::Relaxed);
        Health::new(is_started, ["started", "starting"], json!({}))
    }
}

/// An answer to a probe.
#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    /// Yes or no.
    pub is_well: bool,
    /// The JSON that says why.
    pub body: Value,
}

impl Health {
    fn new(is_well: bool, [yes, no]: [&str; 2], mut body: Value) -> Self {
        body["status"] = json!(if is_well { yes } else { no });
        Self { is_well, body }
    }
}

impl IntoResponse for Health {
    fn into_response(self) -> Response {
        let status = match self.is_well {
            true => StatusCode::OK,
            false => StatusCode::SERVICE_UNAVAILABLE,
        };
        (
            status,
            [(header::CACHE_CONTROL, "no-store")],
            Json(self.body),
        )
            .into_response()
    }
}

/// Whether every shard answers within a second; `silent` are those that do not.
#[utoipa::path(get, path = "/healthz", tag = "health",
    responses((status = OK, body = Object), (status = SERVICE_UNAVAILABLE, body = Object)))]
async fn healthz(State(probes): State<Probes>) -> Health {
    probes.health().await
}

/// Whether clients can be sent here: `checks` says what stands in the way.
#[utoipa::path(get, path = "/readyz", tag = "health",
    responses((status = OK, body = Object), (status = SERVICE_UNAVAILABLE, body = Object)))]
async fn readyz(State(probes): State<Probes>) -> Health {
    probes.readiness().await
}

/// Whether every shard has answered once. Stays so.
#[utoipa::path(get, path = "/startupz", tag = "health",
    responses((status = OK, body = Object), (status = SERVICE_UNAVAILABLE, body = Object)))]
async fn startupz(State(probes): State<Probes>) -> Health {
    probes.startup().await
}

#[derive(utoipa::OpenApi)]
#[openapi(paths(healthz, readyz, startupz))]
struct Document;

/// What [`routes`] are, for the document about the API.
pub(super) fn openapi() -> OpenApi {
    <Document as utoipa::OpenApi>::openapi()
}

/// `GET /healthz`, `/readyz` and `/startupz`.
pub fn routes<S: Clone + Send + Sync + 'static>(probes: Probes) -> Router<S> {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/startupz", get(startupz))
        .with_state(probes)
}
