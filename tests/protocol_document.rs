//! `docs/PROTOCOL.md` says what is true: a server takes what its examples of a client say, and sends
//! what its examples of the server say; its codes, types, methods and limits are those of the code.

mod frames;

use std::collections::BTreeSet;

use campanile::limits::TOPIC_BYTES_MAX;
use campanile::realtime::handlers::Rpc;
use campanile::realtime::protocol::{
    BATCH_MAX, BINARY_ENVELOPE_BYTES_MAX, BuiltIn, ErrorCode, JSON_DEPTH_MAX, Profile,
    REQUEST_ID_BYTES_MAX, TYPE_BYTES_MAX,
};
use campanile::realtime::{HistoryOptions, Namespace, RealtimeOptions};
use campanile::shard::{Options, codes};
use campanile::testing::{Received, TestServer};
use frames::Shapes;
use frames::shape::shape;
use serde_json::{Value, json};

const DOCUMENT: &str = include_str!("../docs/PROTOCOL.md");

/// A fenced block: who sends it, in which profile, and what else the fence says.
#[derive(Clone, Copy, Debug)]
struct Example {
    sender: &'static str,
    profile: Option<Profile>,
    /// The code with which it is refused.
    refused: Option<&'static str>,
    text: &'static str,
}

fn examples() -> Vec<Example> {
    let blocks = DOCUMENT.split("```").skip(1).step_by(2);
    let blocks = blocks.filter_map(|block| block.split_once('\n'));
    let examples = blocks.map(|(fence, text)| {
        let mut words = fence.split(' ').skip(1);
        let sender = words.next().unwrap_or_else(|| panic!("who sends {text}"));
        Example {
            sender,
            profile: words.next().and_then(Profile::from_name),
            refused: words.next(),
            text: text.trim_end(),
        }
    });
    examples.collect()
}

fn from(sender: &str) -> Vec<(Profile, Example)> {
    let examples = examples()
        .into_iter()
        .filter(|example| example.sender == sender);
    let in_profile = examples.map(|example| {
        let profile = example.profile;
        let profile = profile.unwrap_or_else(|| panic!("no profile: {}", example.text));
        (profile, example)
    });
    in_profile.collect()
}

#[test]
fn every_example_is_said_by_somebody() {
    let examples = examples();
    assert!(examples.len() > 90, "{} examples", examples.len());
    for example in examples {
        assert!(
            ["client", "server", "http"].contains(&example.sender),
            "{example:?}"
        );
    }
}

#[test]
fn the_server_sends_what_the_examples_say() {
    let shapes = Shapes::of(&frames::perform().0);
    let mut untrue = Vec::new();
    for (profile, example) in from("server") {
        let value: Value = serde_json::from_str(example.text)
            .unwrap_or_else(|error| panic!("{error}: {}", example.text));
        untrue.extend(shapes.deny(profile.as_str(), &value));
    }
    assert!(untrue.is_empty(), "{}", untrue.join("\n"));
}

#[test]
fn every_type_that_the_server_sends_has_an_example() {
    let (frames, closes) = frames::perform();
    let shown: BTreeSet<String> = from("server")
        .iter()
        .filter_map(|(_, example)| serde_json::from_str::<Value>(example.text).ok())
        .map(|value| value["type"].to_string())
        .collect();
    let sent: BTreeSet<String> = frames.iter().map(|f| f.value["type"].to_string()).collect();
    assert_eq!(shown, sent);
    let of_core = [
        codes::BAD_REQUEST,
        codes::UNAUTHORIZED,
        codes::FORBIDDEN,
        codes::AUTHENTICATION_TIMEOUT,
        codes::REPLACED,
        codes::CONNECTION_LIMIT,
        codes::INTERNAL,
        codes::NO_PONG,
        codes::TOO_SLOW,
    ];
    let closes = closes.into_iter().chain(of_core.map(|code| code.as_u16()));
    for code in closes {
        let row = format!("\n| {code} | ");
        assert_eq!(DOCUMENT.matches(&row).count(), 1, "{row}");
    }
}

#[test]
fn the_server_takes_what_the_examples_say() {
    for (profile, example) in from("client") {
        let refused: Vec<&str> = example.refused.into_iter().collect();
        let refusals = frames::refusals(profile, example.text);
        assert_eq!(refusals, refused, "{profile}: {}", example.text);
    }
}

