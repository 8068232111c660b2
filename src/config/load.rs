//! From texts to a [`Config`]: file, then variables, then flags, and all problems of all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::kind::Raw;
use super::options::Section;
use super::validate::{contradictions, is_loopback};
use super::words::AuthMode;
use super::{Config, Problem, SECTIONS, TABLES, file, planned, suggest};

/// What every variable of ours begins with.
const PREFIX: &str = "CAMPANILE_";
/// What stands between section and key in a variable.
const SEPARATOR: &str = "__";

/// Everything that a configuration is made from. Its texts hold secrets: [`fmt::Debug`] shows their
/// names alone.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// Name and text of the TOML file. The name is only for problems.
    pub file: Option<(String, String)>,
    /// Variables, name and value. Those that are not called `CAMPANILE_…__…` are not looked at.
    pub environment: Vec<(String, String)>,
    /// Development mode asked for by `--dev`: loopback and guests, whatever file and variables say.
    pub development: bool,
    /// Flags. The last of several for one option holds.
    pub flags: Vec<Flag>,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&String> = self.environment.iter().map(|(name, _)| name).collect();
        f.debug_struct("Sources")
            .field("file", &self.file.as_ref().map(|(name, _)| name))
            .field("environment", &names)
            .field("development", &self.development)
            .field("flags", &self.flags)
            .finish()
    }
}

/// One option given on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// The flag as the user knows it, `--shards`.
    pub name: &'static str,
    /// Section of the option that it sets.
    pub section: &'static str,
    /// Key of the option that it sets.
    pub key: &'static str,
    /// Its value, written as in a variable.
    pub value: String,
}

/// Makes a configuration, or tells everything that is wrong.
///
/// Problems stand in the order file (by line), variables, flags, contradictions between options.
/// A contradiction is named at the place that set the first option concerned, and is not looked for
/// among values that were refused.
pub fn load(sources: &Sources) -> Result<Config, Vec<Problem>> {
    load_and_check(sources, |_| Vec::new())
}

/// Does the same, and asks `check` for what is wrong beyond the texts, such as files that are not there:
/// also where the texts are wrong, so that one look finds all of it. What it says of a section in which
/// a value was refused is left out, since a default stands there.
pub fn load_and_check(
    sources: &Sources,
    check: impl FnOnce(&Config) -> Vec<Problem>,
) -> Result<Config, Vec<Problem>> {
    let mut loader = Loader::default();
    if let Some((name, text)) = &sources.file {
        loader.file(name, text);
    }
    for (name, value) in &sources.environment {
        loader.variable(name, value);
    }
    if sources.development {
        loader.development();
    }
    for flag in &sources.flags {
        let place = Place {
            source: flag.name.into(),
            line: None,
        };
        loader.set(
            flag.section,
            flag.key,
            &Raw::Words(flag.value.clone()),
            place,
        );
    }
    loader.finish(check)
}

/// Where a value was written.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) source: String,
    pub(super) line: Option<usize>,
}

impl Place {
    /// The problem of this place.
    pub(super) fn problem(self, key: String, message: String) -> Problem {
        Problem {
            source: self.source,
            line: self.line,
            key,
            message,
        }
    }
}

/// A configuration in the making.
#[derive(Default)]
struct Loader {
    config: Config,
    /// Option (`section.key`) to the place that set it last.
    places: BTreeMap<String, Place>,
    /// Options whose last value was refused.
    refused: BTreeSet<String>,
    problems: Vec<Problem>,
}

impl Loader {
    fn file(&mut self, name: &str, text: &str) {
        let contents = file::read(name, text);
        self.problems.extend(contents.problems);
        for group in contents.sections {
            if self.config.section(&group.name).is_none() {
                let tables = TABLES.iter().map(|table| table.name);
                let known = SECTIONS.iter().copied().chain(tables);
                let hint = suggest::hint(suggest::closest(&group.name, known));
                let planned = planned::message(&group.name, None);
                let message = planned.unwrap_or_else(|| format!("unknown section{hint}"));
                self.problems.push(group.place.problem(group.name, message));
                continue;
            }
            for setting in group.settings {
                self.set(&group.name, &setting.key, &setting.raw, setting.place);
            }
        }
        let named: BTreeSet<&str> = contents.tables.iter().map(|group| &*group.name).collect();
        for name in named {
            self.config.clear(name);
        }
        for group in contents.tables {
            self.element(group);
        }
        self.problems.sort_by_key(|problem| problem.line);
    }

    /// Takes one section of those that may stand several times.
    fn element(&mut self, group: file::Group) {
        let (index, section) = self.config.append(&group.name);
        // What it leaves unsaid is said by where it stands.
        let first = section.entries()[0].key;
        let results: Vec<_> = group
            .settings
            .iter()
            .map(|setting| apply(section, &group.name, &setting.key, &setting.raw))
            .collect();
        self.places
            .insert(element_key(&group.name, index, first), group.place);
        for (setting, result) in group.settings.into_iter().zip(results) {
            let option = element_key(&group.name, index, &setting.key);
            self.note(option, setting.place, result);
        }
    }

