//! Remote procedures, a handler's work in rooms, and messages past all rooms.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::handlers::{Method, Params, Rpc};
use super::super::protocol::{Message, Rejection};
use super::super::{Create, Ctx, Exclude, Handler, HandlerError, Namespace, RealtimeOptions};
use super::{builder, call, connect, server, subscribe, trusting, v1};
use crate::testing::{Client, TestServer};

#[test]
fn methods_that_come_with_it_are_answered() {
    for shards in [1, 2, 3] {
        let server = server(shards, trusting());
        let (ann, ann_too) = (v1(&server, "ann"), v1(&server, "ann"));
        let time = call(&ann, "server.time", json!({})).unwrap();
        assert_eq!(
            time,
            json!({"time": "2026-11-21T02:00:00.000Z", "unix_ms": server.unix_ms()})
        );
        let own = call(&ann, "user.connections", Value::Null).unwrap();
        assert_eq!(own["count"], 2);
        let is_own = |n: usize| own["connections"][n]["is_own"].as_bool().unwrap();
        assert!(is_own(0) != is_own(1));
        ann_too.disconnect();
        assert_eq!(
            call(&ann, "user.connections", json!({})).unwrap()["count"],
            1
        );

        assert_eq!(call(&ann, "no.such", json!({})), Err("not_found".into()));
        assert_eq!(
            call(&ann, "room.get", json!([])),
            Err("invalid_message".into())
        );
        ann.send(json!({"type": "rpc", "id": 1, "data": {"params": {}}}));
        assert_eq!(ann.receive()["data"]["code"], "invalid_message");
        server.end();
    }
}

/// Answers after so many seconds.
struct Slow;

impl Method for Slow {
    fn name(&self) -> &str {
        "slow"
    }

    fn call(&mut self, ctx: &mut Ctx<'_>, params: &Params<'_>) -> Result<(), HandlerError> {
        let seconds: u64 = params.deserialize::<(u64,)>()?.0;
        let work = async move {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            assert_ne!(seconds, 1, "one is bad luck");
            seconds
        };
        ctx.spawn(work, |ctx, seconds| {
            if seconds == 2 {
                return Err(Rejection::Conflict.into());
            }
            ctx.result(|fields| fields.number("waited_s", seconds));
            Ok(())
        });
        Ok(())
    }
}

#[test]
fn a_method_that_takes_too_long_is_a_timeout() {
    let options = RealtimeOptions {
        rpc_timeout: Duration::from_secs(5),
        ..trusting()
    };
    let rpc = |app: super::super::Realtime| app.with(Rpc::default().method(Slow));
    let server = builder(2, options).adapt(rpc).start();
    let ann = v1(&server, "ann");
    for seconds in [1, 2, 3, 9] {
        let data = json!({"method": "slow", "params": [seconds]});
        ann.send(json!({"type": "rpc", "id": seconds, "data": data}));
    }
    ann.expect_nothing();
    server.advance(Duration::from_secs(4));
    let got = ann.receive_all();
    let codes: Vec<_> = got.iter().map(|m| (&m["id"], &m["data"]["code"])).collect();
    assert_eq!(codes[0], (&json!(1), &json!("handler_error")), "a panic");
    assert_eq!(codes[1], (&json!(2), &json!("conflict")));
    assert_eq!(
        (&got[2]["id"], &got[2]["data"]["result"]),
        (&json!(3), &json!({"waited_s": 3}))
    );
    server.advance(Duration::from_secs(1));
    let late = ann.receive();
    assert_eq!(
        (&late["id"], &late["data"]["code"]),
        (&json!(9), &json!("timeout"))
    );
    server.end();
}

/// Counts what it is sent, for the connection and for the room.
struct Tally;

#[derive(Default)]
struct Count(u64);

impl Handler for Tally {
    fn message_type(&self) -> &str {
        "tally"
    }

    fn handle(&mut self, ctx: &mut Ctx<'_>, message: &Message<'_>) -> Result<(), HandlerError> {
        let own = ctx.data::<Count>().map_or(0, |count| {
            count.0 += 1;
            count.0
        });
        let what = message.str("what")?.unwrap_or_default().into_owned();
        let room = ctx.room(message)?;
        ctx.in_room(&room, move |room| {
            let count = room.data::<Count>();
            count.0 += 1;
            let all = count.0;
            let is_in = room.is_member(&room.user().clone());
            let members = room.members().count as u64;
            match &*what {
                "panic" => panic!("as asked"),
                "error" => return Err(HandlerError::new("as asked")),
                "refuse" => return Err(Rejection::Conflict.into()),
                _ => {}
            }
            let owner = room.owner().map(|owner| owner.to_string());
            room.publish("tally", Exclude::Sender, |fields| fields.number("all", all));
            room.publish_ephemeral("tallied", Exclude::None, |fields| fields.number("all", all));
            room.reply("tally-result", |fields| {
                let fields = fields.number("own", own).number("all", all);
                let fields = fields.number("members", members).bool("is_in", is_in);
                fields.optional_str("owner", owner.as_deref())
            });
            Ok(())
        });
        Ok(())
    }
}

