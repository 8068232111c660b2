//! What has been answered over HTTP: counted by method, route and status, for `/metrics`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{MatchedPath, Request, State as Extract};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;

use super::metrics::{Families, number};
use crate::metrics::Histogram;
use crate::time::Clock;

/// Most methods, routes and statuses that are told apart. Far more than there are; beyond it answers
/// count under `other`.
const SERIES_MAX: usize = 1024;
const OTHER: &str = "other";

/// The answers since the start, of all routers that share it.
#[derive(Debug, Default)]
pub(super) struct Answers(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    by_route: BTreeMap<(&'static str, Box<str>, u16), u64>,
    times: Histogram,
}

impl Answers {
    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, method: &Method, route: Option<&str>, status: u16, took_ns: u64) {
        let mut counted = self.counted();
        counted.times.record(took_ns);
        let mut key = (name_of(method), route.unwrap_or(OTHER).into(), status);
        if counted.by_route.len() >= SERIES_MAX && !counted.by_route.contains_key(&key) {
            key = (OTHER, OTHER.into(), status);
        }
        *counted.by_route.entry(key).or_default() += 1;
    }

    /// Shows what was counted. Errors: of what it is written to, which has none.
    pub(super) fn write(&self, out: &mut Families<'_>) -> fmt::Result {
        let counted = self.counted();
        let samples = counted.by_route.iter();
        let samples = samples.map(|((method, route, status), count)| {
            let labels = vec![
                ("method", (*method).to_owned()),
                ("route", route.to_string()),
                ("status", status.to_string()),
            ];
            (labels, number(*count))
        });
        let help = "Answers over HTTP, by route; `other` is what no route is for.";
        out.counter("campanile_http_requests", help, samples)?;
        let help = "From a request's head to its answer's, over HTTP.";
        let times = [(Vec::new(), &counted.times)];
        out.histogram("campanile_http_request_seconds", help, times)
    }
}

/// Anybody can make up methods: those that no route has are one.
fn name_of(method: &Method) -> &'static str {
    let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    let known = known.into_iter().find(|name| *name == method.as_str());
    known.unwrap_or(OTHER)
}

/// The layer that counts: around everything else.
pub(super) async fn count(
    Extract((clock, answers)): Extract<(Clock, Arc<Answers>)>,
    route: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let (_, begun_ns) = clock.read();
    let method = request.method().clone();
    let response = next.run(request).await;
    let took_ns = clock.read().1.saturating_sub(begun_ns);
    let route = route.as_ref().map(MatchedPath::as_str);
    answers.note(&method, route, response.status().as_u16(), took_ns);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_asked_for_the_series_are_bounded() {
        let answers = Answers::default();
        for i in 0..2 * SERIES_MAX {
            answers.note(&Method::GET, Some(&format!("/{i}")), 200, 1);
        }
        let made_up = Method::from_bytes(b"CONJURE").unwrap();
        answers.note(&made_up, None, 405, 1);
        let counted = answers.counted();
        assert!(
            counted.by_route.len() <= SERIES_MAX + 2,
            "two statuses are over"
        );
        let over = (OTHER, OTHER.into(), 200);
        assert_eq!(counted.by_route[&over], SERIES_MAX as u64);
        assert_eq!(counted.by_route[&(OTHER, OTHER.into(), 405)], 1);
        assert_eq!(counted.times.count(), 2 * SERIES_MAX as u64 + 1);
    }
}
