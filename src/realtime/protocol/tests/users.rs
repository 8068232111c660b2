//! Frames that come from users: chats, publications, presence; numbers, bytes and forgeries.

use serde_json::{Value, json};

use super::*;

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
            r#"{"text":"hi","content":null}"#,
            TextName::Text,
            json!({"content": "hi"}),
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
