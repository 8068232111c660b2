//! The TOML file: from text to settings with their lines. Knows the shape of a file, no option.

use std::collections::BTreeSet;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::kind::Raw;
use super::load::Place;
use super::{Problem, SECTIONS, TABLES, Table};

/// Largest file, bytes. The whole table of options is a hundredth of it.
pub(super) const FILE_BYTES_MAX: usize = 1 << 20;

/// One `key = value` and where it stood.
#[derive(Debug)]
pub(super) struct Setting {
    pub(super) key: String,
    pub(super) raw: Raw,
    pub(super) place: Place,
}

/// A section and where it begins.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) settings: Vec<Setting>,
}

/// What a file says.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// Sections that stand once.
    pub(super) sections: Vec<Group>,
    /// Sections that may stand several times, by name, each name in the order of the file.
    pub(super) tables: Vec<Group>,
    /// What could not be understood.
    pub(super) problems: Vec<Problem>,
}

/// Takes a file apart. After a syntax error the rest is read as well as it can be, so that one
/// slip does not hide the others; a line with a syntax error gets no second problem.
pub(super) fn read(name: &str, text: &str) -> Contents {
    let lines = Lines::new(name, text);
    let mut contents = Contents::default();
    if text.len() > FILE_BYTES_MAX {
        let message = format!(
            "expected at most {FILE_BYTES_MAX} bytes, found {}",
            text.len()
        );
        contents
            .problems
            .push(lines.whole().problem(String::new(), message));
        return contents;
    }
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut syntax = Vec::new();
    let mut broken = BTreeSet::new();
    for error in &errors {
        let place = error
            .span()
            .map_or(lines.whole(), |span| lines.place(span.start));
        if broken.insert(place.line) {
            let message = error.message().replace('\n', ", ");
            syntax.push(place.problem(String::new(), message));
        }
    }
    for (name, value) in table.get_ref() {
        let place = lines.place(name.span().start);
        contents.section(&lines, name.get_ref(), place, value.get_ref());
    }
    let sound = |line: &Option<usize>| !broken.contains(line);
    contents.problems.retain(|problem| sound(&problem.line));
    for group in contents.sections.iter_mut().chain(&mut contents.tables) {
        group.settings.retain(|setting| sound(&setting.place.line));
    }
    contents
        .sections
        .retain(|group| sound(&group.place.line) || !group.settings.is_empty());
    contents.problems.extend(syntax);
    contents
}

impl Contents {
    /// Takes what stands under a section's name. `name` is the whole of it: `auth.jwt`.
    fn section(&mut self, lines: &Lines<'_>, name: &str, place: Place, value: &DeValue<'_>) {
        let table = TABLES.iter().find(|table| table.name == name);
        let message = match (table, value) {
            (Some(Table { count_max, .. }), DeValue::Array(items)) if items.len() > *count_max => {
                format!(
                    "expected at most {count_max} [[{name}]], found {}",
                    items.len()
                )
            }
            (Some(_), DeValue::Array(items)) if !items.is_empty() => {
                return items
                    .iter()
                    .for_each(|item| self.element(lines, name, item));
            }
            (Some(_), other) => format!("expected [[{name}]], found {}", raw(other).sort()),
            (None, DeValue::Table(table)) => {
                let group = self.group(lines, name, place, table);
                return self.sections.push(group);
            }
            (None, other) => {
                let found = raw(other);
                format!("expected a section, [{name}], found {}", found.sort())
            }
        };
        self.problems.push(place.problem(name.into(), message));
    }

    fn element(&mut self, lines: &Lines<'_>, name: &str, item: &Spanned<DeValue<'_>>) {
        let place = lines.place(item.span().start);
        match item.get_ref() {
            DeValue::Table(table) => {
                let group = self.group(lines, name, place, table);
                self.tables.push(group);
            }
            other => {
                let message = format!("expected [[{name}]], found {}", raw(other).sort());
                self.problems.push(place.problem(name.into(), message));
            }
        }
    }

    /// The settings of a section. Sections inside it become groups of their own.
    fn group(&mut self, lines: &Lines<'_>, name: &str, place: Place, table: &DeTable<'_>) -> Group {
        let mut settings = Vec::new();
        for (key, value) in table {
            let place = lines.place(key.span().start);
            let whole = format!("{name}.{}", key.get_ref());
            if is_section(&whole) {
                self.section(lines, &whole, place, value.get_ref());
                continue;
            }
            settings.push(Setting {
                key: key.get_ref().to_string(),
                raw: raw(value.get_ref()),
                place,
            });
        }
        Group {
            name: name.into(),
            place,
            settings,
        }
    }
}

/// Whether there is a section of this name, once or several times.
fn is_section(name: &str) -> bool {
    SECTIONS.contains(&name) || TABLES.iter().any(|table| table.name == name)
}

/// The value without its spans. The parser bounds how deep arrays nest.
fn raw(value: &DeValue<'_>) -> Raw {
    match value {
        DeValue::String(text) => Raw::Text(text.to_string()),
        DeValue::Boolean(value) => Raw::Bool(*value),
        DeValue::Integer(value) => i64::from_str_radix(value.as_str(), value.radix())
            .map_or_else(|_| Raw::Other(value.to_string()), Raw::Integer),
        DeValue::Float(value) => Raw::Other(value.to_string()),
        DeValue::Datetime(value) => Raw::Other(value.to_string()),
        DeValue::Array(items) => Raw::List(items.iter().map(|item| raw(item.get_ref())).collect()),
        DeValue::Table(_) => Raw::Other("a table".into()),
    }
}

/// Finds lines by offset.
struct Lines<'a> {
    name: &'a str,
    /// Offset of each line's first byte, rising.
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn new(name: &'a str, text: &str) -> Self {
        let after = text.match_indices('\n').map(|(offset, _)| offset + 1);
        Self {
            name,
            starts: std::iter::once(0).chain(after).collect(),
        }
    }

    fn place(&self, offset: usize) -> Place {
        let line = self.starts.partition_point(|start| *start <= offset);
        Place {
            source: self.name.into(),
            line: Some(line),
        }
    }

    fn whole(&self) -> Place {
        Place {
            source: self.name.into(),
            line: None,
        }
    }
}
