//! What goes wrong over HTTP: one body for all of it, and an `X-Request-Id` on every answer.

use std::any::Any;
use std::borrow::Cow;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State as Extract};
use axum::http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HOST, RETRY_AFTER};
use axum::http::{HeaderName, HeaderValue, StatusCode, Version};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::auth::AuthError;
use crate::http::Refusal;
use crate::realtime::protocol::{ErrorCode, Rejection};
use crate::server::Busy;
use crate::time::{Clock, Timestamp};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest `X-Request-Id` that is taken over from a client, bytes.
const REQUEST_ID_BYTES_MAX: usize = 128;
/// How long a client is asked to wait for a shard that is behind, seconds.
const BUSY_RETRY_S: &str = "1";

/// A request that is refused: status, code, words, details and header fields.
///
/// As a response it has no body yet: the outermost layer writes it, which knows the request's identifier.
#[derive(Clone, Debug)]
pub struct ApiError(Box<Refusal>);

impl ApiError {
    /// With a status, a stable code for programs and a sentence for people.
    pub fn new(
        status: StatusCode,
        code: impl Into<Cow<'static, str>>,
        error: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self(Box::new(Refusal::new(status, code, error)))
    }

    /// Adds a member to `details`.
    #[must_use]
    pub fn detail(self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        Self(Box::new(self.0.detail(name, value)))
    }

    fn header(self, name: &HeaderName, value: &str) -> Self {
        let refusal = self.0.header(name.as_str(), value);
        Self(Box::new(refusal.expect("names and values are our own")))
    }

    /// Whether it has this code.
    pub(super) fn is(&self, code: ErrorCode) -> bool {
        self.0.code() == code.as_str()
    }

    /// 422 with `invalid_message` about a member.
    pub fn invalid_member(member: &str, error: impl Into<Cow<'static, str>>) -> Self {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        Self::new(status, ErrorCode::InvalidMessage.as_str(), error).detail("member", member)
    }

    /// 401: a guest, where somebody must be known.
    pub fn unauthorized() -> Self {
        AuthError::Missing.into()
    }

    /// 403.
    pub fn forbidden(error: impl Into<Cow<'static, str>>) -> Self {
        let code = ErrorCode::Forbidden.as_str();
        Self::new(StatusCode::FORBIDDEN, code, error)
    }

    /// 503 with `Retry-After`: whoever was to answer is gone, or behind.
    pub fn unavailable() -> Self {
        Self::unavailable_because("not available at the moment")
    }

    /// 503 with `Retry-After`, in words of its own.
    pub(super) fn unavailable_because(error: &'static str) -> Self {
        let code = ErrorCode::Unavailable.as_str();
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, error).header(&RETRY_AFTER, BUSY_RETRY_S)
    }

    /// 504: the answer takes too long. What was asked may be done all the same.
    pub fn timeout() -> Self {
        let code = ErrorCode::Timeout.as_str();
        Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            code,
            "the answer took too long",
        )
    }

    /// 429 with `Retry-After`.
    pub fn rate_limited(retry_after_ms: u64) -> Self {
        Rejection::RateLimited { retry_after_ms }.into()
    }

    /// What axum or a layer refuses by a bare status.
    fn from_status(status: StatusCode) -> Self {
        let code = match status {
            StatusCode::BAD_REQUEST => "bad_request",
            StatusCode::UNAUTHORIZED => ErrorCode::Unauthorized.as_str(),
            StatusCode::FORBIDDEN => ErrorCode::Forbidden.as_str(),
            StatusCode::NOT_FOUND => ErrorCode::NotFound.as_str(),
            StatusCode::METHOD_NOT_ALLOWED => "method_not_allowed",
            StatusCode::REQUEST_TIMEOUT => "request_timeout",
            StatusCode::PAYLOAD_TOO_LARGE => ErrorCode::PayloadTooLarge.as_str(),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => "unsupported_media_type",
            StatusCode::UNPROCESSABLE_ENTITY => ErrorCode::InvalidMessage.as_str(),
            StatusCode::UPGRADE_REQUIRED => "upgrade_required",
            StatusCode::SERVICE_UNAVAILABLE => ErrorCode::Unavailable.as_str(),
            status if status.is_client_error() => "bad_request",
            _ => ErrorCode::Internal.as_str(),
        };
        let error = status
            .canonical_reason()
            .unwrap_or("refused")
            .to_lowercase();
        Self::new(status, code, error)
    }
}

impl From<StatusCode> for ApiError {
    fn from(status: StatusCode) -> Self {
        Self::from_status(status)
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        Self(Box::new(refusal))
    }
}

impl From<AuthError> for ApiError {
    fn from(error: AuthError) -> Self {
        Refusal::from(error).into()
    }
}

impl From<Busy> for ApiError {
    fn from(_: Busy) -> Self {
        Self::unavailable()
    }
}

