//! Whatever is accepted as a binary message goes out as one that is accepted again, in every profile,
//! with the same bytes behind its envelope.
#![no_main]

use campanile::realtime::protocol::{
    Body, Content, Fields, Outbound, Profile, Timestamp, payload, scan_binary,
};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    for profile in Profile::ALL {
        let Ok(message) = scan_binary(bytes, profile) else {
            continue;
        };
        let (_, _) = (message.method(), message.params());
        let Ok(publish) = message.publish() else {
            continue;
        };
        let Content::Binary(data) = publish.content else {
            panic!("the content of a binary message is its bytes");
        };
        let mut object = Vec::new();
        Fields::write(&mut object, |fields| {
            payload::publish(fields, "den", publish.event.as_deref(), &publish.content)
        });
        let object = String::from_utf8(object).expect("written from text");
        // An event from the longest envelope, and a room besides, is a little more than may go out.
        if object.len() > campanile::realtime::protocol::BINARY_ENVELOPE_BYTES_MAX {
            continue;
        }
        let outbound = Outbound {
            message_type: "publish",
            id: None,
            room: Some("den"),
            user: Some("42"),
            at: Timestamp::new(1_795_227_149_123),
            position: None,
            body: Body::Binary {
                object: &object,
                bytes: data,
            },
        };
        for reader in Profile::ALL {
            let mut out = Vec::new();
            outbound.write(reader, &mut out);
            let length = usize::from(u16::from_be_bytes([out[2], out[3]]));
            let envelope: serde_json::Value =
                serde_json::from_slice(&out[4..4 + length]).expect("the envelope is JSON");
            assert_eq!(envelope["type"], "publish");
            assert_eq!(&out[4 + length..], data);
        }
    }
});
