//! The frames of the protocol in every profile, as another parser reads them.

mod relayed;
mod server;
mod users;

use serde_json::{Map, Value};

use super::*;

const AT: &str = "2026-11-21T02:12:29.123Z";

fn at() -> Timestamp {
    Timestamp::new(1_795_227_149_123)
}

fn id() -> MessageId {
    MessageId::new(1, 2)
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

/// What all profiles make of one message, in the order of [`Profile::ALL`].
fn in_all(outbound: &Outbound<'_>) -> [Value; 4] {
    Profile::ALL.map(|profile| text(outbound, profile))
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
