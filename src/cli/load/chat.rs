//! `load chat`: the JSON application. Rooms in which some talk, and all must hear all of it.
//!
//! ```text
//!   sent   {"type":"chat","content":"<stamp and filler>"}
//!   heard  {"type":"chat",..,"content":"<the same>",..}       by all of the room, the sender too
//!          {"type":"connection-status",..,"established",..}   first: the client is in its room
//!          any other JSON                                     counted
//! ```
//! A room lives on one thread, so what each member must hear is known exactly. With `--mix mixed`
//! members also type, ping, and leave to come back. Messages of a member's absence are excused: from
//! its close until its new "established". What was sent after that it must hear.

use std::sync::Arc;

use campanile::id::Slot;
use memchr::memmem::Finder;
use serde::de::IgnoredAny;

use super::client::{Core, Mode, Share};
use super::clock::Pacer;
use super::crowd::{Command, Crowd};
use super::fault::Fault;
use super::message::{self, EVERYBODY, Payloads, SENDERS_MAX, Stamp};
use super::relay::{Pace, corrupt, in_order};
use super::report::Report;
use super::shared::Totals;
use super::{ChatArgs, Common, Mix, traffic};

/// The content of a chat, so that its frame has 75 bytes of payload.
const CONTENT_BYTES: usize = 47;
const BEFORE: &[u8] = br#"{"type":"chat","content":""#;
const AFTER: &[u8] = br#""}"#;
const TYPING: &[u8] = br#"{"type":"typing","is_typing":true}"#;
const PING: &[u8] = br#"{"type":"ping"}"#;

/// In the mixed profile, after every so many chats of a thread: somebody types, somebody pings, and a
/// member that does not publish leaves and comes back.
const CHATS_PER_TYPING: u64 = 5;
const CHATS_PER_PING: u64 = 10;
const CHATS_PER_RECONNECT: u64 = 1000;
/// Members of one thread that are away at once.
const AWAY_MAX: usize = 64;
/// Of so many chats one is read as JSON from end to end; the others are known by their content.
const CHATS_PER_CHECK: u64 = 1024;
/// Of other messages the first so many are read so, and then one of sixteen.
const OTHERS_CHECKED: u64 = 1024;
const OTHERS_PER_CHECK: u64 = 16;

/// What a run of this kind is like.
#[derive(Clone, Copy, Debug)]
struct Style {
    room_size: usize,
    /// Of each room; its first members.
    publishers: usize,
    rooms: usize,
    pace: Pace,
    messages: Option<u64>,
    mix: Mix,
}

pub(crate) fn run(args: &ChatArgs, common: &Common, report: &mut Report) -> Result<(), Fault> {
    let style = Style {
        room_size: args.room_size,
        publishers: args.publishers,
        rooms: args.rooms,
        pace: args.pace.pace(),
        messages: args.pace.messages,
        mix: args.mix,
    };
    if args.publishers > args.room_size {
        let what = "publishers are members of their room, so there cannot be more of them";
        return Err(Fault::Impossible(what.to_owned()));
    }
    let bytes = common.payload_bytes(CONTENT_BYTES);
    let payloads = Arc::new(Payloads::new(bytes));
    let connections = args.rooms.saturating_mul(args.room_size);
    if connections >= SENDERS_MAX {
        let what = format!("{connections} connections, where {SENDERS_MAX} are too many");
        return Err(Fault::Impossible(what));
    }
    let plan = common.plan(connections, bytes)?;
    if !args.rooms.is_multiple_of(plan.threads) {
        return Err(Fault::Impossible(format!(
            "a room lives on one thread: {} rooms must be a multiple of {} threads",
            args.rooms, plan.threads
        )));
    }
    let crowd = Crowd::start(plan, common.handshakes()?, |share, capacity, _| {
        Chat::new(style, Arc::clone(&payloads), share, capacity)
    })?;
    report.count("rooms", args.rooms as u64);
    report.count("room_size", args.room_size as u64);
    report.count("publishers_per_room", args.publishers as u64);
    traffic::run(crowd, common.length(args.pace.messages), report, settle)
}