#[test]
fn every_type_that_a_client_sends_has_an_example() {
    let shown: BTreeSet<String> = from("client")
        .iter()
        .filter_map(|(_, example)| serde_json::from_str::<Value>(example.text).ok())
        .filter_map(|value| Some(value["type"].as_str()?.to_owned()))
        .collect();
    for built_in in BuiltIn::ALL {
        assert!(shown.contains(built_in.as_str()), "{}", built_in.as_str());
    }
}

#[test]
fn every_method_is_described() {
    let methods = format!("{:?}", Rpc::default());
    let methods: Vec<&str> = methods.split('"').skip(1).step_by(2).collect();
    assert!(methods.len() > 10, "{methods:?}");
    for method in methods {
        assert!(DOCUMENT.contains(&format!("\n### {method}\n")), "{method}");
    }
}

#[test]
fn arrays_are_for_who_asks_for_them() {
    let server = TestServer::builder().start();
    for (target, begins) in [("/v1/connect?batch=1", '['), ("/v1/connect", '{')] {
        let client = server.connect_to(target, &[]).expect("it is let in");
        client.forget();
        client.send(json!({"type": "subscribe", "data": {"topic": "kitchen", "presence": true}}));
        match client.receive_raw() {
            Received::Text(text) => assert!(text.starts_with(begins), "{target}: {text}"),
            Received::Binary(_) => panic!("{target}: a text is sent as text"),
        }
    }
}

#[test]
fn a_refused_upgrade_is_as_the_example_says() {
    let server = TestServer::builder().start();
    let connect = || server.connect_to("/ws?user_id=ann", &[]);
    let refused = (0..6).find_map(|_| connect().err());
    let refused = refused.expect("the sixth connection is refused");
    let example = examples().into_iter().find(|e| e.sender == "http");
    let example: Value = serde_json::from_str(example.expect("there is one").text).expect("JSON");
    assert_eq!(shape(&refused.body), shape(&example));
    assert_eq!(refused.body["details"], example["details"]);
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
    let history = HistoryOptions::default();
    assert_eq!(
        (history.size, history.ttl.as_secs(), history.bytes),
        (100, 600, 1 << 20)
    );
    let limits = &options.limits;
    let kib = |bytes: usize| format!("{} KiB", bytes >> 10);
    let rows = [
        format!(
            "before and after inflating | {} bytes",
            thousands(core.message_bytes_max)
        ),
        format!(
            "| messages of a connection | {} a second, {} at once",
            limits.messages_per_second, limits.burst
        ),
        format!(
            "| connections of one user, exact | {} ",
            core.connections_per_user_max
        ),
        format!(
            "| rooms of one connection | {} ",
            limits.rooms_per_connection_max
        ),
        format!("| rooms of a shard | {} ", thousands(limits.rooms_max)),
        format!("| messages in a batch | {BATCH_MAX} |"),
        format!("| nesting of JSON | {JSON_DEPTH_MAX} levels |"),
        format!("room name | {TYPE_BYTES_MAX}, {REQUEST_ID_BYTES_MAX}, {TOPIC_BYTES_MAX} bytes |"),
        format!(
            "`info` | 128, {} bytes |",
            thousands(options.presence.info_bytes_max)
        ),
        format!(
            "| envelope of a binary message | {} ",
            thousands(BINARY_ENVELOPE_BYTES_MAX)
        ),
        format!(
            "besides its rooms' messages | {} ",
            kib(core.queue_bytes_max)
        ),
        format!(
            "fall behind in a room | {} MiB ",
            core.topic_window_bytes >> 20
        ),
        format!(
            "| users that presence names | {} ",
            thousands(options.presence.members_max)
        ),
        format!(
            "after `cleanup_after` ({} s)",
            Namespace::default().cleanup_after.as_secs()
        ),
        format!(
            "| recipients whose state is told | {} ",
            options.delivery.recipients_max
        ),
    ];
    for row in rows {
        assert!(DOCUMENT.contains(&row), "{row}");
    }
}

fn thousands(number: usize) -> String {
    match (number / 1_000_000, number / 1000 % 1000, number % 1000) {
        (0, 0, rest) => format!("{rest}"),
        (0, thousands, rest) => format!("{thousands},{rest:03}"),
        (millions, thousands, rest) => format!("{millions},{thousands:03},{rest:03}"),
    }
}
