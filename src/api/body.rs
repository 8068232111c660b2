//! Request bodies, queries and paths, and what is wrong with them.

use std::time::Duration;

use axum::body::{Bytes, HttpBody};
use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use super::error::ApiError;
use super::state::State;
use crate::realtime::protocol::{Members, Rejection};

/// A JSON object as a value of type `T`. Members that `T` does not know are passed over.
///
/// Refused: 415 unless `Content-Type` is JSON; 413 and 408 for what is too large or too slow; 400 for
/// what is not JSON, or not Unicode, to its end; 422 for a member that is missing, wrong or stands
/// twice, whose name is in `details`.
#[derive(Debug)]
pub(super) struct Body<T>(pub(super) T);

/// The same for a body that may be missing or null, when it is `T`'s default.
#[derive(Debug)]
pub(super) struct OptionalBody<T>(pub(super) T);

/// A query as a value of type `T`: 422 for what is wrong.
#[derive(Debug)]
pub(super) struct Parameters<T>(pub(super) T);

/// The names in a path: 422 for what is wrong.
#[derive(Debug)]
pub(super) struct Path<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<State> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &State) -> Result<Self, ApiError> {
        check_type(request.headers())?;
        parse(&read(request, state).await?).map(Self)
    }
}

impl<T: DeserializeOwned + Default> FromRequest<State> for OptionalBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &State) -> Result<Self, ApiError> {
        let has_type = check_type(request.headers());
        let bytes = read(request, state).await?;
        if bytes.is_empty() || bytes.trim_ascii() == b"null" {
            return Ok(Self(T::default()));
        }
        has_type?;
        parse(&bytes).map(Self)
    }
}

impl<T: DeserializeOwned> FromRequestParts<State> for Parameters<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &State) -> Result<Self, ApiError> {
        let query = axum::extract::Query::try_from_uri(&parts.uri);
        let query = query.map_err(|error| in_query(&error.body_text()))?;
        Ok(Self(query.0))
    }
}

impl<T: DeserializeOwned + Send> FromRequestParts<State> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, ApiError> {
        let path = axum::extract::Path::from_request_parts(parts, state).await;
        match path {
            Ok(axum::extract::Path(names)) => Ok(Self(names)),
            Err(_) => Err(ApiError::invalid_member("path", "the path is not UTF-8")),
        }
    }
}

fn in_query(error: &str) -> ApiError {
    let words = error.trim_start_matches("Failed to deserialize query string: ");
    match words.split_once(": ") {
        // Of Rust's, about a number.
        Some((name, words)) if words.ends_with("in string") || words.ends_with("target type") => {
            ApiError::invalid_member(name, "expected a whole number, 0 or more")
        }
        Some((name, words)) => wrong_member(name, words),
        None => wrong_member(".", words),
    }
}

/// The first name between backticks.
fn quoted(words: &str) -> Option<&str> {
    words.split('`').nth(1)
}

fn check_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let given = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = given
        .and_then(|value| value.split(';').next())
        .map(str::trim);
    let is_json = essence.is_some_and(|kind| {
        let kind = kind.to_ascii_lowercase();
        kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
    });
    is_json.then_some(()).ok_or_else(|| {
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        let error = "the body is to be JSON, and Content-Type to say so";
        ApiError::new(status, "unsupported_media_type", error)
    })
}

/// Reads a body within the limits of size and time.
pub(super) async fn read(mut request: Request, state: &State) -> Result<Bytes, ApiError> {
    let limit = state.options.body_bytes_max;
    let too_large = || {
        let limit_bytes = limit as u64;
        ApiError::from(Rejection::PayloadTooLarge { limit_bytes })
    };
    // What says that it is too large is not read.
    if request.body().size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    DefaultBodyLimit::apply(DefaultBodyLimit::max(limit), &mut request);
    let read = Bytes::from_request(request, &());
    let read = within(state.options.body_timeout, read).await?;
    read.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => too_large(),
        status => {
            tracing::debug!(%status, "a request body broke off");
            ApiError::new(status, "bad_request", "the body did not come in whole")
        }
    })
}

async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Result<T, ApiError> {
    tokio::time::timeout(limit, work).await.map_err(|_| {
        let error = "the body did not come in time";
        ApiError::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", error)
    })
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let invalid = |offset: usize| ApiError::from(Rejection::InvalidJson { offset });
    let text = simdutf8::compat::from_utf8(bytes).map_err(|bad| invalid(bad.valid_up_to()))?;
    // To its end, its depth and its Unicode, as what comes over a WebSocket.
    Members::parse(text)?;
    let mut from = serde_json::Deserializer::from_str(text);
    let parsed = serde_path_to_error::deserialize(&mut from);
    parsed.map_err(|error| {
        if error.inner().classify() != Category::Data {
            return invalid(0);
        }
        let words = error.inner().to_string();
        let words = words.split(" at line ").next().unwrap_or_default();
        wrong_member(&error.path().to_string(), words)
    })
}

/// What serde has found at a path, in the words that messages are refused with.
fn wrong_member(path: &str, words: &str) -> ApiError {
    let named = |name: &str| match path {
        "." => name.to_owned(),
        path if path.ends_with(name) => path.to_owned(),
        path => format!("{path}.{name}"),
    };
    match quoted(words) {
        Some(name) if words.starts_with("missing field") => {
            Rejection::MissingMember(named(name).into()).into()
        }
        Some(name) if words.starts_with("duplicate field") => {
            Rejection::RepeatedMember(named(name).into()).into()
        }
        _ => ApiError::invalid_member(path, in_json(words)),
    }
}