/// Waits until everybody is in its room and has been told who else is.
fn settle(crowd: &mut Crowd) -> Result<(), Fault> {
    const STILL: std::time::Duration = std::time::Duration::from_millis(100);
    let connections = crowd.plan.connections as u64;
    crowd.wait("everybody is established", |totals| {
        totals.joined >= connections
    })?;
    let mut before = Totals::default();
    loop {
        let now = crowd.rest(STILL)?;
        if now.others == before.others {
            return Ok(());
        }
        before = now;
    }
}

/// What the members of the rooms of one thread have said and must hear.
#[derive(Debug)]
pub(crate) struct Chat {
    style: Style,
    payloads: Arc<Payloads>,
    members: Vec<Member>,
    /// Of member `i` and the `j`-th publisher of its room: `i * publishers + j`.
    heard: Vec<Heard>,
    /// Number of the next message of each publisher: `room * publishers + j`.
    next: Vec<u32>,
    is_sending: bool,
    pacer: Option<Pacer>,
    /// The publisher whose turn it is, where a rate is kept.
    turn: usize,
    /// Those that have left and are to come back.
    away: Vec<Slot>,
    /// How many are to leave.
    leavers: u64,
    chats: u64,
    others: u64,
    random: fastrand::Rng,
    content: Finder<'static>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Member {
    /// Its "established" has come.
    is_established: bool,
}

/// What a member has heard of a publisher.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Heard {
    /// Number of the message that must come next.
    expected: u32,
    /// Since it came back nothing has come: it may begin at `from` already, and must at `expected`.
    is_new: bool,
    from: u32,
}

impl Heard {
    /// Takes a message in; returns how many more than were due will have come with it, because the
    /// member was in the room before it knew.
    fn take(
        &mut self,
        (client, sender, sequence): (u32, u32, u32),
        is_established: bool,
    ) -> Result<u64, Fault> {
        if !self.is_new {
            in_order(client, sender, sequence, &mut self.expected)?;
            return Ok(u64::from(!is_established));
        }
        if sequence < self.from {
            return Err(Fault::Doubled {
                client,
                sender,
                sequence,
            });
        }
        let expected = self.expected;
        if is_established && sequence > expected {
            return Err(Fault::Skipped {
                client,
                sender,
                sequence,
                expected,
            });
        }
        self.is_new = false;
        self.expected = sequence + 1;
        Ok(if is_established {
            u64::from(expected - sequence)
        } else {
            1
        })
    }

    /// The member has left. Returns how many messages it will not hear any more.
    fn leave(&mut self, next: u32) -> u64 {
        let missed = next - self.expected;
        *self = Self {
            expected: self.expected,
            is_new: true,
            // If nothing came since it was back the last time, what was then absent is still so.
            from: if self.is_new {
                self.from
            } else {
                self.expected
            },
        };
        u64::from(missed)
    }

    /// The member is back. Returns how many messages it must hear although they were sent before:
    /// those after what it has heard already.
    fn come_back(&mut self, next: u32) -> u64 {
        if self.is_new {
            self.expected = next;
            return 0;
        }
        u64::from(next - self.expected)
    }
}

