//! Whatever users send: nothing is lost, nothing forged.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// Names and values, in order.
type Named = Vec<(String, Value)>;

/// Members as another parser reads them, in order, with those that repeat.
fn members(object: &str) -> Named {
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
fn split(frame: &str, profile: Profile, own: &[&str]) -> (Named, Named) {
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
fn with_content(chat: &Chat<'_>, members: &[(String, Value)]) -> Named {
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
