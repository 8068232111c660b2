//! Real frames, which the documents of the protocol are held against: what the server sends when all
//! is done that a client can do, and what it answers to one message.
#![allow(
    dead_code,
    reason = "each test binary compiles its own copy and uses a part of it"
)]

mod scenes;
pub(crate) mod shape;
mod stage;

use campanile::realtime::protocol::Profile;
use campanile::testing::Payload;
use serde_json::{Value, json};

pub(crate) use scenes::perform;
pub(crate) use shape::Shapes;
pub(crate) use stage::{Frame, Stage};

/// Stands in the documents where a client names a message: one of bob's, in the room `kitchen`.
pub(crate) const MESSAGE_ID: &str = "019a1f6e-3c8b-7d3a-9a53-1f0c2a91d3b7";
/// Stands in the documents for the epoch of the room `kitchen`.
pub(crate) const EPOCH: &str = "k3v9x2m4q8ab";

/// The codes by which the server refuses a text of a document; none if it takes it.
///
/// Panics if it has an `id` and is not answered by it.
pub(crate) fn refusals(profile: Profile, text: &str) -> Vec<String> {
    let answers = answers(profile, text);
    let sent: Option<Value> = serde_json::from_str(text).ok();
    if let Some(id) = sent.as_ref().and_then(|sent| sent.get("id")) {
        let is_answered = answers.iter().any(|answer| answer.get("id") == Some(id));
        assert!(is_answered, "{text}: {answers:#?}");
    }
    let errors = answers.iter().filter(|answer| answer["type"] == "error");
    let payload = |error: &Value| match profile {
        Profile::V1 | Profile::Room => error["data"]["code"].clone(),
        Profile::Message => error["message"]["code"].clone(),
        Profile::Flat => error["code"].clone(),
    };
    let codes = errors.map(|error| payload(error).as_str().expect("a code").to_owned());
    codes.collect()
}

/// What the server answers to a text of a document.
///
/// It is sent by ann, an `admin`, who is with bob in the rooms `lobby`, `kitchen`, `prices` and
/// `team`, of which the last is her own and has both on its list. Bob has said something in each of
/// them.
fn answers(profile: Profile, text: &str) -> Vec<Value> {
    let mut stage = Stage::new(profile);
    let ann = stage.enter("ann", "admin");
    let bob = stage.enter("bob", "");
    let create = json!({"room_id": "team", "members": ["ann", "bob"]});
    ann.call("room.create", create);
    for room in ["lobby", "kitchen", "prices", "team"] {
        for client in [&ann, &bob] {
            client.say("subscribe", json!({"topic": room}));
        }
        bob.say("chat", json!({"room_id": room, "content": "hi"}));
    }
    stage.collect();
    let of_kitchen = json!({"room_id": "kitchen"});
    ann.call("room.history", of_kitchen);
    ann.say("subscribe", json!({"topic": "kitchen"}));
    let told = stage.collect();
    let find = |pointer: &str| told.iter().find_map(|frame| frame.value.pointer(pointer));
    let inside = match profile {
        Profile::V1 | Profile::Room => "/data",
        Profile::Message => "/message",
        Profile::Flat => "",
    };
    let message = match profile {
        Profile::Message => format!("{inside}/result/messages/0/message/message_id"),
        _ => format!("{inside}/result/messages/0/id"),
    };
    let message = find(&message).and_then(Value::as_str);
    let epoch = find(&format!("{inside}/epoch")).and_then(Value::as_str);
    let text = text.replace(MESSAGE_ID, message.expect("bob has said something"));
    let text = text.replace(EPOCH, epoch.expect("the room has an epoch"));
    ann.send(Payload::Text(text));
    stage.end();
    let answers = stage.collect().into_iter();
    let to_ann = answers.filter(|frame| frame.to == "ann");
    to_ann.map(|frame| frame.value).collect()
}
