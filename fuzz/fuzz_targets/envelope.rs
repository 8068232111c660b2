//! Whatever is accepted as a message is JSON to another parser as well, and so is what it becomes.
#![no_main]

use campanile::realtime::protocol::{Frame, Inbound, MessageId, Profile, Timestamp, scan};

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
        let at = Timestamp::new(1_795_227_149_123);
        for message in messages {
            assert!(is_json(message.payload().as_bytes()));
            let (_, _, _) = (message.room(), message.token(), message.str("content"));
            let mut out = Vec::new();
            Frame::chat(
                &mut out,
                MessageId::new(1, 2),
                "lobby",
                "42",
                &at,
                message.members(),
            );
            assert!(is_json(&out));
        }
    }
});