#[test]
fn a_handler_works_in_a_room_wherever_it_is() {
    for shards in [1, 2, 3] {
        let server = builder(shards, trusting()).handler(|| Tally).start();
        let (ann, bob) = (v1(&server, "ann"), v1(&server, "bob"));
        call(&ann, "room.create", json!({"room_id": "r"})).unwrap();
        subscribe(&bob, json!({"topic": "r"}));
        let send = |what: &str| {
            ann.send(json!({"type": "tally", "id": 5, "data": {"room_id": "r", "what": what}}));
        };
        send("count");
        let answer = ann.expect("tally-result");
        assert_eq!(answer["id"], 5);
        let expected = json!({"own": 1, "all": 1, "members": 2, "is_in": true, "owner": "ann"});
        assert_eq!(answer["data"], expected);
        let heard = bob.receive();
        assert_eq!(
            (&heard["type"], &heard["data"]),
            (&json!("tally"), &json!({"all": 1}))
        );
        assert_eq!(
            (&heard["user_id"], &heard["offset"]),
            (&json!("ann"), &json!(1))
        );
        let heard = bob.receive();
        assert_eq!(
            (&heard["type"], &heard["offset"]),
            (&json!("tallied"), &Value::Null)
        );
        assert_eq!(heard["id"], Value::Null, "told once and never again");
        ann.forget();
        for (what, code) in [
            ("panic", "handler_error"),
            ("error", "handler_error"),
            ("refuse", "conflict"),
        ] {
            send(what);
            let refused = ann.receive();
            assert_eq!(
                (&refused["type"], &refused["id"]),
                (&json!("error"), &json!(5))
            );
            assert_eq!(refused["data"]["code"], code);
            bob.expect_nothing();
        }
        send("count");
        assert_eq!(
            ann.expect("tally-result")["data"]["all"],
            5,
            "the room lives on"
        );
        server.end();
    }
}

#[test]
fn a_handlers_work_makes_a_room_only_where_joining_would() {
    struct Visit;
    impl Handler for Visit {
        fn message_type(&self) -> &str {
            "visit"
        }
        fn handle(&mut self, ctx: &mut Ctx<'_>, message: &Message<'_>) -> Result<(), HandlerError> {
            let name = message.room()?.ok_or(Rejection::RoomRequired)?;
            ctx.in_room(&super::super::Room::named(&name)?, |room| {
                let visitors = room.members().count as u64;
                room.reply("visited", |fields| fields.number("members", visitors));
                Ok(())
            });
            Ok(())
        }
    }
    let options = RealtimeOptions {
        namespaces: vec![Namespace {
            pattern: "api-*".into(),
            create: Create::ApiOnly,
            ..Namespace::default()
        }],
        ..trusting()
    };
    for shards in [1, 3] {
        let server = builder(shards, options.clone()).handler(|| Visit).start();
        let ann = v1(&server, "ann");
        ann.send(json!({"type": "visit", "data": {"room_id": "r"}}));
        assert_eq!(ann.receive()["data"], json!({"members": 0}));
        ann.send(json!({"type": "visit", "data": {"room_id": "api-r"}}));
        assert_eq!(ann.receive()["data"]["code"], "not_found");
        server.end();
    }
}

fn roles(server: &TestServer, user: &str, roles: &str) -> Client {
    connect(server, &format!("/v1/connect?roles={roles}"), user)
}

#[test]
fn req_4_13_announcements_and_notifications_are_for_those_with_the_role() {
    for shards in [1, 2, 3] {
        let server = server(shards, trusting());
        let (admin, ann) = (roles(&server, "root", "admin"), v1(&server, "ann"));
        let bobs = [
            connect(&server, "/ws", "bob"),
            connect(&server, "/api/v1/ws", "bob"),
        ];
        server.forget();
        let announcement = json!({"type": "announcement", "id": 1, "data": {"message": "soon"}});
        let note = json!({"receiver_id": "bob", "title": "t", "body": "b"});
        let note = json!({"type": "notification", "id": 2, "data": note});
        let request = json!({"receiver_id": "bob", "request_id": "q"});
        let request = json!({"type": "request-notification", "id": 3, "data": request});
        for message in [&announcement, &note, &request] {
            ann.send(message);
            assert_eq!(ann.receive()["data"]["code"], "forbidden");
        }
        bobs.iter().for_each(Client::expect_nothing);

        admin.send(&announcement);
        assert_eq!(ann.receive()["data"], json!({"message": "soon"}));
        let [flat, message] = &bobs;
        assert_eq!(flat.receive()["message"], "soon");
        assert_eq!(message.receive()["message"]["message"], "soon");
        admin.send(&note);
        let told = message.receive();
        assert_eq!(told["type"], "notification");
        let body = &told["message"];
        assert_eq!((&body["title"], &body["body"]), (&json!("t"), &json!("b")));
        assert!(body["notification_id"].is_string() && body["timestamp"].is_string());
        assert_eq!(flat.receive()["title"], "t");
        admin.send(&request);
        let expected = json!({"request_id": "q", "sender_id": "root", "receiver_id": "bob",
            "status": "pending", "timestamp": "2026-11-21T02:00:00.000Z"});
        let told = message.receive();
        assert_eq!(told["type"], "request-notification");
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(&told["message"][name], value, "{name}");
        }
        ann.expect_nothing();
        for bad in [
            json!({"type": "notification", "data": {"receiver_id": "bob"}}),
            json!({"type": "notification", "data": {"body": "b"}}),
            json!({"type": "announcement", "data": {"message": ""}}),
            json!({"type": "announcement", "data": {"message": 5}}),
            json!({"type": "request-notification", "data": {"receiver_id": "bob"}}),
            json!({"type": "request-notification",
                "data": {"receiver_id": "bob", "request_id": "x".repeat(200)}}),
        ] {
            admin.forget();
            admin.send(&bad);
            assert_eq!(admin.receive()["data"]["code"], "invalid_message", "{bad}");
        }
        server.end();
    }
}
