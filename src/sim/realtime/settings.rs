//! What a seed decides about a run before it begins.

use std::time::Duration;

use crate::realtime::{
    Create, DeliveryProof, HistoryOptions, LimitOptions, Namespace, RealtimeOptions,
};
use crate::shard::{Options, SlowPolicy};
use crate::sim::prng::Prng;
use crate::sim::settings::Weights;

/// Rooms there may be: those of the default namespace, and one or two of each that is set up below.
pub(super) const ROOMS: [&str; 7] = [
    "lobby", "hall", "two-a", "three-a", "dry-a", "own-a", "own-b",
];
/// Rooms that are made by request, for so many at once.
pub(super) const OWN_ROOM: &str = "own-";
pub(super) const OWN_ROOM_MAX: usize = 2;
/// Rooms without history.
pub(super) const DRY_ROOM: &str = "dry-";

/// The shape of one run.
#[derive(Clone, Debug)]
pub struct Settings {
    pub(super) shards: u16,
    /// Steps before the world heals.
    pub(super) steps: usize,
    /// Clients at a time.
    pub(super) people_max: usize,
    pub(super) users: usize,
    /// Largest send buffer of a socket, bytes.
    pub(super) send_buffer_bytes_max: usize,
    /// Longest text that clients send, bytes.
    pub(super) text_bytes_max: usize,
    pub(super) weights: Weights,
    pub(super) core: Options,
    pub(super) app: RealtimeOptions,
}

impl Settings {
    /// The settings that belong to a seed.
    pub fn from_seed(seed: u64) -> Self {
        let mut prng = Prng::new(seed ^ 0x0b5e_55ed);
        let prng = &mut prng;
        let mut weight = |on: u32, choices: &[u32]| match prng.chance(on) {
            true => prng.pick(choices),
            false => 0,
        };
        let weights = Weights {
            stall: weight(60, &[1, 5, 20]),
            reset: weight(40, &[1, 2]),
            half_close: weight(60, &[2, 6]),
            short: weight(50, &[2, 20, 80]),
            mail_delay: weight(70, &[10, 50, 90]),
            leap: weight(30, &[1, 2]),
            service_delay: weight(60, &[20, 80]),
            ..Weights::default()
        };
        let mut settings = Self {
            shards: prng.pick(&[1, 2, 2, 3, 4]),
            steps: prng.pick(&[300, 700, 1200]),
            people_max: prng.pick(&[3, 6, 10]),
            users: prng.pick(&[2, 4, 7]),
            send_buffer_bytes_max: prng.pick(&[200, 4000, 1 << 20]),
            text_bytes_max: prng.pick(&[10, 400, 3000]),
            weights,
            core: core(prng),
            app: app(prng),
        };
        if prng.chance(25) {
            settings.crowd();
        }
        settings
    }

    /// Many slow readers of much: windows pass subscribers only if several things come together.
    fn crowd(&mut self) {
        (self.people_max, self.steps) = (16, 3000);
        self.text_bytes_max = 20_000;
        self.send_buffer_bytes_max = 200;
        self.core.topic_window_bytes = 1;
        self.core.slow_policy = SlowPolicy::Gap;
        (self.weights.stall, self.weights.leap) = (20, 0);
        (self.weights.reset, self.weights.half_close) = (0, 0);
    }
}

fn core(prng: &mut Prng) -> Options {
    Options {
        compression: None,
        connections_per_user_max: prng.pick(&[0, 0, 3]),
        // Answers are never dropped, so that all of them are due.
        queue_bytes_max: 1 << 30,
        topic_window_bytes: prng.pick(&[1, 2000, 20_000, 1 << 20]),
        slow_policy: prng.pick(&[SlowPolicy::Gap, SlowPolicy::Gap, SlowPolicy::Disconnect]),
        ..Options::default()
    }
}

fn app(prng: &mut Prng) -> RealtimeOptions {
    let cleanup_after = Duration::from_secs(prng.pick(&[1, 60]));
    let history = HistoryOptions {
        size: prng.pick(&[16, 40, 200]),
        ttl: Duration::ZERO,
        ..HistoryOptions::default()
    };
    let named = |pattern: &str| Namespace {
        pattern: pattern.into(),
        cleanup_after,
        history,
        ..Namespace::default()
    };
    let mut options = RealtimeOptions {
        namespaces: vec![
            Namespace {
                members_max: 2,
                ..named("two-*")
            },
            Namespace {
                members_max: 3,
                ..named("three-*")
            },
            Namespace {
                history: HistoryOptions { size: 0, ..history },
                ..named("dry-*")
            },
            Namespace {
                create: Create::ApiOnly,
                ..named("own-*")
            },
            named("*"),
        ],
        limits: LimitOptions::without_rates(),
        echo_to_sender: prng.chance(25),
        dedupe_window: Duration::from_secs(24 * 3600),
        ..RealtimeOptions::default()
    };
    options.presence.members_max = prng.pick(&[2, 1000, 1000]);
    options.presence.leave_delay = Duration::from_secs(prng.pick(&[0, 0, 3]));
    options.delivery.proof = prng.pick(&[
        DeliveryProof::Pong,
        DeliveryProof::Pong,
        DeliveryProof::Write,
        DeliveryProof::Ack,
    ]);
    options.delivery.recipients_max = prng.pick(&[2, 50]);
    options
}
