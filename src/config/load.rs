//! From texts to a [`Config`]: file, then variables, then flags, and all problems of all of them.

use std::collections::{BTreeMap, BTreeSet};

use super::kind::Raw;
use super::options::Section;
use super::validate::contradictions;
use super::{Config, Problem, Route, SECTIONS, file, suggest};

/// What every variable of ours begins with.
const PREFIX: &str = "CAMPANILE_";
/// What stands between section and key in a variable.
const SEPARATOR: &str = "__";

/// Everything that a configuration is made from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    loader.finish()
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
                let known = SECTIONS.iter().copied().chain(["route"]);
                let hint = suggest::hint(suggest::closest(&group.name, known));
                let message = format!("unknown section{hint}");
                self.problems.push(group.place.problem(group.name, message));
                continue;
            }
            for setting in group.settings {
                self.set(&group.name, &setting.key, &setting.raw, setting.place);
            }
        }
        if !contents.routes.is_empty() {
            self.config.route.clear();
        }
        for (index, group) in contents.routes.into_iter().enumerate() {
            let mut route = Route::default();
            self.places.insert(route_key(index, "path"), group.place);
            for setting in group.settings {
                let result = apply(&mut route, &setting.key, &setting.raw);
                self.note(route_key(index, &setting.key), setting.place, result);
            }
            self.config.route.push(route);
        }
        self.problems.sort_by_key(|problem| problem.line);
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
        let message = if name.starts_with(&variable_name("route", "")) {
            "routes can be set in a file only".into()
        } else {
            format!("unknown option{hint}")
        };
        self.problems.push(place.problem(String::new(), message));
    }

    fn development(&mut self) {
        let defaults = Config::default();
        self.config.server.listen = defaults.server.listen;
        self.config.auth.mode = defaults.auth.mode;
        for key in ["server.listen", "auth.mode"] {
            self.places.insert(
                key.into(),
                Place {
                    source: "--dev".into(),
                    line: None,
                },
            );
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
        let result = apply(options, key, raw);
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

    fn finish(mut self) -> Result<Config, Vec<Problem>> {
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
        if self.problems.is_empty() {
            Ok(self.config)
        } else {
            Err(self.problems)
        }
    }
}

/// Sets an option, with an error in words if there is none of that name.
fn apply(section: &mut dyn Section, key: &str, raw: &Raw) -> Result<(), String> {
    section.set(key, raw).unwrap_or_else(|| {
        let known = section.entries().iter().map(|entry| entry.key);
        Err(format!(
            "unknown option{}",
            suggest::hint(suggest::closest(key, known))
        ))
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

/// The variable of an option: `CAMPANILE_SERVER__LISTEN`.
pub(super) fn variable_name(section: &str, key: &str) -> String {
    format!(
        "{PREFIX}{}{SEPARATOR}{}",
        section.to_uppercase(),
        key.to_uppercase()
    )
}

/// The name of a route's option: `route[0].path`, counted from 0 in the order of the file.
pub(super) fn route_key(index: usize, key: &str) -> String {
    format!("route[{index}].{key}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::config::{AuthMode, OnUserLimit, Profile, SlowPolicy, default_toml};

    fn file(text: &str) -> Sources {
        Sources {
            file: Some(("c.toml".into(), text.into())),
            ..Sources::default()
        }
    }

    fn environment(variables: &[(&str, &str)]) -> Sources {
        let owned = variables
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()));
        Sources {
            environment: owned.collect(),
            ..Sources::default()
        }
    }

    fn problems(sources: &Sources) -> Vec<String> {
        load(sources)
            .unwrap_err()
            .iter()
            .map(Problem::to_string)
            .collect()
    }

    #[test]
    fn nothing_said_gives_the_defaults_of_the_protocol() {
        let config = load(&Sources::default()).unwrap();
        assert_eq!(config, Config::default());
        assert_eq!(config.server.listen, ["127.0.0.1:8080".parse().unwrap()]);
        assert_eq!(config.server.shards, 0);
        assert_eq!(config.auth.mode, AuthMode::Optional);
        assert_eq!(config.heartbeat.write_wait, Duration::from_secs(10));
        assert_eq!(config.heartbeat.pong_wait, Duration::from_secs(60));
        assert_eq!(config.heartbeat.ping_period, Duration::from_secs(54));
        assert_eq!(config.heartbeat.idle_timeout, Duration::ZERO);
        assert_eq!(config.limits.max_message_size, 32_768);
        assert_eq!(config.limits.max_connections_per_user, 5);
        assert_eq!(config.limits.on_user_limit, OnUserLimit::Reject);
        assert_eq!(config.limits.queue_bytes, 262_144);
        assert!(!config.messaging.echo_to_sender);
        assert_eq!(config.messaging.slow_policy, SlowPolicy::Gap);
        assert_eq!(
            (config.compression.enabled, config.compression.min_size),
            (true, 1024)
        );
        assert_eq!(config.shutdown.drain, Duration::from_secs(30));
        let [route] = config.route.as_slice() else {
            panic!("one route")
        };
        assert_eq!((route.path.as_str(), route.room.as_str()), ("/ws", "lobby"));
        assert_eq!(route.profile, Profile::Flat);
        assert_eq!(config.max_message_size(route), 32_768);
    }

    #[test]
    fn flags_override_variables_override_the_file() {
        let mut sources = file("[server]\nshards = 1\nverbose_logging = true");
        assert_eq!(load(&sources).unwrap().server.shards, 1);
        sources
            .environment
            .push(("CAMPANILE_SERVER__SHARDS".into(), "2".into()));
        assert_eq!(load(&sources).unwrap().server.shards, 2);
        let value = "3".into();
        sources.flags.push(Flag {
            name: "--shards",
            section: "server",
            key: "shards",
            value,
        });
        assert_eq!(load(&sources).unwrap().server.shards, 3);
        assert!(load(&sources).unwrap().server.verbose_logging);
    }

    #[test]
    fn every_option_can_be_set_by_its_variable() {
        for (variable, section, key) in variables(&Config::default()) {
            let value = Config::default()
                .section(section)
                .unwrap()
                .show(key)
                .unwrap();
            let words = value.trim_matches(['[', ']', '"']);
            let config = load(&environment(&[(&variable, words)]));
            assert_eq!(config, Ok(Config::default()), "{variable}={words}");
        }
    }

    #[test]
    fn variables_take_lists_sizes_durations_and_flags() {
        let config = load(&environment(&[
            ("CAMPANILE_SERVER__LISTEN", "127.0.0.1:9000, [::1]:9001"),
            ("CAMPANILE_LIMITS__MAX_MESSAGE_SIZE", "64KiB"),
            ("CAMPANILE_SHUTDOWN__DRAIN", "2m"),
            ("CAMPANILE_MESSAGING__ECHO_TO_SENDER", "true"),
            ("CAMPANILE_LIMITS__ON_USER_LIMIT", "evict_oldest"),
            ("CAMPANILE_HOME", "no separator: somebody else's"),
            ("PATH", "/bin"),
        ]))
        .unwrap();
        assert_eq!(config.server.listen[1], "[::1]:9001".parse().unwrap());
        assert_eq!(config.limits.max_message_size, 65_536);
        assert_eq!(config.shutdown.drain, Duration::from_secs(120));
        assert!(config.messaging.echo_to_sender);
        assert_eq!(config.limits.on_user_limit, OnUserLimit::EvictOldest);
    }

    #[test]
    fn all_problems_of_a_file_are_listed_with_their_lines() {
        let text = "\
[server]
shard = 2
listen = \"localhost:80\"

[limit]
# empty

[limits]
max_message_size = \"big\"
queue_bytes = 1.5
max_connections = -1
on_user_limit = \"evict-oldest\"

[auth]
mode = \"required\"
[heartbeat]
pong_wait = 60
[compression]
level = 10
enabled = \"yes\"
";
        assert_eq!(
            problems(&file(text)),
            [
                "c.toml:2: server.shard: unknown option; did you mean \"shards\"?",
                "c.toml:3: server.listen: expected 1..=64 addresses such as \"127.0.0.1:8080\" or \
                 \"[::1]:8080\", found \"localhost:80\"",
                "c.toml:5: limit: unknown section; did you mean \"limits\"?",
                "c.toml:9: limits.max_message_size: expected bytes 1..=67108864, found \"big\"",
                "c.toml:10: limits.queue_bytes: expected bytes 4096..=1073741824, found 1.5",
                "c.toml:11: limits.max_connections: expected integer 0..=1073741824, found -1",
                "c.toml:12: limits.on_user_limit: expected \"reject\" or \"evict_oldest\", found \
                 \"evict-oldest\"; did you mean \"evict_oldest\"?",
                "c.toml:15: auth.mode: \"required\" is not available in this version; expected \
                 \"optional\" or \"trust\"",
                "c.toml:17: heartbeat.pong_wait: expected duration 2s..=1h, found 60",
                "c.toml:19: compression.level: expected integer 1..=9, found 10",
                "c.toml:20: compression.enabled: expected true or false, found \"yes\"",
            ]
        );
    }

    #[test]
    fn problems_of_file_variables_and_flags_come_together() {
        let mut sources = file("[server]\nshards = \"many\"");
        for (name, value) in [
            ("CAMPANILE_LIMITS__MAX_MESSAGE_SIZE", "0"),
            ("CAMPANILE_LIMIT__QUEUE_BYTES", "1"),
            ("CAMPANILE_ROUTE__PATH", "/x"),
            ("CAMPANILE_DATABASE__URL", "x"),
        ] {
            sources.environment.push((name.into(), value.into()));
        }
        let value = "0x4".into();
        sources.flags.push(Flag {
            name: "--shards",
            section: "server",
            key: "shards",
            value,
        });
        assert_eq!(
            problems(&sources),
            [
                "c.toml:2: server.shards: expected integer 0..=1024, found \"many\"",
                "CAMPANILE_LIMITS__MAX_MESSAGE_SIZE: limits.max_message_size: expected bytes \
                 1..=67108864, found \"0\"",
                "CAMPANILE_LIMIT__QUEUE_BYTES: unknown option; did you mean \
                 \"CAMPANILE_LIMITS__QUEUE_BYTES\"?",
                "CAMPANILE_ROUTE__PATH: routes can be set in a file only",
                "CAMPANILE_DATABASE__URL: unknown option",
                "--shards: server.shards: expected integer 0..=1024, found \"0x4\"",
            ]
        );
    }

    #[test]
    fn a_syntax_error_hides_no_other_problem() {
        let found = problems(&file("[server]\nshards = = 2\n[limits]\nqueue_byte = 1\n"));
        assert!(found[0].starts_with("c.toml:2: "), "{found:?}");
        let last = "c.toml:4: limits.queue_byte: unknown option; did you mean \"queue_bytes\"?";
        assert_eq!(found.last().unwrap(), last);
        let deep = problems(&file(&format!("x = {}", "[".repeat(100_000))));
        assert_eq!(deep.len(), 1, "{deep:?}");
        let on_line_2 = found
            .iter()
            .filter(|problem| problem.starts_with("c.toml:2:"))
            .count();
        assert_eq!(on_line_2, 1, "{found:?}");
    }

    #[test]
    fn routes_of_a_file_replace_the_default_and_are_checked() {
        let text = "[[route]]\npath = \"/chat\"\nroom = \"hall\"\nmax_message_size = \"1KiB\"\n\
                    [[route]]\npath = \"/v2/chat\"";
        let config = load(&file(text)).unwrap();
        let [chat, second] = config.route.as_slice() else {
            panic!("two routes")
        };
        assert_eq!((chat.path.as_str(), chat.room.as_str()), ("/chat", "hall"));
        assert_eq!(config.max_message_size(chat), 1024);
        assert_eq!(config.max_message_size(second), 32_768);
        assert_eq!(config.largest_message_size(), 32_768);

        let text = "[[route]]\npath = \"ws\"\n[[route]]\nprofile = \"v1\"\nroom = \"\"\npaths = 1\n\
                    [[route]]\n[[route]]\npath = \"/ws\"\n";
        let found = problems(&file(text));
        assert_eq!(found.len(), 6, "{found:?}");
        assert!(found[0].starts_with("c.toml:2: route[0].path: expected a path"));
        assert!(found[1].contains(":4: route[1].profile: \"v1\" is not available"));
        assert!(found[2].contains(":5: route[1].room: expected a name"));
        assert!(found[3].contains(":6: route[1].paths: unknown option; did you mean \"path\"?"));
        assert!(found[4].contains(":7: route[2].path: \"/ws\" is the path of route[1], too"));
        assert!(found[5].contains(":9: route[3].path: \"/ws\" is the path of route[2], too"));
    }

    #[test]
    fn wrong_shapes_are_named() {
        let text = "route = 5\nserver = 1\nlimits = [1]\n";
        assert_eq!(
            problems(&file(text)),
            [
                "c.toml:1: route: expected [[route]], found 5",
                "c.toml:2: server: expected a section, [server], found 1",
                "c.toml:3: limits: expected a section, [limits], found [1]",
            ]
        );
        let found = problems(&file("[route]\npath = \"/x\""));
        assert_eq!(
            found,
            ["c.toml:1: route: expected [[route]], found a table"]
        );
        assert_eq!(
            problems(&file("route = []")),
            ["c.toml:1: route: expected [[route]], found []"]
        );
    }

    #[test]
    fn a_huge_file_is_refused_unread() {
        let found = problems(&file(&"#".repeat((1 << 20) + 1)));
        assert_eq!(
            found,
            ["c.toml: expected at most 1048576 bytes, found 1048577"]
        );
    }

    #[test]
    fn a_contradiction_is_named_where_it_was_written() {
        let found = problems(&file("[heartbeat]\n\npong_wait = \"54s\""));
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("c.toml:3: heartbeat.ping_period: 54s is not shorter than"));
        // What was refused is not held against anything.
        let found = problems(&file("[heartbeat]\npong_wait = 1\nping_period = \"2m\""));
        assert_eq!(found.len(), 1, "{found:?}");
    }

    #[test]
    fn a_value_that_overrides_a_refused_one_is_held_against_the_rules() {
        let mut sources = file("[heartbeat]\npong_wait = 1");
        sources
            .environment
            .push(("CAMPANILE_HEARTBEAT__PONG_WAIT".into(), "5s".into()));
        let found = problems(&sources);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[1].starts_with("CAMPANILE_HEARTBEAT__PONG_WAIT: heartbeat.ping_period"));
    }

    #[test]
    fn guests_on_a_public_address_need_a_word_of_consent() {
        let public = "[server]\nlisten = [\"127.0.0.1:80\", \"0.0.0.0:8080\"]\n";
        let found = problems(&file(public));
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("c.toml:2: server.listen: 0.0.0.0:8080 is not loopback"));
        assert!(found[0].contains("auth.allow_guests = true"));
        assert!(found[0].contains("auth.mode = \"trust\""));
        for consent in ["allow_guests = true", "mode = \"trust\""] {
            let config = load(&file(&format!("{public}[auth]\n{consent}"))).unwrap();
            assert_eq!(config.warnings().len(), 1, "{consent}");
        }
        for loopback in ["127.8.9.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            let config = load(&environment(&[("CAMPANILE_SERVER__LISTEN", loopback)])).unwrap();
            assert!(config.warnings().is_empty(), "{loopback}");
        }
    }

    #[test]
    fn development_mode_goes_back_to_loopback_and_guests() {
        let mut sources = file("[server]\nlisten = [\"0.0.0.0:80\"]\n[auth]\nmode = \"trust\"");
        sources.development = true;
        let config = load(&sources).unwrap();
        assert_eq!(config.server.listen, Config::default().server.listen);
        assert_eq!(config.auth.mode, AuthMode::Optional);

        let value = "0.0.0.0:80".into();
        sources.flags.push(Flag {
            name: "--listen",
            section: "server",
            key: "listen",
            value,
        });
        assert!(problems(&sources)[0].starts_with("--listen: server.listen: 0.0.0.0:80 is not"));
    }

    #[test]
    fn messages_must_fit_where_they_wait() {
        let text = "[[route]]\nmax_message_size = \"1MiB\"\n[limits]\nqueue_bytes = \"4MiB\"";
        let found = problems(&file(text));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("c.toml:2: limits.topic_window_bytes: 1048576 bytes are too"));
        assert!(found[0].contains("expected at least 2097152"));
    }

    #[test]
    fn an_address_stands_once_but_port_zero_as_often_as_one_likes() {
        let listen = "127.0.0.1:80,127.0.0.1:80";
        let found = problems(&environment(&[("CAMPANILE_SERVER__LISTEN", listen)]));
        assert_eq!(
            found,
            ["CAMPANILE_SERVER__LISTEN: server.listen: 127.0.0.1:80 stands twice"]
        );
        let listen = "127.0.0.1:0,127.0.0.1:0";
        assert!(load(&environment(&[("CAMPANILE_SERVER__LISTEN", listen)])).is_ok());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC*", value in "\\PC*") {
            let _ = load(&file(&text));
            for (variable, ..) in variables(&Config::default()) {
                let _ = load(&environment(&[(&variable, &value)]));
            }
        }

        /// Texts that are nearly TOML, and nearly ours.
        #[test]
        fn no_mangled_file_panics_and_every_problem_has_a_line_of_it(
            cuts in prop::collection::vec((0usize..10_000, 0usize..12, "[\\]\\[\"'=.{}#,\n0-9a-z_-]{0,6}"), 0..6),
        ) {
            let mut text = default_toml();
            for (at, length, insert) in cuts {
                let at = at % (text.len() + 1);
                let end = (at + length).min(text.len());
                text.replace_range(at..end, &insert);
            }
            let lines = text.lines().count().max(1);
            for problem in load(&file(&text)).err().unwrap_or_default() {
                if problem.source == "c.toml" {
                    let line = problem.line.expect("a problem of a file has a line");
                    prop_assert!((1..=lines + 1).contains(&line), "{}", problem);
                }
            }
        }
    }
}
