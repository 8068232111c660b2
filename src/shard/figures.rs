//! What a shard tells of itself: numbers for metrics, and which of its turns were slow.

use super::Shard;
use super::app::App;
use super::context::Context;
use crate::metrics::{Counters, Histogram, Memory, Part, Tally};

/// Sends of one turn from which on their time is told from that of the rest: one more reading of the
/// clock is nothing beside so many.
const MANY_SENDS: usize = 256;

/// What one shard has counted and measured, and what it holds. Making it looks at no connection.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Users at home here.
    pub users: usize,
    /// Open connections.
    pub connections: usize,
    /// Handshakes under way and connections closing.
    pub pending: usize,
    /// Topics with a subscriber, or held.
    pub topics: usize,
    /// Connections that are not read from for want of memory.
    pub pressed: usize,
    /// Whether the shard takes new sockets: its table is not full.
    pub is_accepting: bool,
    /// Since the start.
    pub counters: Counters,
    /// Bytes held, by kind.
    pub memory: Memory,
    /// Of the turns, each from waking up to the wait.
    pub turns: Histogram,
    /// From a socket's acceptance to its opening, in whole milliseconds.
    pub handshakes: Histogram,
    /// Of the messages, by their handlers' numbers: see [`Times::handlers`](crate::metrics::Times::handlers).
    pub handlers: Vec<Histogram>,
    /// Refused handshakes by the refusal's code.
    pub refusals: Tally<Box<str>>,
    /// Ended connections by close code.
    pub closings: Tally<u16>,
}

/// A turn that took longer than [`Options::slow_turn`](super::Options::slow_turn).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlowTurn {
    /// How long it took, nanoseconds.
    pub took_ns: u64,
    /// What took longest in it: a handler's name, `completions`, `handshake`, `mail`, `tick` or
    /// `sends`.
    pub part: String,
    /// And how long, nanoseconds.
    pub part_ns: u64,
}

impl<A: App> Context<'_, A> {
    /// Numbers for metrics.
    pub fn figures(&self) -> Figures {
        let core = &*self.core;
        Figures {
            users: core.users.len(),
            connections: core.open,
            pending: core.connections.len() - core.open,
            // The hidden topic of all connections is none of anybody's.
            topics: core
                .topics
                .topics
                .len()
                .saturating_sub(usize::from(core.open > 0)),
            pressed: core.pressed.len(),
            is_accepting: core.accepting,
            counters: core.counters,
            memory: core.memory(),
            turns: core.times.turns().clone(),
            handshakes: core.times.handshakes().clone(),
            handlers: core.times.handlers().to_vec(),
            refusals: core.refusals.clone(),
            closings: core.closings.clone(),
        }
    }

    /// Whether the shard takes new sockets: its table is not full.
    pub fn is_accepting(&self) -> bool {
        self.core.accepting
    }

    /// Notes that a message has been dealt with by the handler of that number, whose name
    /// [`App::handler_name`] knows. All that took time on this shard since it last noted something
    /// counts as this message's: the application says it for every message, or for none.
    pub fn handled(&mut self, handler: u8) {
        self.core.lap(Part::Message(handler));
    }

    /// Has `work` done, with which the handler of that number goes on. It does not count as a message;
    /// if it makes the turn slow, it is named as the handler's and not as mail.
    pub fn resume(&mut self, handler: u8, work: impl FnOnce(&mut Self)) {
        self.core.lap(Part::Mail);
        work(self);
        self.core.lap(Part::Resumed(handler));
    }
}

impl<A: App> Shard<A> {
    /// A turn begins: the driver has come back from its wait, and it was this late by the stopwatch.
    pub fn begin_turn(&mut self, now_ns: u64) {
        self.core.times.begin_turn(now_ns);
    }

    /// Notes that what took time since the last lap was `part`.
    pub fn lap(&mut self, part: Part) {
        self.core.lap(part);
    }

    /// What the time from here to the end of the turn is spent on. Ask after [`Shard::prepare`].
    pub fn last_part(&mut self) -> Part {
        let lanes = self.core.topics.dirty.iter();
        let live = lanes.map(|&lane| self.core.topics.lane(lane).live.len());
        if live.sum::<usize>() + self.core.turn.composed_slots.len() < MANY_SENDS {
            return Part::Completions;
        }
        self.core.lap(Part::Completions);
        Part::Sends
    }

    /// The turn has ended, and it was this late by the stopwatch. Says if it was slow.
    pub fn end_turn(&mut self, last: Part, now_ns: u64) -> Option<SlowTurn> {
        let core = &mut self.core;
        let took_ns = core.times.end_turn(last, now_ns);
        let slow_turn = core.shared.options.slow_turn.as_nanos();
        if u128::from(took_ns) < slow_turn || slow_turn == 0 {
            return None;
        }
        core.counters.slow_turns += 1;
        let (part, part_ns) = core.times.longest();
        let part = match part {
            Part::Message(handler) | Part::Resumed(handler) => self.app.handler_name(handler),
            Part::Completions => "completions",
            Part::Handshake => "handshake",
            Part::Mail => "mail",
            Part::Tick => "tick",
            Part::Sends => "sends",
        };
        Some(SlowTurn {
            took_ns,
            part: part.to_owned(),
            part_ns,
        })
    }

    /// Notes whether the driver takes new sockets.
    pub fn note_accepting(&mut self, accepting: bool) {
        self.core.accepting = accepting;
    }

    /// Notes what the driver has allocated to receive into, bytes.
    pub fn note_receive_buffers(&mut self, bytes: u64) {
        self.core.receive_buffers = bytes;
    }

    /// Notes what the driver keeps for TLS, bytes.
    pub fn note_tls(&mut self, bytes: u64) {
        self.core.tls_bytes = bytes;
    }
}
