//! The tree checks itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Longest line, characters. `cargo fmt --check` holds code to 100; this is for what it leaves alone:
/// comments, strings, and the insides of macros.
const LINE_CHARS_MAX: usize = 115;
/// Most lines of a file of Rust.
const FILE_LINES_MAX: usize = 700;
/// Longer files, and how long they may be until somebody finds the noun that hides inside.
const LONG_FILES: [(&str, usize); 2] = [
    ("src/realtime/protocol/scan.rs", 720),
    ("src/ws/tests.rs", 720),
];
/// Imports that point sideways: whoever adds one says why.
const SIDEWAYS: [(&str, &str); 4] = [
    // Who somebody is stands in a request head, and a refusal is an answer over HTTP.
    ("auth", "http"),
    // The unit tests of the application use the harness that is made for its users.
    ("realtime", "testing"),
    // The clients of the pretend world have the codec of the harness, which is not the server's.
    ("sim", "testing"),
    // A descriptor that a shard gives away becomes a tokio socket: `ring` alone may own one by number.
    ("service", "ring"),
];

/// One file of Rust: its path from the root of the package, and its lines.
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// The lines that are not comments, numbered from 1.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = (1..).zip(self.text.lines());
        lines.filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    /// The part of `src/` that the file belongs to: a module of the crate, or the binary.
    fn module(&self) -> Option<&str> {
        let path = self.path.strip_prefix("src/")?;
        let module = path.split('/').next()?;
        Some(module.strip_suffix(".rs").unwrap_or(module))
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every file of Rust that is ours.
fn sources() -> Vec<Source> {
    let mut folders: Vec<PathBuf> = ["src", "tests", "benches", "examples"]
        .map(|folder| root().join(folder))
        .into();
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            // Not every package has benches and examples.
            continue;
        };
        for path in entries.map(|entry| entry.expect("a folder can be read").path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let path = path.strip_prefix(root()).expect("it is below the root");
                let path = path.to_str().expect("our names are UTF-8").to_owned();
                sources.push(Source {
                    text: read(&path),
                    path,
                });
            }
        }
    }
    assert!(sources.len() > 20, "the sources are where they were");
    sources
}

/// Panics with all problems, if there are any.
fn assert_none(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

/// Module → layer, as `src/lib.rs` groups them under comments such as `// Layer 2: the core.`
fn layers() -> BTreeMap<String, u32> {
    let mut layer = None;
    let mut layers = BTreeMap::new();
    for line in read("src/lib.rs").lines() {
        if let Some(rest) = line.strip_prefix("// Layer ") {
            layer = rest.chars().next().and_then(|digit| digit.to_digit(10));
        }
        let module = line.trim_start_matches("pub ").strip_prefix("mod ");
        if let Some(module) = module.and_then(|rest| rest.strip_suffix(';')) {
            let layer = layer.unwrap_or_else(|| panic!("{module} is in no layer"));
            layers.insert(module.to_owned(), layer);
        }
    }
    layers
}

/// The modules of the crate that a line of code names by `crate::` or, in the binary, `campanile::`.
fn imports(line: &str) -> BTreeSet<&str> {
    let mut imports = BTreeSet::new();
    for (at, prefix) in line
        .match_indices("crate::")
        .chain(line.match_indices("campanile::"))
    {
        let rest = &line[at + prefix.len()..];
        let end = rest
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(rest.len());
        imports.insert(&rest[..end]);
    }
    imports
}

#[test]
fn imports_point_down() {
    let layers = layers();
    assert!(layers.len() > 8 && layers["shard"] == 2, "{layers:?}");
    let mut problems = Vec::new();
    for source in sources() {
        let Some(module) = source.module() else {
            continue;
        };
        let Some(&layer) = layers.get(module) else {
            assert!(
                ["lib", "main", "cli"].contains(&module),
                "{module} is in no layer"
            );
            continue;
        };
        // Below everything else, though they stand at 4, because nothing below may import them.
        let is_driver = matches!(module, "ring" | "epoll" | "mesh");
        let ceiling = if is_driver { 1 } else { layer };
        for (number, line) in source.code() {
            for import in imports(line) {
                let imported = layers.get(import);
                let is_known = import == module || SIDEWAYS.contains(&(module, import));
                if !is_known && imported.is_some_and(|&imported| imported >= ceiling) {
                    // Layer 0 is one vocabulary, whose words may explain each other.
                    if layer > 0 || imported.is_some_and(|&imported| imported > 0) {
                        problems.push(format!(
                            "{}:{number}: {module} imports {import}",
                            source.path
                        ));
                    }
                }
            }
        }
    }
    assert_none(&problems);
}

#[test]
fn unsafe_code_is_in_the_drivers_only() {
    let mut problems = Vec::new();
    for source in sources() {
        if matches!(source.module(), Some("ring" | "epoll")) {
            continue;
        }
        for (number, line) in source.code() {
            let words = line.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '"');
            if words.clone().any(|word| word == "unsafe") {
                problems.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    assert_none(&problems);
}

#[test]
fn no_work_in_progress_is_left_behind() {
    // Put together here, so that this file does not find itself.
    let markers = ["to", "unimplemente", "db"]
        .into_iter()
        .zip(["do!", "d!", "g!"]);
    let markers = markers.chain([
        ("TO", "DO"),
        ("FIX", "ME"),
        ("<<<<", "<<<"),
        (">>>>", ">>>"),
    ]);
    let markers: Vec<String> = markers
        .map(|(start, end)| format!("{start}{end}"))
        .collect();
    let mut problems = Vec::new();
    for source in sources() {
        for (number, line) in (1..).zip(source.text.lines()) {
            for marker in markers
                .iter()
                .filter(|marker| line.contains(marker.as_str()))
            {
                problems.push(format!("{}:{number}: {marker}", source.path));
            }
        }
    }
    assert_none(&problems);
}

#[test]
fn every_dependency_has_its_line() {
    let manifest: toml::Table = read("Cargo.toml").parse().expect("cargo has read it");
    let names: BTreeSet<String> = ["dependencies", "dev-dependencies", "build-dependencies"]
        .into_iter()
        .filter_map(|table| manifest.get(table)?.as_table())
        .flat_map(|table| table.keys().cloned())
        // The package depends on itself, for its own tests.
        .filter(|name| name != env!("CARGO_PKG_NAME"))
        .collect();
    assert!(names.len() > 20, "{names:?}");
    let document = read("docs/dependencies.md");
    let rows = document
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split('|').next());
    let listed: BTreeSet<&str> = rows
        .flat_map(|cell| cell.split([',', ' ', '(', ')']))
        .map(str::trim)
        .collect();
    let problems: Vec<String> = names
        .iter()
        .filter(|name| !listed.contains(name.as_str()))
        .map(|name| format!("docs/dependencies.md has no line for {name}"))
        .collect();
    assert_none(&problems);
}

#[test]
fn files_and_lines_are_short() {
    let mut problems = Vec::new();
    for source in sources() {
        let lines = source.text.lines().count();
        let long = LONG_FILES.iter().find(|(path, _)| *path == source.path);
        if lines > long.map_or(FILE_LINES_MAX, |&(_, lines)| lines) {
            problems.push(format!("{} has {lines} lines", source.path));
        }
        for (number, line) in (1..).zip(source.text.lines()) {
            let chars = line.chars().count();
            if chars > LINE_CHARS_MAX {
                problems.push(format!("{}:{number}: {chars} characters", source.path));
            }
        }
    }
    assert_none(&problems);
}