impl Chat {
    fn new(style: Style, payloads: Arc<Payloads>, share: Share, capacity: usize) -> Self {
        let rooms = share.part_of(style.rooms);
        Self {
            style,
            payloads,
            members: vec![Member::default(); capacity],
            heard: vec![Heard::default(); capacity * style.publishers],
            next: vec![0; rooms * style.publishers],
            is_sending: false,
            pacer: None,
            turn: 0,
            away: Vec::new(),
            leavers: 0,
            chats: 0,
            others: 0,
            random: fastrand::Rng::with_seed(share.index as u64),
            content: Finder::new(br#""content":"#),
        }
    }

    fn publisher(&self, index: usize) -> Slot {
        let (room, number) = (index / self.style.publishers, index % self.style.publishers);
        Slot(u32::try_from(room * self.style.room_size + number).expect("a slot"))
    }

    fn heard_of(&mut self, slot: Slot) -> (&mut [Heard], &[u32]) {
        let publishers = self.style.publishers;
        let (first, room) = (
            slot.index() * publishers,
            slot.index() / self.style.room_size,
        );
        let next = &self.next[room * publishers..][..publishers];
        (&mut self.heard[first..][..publishers], next)
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
                // All threads have as many rooms.
                let Share { index, of } = core.share;
                self.pacer = Some(Pacer::new(core.now_us, per_s, index, of));
            }
        }
        Ok(())
    }

    /// How many messages a publisher may send.
    fn quota(&self, core: &Core, index: usize) -> u32 {
        let Some(messages) = self.style.messages else {
            return u32::MAX;
        };
        let publishers = (self.style.rooms * self.style.publishers) as u64;
        let number = (index * core.share.of + core.share.index) as u64;
        let quota = messages / publishers + u64::from(number < messages % publishers);
        u32::try_from(quota).unwrap_or(u32::MAX)
    }

    fn send(&mut self, core: &mut Core, index: usize, time_us: u64) -> Result<(), Fault> {
        let slot = self.publisher(index);
        let sequence = self.next[index];
        if sequence >= self.quota(core, index) {
            return Ok(());
        }
        self.next[index] += 1;
        let room = slot.index() / self.style.room_size;
        let members = &self.members[room * self.style.room_size..][..self.style.room_size];
        core.due += members
            .iter()
            .filter(|member| member.is_established)
            .count() as u64;
        core.sent += 1;
        let stamp = Stamp {
            sender: core.share.client(slot),
            sequence,
            time_us,
        };
        let payloads = &self.payloads;
        core.queue(slot, |out| {
            payloads.frame_into(out, (BEFORE, AFTER), stamp, EVERYBODY);
        })?;
        if self.style.mix == Mix::Mixed {
            self.mix(core)?;
        }
        Ok(())
    }

    /// What else happens, by the number of chats.
    fn mix(&mut self, core: &mut Core) -> Result<(), Fault> {
        for (every, text) in [(CHATS_PER_TYPING, TYPING), (CHATS_PER_PING, PING)] {
            let members = u32::try_from(self.members.len()).expect("slots");
            let slot = Slot(self.random.u32(..members));
            if core.sent.is_multiple_of(every) && self.members[slot.index()].is_established {
                core.queue(slot, |out| {
                    message::frame_into(out, campanile::ws::Opcode::Text, text);
                })?;
            }
        }
        self.leavers += u64::from(core.sent.is_multiple_of(CHATS_PER_RECONNECT));
        Ok(())
    }

    /// Lets members leave whose turn it is, and come back those whose socket is gone.
    fn come_and_go(&mut self, core: &mut Core) {
        let leavers = std::mem::take(&mut self.leavers);
        let has_listeners = self.style.publishers < self.style.room_size;
        for _ in 0..leavers {
            if self.away.len() >= AWAY_MAX || !has_listeners {
                break;
            }
            let rooms = self.members.len() / self.style.room_size;
            let room = self.random.usize(..rooms);
            let number = self
                .random
                .usize(self.style.publishers..self.style.room_size);
            let index = room * self.style.room_size + number;
            if self.members[index].is_established {
                self.leave(core, Slot(u32::try_from(index).expect("a slot")));
            }
        }
        self.away.retain(|&slot| {
            let is_gone = core.is_absent(slot);
            if is_gone {
                core.open_again(slot);
            }
            !is_gone
        });
    }

    fn leave(&mut self, core: &mut Core, slot: Slot) {
        self.members[slot.index()].is_established = false;
        let (heard, next) = self.heard_of(slot);
        let missed: u64 = heard
            .iter_mut()
            .zip(next)
            .map(|(heard, &next)| heard.leave(next))
            .sum();
        core.due -= missed;
        core.joined -= 1;
        core.close(slot);
        self.away.push(slot);
    }

    fn established(&mut self, core: &mut Core, slot: Slot) {
        let member = &mut self.members[slot.index()];
        if std::mem::replace(&mut member.is_established, true) {
            return;
        }
        core.joined += 1;
        let (heard, next) = self.heard_of(slot);
        let more: u64 = heard
            .iter_mut()
            .zip(next)
            .map(|(heard, &next)| heard.come_back(next))
            .sum();
        core.due += more;
    }

    /// Anything but a chat.
    fn other(&mut self, core: &mut Core, slot: Slot, text: &[u8]) -> Result<(), Fault> {
        self.others += 1;
        core.others += 1;
        if self.others <= OTHERS_CHECKED || self.others.is_multiple_of(OTHERS_PER_CHECK) {
            check_json(core, slot, text)?;
        }
        let start = &text[..text.len().min(512)];
        let has = |part: &[u8]| memchr::memmem::find(start, part).is_some();
        if has(br#""type":"error""#) || has(br#""type":"chat""#) {
            let what = String::from_utf8_lossy(start).into_owned();
            let client = core.share.client(slot);
            return Err(Fault::Rejected { client, what });
        }
        if !self.members[slot.index()].is_established
            && has(br#""connection-status""#)
            && has(br#""established""#)
        {
            self.established(core, slot);
        }
        Ok(())
    }

    /// The chat's content, if the text has one: between its quotes.
    fn content<'t>(&self, text: &'t [u8]) -> Option<&'t [u8]> {
        let at = self.content.find(text)? + self.content.needle().len();
        let rest = text[at..].trim_ascii_start().strip_prefix(b"\"")?;
        let (content, rest) = rest.split_at_checked(self.payloads.bytes())?;
        (rest.first() == Some(&b'"')).then_some(content)
    }
}

