//! permessage-deflate over a socket, with the codec's own client side.

use campanile::shard::{Compression, Options};
use campanile::ws::{
    Deflater, Header, Inflater, MaskingKey, Opcode, WindowBits, client_frame_into,
};

use crate::puppets;
use crate::support::{Next, Raw};

const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";
const BYTES_MAX: usize = 1 << 20;

fn options() -> Options {
    Options {
        message_bytes_max: BYTES_MAX,
        compression: Some(Compression {
            bytes_min: 64,
            level: 6,
        }),
        ..Options::default()
    }
}

/// The next text message, and whether it came compressed.
fn hear(raw: &mut Raw, inflater: &mut Inflater) -> (String, bool) {
    match raw.next() {
        Next::Frame(header, payload) if header.opcode == Opcode::Text && header.fin => {
            let payload = if header.rsv1 {
                let inflated = inflater.inflate(&payload, BYTES_MAX);
                inflated.expect("DEFLATE data").to_vec()
            } else {
                payload
            };
            (String::from_utf8(payload).expect("UTF-8"), header.rsv1)
        }
        other => panic!("text was expected, not {other:?}"),
    }
}

fn say_compressed(raw: &mut Raw, text: &str) {
    let mut payload = Vec::new();
    Deflater::new(6).compress(text.as_bytes(), WindowBits::MAX, &mut payload);
    let header = Header {
        rsv1: true,
        key: Some(MaskingKey([1, 2, 3, 4])),
        ..Header::whole(Opcode::Text, payload.len())
    };
    let mut frame = Vec::new();
    client_frame_into(&mut frame, header, &payload);
    raw.write(&frame);
}

#[test]
fn large_messages_are_compressed_for_those_who_offered_it() {
    let (site, _) = puppets(1, options());
    let mut inflater = Inflater::new();
    let mut raw = Raw::connect(site.address);
    let response = raw.upgrade("/", OFFER);
    let agreed = response.field("sec-websocket-extensions").unwrap();
    assert!(agreed.starts_with("permessage-deflate"), "{agreed}");
    assert!(agreed.contains("server_no_context_takeover"), "{agreed}");
    assert!(agreed.contains("client_no_context_takeover"), "{agreed}");

    let long = "so long, ".repeat(5000);
    for _ in 0..3 {
        say_compressed(&mut raw, &long);
        assert!(hear(&mut raw, &mut inflater) == (long.clone(), true));
        say_compressed(&mut raw, "short");
        assert_eq!(hear(&mut raw, &mut inflater), ("short".into(), false));
        // A client may compress, and need not.
        raw.say(&long);
        assert!(hear(&mut raw, &mut inflater) == (long.clone(), true));
    }
    // Counted inflated.
    let counters = site.stats().shards[0].counters;
    assert_eq!(counters.bytes_in, (6 * long.len() + 3 * 5) as u64);
}

#[test]
fn a_topic_is_compressed_for_some_subscribers_and_not_for_others() {
    let (site, _) = puppets(1, options());
    let mut inflater = Inflater::new();
    let offers = [
        "",
        OFFER,
        "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10\r\n",
    ];
    let mut readers = offers.map(|offer| {
        let mut raw = Raw::connect(site.address);
        assert_eq!(raw.upgrade("/", offer).status, 101);
        assert_eq!(raw.ask("/subscribe news"), "New");
        raw
    });
    let long = "extra! ".repeat(3000);
    site.handle.publish("news", "short", None).unwrap();
    site.handle.publish("news", long.as_str(), None).unwrap();
    for (reader, compressed) in readers.iter_mut().zip([false, true, true]) {
        assert_eq!(hear(reader, &mut inflater), ("short".into(), false));
        assert!(hear(reader, &mut inflater) == (long.clone(), compressed));
    }
}

#[test]
fn compression_that_is_switched_off_is_not_negotiated() {
    let options = Options {
        compression: None,
        ..options()
    };
    let (site, _) = puppets(1, options);
    let mut raw = Raw::connect(site.address);
    let response = raw.upgrade("/", OFFER);
    assert_eq!(response.status, 101);
    assert_eq!(response.field("sec-websocket-extensions"), None);
    say_compressed(&mut raw, "unasked");
    assert_eq!(raw.closed().0, 1002);
}
