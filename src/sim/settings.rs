//! What a seed decides about a run before it begins: the core's options and which troubles there
//! are, each switched on or off and given its own weight.

use std::time::Duration;

use super::prng::Prng;
use crate::shard::{Compression, OnUserLimit, Options, SlowPolicy};

/// The shape of one run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Shards, `1..=4`.
    pub shards: u16,
    /// Steps before the world heals.
    pub steps: usize,
    /// Clients at a time.
    pub clients_max: usize,
    /// Users that clients pretend to be; fewer users, more of them at their limit.
    pub users: usize,
    /// Topics, besides the hidden one of everybody.
    pub topics: usize,
    /// Slots of each shard.
    pub sockets_max: u32,
    /// Requests that the service thread's queue holds.
    pub service_queue_max: usize,
    /// Largest payload that clients ask for, bytes.
    pub payload_bytes_max: usize,
    /// Largest send buffer of a socket, bytes.
    pub send_buffer_bytes_max: usize,
    /// The queues are too large to ever drop a message: then every message is due.
    pub roomy_queues: bool,
    /// In percent per step or choice.
    pub weights: Weights,
    /// The core's options.
    pub options: Options,
}

/// How often troubles come, percent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weights {
    /// A client stops reading for a while.
    pub stall: u32,
    /// A connection breaks.
    pub reset: u32,
    /// A client ends its stream without a close frame.
    pub half_close: u32,
    /// A socket takes less than it has room for.
    pub short: u32,
    /// A pile of mail stays where it is for another turn.
    pub mail_delay: u32,
    /// Time leaps by seconds.
    pub leap: u32,
    /// A handshake is not an upgrade in good order.
    pub bad_handshake: u32,
    /// A client breaks RFC 6455.
    pub violation: u32,
    /// A client asks for a flood of messages rather than a few.
    pub flood: u32,
    /// Answers of the service thread stay away for a step.
    pub service_delay: u32,
    /// Memory becomes short, or is enough again.
    pub pressure: u32,
}

impl Settings {
    /// The settings that belong to a seed.
    pub fn from_seed(seed: u64) -> Self {
        let mut prng = Prng::new(seed ^ 0x5e77_1265);
        let prng = &mut prng;
        let roomy_queues = prng.chance(60);
        let mut settings = Self {
            shards: prng.pick(&[1, 1, 2, 2, 3, 4]),
            steps: prng.pick(&[300, 700, 1500]),
            clients_max: prng.pick(&[2, 6, 12, 20]),
            users: prng.pick(&[1, 3, 10, 100]),
            topics: prng.pick(&[1, 2, 5, 12]),
            sockets_max: prng.weighted(&[(9, 1000), (1, 4)]),
            service_queue_max: prng.weighted(&[(7, 100), (3, 1)]),
            payload_bytes_max: prng.weighted(&[(5, 300), (3, 5000), (2, 150_000)]),
            send_buffer_bytes_max: prng.pick(&[64, 2000, 30_000, 1 << 20]),
            roomy_queues,
            weights: Weights::draw(prng),
            options: options(prng, roomy_queues),
        };
        if prng.chance(25) {
            settings.crowd();
        }
        settings
    }

    /// Many slow readers of much: windows pass subscribers only if several things come together.
    fn crowd(&mut self) {
        self.topics = 1;
        self.payload_bytes_max = 5000;
        self.send_buffer_bytes_max = 2000;
        self.options.topic_window_bytes = self.options.topic_window_bytes.min(65_536);
        (self.weights.stall, self.weights.flood) = (20, 20);
        (self.weights.leap, self.weights.reset) = (0, 0);
    }
}

impl Weights {
    fn draw(prng: &mut Prng) -> Self {
        let mut weight = |on: u32, choices: &[u32]| match prng.chance(on) {
            true => prng.pick(choices),
            false => 0,
        };
        Self {
            stall: weight(60, &[1, 5, 20]),
            reset: weight(40, &[1, 1, 4]),
            half_close: weight(40, &[1, 3]),
            short: weight(50, &[2, 20, 80]),
            mail_delay: weight(60, &[10, 50, 90]),
            leap: weight(40, &[1, 2]),
            bad_handshake: weight(50, &[5, 40]),
            violation: weight(30, &[1, 3]),
            flood: weight(60, &[3, 20]),
            service_delay: weight(60, &[20, 80, 95]),
            pressure: weight(40, &[2, 10]),
        }
    }
}

fn options(prng: &mut Prng, roomy_queues: bool) -> Options {
    let seconds = Duration::from_secs;
    Options {
        message_bytes_max: prng.pick(&[2000, 32_768, 1 << 20]),
        fragments_max: prng.pick(&[None, None, Some(4)]),
        connections_max: prng.weighted(&[(9, 0), (1, 5)]),
        connections_per_user_max: prng.pick(&[0, 1, 2, 5]),
        on_user_limit: prng.pick(&[OnUserLimit::Reject, OnUserLimit::EvictOldest]),
        queue_bytes_max: match roomy_queues {
            true => 1 << 30,
            false => prng.pick(&[500, 10_000, 262_144]),
        },
        close_on_backpressure_limit: prng.chance(20),
        subscriptions_max: prng.pick(&[2, 1024]),
        topic_window_bytes: prng.pick(&[1, 5000, 65_536, 1 << 20]),
        slow_policy: prng.pick(&[SlowPolicy::Gap, SlowPolicy::Latest, SlowPolicy::Disconnect]),
        publish_to_self: prng.chance(25),
        compression: prng.pick(&[
            None,
            Some(Compression {
                bytes_min: 64,
                level: 1,
            }),
            Some(Compression::default()),
        ]),
        idle_timeout: prng.weighted(&[(8, seconds(0)), (2, seconds(30))]),
        write_wait: prng.weighted(&[(8, seconds(10)), (2, seconds(0))]),
        ..Options::default()
    }
}
