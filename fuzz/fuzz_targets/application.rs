//! A whole server without a kernel, and two clients who send whatever comes: nothing panics, and what a
//! listener of each profile gets is JSON in which the server's names are the server's.
#![no_main]

use campanile::realtime::protocol::Profile;
use campanile::realtime::{LimitOptions, RealtimeOptions};
use campanile::testing::{Client, Payload, Received, TestServer};

/// One message of one of the two.
#[derive(Debug, arbitrary::Arbitrary)]
enum Sent {
    Text(bool, String),
    Binary(bool, Vec<u8>),
    /// Milliseconds pass.
    Time(u16),
}

fn enter(server: &TestServer, user: &str, profile: Profile) -> Client {
    let target = format!("/v1/connect?user_id={user}&profile={profile}");
    let client = server.connect_to(&target, &[]).expect("let in");
    client.send(r#"{"type":"subscribe","id":1,"topic":"den","presence":true}"#);
    client
}

/// What others get of a user's message says who that is, and nobody else.
fn check(profile: Profile, text: &str) {
    let frame: serde_json::Value = match serde_json::from_str(text) {
        Ok(frame) => frame,
        Err(error) if error.to_string().starts_with("number out of range") => return,
        Err(error) => panic!("{error}: {text}"),
    };
    let user = match profile {
        Profile::Message if frame["type"] == "chat" => &frame["message"]["sender_id"],
        Profile::Message if frame["type"] == "publish" => &frame["message"]["user_id"],
        _ if frame["type"] == "chat" || frame["type"] == "publish" => &frame["user_id"],
        _ => return,
    };
    assert!(user == "sinner-0" || user == "sinner-1", "{text}");
}

libfuzzer_sys::fuzz_target!(|sent: (u8, Vec<Sent>)| {
    let (profile, sent) = sent;
    let profile = Profile::ALL[usize::from(profile) % Profile::ALL.len()];
    let options = RealtimeOptions {
        limits: LimitOptions::without_rates(),
        ..RealtimeOptions::default()
    };
    let server = TestServer::builder().options(options).start();
    let listeners = Profile::ALL.map(|profile| (profile, enter(&server, "listener", profile)));
    let sinners = ["sinner-0", "sinner-1"].map(|user| enter(&server, user, profile));
    for sent in sent {
        let (is_first, payload) = match sent {
            Sent::Text(is_first, text) => (is_first, Payload::from(text)),
            Sent::Binary(is_first, bytes) => (is_first, Payload::from(bytes)),
            Sent::Time(ms) => {
                server.advance(std::time::Duration::from_millis(ms.into()));
                continue;
            }
        };
        // Who sends more than a message may have is closed.
        let sinner: &Client = &sinners[usize::from(is_first)];
        if sinner.closed().is_none() {
            sinner.send(payload);
        }
        for (profile, listener) in &listeners {
            while let Some(received) = listener.try_receive_raw() {
                match received {
                    Received::Text(text) => check(*profile, &text),
                    Received::Binary(bytes) => {
                        let length = usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
                        let text = std::str::from_utf8(&bytes[4..4 + length]);
                        check(*profile, text.expect("an envelope is text"));
                    }
                }
            }
        }
    }
    server.end();
});
