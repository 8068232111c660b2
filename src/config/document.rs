//! The table of options as text: a commented TOML file, and a page of documentation.

use std::fmt::Write;

use super::load::variable_name;
use super::options::{Entry, Section};
use super::planned::{PLANNED, Planned};
use super::reload::is_at_start;
use super::{Config, SECTIONS, TABLES};

/// All options with their defaults as a TOML file with comments. Loading it gives the defaults.
pub fn default_toml() -> String {
    let mut out = String::from(
        "# Campanile: every option with its default. `campanile check-config -c FILE` checks a file.\n\
         # Variables override the file: CAMPANILE_SECTION__KEY. Flags override both.\n",
    );
    for_each_section(|name, defaults| {
        // Of a section that is not there without a file only its form is shown.
        let (first, mark) = match defaults.sections.first() {
            Some(first) => (*first, ""),
            None => (defaults.element, "# "),
        };
        out.push('\n');
        comment(&mut out, first.about());
        put(
            &mut out,
            format_args!("{mark}{}\n", header(name, &defaults)),
        );
        for entry in first.entries() {
            comment(&mut out, entry.doc);
            put(&mut out, format_args!("# ({})\n", (entry.expected)()));
            put(
                &mut out,
                format_args!("{mark}{} = {}\n", entry.key, value(first, entry)),
            );
        }
        for section in defaults.sections.iter().skip(1) {
            put(&mut out, format_args!("\n[[{name}]]\n"));
            settings(&mut out, *section);
        }
    });
    out
}

fn settings(out: &mut String, section: &dyn Section) {
    for entry in section.entries() {
        put(
            out,
            format_args!("{} = {}\n", entry.key, value(section, entry)),
        );
    }
}

/// All options as a page of Markdown, docs/CONFIGURATION.md.
pub fn reference() -> String {
    let mut out = String::from(INTRODUCTION);
    for Planned { shown, instead, .. } in &PLANNED {
        put(&mut out, format_args!("| {shown} | {instead} |\n"));
    }
    out.push_str(DEFAULTS);
    for_each_section(|name, defaults| {
        let section = defaults.element;
        let header = header(name, &defaults);
        put(
            &mut out,
            format_args!("\n## `{header}`\n\n{}\n", paragraph(section.about())),
        );
        if let [_, _, ..] = &defaults.sections[..] {
            out.push_str("\nThose that exist without a file:\n\n```toml\n");
            for section in &defaults.sections {
                put(&mut out, format_args!("{header}\n"));
                settings(&mut out, *section);
            }
            out.push_str("```\n");
        }
        if defaults.sections.is_empty() {
            out.push_str("\nThere is none without a file.\n");
        }
        for entry in section.entries() {
            put(&mut out, format_args!("\n### `{name}.{}`\n\n", entry.key));
            put(&mut out, format_args!("{}\n\n", paragraph(entry.doc)));
            put(
                &mut out,
                format_args!("- Takes: `{}`\n", (entry.expected)()),
            );
            put(
                &mut out,
                format_args!("- Default: `{}`\n", value(section, entry)),
            );
            if !defaults.is_table {
                put(
                    &mut out,
                    format_args!("- Variable: `{}`\n", variable_name(name, entry.key)),
                );
            }
            if is_at_start(name) || is_at_start(&format!("{name}.{}", entry.key)) {
                out.push_str("- Changes: at the next start\n");
            }
        }
    });
    out
}

const INTRODUCTION: &str = "\
# Configuration

<!-- Written by `campanile default-config --markdown`; a test holds it current. -->

Options come from a TOML file (`campanile serve -c FILE`), from variables called
`CAMPANILE_SECTION__KEY`, and from flags; each overrides the one before. A dot in a section's name is
`__` in the variable's: `CAMPANILE_AUTH__JWT__SECRET`. Sections in double brackets
may stand several times, and are set in the file alone. A list in a variable is
written with commas: `CAMPANILE_SERVER__LISTEN=127.0.0.1:9000,127.0.0.1:9001`. An option that does
not exist, a value that is not taken and two options that contradict each other stop the start, and
all of them are listed at once. `campanile check-config -c FILE` lists them without starting;
`campanile default-config` prints a file with every option.

