//! The TOML file: from text to settings with their lines. Knows the shape of a file, no option.

use std::collections::BTreeSet;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::kind::Raw;
use super::load::Place;
use super::{Problem, TABLES, Table};

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
        contents.section(&lines, name, value);
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
    fn section(
        &mut self,
        lines: &Lines<'_>,
        name: &Spanned<DeString<'_>>,
        value: &Spanned<DeValue<'_>>,
    ) {
        let section = name.get_ref().as_ref();
        let place = lines.place(name.span().start);
        let table = TABLES.iter().find(|table| table.name == section);
        let message = match (table, value.get_ref()) {
            (Some(Table { count_max, .. }), DeValue::Array(items)) if items.len() > *count_max => {
                format!(
                    "expected at most {count_max} {section}s, found {}",
                    items.len()
                )
            }
            (Some(_), DeValue::Array(items)) if !items.is_empty() => {
                return items
                    .iter()
                    .for_each(|item| self.element(lines, section, item));
            }
            (Some(_), other) => format!("expected [[{section}]], found {}", raw(other)),
            (None, DeValue::Table(table)) => {
                return self.sections.push(group(lines, section, place, table));
            }
            (None, other) => format!("expected a section, [{section}], found {}", raw(other)),
        };
        self.problems.push(place.problem(section.into(), message));
    }

    fn element(&mut self, lines: &Lines<'_>, name: &str, item: &Spanned<DeValue<'_>>) {
        let place = lines.place(item.span().start);
        match item.get_ref() {
            DeValue::Table(table) => self.tables.push(group(lines, name, place, table)),
            other => {
                let message = format!("expected [[{name}]], found {}", raw(other));
                self.problems.push(place.problem(name.into(), message));
            }
        }
    }
}

fn group(lines: &Lines<'_>, name: &str, place: Place, table: &DeTable<'_>) -> Group {
    let setting = |(key, value): (&Spanned<DeString<'_>>, &Spanned<DeValue<'_>>)| Setting {
        key: key.get_ref().to_string(),
        raw: raw(value.get_ref()),
        place: lines.place(key.span().start),
    };
    Group {
        name: name.into(),
        place,
        settings: table.iter().map(setting).collect(),
    }
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
