//! Options that change while rooms are full of people.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::super::{HistoryOptions, LimitOptions, Namespace, NoStore, RealtimeOptions, Route};
use super::{namespace, trusting};
use crate::realtime::protocol::Profile;
use crate::testing::TestServer;

/// Sets the options of every shard.
fn set(server: &TestServer, options: RealtimeOptions) -> Result<(), NoStore> {
    let options = Arc::new(options);
    for shard in 0..server.shard_count() {
        let options = Arc::clone(&options);
        server.ask(shard, move |app, _| app.set_options(&options))?;
    }
    Ok(())
}

#[test]
fn a_room_that_exists_takes_the_namespace_that_fits_it_now() {
    for shards in [1, 2] {
        let server = TestServer::builder()
            .shards(shards)
            .options(trusting())
            .start();
        let ann = server.connect("ann");
        server.forget();
        let other = Namespace {
            pattern: "other*".into(),
            ..Namespace::default()
        };
        let full = Namespace {
            members_max: 1,
            ..Namespace::default()
        };
        let options = RealtimeOptions {
            namespaces: vec![other, full],
            ..trusting()
        };
        assert_eq!(set(&server, options), Ok(()));
        let bob = server.connect("bob");
        assert_eq!(bob.expect("error")["code"], "room_full");
        assert_eq!(set(&server, trusting()), Ok(()));
        let carl = server.connect("carl");
        carl.send(json!({"type": "chat", "content": "in"}));
        assert_eq!(ann.expect("chat")["content"], "in");
        server.end();
    }
}

#[test]
fn rates_hold_for_connections_that_were_there_before() {
    let server = TestServer::builder().options(trusting()).start();
    let ann = server.connect("ann");
    server.forget();
    let limits = LimitOptions {
        messages_per_second: 1,
        burst: 1,
        ..LimitOptions::default()
    };
    let slow = RealtimeOptions {
        limits,
        ..trusting()
    };
    assert_eq!(set(&server, slow), Ok(()));
    for _ in 0..2 {
        ann.send(r#"{"type":"ping"}"#);
    }
    assert_eq!(ann.receive()["type"], "pong");
    assert_eq!(ann.receive()["code"], "rate_limited");
    server.end();
}

#[test]
fn routes_stay_since_connections_refer_to_them() {
    let server = TestServer::builder().options(trusting()).start();
    let ann = server.connect("ann");
    server.forget();
    let options = RealtimeOptions {
        routes: vec![Route::new("/elsewhere", Profile::Flat)],
        ..trusting()
    };
    assert_eq!(set(&server, options), Ok(()));
    server
        .connect("bob")
        .send(json!({"type": "chat", "content": "hello"}));
    assert_eq!(ann.expect("chat")["content"], "hello");
    assert!(server.connect_to("/elsewhere", &[]).is_err());
    server.end();
}

#[test]
fn a_namespace_that_persists_is_refused_without_a_store_and_changes_nothing() {
    let server = TestServer::builder().options(trusting()).start();
    let persistent = Namespace {
        persist: true,
        members_max: 1,
        ..Namespace::default()
    };
    let _ann = server.connect("ann");
    assert_eq!(set(&server, namespace(persistent)), Err(NoStore));
    let bob = server.connect("bob");
    assert!(bob.receive_all_of("error").is_empty());
    server.end();
}

#[test]
fn history_and_presence_come_and_go_under_people_who_talk() {
    let silent = Namespace {
        presence: false,
        join_leave: false,
        ..Namespace::default()
    };
    let forgetful = Namespace {
        history: HistoryOptions {
            size: 0,
            ..HistoryOptions::default()
        },
        ..Namespace::default()
    };
    for shards in [1, 2] {
        let server = TestServer::builder()
            .shards(shards)
            .options(trusting())
            .start();
        let (ann, mut others) = (server.connect("ann"), Vec::new());
        let kinds = [&silent, &forgetful, &Namespace::default()];
        for (round, kind) in kinds.into_iter().cycle().take(12).enumerate() {
            assert_eq!(set(&server, namespace(kind.clone())), Ok(()));
            let name = format!("user-{}", round % 5);
            let newcomer = server.connect(&name);
            server.forget();
            newcomer.send(json!({"type": "chat", "content": round.to_string()}));
            assert_eq!(ann.expect("chat")["content"], round.to_string());
            others.push(newcomer);
            if round % 3 == 2 {
                others.remove(0).hang_up();
            }
            server.advance(Duration::from_secs(2));
        }
        // Everybody who leaves is told of, as long as that is wanted.
        server.forget();
        others.pop().expect("some are left").hang_up();
        server.advance(Duration::from_secs(1));
        drop(others);
        server.end();
    }
}