Durations are written `\"500ms\"`, `\"10s\"`, `\"5m\"`; sizes are integers in bytes or strings such as
`\"32KiB\"`, `\"1MiB\"`, `\"1GiB\"`. A path that does not begin with `/` is looked for from the folder in
which the command is started, not from that of the file.

Without a file, or with `--dev`, the server starts in development mode: it listens on loopback and
lets everybody in as a guest. With a file it does the same until the file says otherwise; an
address that is not loopback is refused until the file also says who may come in.

SIGHUP has the server read all this again. What has changed holds from then on, but for options that
change `at the next start`: those are named in the log and stay as they are. If anything is wrong, the
log lists it all and nothing changes.

Secrets are shown nowhere: not in a problem, not in the log, and not by `default-config`.

## Not there yet

What the plan of the protocol names and this version does not take:

| option | instead |
|---|---|
| `server.io = \"epoll\"` | io_uring is the only way to the network; the value is refused by name |
";

/// What follows the table of what is not there yet.
const DEFAULTS: &str = "
Two defaults are others than planned, so that a server without a file harms nobody: `server.listen` is
loopback, and `auth.mode` is `\"auto\"`: required where it can be told who somebody is. An address that is
not loopback is refused until it is settled who may come in. `server.admin_listen` and `auth.jwt.audience`
are lists.
";

/// What a section is without a file.
struct Defaults<'a> {
    /// Values of options that a section leaves out.
    element: &'a dyn Section,
    /// All sections of that name: one, or as many as there are without a file if it may stand several
    /// times.
    sections: Vec<&'a dyn Section>,
    /// It may stand several times.
    is_table: bool,
}

fn for_each_section(mut visit: impl FnMut(&str, Defaults<'_>)) {
    let config = Config::default();
    for name in SECTIONS {
        let section = config
            .section(name)
            .expect("every name of SECTIONS has its section");
        let defaults = Defaults {
            element: section,
            sections: vec![section],
            is_table: false,
        };
        visit(name, defaults);
        for table in TABLES.iter().filter(|table| table.after == *name) {
            let mut empty = Config::default();
            empty.clear(table.name);
            let defaults = Defaults {
                element: empty.append(table.name).1,
                sections: config.table(table.name),
                is_table: true,
            };
            visit(table.name, defaults);
        }
    }
}

fn header(name: &str, defaults: &Defaults<'_>) -> String {
    if defaults.is_table {
        format!("[[{name}]]")
    } else {
        format!("[{name}]")
    }
}

fn value(section: &dyn Section, entry: &Entry) -> String {
    section.show(entry.key).expect("every entry has its option")
}

fn comment(out: &mut String, lines: &[&str]) {
    for line in lines {
        put(out, format_args!("# {}\n", line.trim()));
    }
}

fn paragraph(lines: &[&str]) -> String {
    lines
        .iter()
        .map(|line| line.trim())
        .collect::<Vec<_>>()
        .join("\n")
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text)
        .expect("a String takes all that is written to it");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, load};

    #[test]
    fn the_default_file_loads_and_says_the_defaults() {
        let sources = Sources {
            file: Some(("default".into(), default_toml())),
            ..Sources::default()
        };
        assert_eq!(load(&sources), Ok(Config::default()));
    }

    #[test]
    fn the_default_file_names_every_option_under_its_section() {
        let text = default_toml();
        for_each_section(|name, defaults| {
            let section = defaults.element;
            let (_, rest) = text.split_once(&format!("[{name}]")).expect("a header");
            for entry in section.entries() {
                let mark = if defaults.sections.is_empty() {
                    "# "
                } else {
                    ""
                };
                assert!(
                    rest.contains(&format!("\n{mark}{} = ", entry.key)),
                    "{name}.{}",
                    entry.key
                );
            }
        });
    }

    #[test]
    fn the_page_in_docs_is_current() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/CONFIGURATION.md");
        let written = std::fs::read_to_string(page).expect("docs/CONFIGURATION.md");
        assert!(
            written == reference(),
            "run: cargo run -- default-config --markdown > docs/CONFIGURATION.md"
        );
    }
}
