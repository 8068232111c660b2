//! Messages that come back as they were sent: to their sender, to everybody, or to one user.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use campanile::id::Slot;

use super::client::{Core, Mode, Share};
use super::clock::Pacer;
use super::crowd::Command;
use super::fault::Fault;
use super::message::{EVERYBODY, Payloads, Stamp};

/// Who gets what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// All send, and each gets back what it has sent.
    Echo,
    /// The first so many send, and all get all of it.
    FanOut { senders: usize },
}

/// When the next message is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pace {
    /// When one has come back, so that each sender has so many under way.
    InFlight(u32),
    /// When it is due: so many a second of all senders together.
    Rate(f64),
}

/// What a run of this kind is like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    pub(crate) pattern: Pattern,
    pub(crate) pace: Pace,
    /// Messages of all senders together, after which they stop.
    pub(crate) messages: Option<u64>,
    pub(crate) connections: usize,
    pub(crate) total_order: bool,
    /// The server says something by itself, in JSON, which is not looked at.
    pub(crate) is_greeted: bool,
}

impl Style {
    /// How many clients send.
    pub(crate) fn senders(&self) -> usize {
        match self.pattern {
            Pattern::Echo => self.connections,
            Pattern::FanOut { senders } => senders.min(self.connections),
        }
    }

    /// How many clients get each message.
    pub(crate) fn receivers(&self) -> u64 {
        match self.pattern {
            Pattern::Echo => 1,
            Pattern::FanOut { .. } => self.connections as u64,
        }
    }

    /// How many messages a sender may send.
    fn quota(&self, sender: u32) -> u32 {
        let Some(messages) = self.messages else {
            return u32::MAX;
        };
        let senders = self.senders() as u64;
        let quota = messages / senders + u64::from(u64::from(sender) < messages % senders);
        u32::try_from(quota).unwrap_or(u32::MAX)
    }
}

/// What the clients of one thread have sent and must get.
#[derive(Debug)]
pub(crate) struct Relay {
    style: Style,
    payloads: Arc<Payloads>,
    /// Number of the next message of each sender of this thread.
    next: Vec<u32>,
    /// Number of the next message that client `i` must get from sender `j`: `i * senders + j`, with
    /// one sender for an echo.
    expected: Vec<u32>,
    /// Of all that each client has received, in order; empty if the order is only each sender's.
    digests: Vec<u64>,
    is_sending: bool,
    pacer: Option<Pacer>,
    /// The sender whose turn it is, where a rate is kept.
    turn: usize,
    directs: Directs,
}

/// Messages to single users, which the first client sends.
#[derive(Debug, Default)]
struct Directs {
    pacer: Option<Pacer>,
    left: u32,
    sent: u32,
    /// Number of the latest that each client has got, plus one; empty until the first.
    latest: Vec<u32>,
}

impl Relay {
    pub(crate) fn new(
        style: Style,
        payloads: Arc<Payloads>,
        share: Share,
        capacity: usize,
    ) -> Self {
        let per_client = match style.pattern {
            Pattern::Echo => 1,
            Pattern::FanOut { senders } => senders,
        };
        Self {
            style,
            payloads,
            next: vec![0; share.part_of(style.senders())],
            expected: vec![0; capacity * per_client],
            digests: vec![0; if style.total_order { capacity } else { 0 }],
            is_sending: false,
            pacer: None,
            turn: 0,
            directs: Directs::default(),
        }
    }

    fn start(&mut self, core: &mut Core) -> Result<(), Fault> {
        self.is_sending = true;
        match self.style.pace {
            Pace::InFlight(count) => {
                for index in 0..self.next.len() {
                    for _ in 0..count {
                        self.send(core, index, core.now_us)?;
                    }
                }
            }
            Pace::Rate(per_s) => {
                // Senders are dealt out over the threads, so each has its part of the rate.
                let Share { index, of } = core.share;
                let senders = self.style.senders();
                let of_ours = self.next.len() as f64 * of as f64 / senders as f64;
                let began_us = core.now_us;
                self.pacer =
                    (of_ours > 0.0).then(|| Pacer::new(began_us, per_s * of_ours, index, of));
            }
        }
        Ok(())
    }

    /// The `index`-th sender of this thread sends its next message, if it may send more.
    fn send(&mut self, core: &mut Core, index: usize, time_us: u64) -> Result<(), Fault> {
        let slot = Slot(u32::try_from(index).expect("a slot"));
        let (sender, sequence) = (core.share.client(slot), self.next[index]);
        if sequence >= self.style.quota(sender) {
            return Ok(());
        }
        self.next[index] += 1;
        core.sent += 1;
        core.due += self.style.receivers();
        let stamp = Stamp {
            sender,
            sequence,
            time_us,
        };
        let payloads = &self.payloads;
        core.queue(slot, |out| {
            payloads.frame_into(out, (b"", b""), stamp, EVERYBODY);
        })
    }

    fn send_direct(&mut self, core: &mut Core, time_us: u64) -> Result<(), Fault> {
        let connections = u32::try_from(self.style.connections).expect("below 2^23");
        let user = fastrand::u32(..connections);
        let stamp = Stamp {
            sender: 0,
            sequence: self.directs.sent,
            time_us,
        };
        self.directs.sent += 1;
        core.sent += 1;
        core.due += 1;
        let (payloads, address) = (&self.payloads, format!("@{user} "));
        core.queue(Slot(0), |out| {
            payloads.frame_into(out, (address.as_bytes(), b""), stamp, user);
        })
    }

