//! What the table of options cannot say: bounds of values built in code, and rules between options.

mod access;
mod listeners;

use std::collections::BTreeMap;

use super::load::element_key;
use super::options::Section;
use super::{
    AuthMode, Config, NAMESPACES_MAX, Namespace, Problem, ROUTES_MAX, SECTIONS, Source, TABLES,
};
use crate::pattern::Pattern;
pub(super) use listeners::is_loopback;

/// A rule between options that does not hold.
#[derive(Debug)]
pub(super) struct Contradiction {
    /// The options concerned; the first one is named. Never empty.
    pub(super) options: Vec<String>,
    pub(super) message: String,
}

impl Config {
    /// Checks a configuration that was built in code: every bound, every rule between options.
    ///
    /// Errors: all problems, with `configuration` as their source.
    pub fn validate(&self) -> Result<(), Vec<Problem>> {
        let mut problems = Vec::new();
        let mut report = |key: String, message: String| {
            problems.push(Problem {
                source: "configuration".into(),
                line: None,
                key,
                message,
            });
        };
        for name in SECTIONS {
            let section = self
                .section(name)
                .expect("every name of SECTIONS has its section");
            for (key, message) in out_of_bounds(section) {
                report(format!("{name}.{key}"), message);
            }
        }
        for table in TABLES {
            for (index, section) in self.table(table.name).into_iter().enumerate() {
                for (key, message) in out_of_bounds(section) {
                    report(element_key(table.name, index, key), message);
                }
            }
        }
        for found in contradictions(self) {
            report(found.options[0].clone(), found.message);
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(problems)
        }
    }

    /// What is allowed, and should still be said aloud at every start.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let public = listeners::public_address(self);
        if self.auth_mode() == AuthMode::Trust {
            warnings.push(
                "auth.mode = \"trust\": whoever connects is believed to be the user they name; \
                 never use this where strangers can connect"
                    .into(),
            );
        } else if let (AuthMode::Optional, Some(address)) = (self.auth_mode(), public) {
            let why = if self.has_authenticator() {
                "auth.mode = \"optional\""
            } else {
                "auth.allow_guests = true"
            };
            warnings.push(format!(
                "{why}: whoever reaches {address} is let in as a guest"
            ));
        }
        if self.auth.sources.contains(&Source::Query) {
            warnings.push(
                "auth.sources has \"query\": tokens in a URL stand in the logs of every proxy on the way"
                    .into(),
            );
        }
        if self.origin.allowed.iter().any(|origin| origin == "*") {
            warnings.push("origin.allowed has \"*\": any web page may connect".into());
        }
        let proxies = &self.server.trusted_proxies;
        if proxies.iter().any(|network| network.prefix_len() == 0) {
            warnings.push(
                "server.trusted_proxies has everybody: whoever connects chooses their own address"
                    .into(),
            );
        }
        warnings.extend(access::clear_text(self));
        warnings
    }

    /// Who is let in: `auth.mode`, with what "auto" comes to. Never [`AuthMode::Auto`].
    pub fn auth_mode(&self) -> AuthMode {
        match self.auth.mode {
            AuthMode::Auto if self.has_authenticator() => AuthMode::Required,
            AuthMode::Auto => AuthMode::Optional,
            mode => mode,
        }
    }

    /// Whether anything can tell who connects: a key of tokens, a set of them, or a place to ask.
    pub fn has_authenticator(&self) -> bool {
        let jwt = &self.jwt;
        let has_key = !jwt.secret.is_empty()
            || [&jwt.secret_file, &jwt.public_key, &jwt.jwks_url]
                .iter()
                .any(|option| !option.is_empty());
        has_key || !self.auth_key.is_empty() || !self.auth.session_url.is_empty()
    }
}

fn out_of_bounds(section: &dyn Section) -> impl Iterator<Item = (&'static str, String)> {
    section.entries().iter().filter_map(|entry| {
        let checked = section
            .check(entry.key)
            .expect("every entry has its option");
        checked.err().map(|message| (entry.key, message))
    })
}

/// All rules between options that do not hold.
pub(super) fn contradictions(config: &Config) -> Vec<Contradiction> {
    let mut found = Vec::new();
    listeners::rules(config, &mut found);
    access::rules(config, &mut found);
    routes(config, &mut found);
    namespaces(config, &mut found);
    heartbeat(config, &mut found);
    room_for_messages(config, &mut found);
    room_for_history(config, &mut found);
    store(config, &mut found);
    memory(config, &mut found);
    found
}

fn memory(config: &Config, found: &mut Vec<Contradiction>) {
    let [soft, hard] = [config.limits.memory_soft, config.limits.memory_hard];
    if soft >= hard {
        let message = format!("{soft}% is not less than limits.memory_hard, {hard}%");
        let options = ["limits.memory_soft", "limits.memory_hard"];
        found.push(contradiction(&options, message));
    }
}

fn contradiction(options: &[&str], message: String) -> Contradiction {
    Contradiction {
        options: options.iter().copied().map(String::from).collect(),
        message,
    }
}

