//! The chat page of development mode: four static files inside the binary, no build step.

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::routing::get;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// Serves the page at `/`.
pub(crate) fn router() -> Router {
    let page = |path, kind, text: &'static str| {
        let headers = [
            (CONTENT_TYPE, kind),
            (CACHE_CONTROL, "no-cache"),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ];
        Router::new().route(path, get(move || async move { (headers, text) }))
    };
    page("/", HTML, include_str!("../../web/chat/index.html"))
        .merge(page(
            "/chat.css",
            CSS,
            include_str!("../../web/chat/chat.css"),
        ))
        .merge(page(
            "/chat.js",
            JAVASCRIPT,
            include_str!("../../web/chat/chat.js"),
        ))
        .merge(page(
            "/connection.js",
            JAVASCRIPT,
            include_str!("../../web/chat/connection.js"),
        ))
}
