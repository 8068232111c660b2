//! Somebody who sends what should not be sent, and listeners of every profile who must not hear it.

use serde_json::Value;

use super::trusting;
use crate::realtime::protocol::Profile;
use crate::realtime::{LimitOptions, Realtime, RealtimeOptions};
use crate::shard::Options;
use crate::testing::{Client, TestServer};

/// Largest message here, bytes: room for 100,000 levels of anything.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// All in the room `den`, in which the listeners are told of presence.
pub(super) struct Crowd {
    pub(super) server: TestServer,
    /// May broadcast and notify.
    pub(super) sinner: Client,
    pub(super) watchers: Vec<Client>,
}

impl Crowd {
    /// The sinner speaks `profile`.
    pub(super) fn new(shards: u16, profile: Profile) -> Self {
        let options = RealtimeOptions {
            limits: LimitOptions::without_rates(),
            ..trusting()
        };
        Self::with(shards, profile, options, |app| app)
    }

    pub(super) fn with(
        shards: u16,
        profile: Profile,
        options: RealtimeOptions,
        adapt: impl Fn(Realtime) -> Realtime + 'static,
    ) -> Self {
        let core = Options {
            message_bytes_max: MESSAGE_BYTES_MAX,
            compression: None,
            ..Options::default()
        };
        let builder = TestServer::builder().shards(shards).options(options);
        let server = builder.core_options(core).adapt(adapt).start();
        let enter = |user: &str, profile: Profile| {
            let target = format!("/v1/connect?user_id={user}&roles=admin&profile={profile}");
            server.connect_to(&target, &[]).unwrap()
        };
        let watchers: Vec<_> = Profile::ALL
            .iter()
            .map(|profile| enter(&profile.to_string(), *profile))
            .collect();
        let sinner = enter("sinner", profile);
        let members = "\"topic\":\"den\",\"presence\":true";
        for (watcher, profile) in watchers.iter().zip(Profile::ALL) {
            watcher.send(framed(profile, "subscribe", members));
        }
        sinner.send(framed(
            profile,
            "subscribe",
            "\"topic\":\"den\",\"presence\":false",
        ));
        server.forget();
        Self {
            server,
            sinner,
            watchers,
        }
    }

    /// The message is answered with that error, under the request's `id` if one was found, reaches
    /// nobody, and the connection goes on.
    #[track_caller]
    pub(super) fn is_refused(&self, frame: &str, code: &str) {
        self.sinner.send(frame);
        let error = self.answered(code, frame);
        // No part of what is no JSON is trusted.
        let is_read = code != "invalid_json" && !frame.contains("\"id\":\"q\",\"i");
        if is_read && frame.matches("\"id\":").count() == 1 {
            assert_eq!(error["id"], "q", "{}", shown(frame));
        }
    }

    /// The same, where the `id` cannot be read.
    #[track_caller]
    pub(super) fn is_refused_without_id(&self, frame: &str, code: &str) {
        self.sinner.send(frame);
        let error = self.answered(code, frame);
        assert_eq!(error.get("id"), None, "{}", shown(frame));
    }

    /// One error and no more has come, and nobody else has heard anything.
    #[track_caller]
    pub(super) fn answered(&self, code: &str, what: &str) -> Value {
        let what = shown(what);
        assert_eq!(self.sinner.closed(), None, "{what}");
        let answers = self.sinner.receive_all();
        let [error] = &answers[..] else {
            panic!("{what}: {answers:?}");
        };
        let payload = ["data", "message"].iter().find_map(|name| error.get(name));
        let payload = payload
            .filter(|payload| payload.is_object())
            .unwrap_or(error);
        assert_eq!(error["type"], "error", "{what}: {error}");
        assert_eq!(payload["code"], code, "{what}: {error}");
        assert!(payload["error"].is_string(), "{what}: {error}");
        for watcher in &self.watchers {
            assert_eq!(watcher.receive_all(), [Value::Null; 0], "{what}");
        }
        self.sinner.send(r#"{"type":"ping","id":"alive"}"#);
        let pong = self.sinner.receive();
        assert_eq!(
            (&pong["type"], &pong["id"]),
            (&"pong".into(), &"alive".into())
        );
        error.clone()
    }

    /// Everybody hears what is right, and leaves.
    pub(super) fn end(self) {
        let Self {
            server, watchers, ..
        } = self;
        server.forget();
        let (first, others) = watchers.split_first().expect("there are four");
        first.send(framed(
            Profile::ALL[0],
            "chat",
            "\"room_id\":\"den\",\"content\":\"bye\"",
        ));
        for other in others {
            assert_eq!(other.receive_all_of("chat").len(), 1);
        }
        server.end();
    }
}

/// A message with a payload of these members where the profile has it, and the request `q`.
pub(super) fn framed(profile: Profile, message_type: &str, members: &str) -> String {
    let envelope = format!("\"type\":\"{message_type}\",\"id\":\"q\"");
    match profile {
        Profile::V1 | Profile::Room => format!("{{{envelope},\"data\":{{{members}}}}}"),
        Profile::Message => format!("{{{envelope},\"message\":{{{members}}}}}"),
        Profile::Flat if members.is_empty() => format!("{{{envelope}}}"),
        Profile::Flat => format!("{{{envelope},{members}}}"),
    }
}

/// The beginning of a long text.
fn shown(text: &str) -> String {
    text.chars().take(200).collect()
}
