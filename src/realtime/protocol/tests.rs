//! The frames of the protocol in every profile, as another parser reads them.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::payload::{ChatNotification, Established, MessageStatus, Present, Reached, Subscribed};
use super::*;
use crate::id::{ConnectionId, ShardId, Slot};

const AT: &str = "2026-11-21T02:12:29.123Z";

fn at() -> Timestamp {
    Timestamp::new(1_795_227_149_123)
}

fn id() -> MessageId {
    MessageId::new(1, 2)
}

fn connection() -> ConnectionId {
    ConnectionId::new(ShardId(1), Slot(2), 3)
}

/// A message of the server's own to nobody in particular.
fn bare<'a>(message_type: &'a str, body: Body<'a>) -> Outbound<'a> {
    Outbound {
        message_type,
        id: None,
        room: None,
        user: None,
        at: at(),
        position: None,
        body,
    }
}

fn text(outbound: &Outbound<'_>, profile: Profile) -> Value {
    let mut out = b"before".to_vec();
    assert_eq!(outbound.write(profile, &mut out), Kind::Text);
    let frame = out.strip_prefix(b"before").unwrap();
    serde_json::from_slice(frame).unwrap_or_else(|error| panic!("{error}: {out:?}"))
}

fn object(fill: impl FnOnce(Fields<'_>) -> Fields<'_>) -> String {
    let mut out = Vec::new();
    Fields::write(&mut out, fill);
    String::from_utf8(out).unwrap()
}

/// What two objects hold together; both may not name the same.
fn with(mut base: Value, more: &Value) -> Value {
    for (name, value) in more.as_object().unwrap() {
        let members: &mut Map<_, _> = base.as_object_mut().unwrap();
        assert!(
            members.insert(name.clone(), value.clone()).is_none(),
            "{name}"
        );
    }
    base
}

#[test]
fn frame_1_the_welcome_is_long_in_v1_and_short_elsewhere() {
    let welcome = Established {
        connection: connection(),
        user: "42",
        session: Some("rt_1"),
        heartbeat_ms: 54_000,
        message_bytes_max: 32_768,
        expires_at: Some(at()),
    };
    let frame = |profile| {
        let payload = object(|fields| payload::established(fields, &welcome, profile, &at()));
        let outbound = Outbound {
            id: Some(Id::Message(id())),
            ..bare("connection-status", Body::Object(&payload))
        };
        text(&outbound, profile)
    };
    let connection = connection().to_string();
    let short = json!({"status": "established", "timestamp": AT, "connection_id": connection,
        "user_id": "42"});
    let long = json!({"session": "rt_1", "profile": "v1", "heartbeat_ms": 54_000,
        "max_message_size": 32_768, "expires_at": AT});
    let head = json!({"type": "connection-status", "id": id().to_string()});
    assert_eq!(
        frame(Profile::V1),
        with(
            head.clone(),
            &json!({"timestamp": AT, "data": with(short.clone(), &long)})
        )
    );
    assert_eq!(
        frame(Profile::Room),
        with(head.clone(), &json!({"timestamp": AT, "data": short}))
    );
    assert_eq!(
        frame(Profile::Message),
        json!({"type": "connection-status", "message": short})
    );
    assert_eq!(frame(Profile::Flat), with(head, &short));
}

/// Checks a frame without identifier, room and user in every profile.
fn assert_bare(message_type: &str, payload: &str, expected: &Value) {
    let outbound = bare(message_type, Body::Object(payload));
    let stamp = json!({"timestamp": AT});
    let stamped = match expected.get("timestamp") {
        Some(_) => expected.clone(),
        None => with(expected.clone(), &stamp),
    };
    for profile in [Profile::V1, Profile::Room] {
        assert_eq!(
            text(&outbound, profile),
            json!({"type": message_type, "timestamp": AT, "data": expected})
        );
    }
    assert_eq!(
        text(&outbound, Profile::Message),
        json!({"type": message_type, "message": stamped})
    );
    assert_eq!(
        text(&outbound, Profile::Flat),
        with(json!({"type": message_type}), &stamped)
    );
}

#[test]
fn the_servers_own_words_are_as_the_protocol_has_them() {
    type Fill = fn(Fields<'_>) -> Fields<'_>;
    let table: [(&str, Fill, Value); 24] = [
        (
            "connection-status",
            |f| payload::draining(f, 8421, &at()),
            json!({"status": "draining", "timestamp": AT, "reconnect_in_ms": 8421}),
        ),
        (
            "connection-status",
            |f| payload::moved(f, &at()),
            json!({"status": "moved", "timestamp": AT}),
        ),
        (
            "authentication",
            |f| payload::authenticated(f, "42", Some(at())),
            json!({"status": "ok", "user_id": "42", "expires_at": AT}),
        ),
        (
            "authentication",
            |f| payload::expiring(f, &at()),
            json!({"status": "expiring", "expires_at": AT}),
        ),
        (
            "subscribed",
            |f| {
                payload::subscribed(
                    f,
                    &Subscribed {
                        topic: "chat:7",
                        head: Some(("k3", 121)),
                        recovered: Some(true),
                        replayed: Some(3),
                        members: Some(12),
                    },
                )
            },
            json!({"topic": "chat:7", "epoch": "k3", "offset": 121, "recovered": true,
                "replayed": 3, "members": 12}),
        ),
        (
            "subscribed",
            |f| {
                payload::subscribed(
                    f,
                    &Subscribed {
                        topic: "chat:7",
                        head: None,
                        recovered: None,
                        replayed: None,
                        members: None,
                    },
                )
            },
            json!({"topic": "chat:7"}),
        ),
        (
            "unsubscribed",
            |f| payload::unsubscribed(f, "chat:7", Some("kicked")),
            json!({"topic": "chat:7", "reason": "kicked"}),
        ),
        (
            "unsubscribed",
            |f| payload::unsubscribed(f, "chat:7", None),
            json!({"topic": "chat:7"}),
        ),
        (
            "ack",
            |f| payload::ack(f, "prices", id(), Some(("k3", 9))),
            json!({"topic": "prices", "message_id": id().to_string(), "epoch": "k3", "offset": 9}),
        ),
        (
            "ack",
            |f| payload::ack(f, "prices", id(), None),
            json!({"topic": "prices", "message_id": id().to_string()}),
        ),
        (
            "presence",
            |f| {
                let ann = Present {
                    id: "42",
                    connections: 2,
                    since: at(),
                    info: r#"{"name":"Ann"}"#,
                };
                payload::presence_snapshot(f, 2, [ann], Some(Some("c")))
            },
            json!({"action": "snapshot", "count": 2, "next_cursor": "c", "users": [
                {"user_id": "42", "connections": 2, "since": AT, "info": {"name": "Ann"}}]}),
        ),
        (
            "presence",
            |f| payload::presence_snapshot(f, 0, [], Some(None)),
            json!({"action": "snapshot", "count": 0, "users": [], "next_cursor": null}),
        ),
        (
            "presence",
            |f| payload::presence_snapshot(f, 0, [], None),
            json!({"action": "snapshot", "count": 0, "users": []}),
        ),
        (
            "presence",
            |f| payload::presence_count(f, u64::MAX),
            json!({"action": "count", "count": u64::MAX}),
        ),
        (
            "system",
            |f| payload::system(f, "kicked", "bye"),
            json!({"event": "kicked", "message": "bye"}),
        ),
        (
            "notification",
            |f| payload::notification(f, id(), "Hello", "there", &at()),
            json!({"notification_id": id().to_string(), "title": "Hello", "body": "there",
                "timestamp": AT}),
        ),
        (
            "request-notification",
            |f| payload::request_notification(f, "r1", "42", "43", "pending", &at()),
            json!({"request_id": "r1", "sender_id": "42", "receiver_id": "43",
                "status": "pending", "timestamp": AT}),
        ),
        (
            "chat-notification",
            |f| {
                let notification = ChatNotification {
                    chat: "7",
                    creator: "42",
                    name: Some("Team"),
                    is_group: true,
                    members: Some(&["42", "43"]),
                    action: "created",
                };
                payload::chat_notification(f, &notification, &at())
            },
            json!({"chat_id": "7", "creator_id": "42", "name": "Team", "is_group": true,
                "timestamp": AT, "members": ["42", "43"], "action": "created"}),
        ),
        (
            "rpc",
            |f| payload::rpc_result(f, r#"{"messages":[],"next_cursor":null}"#),
            json!({"result": {"messages": [], "next_cursor": null}}),
        ),
        (
            "announcement",
            |f| payload::announcement(f, "Server maintenance in 5 minutes"),
            json!({"message": "Server maintenance in 5 minutes"}),
        ),
        (
            "error",
            |f| {
                let limit_bytes = 32_768;
                let rejection = Rejection::PayloadTooLarge { limit_bytes };
                payload::error(f, &rejection, Some("publish"), &at())
            },
            json!({"error": "message too long", "code": "payload_too_large",
                "ref_type": "publish", "timestamp": AT, "details": {"limit": 32_768}}),
        ),
        (
            "error",
            |f| {
                let retry_after_ms = 20;
                payload::error(f, &Rejection::Unavailable { retry_after_ms }, None, &at())
            },
            json!({"error": "not available at the moment", "code": "unavailable",
                "timestamp": AT, "retry_after_ms": 20}),
        ),
        ("pong", payload::nothing, json!({})),
        ("heartbeat", payload::nothing, json!({})),
    ];
    for (message_type, fill, expected) in table {
        assert_bare(message_type, &object(fill), &expected);
    }
}

#[test]
fn frame_6_a_status_is_of_the_server_of_a_reader_or_of_many() {
    let status = |reached, client_message_id, word, chat, sender| {
        let status = MessageStatus {
            message: id(),
            client_message_id,
            status: word,
            reached,
            chat,
            sender,
        };
        object(|fields| payload::message_status(fields, &status, &at()))
    };
    let own = id().to_string();
    assert_bare(
        "message-status",
        &status(
            Reached::Server,
            Some("c1"),
            Status::Sent,
            Some("7"),
            Some("42"),
        ),
        &json!({"message_id": own, "client_message_id": "c1", "status": "sent", "chat_id": "7",
            "sender_id": "42", "timestamp": AT}),
    );
    assert_bare(
        "message-status",
        &status(Reached::Recipient("43"), None, Status::Read, None, None),
        &json!({"message_id": own, "status": "read", "recipient_id": "43", "timestamp": AT}),
    );
    let (delivered, read) = (120, 80);
    let counts = Reached::Counts { delivered, read };
    assert_bare(
        "message-status",
        &status(counts, None, Status::Delivered, None, None),
        &json!({"message_id": own, "status": "delivered", "timestamp": AT,
            "counts": {"delivered": 120, "read": 80}}),
    );
    // What carries the status does not pass for the message that it is about.
    let payload = status(Reached::Server, None, Status::Sent, None, None);
    let pushed = Outbound {
        id: Some(Id::Message(MessageId::new(9, 9))),
        ..bare("message-status", Body::Object(&payload))
    };
    for profile in Profile::ALL {
        let frame = text(&pushed, profile);
        let place = ["data", "message"].iter().find_map(|name| frame.get(name));
        assert_eq!(place.unwrap_or(&frame)["message_id"], own, "{profile}");
    }
    assert!(Status::Sent < Status::Delivered && Status::Delivered < Status::Read);
    assert_eq!(Status::from_name("READ"), Some(Status::Read));
    assert_eq!(Status::from_name("seen"), None);
}

/// What all profiles make of one message, in the order of [`Profile::ALL`].
fn in_all(outbound: &Outbound<'_>) -> [Value; 4] {
    Profile::ALL.map(|profile| text(outbound, profile))
}

#[test]
fn frame_4_a_publication_names_its_room_and_its_place() {
    let content = Content::Json(r#"{"btc":50010}"#.into());
    let payload = object(|fields| payload::publish(fields, "prices", Some("tick"), &content));
    let outbound = Outbound {
        id: Some(Id::Message(id())),
        room: Some("prices"),
        user: Some("42"),
        position: Some(Position {
            offset: 9,
            epoch: Some("k3"),
        }),
        ..bare("publish", Body::Object(&payload))
    };
    let own = id().to_string();
    let said = json!({"topic": "prices", "event": "tick", "data": {"btc": 50010}});
    let v1 = json!({"type": "publish", "id": own, "room_id": "prices", "user_id": "42",
        "offset": 9, "epoch": "k3", "timestamp": AT, "data": said});
    let mut room = v1.clone();
    room["user_id"] = json!(42);
    let names = json!({"message_id": own, "chat_id": "prices", "user_id": "42", "timestamp": AT});
    let message = json!({"type": "publish", "message": with(names, &said)});
    let names = json!({"type": "publish", "id": own, "room_id": "prices", "user_id": "42",
        "timestamp": AT});
    assert_eq!(in_all(&outbound), [v1, room, message, with(names, &said)]);
}

fn chat<'a>(object: &'a str, text: TextName, recipients: &'a [Recipient<'a>]) -> Outbound<'a> {
    Outbound {
        id: Some(Id::Message(id())),
        room: Some("7"),
        user: Some("42"),
        position: Some(Position {
            offset: 122,
            epoch: None,
        }),
        ..bare(
            "chat",
            Body::Chat {
                object,
                text,
                recipients,
            },
        )
    }
}

/// A chat's frames with that payload in v1 and room, and that one in message and flat.
fn chats(data: &Value, others: &Value) -> [Value; 4] {
    let own = id().to_string();
    let v1 = json!({"type": "chat", "id": own, "room_id": "7", "user_id": "42", "offset": 122,
        "timestamp": AT, "data": data});
    let mut room = v1.clone();
    room["user_id"] = json!(42);
    let names = json!({"message_id": own, "chat_id": "7", "sender_id": "42", "sent_at": AT});
    let message = json!({"type": "chat", "message": with(names, others)});
    let names = json!({"type": "chat", "id": own, "room_id": "7", "user_id": "42",
        "timestamp": AT});
    [v1, room, message, with(names, others)]
}

#[test]
fn frame_5_a_chat_crosses_the_profiles_with_its_text() {
    let table = [
        (
            r#"{"content":"hi","n":[1]}"#,
            TextName::Content,
            json!({"content": "hi", "n": [1]}),
        ),
        (
            r#"{"text":"hi","n":1}"#,
            TextName::Text,
            json!({"content": "hi", "n": 1}),
        ),
        (
            r#"{"content":null,"text":"hi"}"#,
            TextName::Text,
            json!({"content": "hi"}),
        ),
        (
            r#"{"message":"hi","text":null}"#,
            TextName::Message,
            json!({"content": "hi", "text": null}),
        ),
        (
            r#"{"dice":[1,6]}"#,
            TextName::Whole,
            json!({"content": r#"{"dice":[1,6]}"#}),
        ),
        (r#"{ }"#, TextName::Whole, json!({"content": "{ }"})),
        (
            r#"{"t\u0065xt":"hi"}"#,
            TextName::Text,
            json!({"content": "hi"}),
        ),
    ];
    for (object, text, others) in table {
        let data = serde_json::from_str(object).unwrap();
        assert_eq!(
            in_all(&chat(object, text, &[])),
            chats(&data, &others),
            "{object}"
        );
    }
}

#[test]
fn req_2_9_recipients_are_listed_in_the_message_profile() {
    let recipients = [Recipient {
        user: "43",
        status: Status::Sent,
        updated_at: at(),
    }];
    // A client's own list is not taken for the server's, with or without one.
    let forged = r#"{"content":"hi","recipients":"all"}"#;
    let listed = json!([{"message_id": id().to_string(), "recipient_id": "43", "status": "sent",
        "updated_at": AT}]);
    let frame = text(
        &chat(forged, TextName::Content, &recipients),
        Profile::Message,
    );
    assert_eq!(frame["message"]["recipients"], listed);
    let frame = text(&chat(forged, TextName::Content, &[]), Profile::Message);
    assert_eq!(frame["message"].get("recipients"), None);
    let frame = text(&chat(forged, TextName::Content, &recipients), Profile::Flat);
    assert_eq!(frame["recipients"], "all");
}

#[test]
fn frames_7_and_8_come_from_a_user_in_a_room() {
    let cases = [
        (
            "typing",
            object(|fields| payload::typing(fields, true)),
            json!({"is_typing": true}),
        ),
        (
            "presence",
            object(|fields| payload::presence_join(fields, 3, "43", payload::NO_INFO)),
            json!({"action": "join", "count": 3, "user": {"user_id": "43", "info": {}}}),
        ),
        (
            "presence",
            object(|fields| payload::presence_update(fields, "43", r#"{"name":"Bob"}"#)),
            json!({"action": "update", "user": {"user_id": "43", "info": {"name": "Bob"}}}),
        ),
        (
            "presence",
            object(|fields| payload::presence_leave(fields, 2)),
            json!({"action": "leave", "count": 2}),
        ),
    ];
    for (message_type, payload, said) in cases {
        let outbound = Outbound {
            room: Some("7"),
            user: Some("43"),
            ..bare(message_type, Body::Object(&payload))
        };
        let v1 = json!({"type": message_type, "room_id": "7", "user_id": "43", "timestamp": AT,
            "data": said});
        let mut room = v1.clone();
        room["user_id"] = json!(43);
        let names = json!({"chat_id": "7", "user_id": "43", "timestamp": AT});
        let message = json!({"type": message_type, "message": with(names, &said)});
        let names = json!({"type": message_type, "room_id": "7", "user_id": "43",
            "timestamp": AT});
        assert_eq!(in_all(&outbound), [v1, room, message, with(names, &said)]);
    }
}

#[test]
fn a_reply_echoes_the_request_as_it_was_written() {
    let Ok(Inbound::One(request)) = scan(r#"{"type":"ping","id":1.50e3}"#, Profile::V1) else {
        panic!()
    };
    let reply = Outbound {
        id: request.id().map(Id::Request),
        ..bare("pong", Body::Object("{}"))
    };
    for profile in Profile::ALL {
        let mut out = Vec::new();
        reply.write(profile, &mut out);
        let out = String::from_utf8(out).unwrap();
        assert!(out.starts_with(r#"{"type":"pong","id":1.50e3,"#), "{out}");
    }
}

#[test]
fn conflict_3_a_user_is_a_number_in_the_room_profile_if_every_parser_can_hold_it() {
    let max = 9_007_199_254_740_991_u64;
    let table = [
        ("0", json!(0)),
        ("42", json!(42)),
        ("9007199254740991", json!(max)),
        ("9007199254740992", json!("9007199254740992")),
        ("99999999999999999999999", json!("99999999999999999999999")),
        ("007", json!("007")),
        ("00", json!("00")),
        ("-1", json!("-1")),
        ("+1", json!("+1")),
        ("1.0", json!("1.0")),
        ("1e3", json!("1e3")),
        ("٣", json!("٣")),
        ("", json!("")),
        ("ann@example.com", json!("ann@example.com")),
    ];
    for (user, expected) in table {
        let outbound = Outbound {
            user: Some(user),
            ..bare("typing", Body::Object("{}"))
        };
        assert_eq!(text(&outbound, Profile::Room)["user_id"], expected);
        assert_eq!(text(&outbound, Profile::V1)["user_id"], user);
        assert_eq!(text(&outbound, Profile::Flat)["user_id"], user);
        assert_eq!(
            text(&outbound, Profile::Message)["message"]["user_id"],
            user
        );
    }
}

#[test]
fn req_1_2_bytes_go_behind_an_envelope_in_the_receivers_profile() {
    let bytes = b"\x00\xff{\"";
    let body = Body::Binary {
        object: r#"{"event":"tick"}"#,
        bytes,
    };
    let outbound = Outbound {
        id: Some(Id::Message(id())),
        room: Some("prices"),
        user: Some("42"),
        ..bare("publish", body)
    };
    let as_text = Outbound {
        body: Body::Object(r#"{"event":"tick"}"#),
        ..outbound
    };
    for profile in Profile::ALL {
        let mut out = vec![7];
        assert_eq!(outbound.write(profile, &mut out), Kind::Binary);
        let length = usize::from(u16::from_be_bytes([out[3], out[4]]));
        assert_eq!(out[..3], [7, 1, 0]);
        let envelope: Value = serde_json::from_slice(&out[5..5 + length]).unwrap();
        assert_eq!(envelope, text(&as_text, profile));
        assert_eq!(out[5 + length..], bytes[..]);
        // It is read here as it is written.
        let message = scan_binary(&out[1..], profile).unwrap();
        assert_eq!(message.binary(), Some(&bytes[..]));
    }
}

#[test]
fn the_longest_envelope_of_a_binary_message_fits_its_length() {
    use crate::limits::{TOPIC_BYTES_MAX, USER_ID_BYTES_MAX};
    // Control characters take six bytes each.
    let room = "\u{1}".repeat(TOPIC_BYTES_MAX);
    let user = "\u{1}".repeat(USER_ID_BYTES_MAX);
    let message_type = "\u{1}".repeat(TYPE_BYTES_MAX);
    let padding = "x".repeat(BINARY_ENVELOPE_BYTES_MAX - r#"{"k":""}"#.len());
    let object = format!(r#"{{"k":"{padding}"}}"#);
    assert_eq!(object.len(), BINARY_ENVELOPE_BYTES_MAX);
    let outbound = Outbound {
        id: Some(Id::Message(id())),
        room: Some(&room),
        user: Some(&user),
        position: Some(Position {
            offset: u64::MAX,
            epoch: Some("0123456789abcdef"),
        }),
        ..bare(
            &message_type,
            Body::Binary {
                object: &object,
                bytes: b"",
            },
        )
    };
    for profile in Profile::ALL {
        assert_eq!(outbound.write(profile, &mut Vec::new()), Kind::Binary);
    }
}

#[test]
fn a_user_can_say_nothing_under_the_names_of_the_server() {
    let forged = r#"{"type":"system","id":"x","room_id":"1","user_id":"1","timestamp":"t",
        "offset":1,"epoch":"e","message_id":"x","chat_id":"1","\u0075ser_id":"2","n":1}"#;
    // No room and no identifier of the server's: theirs are left out all the same.
    let outbound = Outbound {
        user: Some("42"),
        ..bare("wave", Body::Object(forged))
    };
    assert_eq!(
        text(&outbound, Profile::Flat),
        json!({"type": "wave", "user_id": "42", "timestamp": AT, "message_id": "x",
            "chat_id": "1", "n": 1})
    );
    assert_eq!(
        text(&outbound, Profile::Message),
        json!({"type": "wave", "message": {"user_id": "42", "timestamp": AT, "type": "system",
            "id": "x", "room_id": "1", "offset": 1, "epoch": "e", "n": 1}})
    );
    // Under `data` they are the application's affair.
    let frame = text(&outbound, Profile::V1);
    assert_eq!(frame["user_id"], "42");
    assert_eq!(frame["data"]["offset"], 1);
}

/// Members as another parser reads them, in order, with those that repeat.
fn members(object: &str) -> Vec<(String, Value)> {
    serde_json::from_str::<Value>(object).unwrap_or_else(|error| panic!("{error}: {object}"));
    let members = Members::parse(object).unwrap();
    members
        .map(|member| {
            let value = serde_json::from_str(member.raw()).unwrap();
            (member.name().into_owned(), value)
        })
        .collect()
}

/// What a frame says: the server's own members beside or in the payload, and the rest of it.
fn split(
    frame: &str,
    profile: Profile,
    own: &[&str],
) -> (Vec<(String, Value)>, Vec<(String, Value)>) {
    let place = match profile {
        Profile::V1 | Profile::Room => "data",
        Profile::Message => "message",
        Profile::Flat => "",
    };
    let is_own = |member: &(String, Value)| own.contains(&member.0.as_str());
    let mut top = Vec::new();
    let mut payload = Vec::new();
    for member in Members::parse(frame).unwrap() {
        if member.is(place) && profile != Profile::Flat {
            payload.extend(members(member.raw()));
        } else {
            top.extend(members(&format!(
                "{{\"{}\":{}}}",
                member.raw_name(),
                member.raw()
            )));
        }
    }
    match profile {
        Profile::V1 | Profile::Room => (top, payload),
        Profile::Message => {
            let (own, rest) = payload.into_iter().partition(is_own);
            assert_eq!(top.len(), 1, "the type and nothing else: {frame}");
            (own, rest)
        }
        Profile::Flat => {
            assert!(payload.is_empty());
            top.into_iter().partition(is_own)
        }
    }
}

/// Payloads with names of the server's, repeated or escaped.
fn payloads() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        proptest::sample::select(vec![
            "type",
            "id",
            "room_id",
            "user_id",
            "timestamp",
            "offset",
            "epoch",
            "message_id",
            "chat_id",
            "sender_id",
            "sent_at",
            "recipients",
            "content",
            "text",
            "message",
            "data",
            "topic",
            "token",
            "client_message_id",
        ])
        .prop_map(str::to_owned),
        ".{0,6}",
    ];
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        any::<i32>().prop_map(|number| number.to_string()),
        ".{0,12}".prop_map(|text| Value::from(text).to_string()),
    ];
    let value = leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3)
                .prop_map(|items| format!("[ {} ]", items.join(" , "))),
            proptest::collection::vec(inner, 0..3).prop_map(|items| {
                let items = items.iter().map(|item| format!("\"type\":{item}"));
                format!("{{{}}}", items.collect::<Vec<_>>().join(","))
            }),
        ]
    });
    let member = (name, any::<bool>(), value).prop_map(|(name, is_escaped, value)| {
        if is_escaped {
            let units = name.encode_utf16().map(|unit| format!("\\u{unit:04x}"));
            format!("\"{}\" : {value}", units.collect::<String>())
        } else {
            format!("{}:{value}", Value::from(name))
        }
    });
    proptest::collection::vec(member, 0..8)
        .prop_map(|members| format!("{{{}}}", members.join(", ")))
}

/// The payload as a profile that has one name for a chat's text says it.
fn with_content(chat: &Chat<'_>, members: &[(String, Value)]) -> Vec<(String, Value)> {
    let Some(text) = chat.text.as_str() else {
        return vec![("content".to_owned(), Value::from(&*chat.object))];
    };
    let said = members
        .iter()
        .cloned()
        .filter_map(|(name, value)| match &*name {
            name if name == text => Some(("content".to_owned(), value)),
            "content" => None,
            _ => Some((name, value)),
        });
    said.collect()
}

proptest! {
    #[test]
    fn a_chat_loses_nothing_and_forges_nothing(payload in payloads(), user in "[0-9]{1,3}|.{1,5}") {
        let Ok(chat) = Chat::parse(&payload) else {
            return Ok(());
        };
        let owned = ["message_id", "chat_id", "sender_id", "sent_at"];
        let mut clean = members(&payload);
        clean.retain(|(name, _)| !owned.contains(&name.as_str()));
        prop_assert_eq!(&members(&chat.object), &clean);
        let outbound = Outbound {
            user: Some(&user),
            ..self::chat(&chat.object, chat.text, &[])
        };
        for profile in Profile::ALL {
            let mut out = Vec::new();
            outbound.write(profile, &mut out);
            let frame = String::from_utf8(out).unwrap();
            let own_names: &[&str] = match profile {
                Profile::Message => &owned,
                _ => &["type", "id", "room_id", "user_id", "offset", "timestamp"],
            };
            let (mut own, said) = split(&frame, profile, own_names);
            let user = match user.parse::<u64>() {
                Ok(number) if profile == Profile::Room && number.to_string() == user => json!(number),
                _ => json!(user),
            };
            let mut own_values = vec![
                (own_names[0].to_owned(), json!("chat")),
                ("id".to_owned(), json!(id().to_string())),
                ("room_id".to_owned(), json!("7")),
                ("user_id".to_owned(), user.clone()),
                ("offset".to_owned(), json!(122)),
                ("timestamp".to_owned(), json!(AT)),
            ];
            let expected = match profile {
                Profile::V1 | Profile::Room => clean.clone(),
                Profile::Message => {
                    let values = [json!(id().to_string()), json!("7"), user, json!(AT)];
                    own_values = owned.map(str::to_owned).into_iter().zip(values).collect();
                    let mut said = with_content(&chat, &clean);
                    said.retain(|(name, _)| name != "recipients");
                    said
                }
                Profile::Flat => {
                    own_values.remove(4);
                    let mut said = with_content(&chat, &clean);
                    let envelope = ["type", "id", "room_id", "user_id", "timestamp", "offset", "epoch"];
                    said.retain(|(name, _)| !envelope.contains(&name.as_str()));
                    said
                }
            };
            own.sort_by(|a, b| a.0.cmp(&b.0));
            own_values.sort_by(|a, b| a.0.cmp(&b.0));
            prop_assert_eq!(own, own_values, "{}", &frame);
            prop_assert_eq!(said, expected, "{}", &frame);
        }
    }

    #[test]
    fn any_other_message_of_a_user_loses_nothing_and_forges_nothing(
        payload in payloads(), has_room: bool, has_id: bool,
    ) {
        let outbound = Outbound {
            id: has_id.then(|| Id::Message(id())),
            room: has_room.then_some("7"),
            user: Some("ann"),
            ..bare("wave", Body::Object(&payload))
        };
        for profile in Profile::ALL {
            let mut out = Vec::new();
            outbound.write(profile, &mut out);
            let frame = String::from_utf8(out).unwrap();
            let names: &[&str] = match profile {
                Profile::Message => &["message_id", "chat_id", "user_id", "timestamp"],
                _ => &["id", "room_id", "user_id", "timestamp", "type", "offset", "epoch"],
            };
            let (mut own, said) = split(&frame, profile, names);
            let mut expected = members(&payload);
            if matches!(profile, Profile::Message | Profile::Flat) {
                expected.retain(|(name, _)| !names.contains(&name.as_str()));
            }
            prop_assert_eq!(said, expected, "{}", &frame);
            let mut values = vec![("user_id", json!("ann")), ("timestamp", json!(AT))];
            values.extend(has_id.then(|| (names[0], json!(id().to_string()))));
            values.extend(has_room.then(|| (names[1], json!("7"))));
            values.extend((profile != Profile::Message).then(|| ("type", json!("wave"))));
            let mut values: Vec<_> = values.into_iter().map(|(n, v)| (n.to_owned(), v)).collect();
            own.sort_by(|a, b| a.0.cmp(&b.0));
            values.sort_by(|a, b| a.0.cmp(&b.0));
            prop_assert_eq!(own, values, "{}", &frame);
        }
    }
}
