//! The server's own words: every frame of the protocol that comes from no user.

use serde_json::{Value, json};

use super::super::payload::{
    ChatNotification, Established, MessageStatus, Present, Reached, Subscribed,
};

use super::*;
use crate::id::{ConnectionId, ShardId, Slot};

fn connection() -> ConnectionId {
    ConnectionId::new(ShardId(1), Slot(2), 3)
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
