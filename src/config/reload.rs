//! What changes while the server runs: the difference between two configurations, and which part of it
//! has to wait for a restart.

use super::{Config, Problem};

/// Options that are read at the start alone; a name that ends in a dot is a whole section.
///
/// Listeners, threads and files are made once; routes have connections that refer to them by number.
const AT_START: &[&str] = &[
    "server.listen",
    "server.admin_listen",
    "server.shards",
    "server.io",
    "server.max_connections_per_shard",
    "server.trusted_proxies",
    "server.proxy_protocol",
    "tls.listen",
    "tls.min_version",
    "tls.reload_interval",
    "tls.certificate",
    "route",
    "limits.memory_limit",
    "limits.memory_soft",
    "limits.memory_hard",
    "store.",
    "pairing.",
    "admin.token",
    "api.idempotency_window",
    "api.max_body_size",
    "compression.",
    "log.",
    "shutdown.",
];

/// Whether a change of the option (`section.key`, or the name of a table) waits for a restart.
pub(super) fn is_at_start(option: &str) -> bool {
    let covers = |name: &str| match name.strip_suffix('.') {
        Some(_) => option.starts_with(name),
        None => option == name,
    };
    AT_START.iter().any(|name| covers(name))
}

/// What has become of a configuration that was loaded again.
#[derive(Clone, Debug, PartialEq)]
pub struct Reloaded {
    /// What holds from now on: the new one, with the old values of `waiting`.
    pub config: Config,
    /// Options that have changed, `section.key` or the name of a table.
    pub changed: Vec<String>,
    /// Options that have changed and wait for a restart.
    pub waiting: Vec<String>,
}

impl Config {
    /// The configuration to go on with when `new` was loaded while this one is in force.
    ///
    /// Errors: `new` is sound, and yet cannot be what holds, because a part of it that has to wait for a
    /// restart belongs to another that does not. Then this one holds as it is.
    pub fn reload(&self, new: Self) -> Result<Reloaded, Vec<Problem>> {
        let mut changes = Changes::default();
        let mut config = new;
        config.hold_back(self, &mut changes);
        let Changes { changed, waiting } = changes;
        match config.validate() {
            Ok(()) => Ok(Reloaded {
                config,
                changed,
                waiting,
            }),
            Err(mut problems) => {
                for problem in &mut problems {
                    problem.source = "reload".into();
                    problem.message.push_str(&format!(
                        "; {} cannot change before a restart",
                        waiting.join(", ")
                    ));
                }
                Err(problems)
            }
        }
    }
}

/// Options that differ between two configurations.
#[derive(Debug, Default)]
pub(super) struct Changes {
    changed: Vec<String>,
    waiting: Vec<String>,
}

impl Changes {
    /// Notes that an option differs. Whether it has to wait, so that the old value is to be kept.
    pub(super) fn note(&mut self, option: String) -> bool {
        let waits = is_at_start(&option);
        let list = if waits {
            &mut self.waiting
        } else {
            &mut self.changed
        };
        list.push(option);
        waits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Namespace, Route, SECTIONS, TABLES};

    #[test]
    fn every_option_that_waits_exists() {
        let config = Config::default();
        for name in AT_START {
            let is_table = TABLES.iter().any(|table| table.name == *name);
            let is_section = name
                .strip_suffix('.')
                .is_some_and(|name| SECTIONS.contains(&name));
            let is_option = name.rsplit_once('.').is_some_and(|(section, key)| {
                config
                    .section(section)
                    .is_some_and(|section| section.show(key).is_some())
            });
            assert!(is_table || is_section || is_option, "{name}");
        }
    }

    #[test]
    fn what_can_change_does_and_what_cannot_is_named_and_kept() {
        let old = Config::default();
        let mut new = Config::default();
        new.limits.messages_per_second = 7;
        new.origin.allowed = vec!["https://example.com".into()];
        new.namespace = vec![Namespace {
            max_clients: 3,
            ..Namespace::default()
        }];
        new.server.shards = 2;
        new.shutdown.drain = std::time::Duration::from_secs(1);
        new.route = vec![Route::default()];
        let reloaded = old.reload(new.clone()).unwrap();
        assert_eq!(
            reloaded.changed,
            ["origin.allowed", "limits.messages_per_second", "namespace"]
        );
        assert_eq!(
            reloaded.waiting,
            ["server.shards", "shutdown.drain", "route"]
        );
        let expected = Config {
            server: old.server.clone(),
            shutdown: old.shutdown.clone(),
            route: old.route.clone(),
            ..new
        };
        assert_eq!(reloaded.config, expected);
    }

    #[test]
    fn a_secret_that_differs_is_a_change() {
        let mut new = Config::default();
        new.jwt.secret = "0123456789abcdef0123456789abcdef".into();
        let reloaded = Config::default().reload(new.clone()).unwrap();
        assert_eq!(reloaded.changed, ["auth.jwt.secret"]);
        let mut newer = new.clone();
        newer.jwt.secret = "fedcba9876543210fedcba9876543210".into();
        assert_eq!(new.reload(newer).unwrap().changed, ["auth.jwt.secret"]);
        assert_eq!(new.reload(new.clone()).unwrap().changed, [""; 0]);
    }

    #[test]
    fn halves_of_two_configurations_that_do_not_fit_are_refused() {
        let mut old = Config::default();
        old.server.listen = vec!["0.0.0.0:80".parse().unwrap()];
        old.auth.allow_guests = true;
        let problems = old.reload(Config::default()).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        let said = problems[0].to_string();
        assert!(
            said.starts_with("reload: server.listen: 0.0.0.0:80 is not loopback"),
            "{said}"
        );
        assert!(
            said.ends_with("; server.listen cannot change before a restart"),
            "{said}"
        );
    }
}
