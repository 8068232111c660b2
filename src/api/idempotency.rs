//! `Idempotency-Key`: a request that is sent again is answered again, and not done again.
//!
//! The key belongs to its caller and to the method and path; what else is asked, in the query and in the
//! body, must be the same when it comes again. The work goes on when its client has gone,
//! so that what the client sends again finds the answer. Answers that say "try again" (429 and 5xx) are
//! not kept. Bounded in number and bytes: the oldest goes before its time then, and a request of that
//! key is done once more.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State as Extract};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha1::{Digest, Sha1};

use super::body;
use super::caller::{Arrival, Caller};
use super::error::ApiError;
use super::state::State;
use crate::realtime::protocol::ErrorCode;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Says that an answer was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// Longest key, bytes.
const KEY_BYTES_MAX: usize = 255;
/// Most keys that are remembered, and most bytes of their answers.
const KEYS_MAX: usize = 10_000;
const BYTES_MAX: usize = 16 << 20;
/// Largest answer that is looked at: larger than any of a mutation.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// The answers of the last minutes by key.
#[derive(Debug)]
pub(super) struct Idempotency {
    window_ms: u64,
    answers: Mutex<Answers>,
}

#[derive(Debug, Default)]
struct Answers {
    by_key: HashMap<Box<str>, Entry>,
    /// By age; some may have gone from the map.
    by_age: VecDeque<(u64, Box<str>)>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    begun_ms: u64,
    /// Of all that is asked.
    digest: [u8; 20],
    /// `None`: under way.
    answer: Option<Kept>,
}

#[derive(Clone, Debug)]
struct Kept {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    error: Option<ApiError>,
}

/// What is known of a key.
enum Found {
    /// Nothing: it is the caller's to do, and is noted as under way.
    New,
    UnderWay,
    /// It has come with something else.
    Other,
    Answered(Kept),
}

impl Idempotency {
    pub(super) fn new(window: Duration) -> Self {
        Self {
            window_ms: u64::try_from(window.as_millis()).unwrap_or(u64::MAX),
            answers: Mutex::default(),
        }
    }

    fn answers(&self) -> MutexGuard<'_, Answers> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, key: &str, digest: [u8; 20], now_ms: u64) -> Found {
        let mut answers = self.answers();
        answers.expire(now_ms.saturating_sub(self.window_ms));
        if let Some(entry) = answers.by_key.get(key) {
            return match &entry.answer {
                _ if entry.digest != digest => Found::Other,
                None => Found::UnderWay,
                Some(kept) => Found::Answered(kept.clone()),
            };
        }
        answers.make_room();
        let entry = Entry {
            begun_ms: now_ms,
            digest,
            answer: None,
        };
        answers.bytes += key.len();
        answers.by_key.insert(key.into(), entry);
        answers.by_age.push_back((now_ms, key.into()));
        Found::New
    }

    /// Notes the answer; `None`: there is none to keep, and the key may be used again.
    fn end(&self, key: &str, answer: Option<Kept>) {
        let mut answers = self.answers();
        let Some(answer) = answer else {
            return answers.forget(key, None);
        };
        let bytes = answer.body.len();
        if let Some(entry) = answers.by_key.get_mut(key) {
            entry.answer = Some(answer);
            answers.bytes += bytes;
        }
    }
}

impl Answers {
    fn forget(&mut self, key: &str, begun_ms: Option<u64>) {
        let is_it = |entry: &Entry| begun_ms.is_none_or(|begun_ms| begun_ms == entry.begun_ms);
        if self.by_key.get(key).is_some_and(is_it)
            && let Some(entry) = self.by_key.remove(key)
        {
            self.bytes -= key.len() + entry.answer.map_or(0, |kept| kept.body.len());
        }
    }

    fn drop_oldest(&mut self) -> bool {
        let Some((begun_ms, key)) = self.by_age.pop_front() else {
            return false;
        };
        self.forget(&key, Some(begun_ms));
        true
    }

    fn expire(&mut self, before_ms: u64) {
        while (self.by_age.front()).is_some_and(|(begun_ms, _)| *begun_ms < before_ms) {
            self.drop_oldest();
        }
    }

    fn make_room(&mut self) {
        while self.by_age.len() >= KEYS_MAX || self.bytes >= BYTES_MAX {
            if !self.drop_oldest() {
                break;
            }
        }
    }
}

/// Forgets a key whose work has not come to its end, such as by a panic.
struct UnderWay {
    idempotency: Arc<Idempotency>,
    key: Box<str>,
    answer: Option<Kept>,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.idempotency.end(&self.key, self.answer.take());
    }
}

