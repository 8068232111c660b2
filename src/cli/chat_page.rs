//! The chat page of development mode: static files inside the binary, no build step.

use axum::Router;
use campanile::api::pages::{self, CSS, File, HTML, JAVASCRIPT};

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

const FILES: &[File] = &[
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
    pages::routes(FILES)
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
}