    fn variable(&mut self, name: &str, value: &str) {
        if !name
            .strip_prefix(PREFIX)
            .is_some_and(|rest| rest.contains(SEPARATOR))
        {
            return;
        }
        let place = Place {
            source: name.into(),
            line: None,
        };
        let known = variables(&self.config);
        if let Some((_, section, key)) = known.iter().find(|(variable, ..)| variable == name) {
            return self.set(section, key, &Raw::Words(value.into()), place);
        }
        let names = known.iter().map(|(variable, ..)| variable.as_str());
        let hint = suggest::hint(suggest::closest(name, names));
        let table = TABLES.iter().find(|table| {
            let variable = variable_name(table.name, "");
            name.starts_with(&variable) || name == variable.trim_end_matches('_')
        });
        let message = match table {
            Some(table) => format!("[[{}]] can be set in a file only", table.name),
            None => format!("unknown option{hint}"),
        };
        self.problems.push(place.problem(String::new(), message));
    }

    fn development(&mut self) {
        let defaults = Config::default();
        self.config.server.listen = defaults.server.listen;
        self.config.tls.listen = defaults.tls.listen;
        self.config.auth.mode = AuthMode::Optional;
        let admin = &mut self.config.server.admin_listen;
        admin.retain(|address| is_loopback(*address));
        for key in [
            "server.listen",
            "server.admin_listen",
            "tls.listen",
            "auth.mode",
        ] {
            let place = Place {
                source: "--dev".into(),
                line: None,
            };
            self.places.insert(key.into(), place);
        }
    }

    /// Sets one option of a section that stands once.
    ///
    /// Panics if there is no such section: variables and flags come from the table, and the file's
    /// sections have been looked up.
    fn set(&mut self, section: &str, key: &str, raw: &Raw, place: Place) {
        let options = self
            .config
            .section_mut(section)
            .expect("the section was looked up");
        let result = apply(options, section, key, raw);
        self.note(format!("{section}.{key}"), place, result);
    }

    /// Remembers where an option was set, and whether its value was taken.
    fn note(&mut self, option: String, place: Place, result: Result<(), String>) {
        match result {
            Ok(()) => {
                self.refused.remove(&option);
                self.places.insert(option, place);
            }
            Err(message) => {
                self.refused.insert(option.clone());
                self.problems.push(place.problem(option, message));
            }
        }
    }

    fn finish(
        mut self,
        check: impl FnOnce(&Config) -> Vec<Problem>,
    ) -> Result<Config, Vec<Problem>> {
        for found in contradictions(&self.config) {
            if found
                .options
                .iter()
                .any(|option| self.refused.contains(option))
            {
                continue;
            }
            let place = found
                .options
                .iter()
                .find_map(|option| self.places.get(option));
            let nobody = Place {
                source: "defaults".into(),
                line: None,
            };
            let place = place.cloned().unwrap_or(nobody);
            self.problems
                .push(place.problem(found.options[0].clone(), found.message));
        }
        let section = |option: &str| {
            option
                .rsplit_once('.')
                .map(|(section, _)| section.to_owned())
        };
        let doubtful: BTreeSet<_> = self.refused.iter().map(|option| section(option)).collect();
        let further = check(&self.config);
        self.problems.extend(
            further
                .into_iter()
                .filter(|problem| !doubtful.contains(&section(&problem.key))),
        );
        if self.problems.is_empty() {
            Ok(self.config)
        } else {
            Err(self.problems)
        }
    }
}

/// Sets an option of the section called `name`, with an error in words if there is none such.
fn apply(section: &mut dyn Section, name: &str, key: &str, raw: &Raw) -> Result<(), String> {
    section.set(key, raw).unwrap_or_else(|| {
        let tables = TABLES.iter().map(|table| table.name);
        let inside = SECTIONS.iter().copied().chain(tables);
        let inside = inside.filter_map(|other| other.strip_prefix(name)?.strip_prefix('.'));
        let known = section.entries().iter().map(|entry| entry.key);
        let hint = suggest::closest(key, known.chain(inside));
        let unknown = || format!("unknown option{}", suggest::hint(hint));
        Err(planned::message(name, Some(key)).unwrap_or_else(unknown))
    })
}

/// Variable, section and key of every option that stands once.
fn variables(config: &Config) -> Vec<(String, &'static str, &'static str)> {
    let mut variables = Vec::new();
    for name in SECTIONS {
        let section = config
            .section(name)
            .expect("every name of SECTIONS has its section");
        for entry in section.entries() {
            variables.push((variable_name(name, entry.key), *name, entry.key));
        }
    }
    variables
}

/// The variable of an option: `CAMPANILE_SERVER__LISTEN`, `CAMPANILE_AUTH__JWT__SECRET`.
pub(super) fn variable_name(section: &str, key: &str) -> String {
    format!(
        "{PREFIX}{}{SEPARATOR}{}",
        section.to_uppercase().replace('.', SEPARATOR),
        key.to_uppercase()
    )
}

/// The name of an option in a section that may stand several times: `route[0].path`, counted from 0
/// in the order of the file.
pub(super) fn element_key(table: &str, index: usize, key: &str) -> String {
    format!("{table}[{index}].{key}")
}

#[cfg(test)]
mod tests;
