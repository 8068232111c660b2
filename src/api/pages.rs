//! Pages that lie inside the binary: static files, no build step, one policy for all.

use std::hash::{DefaultHasher, Hash, Hasher};

use axum::Router;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// Media type of a page.
pub const HTML: &str = "text/html; charset=utf-8";
/// Media type of a style sheet.
pub const CSS: &str = "text/css; charset=utf-8";
/// Media type of a script.
pub const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
/// Media type of plain text.
pub const TEXT: &str = "text/plain; charset=utf-8";

/// A page runs its own scripts and speaks to its own server, and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// Whoever opened a page cannot reach into it, and no other site can take its files in.
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// A file: the path under which it is served, its media type, and its text.
pub type File = (&'static str, &'static str, &'static str);

/// Serves files under their paths.
///
/// Panics if a path stands twice.
pub fn routes<S: Clone + Send + Sync + 'static>(files: &[File]) -> Router<S> {
    files
        .iter()
        .fold(Router::new(), |router, &(path, kind, text)| {
            let tag = tag(text);
            let answer = move |asked: HeaderMap| async move { answer(&asked, kind, text, &tag) };
            router.route(path, get(answer))
        })
}

/// A name for this very text, the same in every process.
fn tag(text: &str) -> String {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    format!("\"{:016x}\"", hasher.finish())
}

/// The file, or 304 to a browser that has it. Browsers are to ask each time: after an upgrade of the
/// server no module of the old page must meet one of the new.
fn answer(asked: &HeaderMap, kind: &'static str, text: &'static str, tag: &str) -> Response {
    let headers = [
        (CONTENT_TYPE, kind),
        (CACHE_CONTROL, "no-cache"),
        (ETAG, tag),
        (CONTENT_SECURITY_POLICY, POLICY),
        (OPENER_POLICY, "same-origin"),
        (RESOURCE_POLICY, "same-origin"),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    let is_known = asked
        .get(IF_NONE_MATCH)
        .is_some_and(|known| known.as_bytes() == tag.as_bytes());
    if is_known {
        (StatusCode::NOT_MODIFIED, headers).into_response()
    } else {
        (headers, text).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_that_has_a_file_is_told_so() {
        let ask = |known: &str| {
            let mut asked = HeaderMap::new();
            asked.insert(IF_NONE_MATCH, known.parse().unwrap());
            answer(&asked, CSS, "a {}", &tag("a {}"))
        };
        assert_eq!(ask(&tag("a {}")).status(), StatusCode::NOT_MODIFIED);
        let changed = ask(&tag("b {}"));
        assert_eq!(changed.status(), StatusCode::OK);
        assert_eq!(changed.headers()[CONTENT_TYPE], CSS);
        assert_eq!(changed.headers()[CONTENT_SECURITY_POLICY], POLICY);
    }
}
