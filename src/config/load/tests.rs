//! What is taken from texts, and what is wrong with them.

mod nested;
mod tables;

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config::{AuthMode, OnUserLimit, OriginRequire, Profile, SlowPolicy, default_toml};

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
    assert_eq!(config.auth.mode, AuthMode::Auto);
    assert_eq!(config.auth_mode(), AuthMode::Optional);
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
    let routes = config
        .route
        .iter()
        .map(|r| (r.path.as_str(), r.profile, r.room.as_str(), r.presence));
    let expected = [
        ("/api/v1/ws", Profile::Message, "", false),
        ("/ws/{room_id}", Profile::Room, "", true),
        ("/ws", Profile::Flat, "lobby", true),
        ("/v1/connect", Profile::V1, "", false),
    ];
    assert_eq!(routes.collect::<Vec<_>>(), expected);
    assert_eq!(config.largest_message_size(), 32_768);
    let [namespace] = config.namespace.as_slice() else {
        panic!("one namespace")
    };
    assert_eq!((&*namespace.pattern, namespace.history_size), ("*", 100));
    assert_eq!(config.origin.require, OriginRequire::Auto);
    assert_eq!(config.limits.messages_per_second, 50);
    assert_eq!(config.delivery.max_recipients, 50);
    assert_eq!(config.messaging.dedupe_window, Duration::from_secs(300));
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
        let words = value.replace(['[', ']', '"'], "");
        let config = load(&environment(&[(&variable, &words)]));
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
mode = \"must\"
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
            "c.toml:15: auth.mode: expected \"auto\" or \"required\" or \"first_message\" or \
             \"optional\" or \"trust\", found \"must\"",
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
        ("CAMPANILE_AUTH__KEY__ID", "x"),
        ("CAMPANILE_API__KEY", "x"),
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
            "CAMPANILE_ROUTE__PATH: [[route]] can be set in a file only",
            "CAMPANILE_AUTH__KEY__ID: [[auth.key]] can be set in a file only",
            "CAMPANILE_API__KEY: [[api.key]] can be set in a file only",
            "CAMPANILE_DATABASE__URL: unknown option",
            "--shards: server.shards: expected integer 0..=1024, found \"0x4\"",
        ]
    );
}

#[test]
fn what_is_planned_is_told_from_what_is_misspelt() {
    let text = "[broker]\nkind = \"redis\"\n[shutdown]\npace = \"auto\"\n";
    assert_eq!(
        problems(&file(text)),
        [
            "c.toml:1: broker: not in this version; instead none: rooms and limits are those of one server",
            "c.toml:4: shutdown.pace: not in this version; instead retry_in_ms tells each client when to \
             come back, at random within five seconds",
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
            let at = text.floor_char_boundary(at % (text.len() + 1));
            let end = text.ceil_char_boundary((at + length).min(text.len()));
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
