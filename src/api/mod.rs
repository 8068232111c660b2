//! What is said over HTTP: the API, health, metrics and the dashboard.
//!
//! The routers are for axum, wherever it is served: on the server's own port
//! ([`Server::router_with`](crate::Server::router_with)) or elsewhere. A route asks the shards by a
//! [`ServerHandle`](crate::ServerHandle) and answers what they say; nothing is decided here but who may
//! ask. [`docs/HTTP_API.md`] is the guide, `/openapi.json` the reference, which is made of the routes.
//!
//! ```no_run
//! use campanile::Server;
//! use campanile::api::{self, ApiOptions};
//! use campanile::realtime::{Realtime, RealtimeOptions};
//!
//! Server::new(|_shard| Realtime::new(RealtimeOptions::default()))
//!     .listen("127.0.0.1:8080")
//!     .router_with(|handle| api::router(api::State::new(handle, ApiOptions::default())))
//!     .run()?;
//! # Ok::<(), campanile::StartError>(())
//! ```
//!
//! | file | what |
//! |---|---|
//! | `state` | what the routes work with, and the limits |
//! | `caller` | who asks: a user, a guest, a program with a key |
//! | `body`, `cursor`, `objects` | what comes in and goes out |
//! | `error`, `idempotency`, `rate`, `answers` | layers around all routes |
//! | `ask` | the way to the shards and back, in bounded time |
//! | `rooms`, `messages`, `users`, `stats`, `documents` | the routes of the API |
//! | `revocations` | what was revoked, kept in the store |
//! | `pairing` | its routes, and the desk where one change is made after the other |
//! | `health`, `metrics` | what orchestrators and Prometheus ask |
//! | `dashboard` | the page for operators, and the numbers that it shows |
//!
//! [`docs/HTTP_API.md`]: https://docs.rs/crate/campanile/latest/source/docs/HTTP_API.md
#![forbid(unsafe_code)]

mod answers;
mod ask;
mod body;
mod caller;
mod cursor;
pub mod dashboard;
mod documents;
mod error;
pub mod health;
mod idempotency;
mod messages;
pub mod metrics;
mod objects;
pub mod pages;
pub mod pairing;
mod rate;
pub mod revocations;
mod rooms;
mod state;
mod stats;
mod users;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{MatchedPath, Request, State as Extract};
use axum::http::header::{ACCEPT, ALLOW, AUTHORIZATION, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowCredentials, AllowOrigin, CorsLayer};
use utoipa::openapi::{OpenApi, PathItem};
use utoipa_axum::router::OpenApiRouter;

pub use caller::Caller;
pub use error::ApiError;
pub use state::{ApiOptions, State};

use caller::Arrival;
use dashboard::DashboardOptions;
use health::Probes;
use metrics::Exposition;

/// How long a browser may remember what a page may ask.
const PREFLIGHT_AGE: Duration = Duration::from_secs(600);
/// What a request may take besides its body and its answers, of which there are a few.
const SLACK: Duration = Duration::from_secs(30);

/// The routes of the API and the document about them.
fn documented() -> OpenApiRouter<State> {
    OpenApiRouter::with_openapi(documents::frame().merge_from(health::openapi()))
        .merge(rooms::routes())
        .merge(messages::routes())
        .merge(users::routes())
        .merge(stats::routes())
        .merge(pairing::routes())
}

/// The document about the API and health, for the public listener: OpenAPI 3.1. That of the admin listener
/// has `/metrics` as well.
pub fn openapi() -> OpenApi {
    documented().into_openapi()
}

/// For the public listener: the API for users and for programs with a key, health, and the documents.
pub fn router(state: State) -> Router {
    layered(routes_of(&state, documented()), state)
}

/// For the listener of operators: the same, with `/metrics` and the dashboard at `/admin/`.
///
/// Where [`ApiOptions::development`] is off, `/metrics` takes a key for
/// [`Scope::Admin`](crate::auth::keys::Scope::Admin), as the token of the dashboard should be one.
pub fn admin_router(state: State, dashboard: DashboardOptions) -> Router {
    let (gate, answers) = (state.gate.clone(), state.answers.clone());
    let exposition = Exposition::new(state.server.clone(), state.store.clone())
        .with(move |families| answers.write(families))
        .with(move |families| metrics::of_gate(&gate, families));
    let metrics = metrics::routes(exposition).route_layer(middleware::from_fn_with_state(
        state.clone(),
        caller::operators_only,
    ));
    let mut documented = documented();
    documented.get_openapi_mut().merge(metrics::openapi());
    let routes = routes_of(&state, documented).merge(metrics);
    layered(routes, state).merge(dashboard::routes(dashboard))
}