fn routes(config: &Config, found: &mut Vec<Contradiction>) {
    if !(1..=ROUTES_MAX).contains(&config.route.len()) {
        let message = format!(
            "expected 1..={ROUTES_MAX} routes, found {}",
            config.route.len()
        );
        found.push(contradiction(&["route"], message));
    }
    let mut seen = BTreeMap::new();
    for (index, route) in config.route.iter().enumerate() {
        if let Some(other) = seen.insert(&route.path, index) {
            let options = [
                element_key("route", index, "path"),
                element_key("route", other, "path"),
            ];
            let message = format!("{:?} is the path of route[{other}], too", route.path);
            found.push(Contradiction {
                options: options.into(),
                message,
            });
        }
        if route.is_template() && !route.room.is_empty() {
            let options = ["room", "path"].map(|key| element_key("route", index, key));
            let message = format!("{:?} names the room already", route.path);
            found.push(Contradiction {
                options: options.into(),
                message,
            });
        }
    }
}

/// The first namespace that matches holds, so that one behind another that matches all the same
/// names never does.
fn namespaces(config: &Config, found: &mut Vec<Contradiction>) {
    if config.namespace.len() > NAMESPACES_MAX {
        let message = format!(
            "expected at most {NAMESPACES_MAX} namespaces, found {}",
            config.namespace.len()
        );
        found.push(contradiction(&["namespace"], message));
    }
    let mut before: Vec<Pattern> = Vec::new();
    for (index, namespace) in config.namespace.iter().enumerate() {
        let covering = before
            .iter()
            .position(|pattern| pattern.covers(&namespace.pattern));
        if let Some(other) = covering {
            let options = [index, other].map(|place| element_key("namespace", place, "pattern"));
            let message = format!(
                "{:?} never holds: {:?} of namespace[{other}] stands before it and matches all of it",
                namespace.pattern, config.namespace[other].pattern
            );
            found.push(Contradiction {
                options: options.into(),
                message,
            });
        }
        before.push(Pattern::new(&namespace.pattern));
    }
}

/// What is kept must hold a message of any size.
fn room_for_history(config: &Config, found: &mut Vec<Contradiction>) {
    let message_size = config.largest_message_size();
    for (index, namespace) in config.namespace.iter().enumerate() {
        if namespace.history_size > 0 && namespace.history_bytes < message_size {
            let message = format!(
                "{} bytes are too few for a message of {message_size}: expected at least so many, a \
                 smaller max_message_size, or history_size = 0",
                namespace.history_bytes
            );
            let option = |key| element_key("namespace", index, key);
            let mut options = vec![option("history_bytes"), option("history_size")];
            options.extend(message_sizes(config));
            found.push(Contradiction { options, message });
        }
    }
}

fn store(config: &Config, found: &mut Vec<Contradiction>) {
    let is_persistent = |namespace: &Namespace| namespace.persist;
    let Some(index) = config.namespace.iter().position(is_persistent) else {
        return;
    };
    if config.store.path.is_empty() {
        let options = vec![
            element_key("namespace", index, "persist"),
            "store.path".into(),
        ];
        let message = "a persistent room needs a store: set store.path".into();
        found.push(Contradiction { options, message });
    }
    let message_size = config.largest_message_size();
    if config.store.queue_bytes < message_size {
        let message = format!(
            "{} bytes are too few for a message of {message_size}: expected at least so many",
            config.store.queue_bytes
        );
        let mut options = vec!["store.queue_bytes".into()];
        options.extend(message_sizes(config));
        found.push(Contradiction { options, message });
    }
}

/// The options that say how large a message may be.
fn message_sizes(config: &Config) -> impl Iterator<Item = String> {
    let routes = 0..config.route.len();
    let of_routes = routes.map(|index| element_key("route", index, "max_message_size"));
    std::iter::once("limits.max_message_size".into()).chain(of_routes)
}

fn heartbeat(config: &Config, found: &mut Vec<Contradiction>) {
    let heartbeat = &config.heartbeat;
    if heartbeat.ping_period >= heartbeat.pong_wait {
        let [ping, pong] = [heartbeat.ping_period, heartbeat.pong_wait];
        let message = format!(
            "{} is not shorter than heartbeat.pong_wait, {}: every quiet peer would be closed \
             before it is asked",
            humantime::format_duration(ping),
            humantime::format_duration(pong),
        );
        found.push(contradiction(
            &["heartbeat.ping_period", "heartbeat.pong_wait"],
            message,
        ));
    }
}

