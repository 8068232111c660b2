//! Deadlines of a connection: handshake, keepalive, slow peer, idleness, close. One entry in the
//! wheel each; which deadline it stands for is worked out when it comes due.

use std::time::Duration;

use super::app::App;
use super::codes;
use super::connection::{Phase, Reading};
use super::core::Core;
use crate::id::Slot;
use crate::time::Now;
use crate::ws::{CloseCode, Opcode};

/// What a check of a connection finds to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Nothing,
    Ping,
    /// The handshake or the close has taken too long; which, the phase tells.
    PhaseEnded,
    NoPong,
    TooSlow,
    Idle,
}

/// Whether the shard itself keeps time.
///
/// While a turn takes seconds (a broadcast to very many, a machine that is overcommitted) nobody reads
/// what peers have sent. Whoever was late must not hold it against them: a late shard closes nobody as
/// silent or slow before it has given everybody the time between a ping and the end of the wait for
/// its pong, from the moment at which it was back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Punctuality {
    ticked_s: u32,
    patient_until_s: u32,
}

/// Seconds from one tick to the next of a shard that is in time: one, and a second that has just
/// begun or not.
const TICK_SECONDS_MAX: u32 = 2;

impl Punctuality {
    pub(crate) fn new(now: Now) -> Self {
        Self {
            ticked_s: now.seconds(),
            patient_until_s: 0,
        }
    }

    fn tick(&mut self, now_s: u32, patience: Duration) {
        if now_s - self.ticked_s > TICK_SECONDS_MAX {
            let patience = seconds(patience).unwrap_or(0);
            self.patient_until_s = now_s.saturating_add(patience);
        }
        self.ticked_s = now_s;
    }
}

fn seconds(duration: Duration) -> Option<u32> {
    // Rounded up: a deadline of 500 ms is a second, never zero.
    let seconds = u32::try_from(duration.as_millis().div_ceil(1000)).unwrap_or(u32::MAX);
    (seconds > 0).then_some(seconds)
}

impl<A: App> Core<A> {
    /// Notes that a second has begun. Call before the checks of that second.
    pub(crate) fn keep_time(&mut self) {
        let options = self.options();
        let patience = options.pong_wait.saturating_sub(options.ping_period);
        self.punctuality.tick(self.now.seconds(), patience);
    }

    /// Sets the end of the connection's present phase.
    pub(crate) fn phase_ends(&mut self, slot: Slot, after: Duration) {
        let now = self.now.seconds();
        if let Some(connection) = self.connection_mut(slot) {
            // One more, because `now` is a second that has already begun.
            connection.moment_s = now.saturating_add(seconds(after).unwrap_or(0) + 1);
            self.schedule(slot);
        }
    }

    /// Makes sure that the wheel checks the connection no later than its next deadline.
    pub(crate) fn schedule(&mut self, slot: Slot) {
        let Some((deadline, _)) = self.deadline(slot) else {
            return;
        };
        let Some(connection) = self.connections.get_mut(slot.0) else {
            return;
        };
        if deadline < connection.check_s {
            connection.check_s = self.wheel.schedule(slot, deadline);
        }
    }

    /// The connection's next deadline, second, and what is then due.
    fn deadline(&self, slot: Slot) -> Option<(u32, Due)> {
        let options = self.options();
        let connection = self.connection(slot)?;
        match connection.phase {
            Phase::Released => return None,
            Phase::Open => {}
            Phase::Head | Phase::Asked | Phase::Deferred | Phase::Refused | Phase::Closing => {
                return Some((connection.moment_s, Due::PhaseEnded));
            }
        }
        let heard = connection.heard_s;
        let patient_until = self.punctuality.patient_until_s;
        let ping = if connection.marks.pinged {
            None
        } else {
            seconds(options.ping_period)
        };
        let slow = if connection.marks.blocked {
            seconds(options.write_wait)
        } else {
            None
        };
        [
            (
                seconds(options.pong_wait)
                    .map(|wait| heard.saturating_add(wait).max(patient_until)),
                Due::NoPong,
            ),
            (ping.map(|period| heard.saturating_add(period)), Due::Ping),
            (
                slow.map(|wait| {
                    connection
                        .written_s
                        .saturating_add(wait + 1)
                        .max(patient_until)
                }),
                Due::TooSlow,
            ),
            (
                seconds(options.idle_timeout).map(|t| connection.moment_s.saturating_add(t)),
                Due::Idle,
            ),
        ]
        .into_iter()
        .filter_map(|(at, due)| Some((at?, due)))
        .min_by_key(|&(at, _)| at)
    }

    /// Looks at a connection whose check came due, and asks for the next check.
    ///
    /// The check may have been asked for by a connection that is gone. Then it finds none, or one
    /// that has a check to come, or one that is due in this second as well.
    pub(crate) fn check(&mut self, slot: Slot) -> Option<(Slot, Due)> {
        let now = self.now.seconds();
        let connection = self.connections.get_mut(slot.0)?;
        if connection.check_s > now {
            // A sooner check was asked for after this one, and has been made.
            return None;
        }
        connection.check_s = u32::MAX;
        let (deadline, due) = self.deadline(slot)?;
        if deadline > now {
            self.schedule(slot);
            return Some((slot, Due::Nothing));
        }
        Some((slot, due))
    }

    /// Acts on what is due for an open connection.
    pub(crate) fn enforce(&mut self, slot: Slot, due: Due) {
        match due {
            Due::Nothing | Due::PhaseEnded => {}
            Due::Ping => {
                // Of several pings a peer may answer the latest alone (RFC 6455 section 5.5.3): this
                // one asks for the awaited pong again.
                let nonce = self.barriers.nonce_in_flight(slot);
                let payload = nonce.as_ref().map_or(&[][..], |nonce| nonce);
                self.send_control(slot, Opcode::Ping, payload);
                if let Some(connection) = self.connection_mut(slot) {
                    connection.marks.pinged = true;
                }
            }
            // The peer may have answered: nobody has read it.
            Due::NoPong
                if self
                    .connection(slot)
                    .is_some_and(|c| c.marks.reading == Reading::Pressed) =>
            {
                self.counters.too_slow += 1;
                self.begin_close(slot, CloseCode::TRY_AGAIN_LATER, "short of memory");
            }
            Due::NoPong => {
                self.counters.timed_out += 1;
                self.begin_close(slot, codes::NO_PONG, "no pong");
            }
            Due::TooSlow => {
                self.counters.too_slow += 1;
                self.begin_close(slot, codes::TOO_SLOW, "too slow");
            }
            Due::Idle => {
                self.counters.timed_out += 1;
                self.begin_close(slot, CloseCode::GOING_AWAY, "idle");
            }
        }
        self.schedule(slot);
    }
}
