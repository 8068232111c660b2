//! `docs/PROTOCOL.md` says what is true: its examples parse, its codes exist.

use campanile::limits::TOPIC_BYTES_MAX;
use campanile::realtime::protocol::{
    BATCH_MAX, ErrorCode, Inbound, JSON_DEPTH_MAX, Profile, REQUEST_ID_BYTES_MAX, TYPE_BYTES_MAX,
    scan,
};
use campanile::realtime::{RealtimeOptions, Registry};
use campanile::shard::Options;
use serde_json::Value;

const DOCUMENT: &str = include_str!("../docs/PROTOCOL.md");

/// The fenced blocks of JSON, and who sends them.
fn examples() -> Vec<(&'static str, &'static str)> {
    let blocks = DOCUMENT.split("```").skip(1).step_by(2);
    let blocks = blocks.filter_map(|block| block.strip_prefix("json")?.split_once('\n'));
    blocks.map(|(sender, text)| (sender.trim(), text)).collect()
}

#[test]
fn every_example_is_one_json_object() {
    let examples = examples();
    assert!(examples.len() > 15, "{} examples", examples.len());
    for (sender, text) in examples {
        let value: Value =
            serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}{error}"));
        assert!(value.is_object(), "{text}");
        assert!(["client", "server", ""].contains(&sender), "{sender}");
        assert_eq!(value.get("type").is_some(), !sender.is_empty(), "{text}");
    }
}

#[test]
fn every_example_of_a_client_is_understood() {
    let registry = Registry::default();
    let from_clients = examples()
        .into_iter()
        .filter(|(sender, _)| *sender == "client");
    for (_, text) in from_clients {
        match scan(text, Profile::Flat) {
            Ok(Inbound::One(message)) => {
                assert!(registry.contains(message.message_type()), "{text}");
                assert!(message.room().is_ok(), "{text}");
            }
            other => panic!("{text}: {other:?}"),
        }
    }
}

#[test]
fn every_error_code_is_listed_once_with_its_status() {
    for code in ErrorCode::ALL {
        let row = format!("| `{code}` | {} |", code.http_status());
        assert_eq!(DOCUMENT.matches(&row).count(), 1, "{row}");
    }
}

#[test]
fn the_limits_are_those_of_the_code() {
    let (core, options) = (Options::default(), RealtimeOptions::default());
    assert_eq!(
        (core.message_bytes_max, core.connections_per_user_max),
        (32_768, 5)
    );
    assert_eq!(
        (core.queue_bytes_max, core.topic_window_bytes),
        (256 << 10, 1 << 20)
    );
    assert_eq!(options.presence.members_max, 1000);
    let rows = [
        format!(
            "| rooms of one connection | {} |",
            options.limits.rooms_per_connection_max
        ),
        format!("| messages in a batch | {BATCH_MAX} |"),
        format!("| nesting of JSON | {JSON_DEPTH_MAX} levels |"),
        format!(
            "| `type`, `id`, room name | {TYPE_BYTES_MAX}, {REQUEST_ID_BYTES_MAX}, {TOPIC_BYTES_MAX} bytes |"
        ),
    ];
    for row in rows {
        assert!(DOCUMENT.contains(&row), "{row}");
    }
}