    /// A text `@user ...`: for this client, each once, in order.
    fn direct(&mut self, core: &mut Core, slot: Slot, text: &[u8]) -> Result<(), Fault> {
        let client = core.share.client(slot);
        let corrupt = || corrupt(client, text);
        let space = memchr::memchr(b' ', text).ok_or_else(corrupt)?;
        let user = std::str::from_utf8(&text[1..space]).ok();
        let user: u32 = user
            .and_then(|user| user.parse().ok())
            .ok_or_else(corrupt)?;
        let payload = &text[space + 1..];
        let stamp = self.payloads.read(payload, user).ok_or_else(corrupt)?;
        let Stamp {
            sender, sequence, ..
        } = stamp;
        if user != client || sender != 0 {
            return Err(Fault::Misdirected { client, sender });
        }
        let shared = Arc::clone(core.shared());
        let arrived = shared
            .directs
            .get()
            .and_then(|all| all.get(sequence as usize));
        if arrived.ok_or_else(corrupt)?.swap(true, Ordering::AcqRel) {
            return Err(Fault::Doubled {
                client,
                sender,
                sequence,
            });
        }
        let latest = &mut self.directs.latest;
        latest.resize(latest.len().max(slot.index() + 1), 0);
        let expected = latest[slot.index()];
        if sequence < expected {
            return Err(Fault::Skipped {
                client,
                sender,
                sequence,
                expected,
            });
        }
        latest[slot.index()] = sequence + 1;
        core.count(stamp.time_us);
        Ok(())
    }

    /// Whether all clients of this thread got the same, in the same order.
    fn verify_order(&self, core: &Core) -> Result<(), Fault> {
        let Some(first) = self.digests.first() else {
            return Ok(());
        };
        let other = self.digests.iter().position(|digest| digest != first);
        let number = |index| {
            core.share
                .client(Slot(u32::try_from(index).expect("a slot")))
        };
        if let Some(other) = other {
            let (first, other) = (number(0), number(other));
            return Err(Fault::Orders { first, other });
        }
        core.shared().same_order(number(0), *first)
    }
}

pub(crate) fn corrupt(client: u32, text: &[u8]) -> Fault {
    let start: String = String::from_utf8_lossy(text).chars().take(120).collect();
    Fault::Corrupt {
        client,
        what: format!("{} bytes: {start:?}", text.len()),
    }
}

/// Takes note of a message of `sender` that has come: it must be the next.
#[inline]
pub(crate) fn in_order(
    client: u32,
    sender: u32,
    sequence: u32,
    next: &mut u32,
) -> Result<(), Fault> {
    let expected = *next;
    if sequence == expected {
        *next += 1;
        return Ok(());
    }
    Err(if sequence < expected {
        Fault::Doubled {
            client,
            sender,
            sequence,
        }
    } else {
        Fault::Skipped {
            client,
            sender,
            sequence,
            expected,
        }
    })
}

impl Mode for Relay {
    fn command(&mut self, core: &mut Core, command: Command) -> Result<(), Fault> {
        match command {
            Command::Start => self.start(core),
            Command::Stop => {
                self.is_sending = false;
                self.pacer = None;
                Ok(())
            }
            Command::Broadcast if core.share.index == 0 => self.send(core, 0, core.now_us),
            Command::Directs { messages, per_s } if core.share.index == 0 => {
                self.directs.left = messages;
                self.directs.pacer = Some(Pacer::new(core.now_us, per_s, 0, 1));
                Ok(())
            }
            Command::Verify => self.verify_order(core),
            _ => Ok(()),
        }
    }

    #[inline]
    fn text(&mut self, core: &mut Core, slot: Slot, text: &[u8]) -> Result<(), Fault> {
        if text.first() == Some(&b'@') {
            return self.direct(core, slot, text);
        }
        if self.style.is_greeted && text.first() == Some(&b'{') {
            return Ok(());
        }
        let client = core.share.client(slot);
        let stamp = self.payloads.read(text, EVERYBODY);
        let Some(stamp) = stamp else {
            return Err(corrupt(client, text));
        };
        let Stamp {
            sender, sequence, ..
        } = stamp;
        let next = match self.style.pattern {
            Pattern::Echo if sender == client => &mut self.expected[slot.index()],
            Pattern::FanOut { senders } if (sender as usize) < senders => {
                &mut self.expected[slot.index() * senders + sender as usize]
            }
            _ => return Err(Fault::Misdirected { client, sender }),
        };
        in_order(client, sender, sequence, next)?;
        if let Some(digest) = self.digests.get_mut(slot.index()) {
            let which = u64::from(sender) << 32 | u64::from(sequence);
            *digest = (*digest ^ which).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        }
        core.count(stamp.time_us);
        let is_closed_loop = matches!(self.style.pace, Pace::InFlight(_));
        if sender == client && self.is_sending && is_closed_loop {
            self.send(core, slot.index(), core.now_us)?;
        }
        Ok(())
    }

    fn due(&mut self, core: &mut Core) -> Result<Option<u64>, Fault> {
        let mut wake_us = None;
        if let Some(mut pacer) = self.pacer {
            while let Some(time_us) = pacer.take(core.now_us) {
                self.send(core, self.turn, time_us)?;
                self.turn = (self.turn + 1) % self.next.len();
            }
            wake_us = Some(pacer.next_us());
            self.pacer = Some(pacer);
        }
        if let Some(mut pacer) = self.directs.pacer {
            while self.directs.left > 0
                && let Some(time_us) = pacer.take(core.now_us)
            {
                self.directs.left -= 1;
                self.send_direct(core, time_us)?;
            }
            self.directs.pacer = (self.directs.left > 0).then_some(pacer);
            let next_us = self.directs.pacer.map(|pacer| pacer.next_us());
            wake_us = [wake_us, next_us].into_iter().flatten().min();
        }
        Ok(wake_us)
    }
}
