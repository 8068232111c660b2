//! The page: static files inside the binary, no build step.

use axum::Router;

use crate::api::pages::{self, CSS, File, HTML, JAVASCRIPT, TEXT};

/// Path, kind and text of a file of `web/admin/`, which is served under its name.
macro_rules! file {
    ($name:literal, $kind:expr) => {
        (
            concat!("/admin/", $name),
            $kind,
            include_str!(concat!("../../../web/admin/", $name)),
        )
    };
}

const FILES: &[File] = &[
    (
        "/admin/",
        HTML,
        include_str!("../../../web/admin/index.html"),
    ),
    file!("base.css", CSS),
    file!("admin.css", CSS),
    file!("admin.js", JAVASCRIPT),
    file!("actions.js", JAVASCRIPT),
    file!("api.js", JAVASCRIPT),
    file!("charts.js", JAVASCRIPT),
    file!("details.js", JAVASCRIPT),
    file!("dom.js", JAVASCRIPT),
    file!("format.js", JAVASCRIPT),
    file!("history.js", JAVASCRIPT),
    file!("live.js", JAVASCRIPT),
    file!("search.js", JAVASCRIPT),
    file!("tables.js", JAVASCRIPT),
    file!("theme.js", JAVASCRIPT),
    file!("token.js", JAVASCRIPT),
    file!("vendor/uplot.js", JAVASCRIPT),
    file!("vendor/uplot.css", CSS),
    file!("vendor/uplot-LICENSE.txt", TEXT),
];

/// Serves the page at `/admin/`.
pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    pages::routes(FILES)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn each_file_of_the_page_is_served() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("web/admin");
        let mut folders = vec![root.clone()];
        let mut count = 0;
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let name = path.strip_prefix(&root).unwrap().to_str().unwrap();
                let name = if name == "index.html" { "" } else { name };
                let is_served = FILES
                    .iter()
                    .any(|(path, ..)| path.strip_prefix("/admin/") == Some(name));
                assert!(is_served, "{name}");
                count += 1;
            }
        }
        assert_eq!(count, FILES.len());
    }

    #[test]
    fn each_module_that_is_imported_is_served() {
        let is_module =
            |(path, kind, _): &&(&str, &str, &str)| *kind == JAVASCRIPT && !path.contains("vendor");
        for (path, _, text) in FILES.iter().filter(is_module) {
            let imports = text.lines().filter_map(|line| line.split_once("from \"./"));
            for (_, rest) in imports {
                let name = format!("/admin/{}", rest.trim_end_matches("\";"));
                assert!(
                    FILES.iter().any(|(served, ..)| *served == name),
                    "{path} imports {name}"
                );
            }
        }
    }

    #[test]
    fn the_page_refers_to_nothing_but_itself() {
        // The namespace of SVG is a name and is never fetched; the licence says where its project is.
        for (path, _, text) in FILES.iter().filter(|(_, kind, _)| *kind != TEXT) {
            let foreign = text
                .match_indices("//")
                .filter(|(at, _)| {
                    let before = &text[..*at];
                    ["http:", "https:", "ws:", "wss:", "\"", "'", "`", "("]
                        .iter()
                        .any(|start| before.ends_with(start))
                })
                .filter(|(at, _)| !text[*at..].starts_with("//www.w3.org/2000/svg"))
                .map(|(at, _)| text[at..].chars().take(40).collect::<String>());
            // The banner comment of uPlot names its home; nothing fetches it.
            let home = "//github.com/leeoniya/uPlot";
            let foreign: Vec<String> = foreign.filter(|found| !found.starts_with(home)).collect();
            assert!(foreign.is_empty(), "{path}: {foreign:?}");
        }
    }

    #[test]
    fn no_script_or_style_stands_in_the_page() {
        let html = FILES[0].2;
        for tag in html.match_indices("<script").map(|(at, _)| &html[at..]) {
            assert!(
                tag.split_once('>').unwrap().1.starts_with("</script>"),
                "{tag:.60}"
            );
        }
        for inline in ["<style", " style=", " onclick=", " onload=", "javascript:"] {
            assert!(!html.contains(inline), "{inline}");
        }
    }
}
