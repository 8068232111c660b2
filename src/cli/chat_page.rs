//! The chat page of development mode: static files inside the binary, no build step.

use std::hash::{DefaultHasher, Hash, Hasher};

use axum::Router;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// The page runs its own scripts and speaks to its own server, and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Path, kind and text of a file of `web/chat/`, which is served under its name.
macro_rules! file {
    ($name:literal, $kind:expr) => {
        (
            concat!("/", $name),
            $kind,
            include_str!(concat!("../../web/chat/", $name)),
        )
    };
}

const FILES: [(&str, &str, &str); 18] = [
    ("/", HTML, include_str!("../../web/chat/index.html")),
    file!("base.css", CSS),
    file!("chat.css", CSS),
    file!("chat.js", JAVASCRIPT),
    file!("close-codes.js", JAVASCRIPT),
    file!("composer.js", JAVASCRIPT),
    file!("connection.js", JAVASCRIPT),
    file!("dialogs.js", JAVASCRIPT),
    file!("dom.js", JAVASCRIPT),
    file!("errors.js", JAVASCRIPT),
    file!("log-view.js", JAVASCRIPT),
    file!("memory.js", JAVASCRIPT),
    file!("messages.js", JAVASCRIPT),
    file!("past.js", JAVASCRIPT),
    file!("people.js", JAVASCRIPT),
    file!("room.js", JAVASCRIPT),
    file!("rooms.js", JAVASCRIPT),
    file!("side-view.js", JAVASCRIPT),
];

/// Serves the page at `/`.
pub(crate) fn router() -> Router {
    FILES
        .into_iter()
        .fold(Router::new(), |router, (path, kind, text)| {
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
    fn each_module_that_is_imported_is_served() {
        for (path, _, text) in FILES.iter().filter(|(_, kind, _)| *kind == JAVASCRIPT) {
            let imports = text.lines().filter_map(|line| line.split_once("from \"."));
            for (_, rest) in imports {
                let name = rest.trim_end_matches("\";");
                assert!(
                    FILES.iter().any(|(served, ..)| *served == name),
                    "{path} imports {name}"
                );
            }
        }
    }

    #[test]
    fn the_page_refers_to_nothing_but_itself() {
        for (path, _, text) in FILES {
            let foreign = text
                .match_indices("//")
                .filter(|(at, _)| text[..*at].ends_with("http:") || text[..*at].ends_with("https:"))
                .filter(|(at, _)| !text[*at..].starts_with("//www.w3.org/2000/svg"));
            assert_eq!(foreign.count(), 0, "{path}");
        }
    }

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
