//! The opening handshake: accept, refuse, defer, knock, and the limit of the process.

use std::time::Duration;

use campanile::id::ShardId;
use campanile::shard::Options;
use campanile::ws::Opcode;
use tungstenite::client::IntoClientRequest;
use tungstenite::http::HeaderValue;

use crate::support::{Client, Raw, What, frame_of, head_of, timed, within_bound};
use crate::{name_at_home_on, puppets};

#[test]
fn an_accepted_handshake_has_its_key_subprotocol_and_header_fields() {
    for shards in [1, 3] {
        let (site, _) = puppets(shards, Options::default());
        let url = format!(
            "ws://{}/?user=ann&subprotocol=b&header=good+day",
            site.address
        );
        let mut request = url.into_client_request().unwrap();
        let offered = HeaderValue::from_static("a, b");
        request
            .headers_mut()
            .insert("sec-websocket-protocol", offered);
        let client = Client::open_with(site.address, request);
        let fields = client.response.headers();
        assert_eq!(fields["sec-websocket-protocol"], "b");
        assert_eq!(fields["x-puppet"], "good day");

        let mut raw = Raw::connect(site.address);
        let response = raw.upgrade("/", "");
        let accept = response.field("sec-websocket-accept");
        assert_eq!(accept, Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert_eq!(response.field("sec-websocket-protocol"), None);
        assert_eq!(response.field("sec-websocket-extensions"), None);
    }
}

#[test]
fn a_refused_handshake_has_a_status_and_says_why_in_json() {
    let (site, diary) = puppets(1, Options::default());
    for status in [401, 403, 404, 503] {
        let mut raw = Raw::connect(site.address);
        let response = raw.upgrade(&format!("/?refuse={status}"), "");
        assert_eq!(response.status, status);
        assert_eq!(response.field("x-puppet"), Some("refused"));
        assert_eq!(response.field("content-type"), Some("application/json"));
        assert_eq!(response.field("connection"), Some("close"));
        let body = response.json();
        assert_eq!(body["code"], "no_entry");
        assert_eq!(body["error"], "the puppet was told to refuse");
        assert_eq!(body["status"], status);
        assert_eq!(body["request_id"].as_str().map(str::len), Some(36));
        assert!(body["timestamp"].as_str().is_some_and(|t| t.ends_with('Z')));
        raw.at_end();
    }
    assert!(diary.entries(|_| true).is_empty());
    site.wait_until_empty();
}

#[test]
fn a_deferred_handshake_is_answered_when_the_answer_is_there() {
    for shards in [1, 3] {
        let (site, _) = puppets(shards, Options::default());
        let mut waiting: Vec<Raw> = (0..10)
            .map(|number| {
                let mut raw = Raw::connect(site.address);
                let target = format!("/?user=ann-{number}&note={number}&defer=50");
                raw.write(head_of(&target, "").as_bytes());
                raw
            })
            .collect();
        for (number, raw) in waiting.iter_mut().enumerate() {
            assert_eq!(raw.response().status, 101);
            assert_eq!(raw.ask("/data"), number.to_string());
        }
        let mut refused = Raw::connect(site.address);
        let response = refused.upgrade("/?defer_refuse=20", "");
        assert_eq!(
            (response.status, response.code().as_str()),
            (403, "no_entry")
        );
        refused.at_end();
    }
}

#[test]
fn a_deferred_handshake_without_an_answer_is_refused_in_time() {
    let options = Options {
        handshake_timeout: Duration::from_secs(1),
        ..Options::default()
    };
    let (site, _) = puppets(1, options);
    let mut raw = Raw::connect(site.address);
    let (took_ms, response) = timed(|| raw.upgrade("/?defer=for_ever", ""));
    assert_eq!(
        (response.status, response.code().as_str()),
        (503, "unavailable")
    );
    assert_eq!(response.field("retry-after"), Some("1"));
    assert!((1000..6000).contains(&took_ms), "{took_ms} ms");
    raw.at_end();
    site.wait_until_empty();
}

#[test]
fn a_client_that_leaves_during_a_deferred_handshake_is_forgotten() {
    let (site, diary) = puppets(1, Options::default());
    for _ in 0..10 {
        let mut raw = Raw::connect(site.address);
        raw.write(head_of("/?defer=100", "").as_bytes());
    }
    let opened = || site.stats().shards[0].counters.opened;
    assert!(within_bound(|| opened() == 10));
    site.wait_until_empty();
    assert_eq!(diary.entries(|_| true).len(), 20);
}

#[test]
fn frames_sent_together_with_the_request_are_not_lost() {
    for shards in [1, 3] {
        let (site, _) = puppets(shards, Options::default());
        for number in 0..10 {
            for defer in ["", "&defer=10"] {
                let mut bytes = head_of(&format!("/?user=u-{number}{defer}"), "").into_bytes();
                bytes.extend(frame_of(Opcode::Text, b"early"));
                let cut = frame_of(Opcode::Text, b"cut in two");
                bytes.extend(&cut[..8]);
                let mut raw = Raw::connect(site.address);
                raw.write(&bytes);
                assert_eq!(raw.response().status, 101);
                assert_eq!(raw.hear(), "early");
                raw.write(&cut[8..]);
                assert_eq!(raw.hear(), "cut in two");
                assert_eq!(raw.ask("late"), "late");
            }
        }
    }
}

#[test]
fn a_request_head_may_come_byte_by_byte() {
    let (site, _) = puppets(1, Options::default());
    let mut raw = Raw::connect(site.address);
    for byte in head_of("/?note=patient", "").bytes() {
        raw.write(&[byte]);
    }
    assert_eq!(raw.response().status, 101);
    assert_eq!(raw.ask("/data"), "patient");
}

#[test]
fn beyond_the_connections_of_the_process_handshakes_are_refused() {
    for shards in [1, 3] {
        let options = Options {
            connections_max: 4,
            connections_per_user_max: 0,
            ..Options::default()
        };
        let (site, _) = puppets(shards, options);
        let mut open: Vec<Client> = (0..4)
            .map(|number| Client::open(site.address, &format!("/?user=u-{number}")))
            .collect();
        let mut refused = Raw::connect(site.address);
        let response = refused.upgrade("/?user=beyond", "");
        assert_eq!(
            (response.status, response.code().as_str()),
            (503, "unavailable")
        );
        drop(open.pop());
        assert!(within_bound(|| {
            Raw::connect(site.address)
                .upgrade("/?user=beyond", "")
                .status
                == 101
        }));
    }
}

#[test]
fn who_knocks_is_let_in_or_refused_by_whatever_shard_decides() {
    let options = Options {
        connections_per_user_max: 0,
        ..Options::default()
    };
    for shards in [1, 3] {
        let (site, diary) = puppets(shards, options.clone());
        for shard in 0..u16::try_from(shards).unwrap() {
            let decider = name_at_home_on(&site, shard);
            let user = name_at_home_on(&site, 0);
            for defer in ["", "&defer=5"] {
                let target = format!("/?knock=1&user={user}&note={decider}{defer}");
                let mut bytes = head_of(&target, "").into_bytes();
                bytes.extend(frame_of(Opcode::Text, b"early"));
                let mut raw = Raw::connect(site.address);
                raw.write(&bytes);
                assert_eq!(raw.response().status, 101);
                assert_eq!(raw.hear(), "early");
                assert_eq!(raw.ask("/data"), decider);
                let mut refused = Raw::connect(site.address);
                let mut shut = (0..).map(|number| format!("shut-{number}"));
                let shut = shut.find(|name| site.handle.home(name) == ShardId(shard));
                let target = format!("/?knock=1&note={}{defer}", shut.unwrap());
                let response = refused.upgrade(&target, "");
                assert_eq!(
                    (response.status, response.code().as_str()),
                    (409, "no_entry")
                );
                refused.at_end();
            }
        }
        site.wait_until_empty();
        let opened = diary.entries(|entry| matches!(entry.what, What::Opened));
        assert_eq!(opened.len(), 2 * shards, "nobody else was ever open");
    }
}

#[test]
fn who_knocks_and_leaves_is_forgotten() {
    let (site, _) = puppets(3, Options::default());
    for number in 0..30 {
        let mut raw = Raw::connect(site.address);
        let note = if number % 2 == 0 { "shut" } else { "open" };
        let target = format!("/?knock=1&user=u-{number}&note={note}-{number}");
        raw.write(head_of(&target, "").as_bytes());
    }
    let count = || {
        let counters = site.stats().shards.into_iter().map(|shard| shard.counters);
        counters
            .map(|counters| counters.opened + counters.refused)
            .sum::<u64>()
    };
    assert!(within_bound(|| count() == 30));
    site.wait_until_empty();
}