/// The layer: requests that change something, and have a key.
pub(super) async fn once(
    Extract(state): Extract<State>,
    caller: Caller,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let changes = [Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    let changes = changes.contains(request.method());
    let Some(key) = request.headers().get(IDEMPOTENCY_KEY).filter(|_| changes) else {
        return Ok(next.run(request).await);
    };
    let is_fine = (1..=KEY_BYTES_MAX).contains(&key.len())
        && key
            .as_bytes()
            .iter()
            .all(|byte| byte.is_ascii_graphic() || *byte == b' ');
    let key = key.to_str().ok().filter(|_| is_fine);
    let key = key.ok_or_else(|| {
        let error = "an Idempotency-Key has 1 to 255 characters of ASCII";
        ApiError::invalid_member("Idempotency-Key", error)
    })?;
    let key = key.to_owned();
    let (parts, body) = request.into_parts();
    let caller = match caller {
        // In trust mode the body says who it is: guests are told apart by where they are.
        Caller::Guest => format!("guest {:?}", Arrival::of(&state, &parts).address()),
        known => known.name(),
    };
    let (method, path) = (&parts.method, parts.uri.path());
    let key: Box<str> = format!("{caller}\n{method} {path}\n{key}").into();
    let whole = Request::from_parts(parts.clone(), body);
    let body = body::read(whole, &state).await?;
    let digest = digest(parts.uri.query().unwrap_or_default(), &body);
    match state
        .idempotency
        .begin(&key, digest, state.clock.now().monotonic_ms)
    {
        Found::New => {}
        Found::Answered(kept) => return Ok(kept.into_response()),
        Found::Other => {
            let error = "this Idempotency-Key has come with another query or body";
            return Err(ApiError::invalid_member("Idempotency-Key", error));
        }
        Found::UnderWay => {
            let error = "the first request with this Idempotency-Key is under way";
            let code = ErrorCode::Conflict.as_str();
            return Err(ApiError::new(StatusCode::CONFLICT, code, error));
        }
    }
    let under_way = UnderWay {
        idempotency: Arc::clone(&state.idempotency),
        key,
        answer: None,
    };
    // On its own: it is done though its client should go.
    let work = tokio::spawn(async move {
        let mut under_way = under_way;
        let response = next.run(Request::from_parts(parts, Body::from(body))).await;
        let (response, kept) = keep(response).await?;
        under_way.answer = kept;
        drop(under_way);
        Ok(response)
    });
    work.await.unwrap_or_else(|error| {
        tracing::error!(%error, "a request with an Idempotency-Key was not answered");
        Err(StatusCode::INTERNAL_SERVER_ERROR.into())
    })
}

/// Of what is asked. A token in the query says who asks, and may be another one when it is asked again.
fn digest(query: &str, body: &[u8]) -> [u8; 20] {
    let mut digest = Sha1::new();
    for parameter in query.split('&').filter(|it| !it.starts_with("token=")) {
        digest.update(parameter);
        digest.update("&");
    }
    // A query has no line ends.
    digest.update("\n");
    digest.update(body);
    digest.finalize().into()
}

/// The answer, and what is to be kept of it.
async fn keep(response: Response) -> Result<(Response, Option<Kept>), ApiError> {
    let status = response.status();
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        return Ok((response, None));
    }
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, ANSWER_BYTES_MAX).await;
    let body = body.map_err(|_| ApiError::from(StatusCode::INTERNAL_SERVER_ERROR))?;
    let kept = Kept {
        status,
        headers: parts.headers.clone(),
        body: body.clone(),
        error: parts.extensions.get::<ApiError>().cloned(),
    };
    let response = Response::from_parts(parts, Body::from(body));
    Ok((response, Some(kept)))
}

impl IntoResponse for Kept {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.headers, self.body).into_response();
        if let Some(error) = self.error {
            response.extensions_mut().insert(error);
        }
        let yes = HeaderValue::from_static("true");
        response.headers_mut().insert(REPLAYED, yes);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(body: &'static str) -> Kept {
        Kept {
            status: StatusCode::CREATED,
            headers: HeaderMap::new(),
            body: Bytes::from_static(body.as_bytes()),
            error: None,
        }
    }

    #[test]
    fn a_key_is_new_then_under_way_then_answered_until_its_time_is_over() {
        let table = Idempotency::new(Duration::from_secs(1));
        assert!(matches!(table.begin("k", [1; 20], 0), Found::New));
        assert!(matches!(table.begin("k", [1; 20], 1), Found::UnderWay));
        assert!(matches!(table.begin("k", [2; 20], 1), Found::Other));
        table.end("k", Some(kept("done")));
        let Found::Answered(answer) = table.begin("k", [1; 20], 1000) else {
            panic!("it is remembered");
        };
        assert_eq!(answer.body, "done");
        assert!(matches!(table.begin("k", [2; 20], 1001), Found::New));
        table.end("k", None);
        assert!(
            matches!(table.begin("k", [3; 20], 1001), Found::New),
            "it failed"
        );
    }

    #[test]
    fn the_same_request_may_come_with_another_token() {
        let one = digest("player_id=p1&token=a", b"{}");
        assert_eq!(one, digest("token=b&player_id=p1", b"{}"));
        for (query, body) in [("player_id=p2", "{}"), ("player_id=p1", "{} "), ("", "{}")] {
            assert_ne!(one, digest(query, body.as_bytes()), "{query} {body}");
        }
    }

    #[test]
    fn the_oldest_goes_when_there_are_too_many_and_memory_is_counted() {
        let table = Idempotency::new(Duration::from_secs(1));
        for i in 0..=KEYS_MAX {
            assert!(matches!(
                table.begin(&i.to_string(), [0; 20], 0),
                Found::New
            ));
        }
        assert_eq!(table.answers().by_key.len(), KEYS_MAX);
        assert!(matches!(table.begin("1", [0; 20], 0), Found::UnderWay));
        assert!(matches!(table.begin("0", [0; 20], 0), Found::New));
        let mut answers = table.answers();
        answers.expire(u64::MAX);
        assert_eq!((answers.bytes, answers.by_key.len()), (0, 0));
    }
}