fn check_json(core: &Core, slot: Slot, text: &[u8]) -> Result<(), Fault> {
    match serde_json::from_slice::<IgnoredAny>(text) {
        Ok(_) => Ok(()),
        Err(_) => Err(corrupt(core.share.client(slot), text)),
    }
}

impl Mode for Chat {
    fn room(&self, share: Share, client: u32) -> u32 {
        let Share { index, of } = share;
        let room = client as usize / of / self.style.room_size * of + index;
        u32::try_from(room).expect("there are fewer rooms than clients")
    }

    fn command(&mut self, core: &mut Core, command: Command) -> Result<(), Fault> {
        match command {
            Command::Start => return self.start(core),
            Command::Stop => {
                self.is_sending = false;
                self.pacer = None;
            }
            Command::Close => self.away.clear(),
            _ => {}
        }
        Ok(())
    }

    fn text(&mut self, core: &mut Core, slot: Slot, text: &[u8]) -> Result<(), Fault> {
        if self.content.find(text).is_none() {
            return self.other(core, slot, text);
        }
        let client = core.share.client(slot);
        let content = self.content(text);
        let stamp = content.and_then(|content| self.payloads.read(content, EVERYBODY));
        let Some(stamp) = stamp else {
            return Err(corrupt(client, text));
        };
        self.chats += 1;
        if self.chats.is_multiple_of(CHATS_PER_CHECK) {
            check_json(core, slot, text)?;
        }
        let Stamp {
            sender, sequence, ..
        } = stamp;
        let (room_size, publishers) = (self.style.room_size, self.style.publishers);
        let (place, thread) = (
            sender as usize / core.share.of,
            sender as usize % core.share.of,
        );
        let (room, number) = (place / room_size, place % room_size);
        let is_ours = thread == core.share.index && room == slot.index() / room_size;
        if !is_ours || number >= publishers {
            return Err(Fault::Misdirected { client, sender });
        }
        let is_established = self.members[slot.index()].is_established;
        let heard = &mut self.heard[slot.index() * publishers + number];
        core.due += heard.take((client, sender, sequence), is_established)?;
        core.count(stamp.time_us);
        let is_closed_loop = matches!(self.style.pace, Pace::InFlight(_));
        if place == slot.index() && self.is_sending && is_closed_loop {
            self.send(core, room * publishers + number, core.now_us)?;
        }
        Ok(())
    }