fn routes_of(state: &State, documented: OpenApiRouter<State>) -> Router<State> {
    let (routes, openapi) = documented.split_for_parts();
    let once = middleware::from_fn_with_state(state.clone(), idempotency::once);
    let watch = middleware::from_fn_with_state(state.clone(), caller::watch);
    let known = middleware::from_fn_with_state(Arc::new(methods_of(&openapi)), known_methods);
    let probes = Probes::new(state.server.clone(), state.store.clone());
    routes
        .route_layer(once)
        .route_layer(watch)
        .route_layer(known)
        .merge(documents::routes(&openapi))
        .merge(health::routes(probes))
}

/// What may be done to each path, as `Allow` says it.
type Methods = HashMap<String, String>;

fn methods_of(openapi: &OpenApi) -> Methods {
    let methods = |item: &PathItem| {
        let all = [
            ("GET,HEAD", item.get.is_some()),
            ("POST", item.post.is_some()),
            ("PUT", item.put.is_some()),
            ("PATCH", item.patch.is_some()),
            ("DELETE", item.delete.is_some()),
        ];
        let there = all.iter().filter(|(_, is_there)| *is_there);
        there.map(|(name, _)| *name).collect::<Vec<_>>().join(",")
    };
    let paths = openapi.paths.paths.iter();
    paths
        .map(|(path, item)| (path.clone(), methods(item)))
        .collect()
}

/// Answers a method that its path does not have before anybody asks who wants it, and with which key.
async fn known_methods(
    Extract(known): Extract<Arc<Methods>>,
    path: MatchedPath,
    request: Request,
    next: Next,
) -> Response {
    let method = request.method().as_str();
    match known.get(path.as_str()) {
        Some(allowed) if !allowed.split(',').any(|name| name == method) => {
            let error = ApiError::from(StatusCode::METHOD_NOT_ALLOWED);
            ([(ALLOW, allowed.clone())], error).into_response()
        }
        _ => next.run(request).await,
    }
}

/// With what belongs around every route: an identifier and the body of every error, a bounded time, what
/// browsers ask beforehand.
fn layered(routes: Router<State>, state: State) -> Router {
    let limit = state.options.body_timeout + state.options.answer_timeout + SLACK;
    let finish = middleware::from_fn_with_state((state.clock, limit), error::finish);
    let counted = (state.clock, state.answers.clone());
    let count = middleware::from_fn_with_state(counted, answers::count);
    routes
        .fallback(async || ApiError::from(StatusCode::NOT_FOUND))
        .layer(cors(&state))
        .layer(CatchPanicLayer::custom(error::panicked))
        .layer(finish)
        .layer(count)
        .with_state(state)
}

/// Pages of allowed origins may ask, and no others (the Fetch standard, "CORS protocol").
fn cors(state: &State) -> CorsLayer {
    let origins = state.clone();
    let credentials = state.clone();
    let allowed =
        move |origin: &HeaderValue, parts: &Parts| page(&origins, origin, parts).is_some();
    let with_cookies = move |origin: &HeaderValue, parts: &Parts| {
        page(&credentials, origin, parts).unwrap_or(false)
    };
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(allowed))
        .allow_credentials(AllowCredentials::predicate(with_cookies))
        .allow_methods([
            Method::GET,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
        ])
        .allow_headers([
            ACCEPT,
            AUTHORIZATION,
            CONTENT_TYPE,
            HeaderName::from_static("idempotency-key"),
            HeaderName::from_static("x-request-id"),
            HeaderName::from_static("x-user-id"),
            HeaderName::from_static("x-user-roles"),
        ])
        .expose_headers([
            LOCATION,
            RETRY_AFTER,
            HeaderName::from_static("idempotency-replayed"),
            HeaderName::from_static("x-request-id"),
        ])
        .max_age(PREFLIGHT_AGE)
}

/// Whether a page of an origin may ask, and if so whether with its cookies.
fn page(state: &State, origin: &HeaderValue, parts: &Parts) -> Option<bool> {
    let arrival = Arrival::of(state, parts);
    state.gate.cors(origin.to_str().ok()?, arrival.visitor())
}