impl From<Rejection> for ApiError {
    /// The twin of what a connection is told.
    fn from(rejection: Rejection) -> Self {
        let code = rejection.code();
        let status = StatusCode::from_u16(code.http_status()).expect("an error status");
        let mut error = Self::new(status, code.as_str(), rejection.to_string());
        let details = rejection.details();
        let details = details.and_then(|json| serde_json::from_str(&json).ok());
        if let Some(serde_json::Value::Object(details)) = details {
            for (name, value) in details {
                error = error.detail(&name, value);
            }
        }
        match rejection.retry_after_ms() {
            None => error,
            Some(wait_ms) => error
                .detail("retry_after_ms", wait_ms)
                .header(&RETRY_AFTER, &wait_ms.div_ceil(1000).max(1).to_string()),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.0.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// What a panic in a handler is answered with; it is in the log.
pub(super) fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    ApiError::from_status(StatusCode::INTERNAL_SERVER_ERROR).into_response()
}

/// Marks a response whose status is an error's and whose body says more than one: [`finish`] leaves it.
#[derive(Clone, Copy, Debug)]
pub(super) struct OwnBody;

/// The outermost layer: an identifier for each request, a time limit, and the body of every error.
pub(super) async fn finish(
    Extract((clock, limit)): Extract<(Clock, Duration)>,
    request: Request,
    next: Next,
) -> Response {
    let id = request_id(&request);
    // Without the query, where a token may be.
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut response = if names_its_host(&request) {
        let answer = tokio::time::timeout(limit, next.run(request)).await;
        answer.unwrap_or_else(|_| ApiError::timeout().into_response())
    } else {
        let error = "a request names its host, and one";
        ApiError::new(StatusCode::BAD_REQUEST, "bad_request", error).into_response()
    };
    let is_error = response.status().is_client_error() || response.status().is_server_error();
    if is_error && response.extensions().get::<OwnBody>().is_none() {
        response = with_body(response, &id, &clock);
    }
    let status = response.status();
    if status == StatusCode::INTERNAL_SERVER_ERROR {
        tracing::error!(request_id = ?id, %method, path, "a request has failed");
    } else {
        tracing::debug!(request_id = ?id, %method, path, %status, "a request");
    }
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, id);
    // For who has asked, by a cookie perhaps, of which a cache on the way knows nothing.
    let nowhere = HeaderValue::from_static("no-store");
    headers.entry(CACHE_CONTROL).or_insert(nowhere);
    response
}

/// Whether there is one `Host`, which HTTP/1.1 demands: RFC 9112 section 3.2.
fn names_its_host(request: &Request) -> bool {
    let hosts = request.headers().get_all(HOST).iter().count();
    hosts == 1 || hosts == 0 && request.version() < Version::HTTP_11
}

/// The client's own name for the request, if it may stand in a log; else one of ours.
fn request_id(request: &Request) -> HeaderValue {
    let given = request.headers().get(REQUEST_ID);
    let given = given.filter(|id| {
        let length = 1..=REQUEST_ID_BYTES_MAX;
        length.contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
    });
    given.cloned().unwrap_or_else(|| {
        let id = format!("{:016x}", fastrand::u64(..));
        HeaderValue::try_from(id).expect("hexadecimal digits")
    })
}

fn with_body(response: Response, id: &HeaderValue, clock: &Clock) -> Response {
    let (mut parts, _) = response.into_parts();
    let error = parts.extensions.remove::<ApiError>();
    let error = error.unwrap_or_else(|| ApiError::from_status(parts.status));
    let at = Timestamp::new(clock.now().unix_ms);
    let body = error.0.body(id.to_str().unwrap_or_default(), at.as_str());
    parts.headers.remove(CONTENT_LENGTH);
    let json = HeaderValue::from_static("application/json");
    parts.headers.insert(CONTENT_TYPE, json);
    for (name, value) in error.0.fields() {
        parts.headers.insert(name.clone(), value.clone());
    }
    Response::from_parts(parts, Body::from(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_its_twins_status() {
        for (rejection, status, code) in [
            (Rejection::NotFound, 404, "not_found"),
            (Rejection::NotSubscribed, 409, "not_subscribed"),
            (Rejection::TooDeep, 400, "invalid_json"),
            (
                Rejection::MissingMember("data".into()),
                422,
                "invalid_message",
            ),
        ] {
            let error = ApiError::from(rejection);
            assert_eq!((error.0.status().as_u16(), error.0.code()), (status, code));
        }
    }

    #[test]
    fn who_is_too_fast_is_told_whole_seconds_and_milliseconds() {
        let error = ApiError::rate_limited(1200);
        let fields: Vec<_> = error.0.fields().collect();
        assert_eq!(fields, [(&RETRY_AFTER, &HeaderValue::from_static("2"))]);
        let body: serde_json::Value = serde_json::from_slice(&error.0.body("r", "t")).unwrap();
        assert_eq!(body["details"]["retry_after_ms"], 1200);
        assert_eq!(
            (&body["request_id"], &body["status"]),
            (&"r".into(), &429.into())
        );
    }
}