/// A message goes out with an envelope, and quotes in it may have to be escaped: twice its size
/// as it came in must fit wherever it waits.
fn room_for_messages(config: &Config, found: &mut Vec<Contradiction>) {
    let message_size = config.largest_message_size();
    let needed = message_size.saturating_mul(2);
    let limits = &config.limits;
    for (option, bytes) in [
        ("limits.queue_bytes", limits.queue_bytes),
        ("limits.topic_window_bytes", limits.topic_window_bytes),
    ] {
        if bytes < needed {
            let message = format!(
                "{bytes} bytes are too few for messages of {message_size}: expected at least \
                 {needed}, or a smaller max_message_size"
            );
            let mut rule = contradiction(&[option], message);
            rule.options.extend(message_sizes(config));
            found.push(rule);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_defaults_are_sound() {
        assert_eq!(Config::default().validate(), Ok(()));
        assert!(Config::default().warnings().is_empty());
    }

    #[test]
    fn values_built_in_code_meet_the_same_bounds() {
        let mut config = Config::default();
        config.server.shards = 1025;
        config.server.listen.clear();
        config.heartbeat.pong_wait = Duration::from_millis(10);
        config.route[0].path = "no slash".into();
        let problems = config.validate().unwrap_err();
        let said: Vec<_> = problems.iter().map(Problem::to_string).collect();
        assert_eq!(said.len(), 5, "{said:?}");
        assert!(said[0].starts_with("configuration: server.listen: expected 1..=64 addresses"));
        assert_eq!(
            said[1],
            "configuration: server.shards: expected integer 0..=1024, found 1025"
        );
        assert!(said[2].starts_with("configuration: heartbeat.pong_wait: expected duration"));
        assert!(said[3].starts_with("configuration: route[0].path: expected a path"));
        assert!(said[4].starts_with("configuration: heartbeat.ping_period: 54s is not shorter"));
    }

    #[test]
    fn a_server_without_a_route_is_refused() {
        let config = Config {
            route: Vec::new(),
            ..Config::default()
        };
        assert_eq!(config.validate().unwrap_err()[0].key, "route");
    }

    #[test]
    fn the_hard_bound_of_memory_is_above_the_soft_one() {
        let mut config = Config::default();
        config.limits.memory_soft = 90;
        let problems = config.validate().unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].key, "limits.memory_soft");
        assert_eq!(
            problems[0].message,
            "90% is not less than limits.memory_hard, 90%"
        );
    }

    #[test]
    fn guests_tokens_in_urls_and_any_page_are_warned_of() {
        let mut config = Config::default();
        config.server.listen = vec!["0.0.0.0:80".parse().unwrap()];
        config.jwt.secret = "0123456789abcdef0123456789abcdef".into();
        config.auth.mode = AuthMode::Optional;
        assert_eq!(config.validate(), Ok(()));
        assert!(
            config.warnings()[0]
                .starts_with("auth.mode = \"optional\": whoever reaches 0.0.0.0:80")
        );
        config.auth.mode = AuthMode::Required;
        assert!(config.warnings().is_empty());
        config.auth.sources.push(Source::Query);
        config.origin.allowed.push("*".into());
        let warnings = config.warnings();
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(warnings[0].starts_with("auth.sources has \"query\""));
        assert!(warnings[1].starts_with("origin.allowed has \"*\""));
    }

    #[test]
    fn whoever_sets_a_key_means_it() {
        let mut config = Config::default();
        assert_eq!(config.auth_mode(), AuthMode::Optional);
        let set: [fn(&mut Config); 3] = [
            |config| config.jwt.secret = "a secret of thirty-two bytes, ok.".into(),
            |config| config.jwt.jwks_url = "https://example.com/keys".into(),
            |config| config.auth.session_url = "https://example.com/session".into(),
        ];
        for set in set {
            let mut config = Config::default();
            set(&mut config);
            assert_eq!(config.auth_mode(), AuthMode::Required);
        }
        config.jwt.secret = "a secret of thirty-two bytes, ok.".into();
        config.auth.mode = AuthMode::Optional;
        assert_eq!(config.auth_mode(), AuthMode::Optional, "unless they say so");
    }

    #[test]
    fn trust_is_warned_of_on_loopback_too() {
        let mut config = Config::default();
        config.auth.mode = AuthMode::Trust;
        assert_eq!(config.validate(), Ok(()));
        assert!(config.warnings()[0].contains("never use this"));
    }

    #[test]
    fn what_says_who_somebody_is_should_not_come_in_clear_text() {
        for (url, is_warned_of) in [
            ("", false),
            ("https://example.com/keys", false),
            ("http://localhost:3000/keys", false),
            ("http://127.0.0.1/keys", false),
            ("http://[::1]:3000/keys", false),
            ("http://example.com/keys", true),
            ("http://10.0.0.1/keys", true),
            ("http://localhost.example.com/", true),
            ("http://127.0.0.1.example.com/", true),
        ] {
            let mut config = Config::default();
            config.jwt.jwks_url = url.into();
            config.auth.session_url = url.into();
            assert_eq!(
                config.warnings().len(),
                2 * usize::from(is_warned_of),
                "{url}"
            );
        }
    }

    #[test]
    fn nobody_should_trust_everybody() {
        for (network, is_warned_of) in [("0.0.0.0/0", true), ("::/0", true), ("10.0.0.0/8", false)]
        {
            let mut config = Config::default();
            config.server.trusted_proxies = vec![network.parse().unwrap()];
            assert_eq!(
                config.warnings().len(),
                usize::from(is_warned_of),
                "{network}"
            );
        }
    }
}