/// The types of JSON under their own names, in place of Rust's and serde's.
fn in_json(words: &str) -> String {
    let Some((found, expected)) = words.rsplit_once(", expected ") else {
        return words.to_owned();
    };
    let expected = match expected {
        "u16" => "a whole number of 0 to 65535",
        "u32" => "a whole number of 0 to 4294967295",
        "u64" => "a whole number, 0 or more",
        "a sequence" => "an array",
        "a map" => "an object",
        other => other,
    };
    let found = found
        .replace(": sequence", ": array")
        .replace(": map", ": object");
    format!("{found}, expected {expected}")
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;
    use serde::Deserialize;
    use serde_json::value::RawValue;

    use super::*;

    fn status_of(error: ApiError) -> u16 {
        error.into_response().status().as_u16()
    }

    #[derive(Debug, Deserialize)]
    struct Publish {
        #[expect(dead_code, reason = "it is only to be read")]
        topic: String,
        data: Box<RawValue>,
        #[serde(default)]
        #[expect(dead_code, reason = "it is only to be read")]
        inner: Option<Inner>,
    }

    #[derive(Debug, Deserialize)]
    struct Inner {
        #[expect(dead_code, reason = "it is only to be read")]
        count: u8,
    }

    #[test]
    fn what_does_not_parse_is_400_and_a_wrong_member_422_with_its_name() {
        for (text, status, member) in [
            ("", 400, ""),
            ("{", 400, ""),
            (r#"{"topic":"\ud800","data":1}"#, 400, ""),
            (r#"{"topic":"a","data":"\ud800"}"#, 400, ""),
            (r#"{"topic":"a","data":1} x"#, 400, ""),
            ("[]", 422, ""),
            ("7", 422, ""),
            (r#"{"data":1}"#, 422, "topic"),
            (r#"{"topic":1,"data":1}"#, 422, "topic"),
            (r#"{"topic":"a","topic":"b","data":1}"#, 422, "topic"),
            (
                r#"{"topic":"a","data":1,"inner":{"count":256}}"#,
                422,
                "inner.count",
            ),
            (r#"{"topic":"a","data":1,"inner":{}}"#, 422, "inner.count"),
            (r#"{"topic":"a","data":1,"inner":[]}"#, 422, "inner"),
        ] {
            let error = parse::<Publish>(text.as_bytes()).unwrap_err();
            let debug = format!("{error:?}");
            let named = format!("\"member\": String(\"{member}\")");
            assert_eq!(
                member.is_empty(),
                !debug.contains("\"member\""),
                "{text} {debug}"
            );
            assert!(
                member.is_empty() || debug.contains(&named),
                "{text} {debug}"
            );
            assert_eq!(status_of(error), status, "{text}");
        }
        assert_eq!(
            status_of(parse::<Publish>(b"{\"topic\":\"\xff\"}").unwrap_err()),
            400
        );
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        let deep = format!(r#"{{"topic":"a","data":{deep}}}"#);
        assert_eq!(
            status_of(parse::<Publish>(deep.as_bytes()).unwrap_err()),
            400
        );
        let good: Publish = parse(br#"{"topic":"a","other":[1],"data":{"a":1.50}}"#).unwrap();
        assert_eq!(good.data.get(), r#"{"a":1.50}"#, "as it was written");
    }

    #[test]
    fn only_json_is_taken() {
        let check = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, value.parse().unwrap());
            check_type(&headers).is_ok()
        };
        assert!(check("application/json") && check("Application/JSON; charset=utf-8"));
        assert!(check("application/merge-patch+json"));
        assert!(!check("text/plain") && !check("application/x-www-form-urlencoded"));
        assert!(check_type(&HeaderMap::new()).is_err());
    }

    // Clients were told of `u32` and `field`, words that are the program's own.
    #[test]
    fn what_is_wrong_is_said_in_words_of_json() {
        for (path, words, expected) in [
            (
                "count",
                "invalid value: integer `-1`, expected u32",
                "invalid value: integer `-1`, expected a whole number of 0 to 4294967295",
            ),
            (
                "a.b",
                "invalid type: sequence, expected a map",
                "invalid type: array, expected an object",
            ),
            (
                ".",
                "missing field `topic`",
                "the member \\\"topic\\\" is missing",
            ),
            (
                "a",
                "duplicate field `b`",
                "the member \\\"a.b\\\" stands more than once",
            ),
        ] {
            let debug = format!("{:?}", wrong_member(path, words));
            assert!(debug.contains(expected), "{debug}");
        }
    }

    #[test]
    fn a_wrong_parameter_of_a_query_is_named() {
        for (words, member) in [
            ("limit: invalid digit found in string", "limit"),
            ("limit: number too large to fit in target type", "limit"),
            ("missing field `id`", "id"),
            ("duplicate field `limit`", "limit"),
            ("status: a status is pending, active or expired", "status"),
        ] {
            let debug = format!(
                "{:?}",
                in_query(&format!("Failed to deserialize query string: {words}"))
            );
            assert!(
                debug.contains(&format!("\"member\": String(\"{member}\")")),
                "{debug}"
            );
            assert!(
                !debug.contains("digit") && !debug.contains("target type"),
                "{debug}"
            );
        }
    }
}
