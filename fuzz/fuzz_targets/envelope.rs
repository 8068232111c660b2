//! Whatever is accepted as a message is JSON to another parser as well, and so is what it becomes in
//! every profile.
#![no_main]

use campanile::realtime::protocol::{
    Body, Id, Inbound, MessageId, Outbound, Profile, Timestamp, scan,
};

/// Whether another parser takes it, but for numbers beyond a double, which pass here.
fn is_json(bytes: &[u8]) -> bool {
    match serde_json::from_slice::<serde_json::Value>(bytes) {
        Ok(_) => true,
        Err(error) => error.to_string().starts_with("number out of range"),
    }
}

libfuzzer_sys::fuzz_target!(|text: &str| {
    for profile in Profile::ALL {
        let messages = match scan(text, profile) {
            Ok(Inbound::One(message)) => vec![message],
            Ok(Inbound::Batch(batch)) => batch.into_iter().flatten().collect(),
            Err(_) => continue,
        };
        for message in messages {
            assert!(is_json(message.payload().as_bytes()));
            let (_, _, _) = (message.room(), message.token(), message.publish());
            let Ok(chat) = message.chat() else { continue };
            let outbound = Outbound {
                message_type: "chat",
                id: Some(Id::Message(MessageId::new(1, 2))),
                room: Some("lobby"),
                user: Some("42"),
                at: Timestamp::new(1_795_227_149_123),
                position: None,
                body: Body::Chat {
                    object: &chat.object,
                    text: chat.text,
                    recipients: &[],
                },
            };
            for reader in Profile::ALL {
                let mut out = Vec::new();
                outbound.write(reader, &mut out);
                assert!(is_json(&out));
            }
        }
    }
});