    fn due(&mut self, core: &mut Core) -> Result<Option<u64>, Fault> {
        if self.style.mix == Mix::Mixed {
            self.come_and_go(core);
        }
        let Some(mut pacer) = self.pacer else {
            return Ok(None);
        };
        while let Some(time_us) = pacer.take(core.now_us) {
            self.send(core, self.turn, time_us)?;
            self.turn = (self.turn + 1) % self.next.len();
        }
        self.pacer = Some(pacer);
        Ok(Some(pacer.next_us()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ESTABLISHED: bool = true;

    #[test]
    fn what_is_sent_after_coming_back_must_be_heard() {
        let mut heard = Heard::default();
        assert_eq!(heard.take((1, 0, 0), ESTABLISHED).unwrap(), 0);
        // Messages 1 and 2 are under way when it leaves; 3 and 4 are sent while it is away.
        assert_eq!(heard.leave(3), 2);
        assert_eq!(heard.come_back(5), 0);
        let mut late = heard;
        assert!(matches!(
            late.take((1, 0, 6), ESTABLISHED),
            Err(Fault::Skipped { expected: 5, .. })
        ));
        assert_eq!(heard.take((1, 0, 5), ESTABLISHED).unwrap(), 0);
        assert_eq!(heard.take((1, 0, 6), ESTABLISHED).unwrap(), 0);
    }

    #[test]
    fn being_in_the_room_before_knowing_it_is_no_fault() {
        let mut heard = Heard::default();
        assert_eq!(heard.leave(3), 3);
        assert_eq!(heard.come_back(5), 0);
        // It begins with 4, which was not due, and 5 must follow.
        assert_eq!(heard.take((1, 0, 4), ESTABLISHED).unwrap(), 1);
        assert_eq!(heard.expected, 5);
        assert!(heard.take((1, 0, 4), ESTABLISHED).is_err());

        // Two come before the welcome does: then the rest must, too.
        let mut heard = Heard::default();
        heard.leave(3);
        assert_eq!(heard.take((1, 0, 3), !ESTABLISHED).unwrap(), 1);
        assert_eq!(heard.take((1, 0, 4), !ESTABLISHED).unwrap(), 1);
        assert_eq!(heard.come_back(7), 2);
        assert!(heard.take((1, 0, 6), ESTABLISHED).is_err());
    }

    #[test]
    fn what_was_heard_before_leaving_must_not_come_again() {
        let mut heard = Heard::default();
        heard.take((1, 0, 0), ESTABLISHED).unwrap();
        heard.leave(1);
        heard.come_back(4);
        assert!(matches!(
            heard.take((1, 0, 0), ESTABLISHED),
            Err(Fault::Doubled { .. })
        ));
    }

    #[test]
    fn a_content_is_found_with_and_without_white_space() {
        let style = Style {
            room_size: 1,
            publishers: 1,
            rooms: 1,
            pace: Pace::InFlight(1),
            messages: None,
            mix: Mix::Chat,
        };
        let payloads = Arc::new(Payloads::new(message::STAMP_BYTES));
        let chat = Chat::new(style, payloads, Share { index: 0, of: 1 }, 1);
        let content = "abcdefghijklmnopqrstuvwx";
        for text in [
            format!(r#"{{"type":"chat","content":"{content}","x":1}}"#),
            format!(r#"{{"content": "{content}"}}"#),
        ] {
            assert_eq!(chat.content(text.as_bytes()), Some(content.as_bytes()));
        }
        for text in [
            format!(r#"{{"content":"{content}y"}}"#),
            r#"{"content":"short"}"#.to_owned(),
            r#"{"content":7}"#.to_owned(),
        ] {
            assert_eq!(chat.content(text.as_bytes()), None, "{text}");
        }
    }
}
