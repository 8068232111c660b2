//! One shard at a time, driven by hand: policies, deadlines (`time`), proofs of delivery (`barrier`),
//! formats and mail between shards (`formats`), what is done when memory is short (`memory`), what is
//! measured (`figures`), and a test for each defect that the simulator found.

mod asking;
mod barrier;
mod figures;
mod formats;
mod memory;
mod time;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use super::*;
use crate::http::Refusal;
use crate::ws::{Decoder, Header, MaskingKey, client_frame_into};

/// What the application was told, one line a callback.
type Diary = Rc<RefCell<Vec<String>>>;

/// Does what a message says: `sub T`, `sub T f` (in format f), `unsub T`, `pub T n` (n bytes),
/// `written n` and `pong n` (a barrier with token n), `close`, else answers the same.
struct Scripted {
    diary: Diary,
}

impl App for Scripted {
    type Data = ();
    type Mail = &'static str;

    fn upgrade(&mut self, request: &Request<'_>) -> Upgrade<()> {
        match request.path() {
            "/guest" => Accept::default().into(),
            "/never" => Upgrade::Defer(Box::pin(std::future::pending())),
            "/refused" => {
                let status = ::http::StatusCode::FORBIDDEN;
                Refusal::new(status, "forbidden", "not today")
                    .detail("day", "Sunday")
                    .into()
            }
            "/asked" => asking::asked(),
            path => Accept::default().user(&path[1..]).into(),
        }
    }

    fn asked(&mut self, asked: &mut Asked<'_, Self>, message: Message<'_>) -> Option<Upgrade<()>> {
        asking::answer(asked, message)
    }

    fn refused(&mut self, asked: &mut Asked<'_, Self>, refusal: &Refusal) {
        asked.send(refusal.code());
    }

    fn open(&mut self, socket: &mut Socket<'_, Self>) {
        if &**socket.user() == "pinged" {
            socket.ping(b"first?");
        }
    }

    fn message(&mut self, socket: &mut Socket<'_, Self>, message: Message<'_>) {
        let Message::Text(text) = message else { return };
        match *text.split(' ').collect::<Vec<_>>() {
            ["sub", topic] => {
                let _ = socket.subscribe(topic);
            }
            ["sub", topic, format] => {
                let format = Format(format.parse().unwrap());
                let _ = socket.subscribe_as(topic, format);
            }
            ["unsub", topic] => drop(socket.unsubscribe(topic)),
            ["pub", topic, bytes] => {
                let bytes: usize = bytes.parse().unwrap();
                socket.publish(topic, "x".repeat(bytes).as_str());
            }
            ["written", token] => socket.barrier(token.parse().unwrap(), Proof::Written),
            ["pong", token] => socket.barrier(token.parse().unwrap(), Proof::Pong),
            ["close"] => socket.close(CloseCode::NORMAL, "done"),
            _ => drop(socket.send(text)),
        }
    }

    fn drain(&mut self, _socket: &mut Socket<'_, Self>) {
        self.diary.borrow_mut().push("drain".into());
    }

    fn lagged(&mut self, _socket: &mut Socket<'_, Self>, topic: &str, missed_bytes: u64) {
        self.diary
            .borrow_mut()
            .push(format!("lagged {topic} {missed_bytes}"));
    }

    fn passed(&mut self, socket: &mut Socket<'_, Self>, token: u64) {
        assert!(socket.is_open());
        self.diary.borrow_mut().push(format!("passed {token}"));
    }

    fn mail(&mut self, _context: &mut Context<'_, Self>, mail: &'static str) {
        self.diary.borrow_mut().push(format!("mail {mail}"));
    }

    fn close(&mut self, socket: &mut Socket<'_, Self>, code: CloseCode, reason: &str) {
        let user = socket.user();
        self.diary
            .borrow_mut()
            .push(format!("close {user} {code} {reason}"));
    }
}

/// Writes down what the shard asks for.
#[derive(Default)]
struct Recorder {
    receives: BTreeMap<Slot, usize>,
    owned: BTreeMap<Slot, Vec<u8>>,
    paused: BTreeSet<Slot>,
    shut: BTreeSet<Slot>,
    end_watched: BTreeSet<Slot>,
    closed: BTreeSet<Slot>,
    discarded: usize,
    mails: Vec<(ShardId, Mail<Scripted>)>,
}

impl Outbox<Scripted> for Recorder {
    fn adopt(&mut self, slot: Slot, _descriptor: Descriptor) {
        self.receives.insert(slot, 0);
    }

    fn receive(&mut self, slot: Slot) {
        *self.receives.get_mut(&slot).unwrap() += 1;
    }

    fn release(&mut self, _slot: Slot) -> Descriptor {
        Descriptor::plain(0)
    }

    fn discard(&mut self, _descriptor: Descriptor) {
        self.discarded += 1;
    }

    fn promote(&mut self, _slot: Slot) {}

    fn pause_reading(&mut self, slot: Slot) {
        assert!(self.paused.insert(slot));
    }

    fn watch_end(&mut self, slot: Slot) {
        assert!(self.paused.contains(&slot));
        self.end_watched.insert(slot);
    }

    fn resume_reading(&mut self, slot: Slot) {
        self.end_watched.remove(&slot);
        assert!(self.paused.remove(&slot));
    }

    fn send_owned(&mut self, slot: Slot, bytes: Vec<u8>) {
        assert!(self.owned.insert(slot, bytes).is_none());
    }

    fn shutdown_write(&mut self, slot: Slot) {
        assert!(self.shut.insert(slot));
    }

    fn close(&mut self, slot: Slot) {
        assert!(self.closed.insert(slot));
    }

    fn mail(&mut self, to: ShardId, mail: Mail<Scripted>) {
        self.mails.push((to, mail));
    }

    fn service(
        &mut self,
        _request: ServiceRequest<Scripted>,
    ) -> Result<(), ServiceRequest<Scripted>> {
        Ok(())
    }
}

/// What sockets have taken. One that is full takes nothing; one that has `room` takes so many bytes of
/// its next send.
#[derive(Default)]
struct Sockets {
    written: BTreeMap<Slot, Vec<u8>>,
    full: BTreeSet<Slot>,
    room: BTreeMap<Slot, usize>,
    shorts: Vec<(Slot, usize)>,
}

impl<'a> Sink<'a> for Sockets {
    fn send(&mut self, slot: Slot, pieces: &[&'a [u8]]) {
        assert!((1..=PIECES_MAX).contains(&pieces.len()));
        if self.full.contains(&slot) {
            return self.shorts.push((slot, 0));
        }
        let mut bytes = pieces.concat();
        if let Some(room) = self.room.remove(&slot) {
            assert!(room < bytes.len());
            bytes.truncate(room);
            self.shorts.push((slot, room));
        }
        self.written.entry(slot).or_default().extend(bytes);
    }
}

/// A shard and its surroundings.
struct Rig {
    shard: Shard<Scripted>,
    outbox: Recorder,
    sockets: Sockets,
    diary: Diary,
    now: Now,
    slots: VecDeque<Slot>,
}

impl Rig {
    fn new(options: Options) -> Self {
        Self::one_of(Shared::new(options, 1, 1), ShardId(0))
    }

    fn one_of(shared: Arc<Shared>, shard: ShardId) -> Self {
        let diary = Diary::default();
        let app = Scripted {
            diary: Rc::clone(&diary),
        };
        let now = Now {
            monotonic_ms: 0,
            unix_ms: 1_767_225_600_000,
        };
        Self {
            shard: Shard::new(shard, shared, app, 100, now, 1),
            outbox: Recorder::default(),
            sockets: Sockets::default(),
            diary,
            now,
            slots: (0..100).map(Slot).collect(),
        }
    }

    fn handle(&mut self, event: Event<'_, Scripted>) {
        self.shard.handle(self.now, event, &mut self.outbox);
    }

    /// Does something between two events.
    fn run(&mut self, work: impl FnOnce(&mut Context<'_, Scripted>) + Send + 'static) {
        let work: Work<Scripted> = Box::new(move |_, context| work(context));
        self.handle(Event::Mail(Mail::Run(work)));
    }

    fn turn(&mut self) {
        self.shard.prepare(&mut self.outbox);
        self.shard.flush(&mut self.sockets);
        for (slot, taken) in std::mem::take(&mut self.sockets.shorts) {
            self.shard.short(slot, taken, &mut self.outbox);
        }
        self.shard.flushed(&mut self.outbox);
    }

    /// Lets seconds pass, with a turn in each.
    fn wait(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now = self.now.after(Duration::from_secs(1));
            self.handle(Event::Tick);
            self.turn();
            self.turn();
        }
    }

    fn accept(&mut self) -> Slot {
        let peer: SocketAddr = (Ipv4Addr::LOCALHOST, 1).into();
        let descriptor = Descriptor::plain(1);
        self.handle(Event::Accepted { descriptor, peer });
        self.slots.pop_front().unwrap()
    }

    fn receive(&mut self, slot: Slot, bytes: &[u8]) {
        let bytes = &mut bytes.to_vec()[..];
        self.handle(Event::Received { slot, bytes });
    }

    /// Asks for an upgrade; what is answered.
    fn ask(&mut self, path: &str) -> (Slot, String) {
        let slot = self.accept();
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: h\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        self.receive(slot, head.as_bytes());
        self.turn();
        (slot, self.taken(slot))
    }

    /// Opens a connection of a user.
    fn open(&mut self, user: &str) -> Slot {
        let (slot, answer) = self.ask(&format!("/{user}"));
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        slot
    }

    fn say(&mut self, slot: Slot, text: &str) {
        self.frame(slot, Opcode::Text, text.as_bytes());
    }

    fn frame(&mut self, slot: Slot, opcode: Opcode, payload: &[u8]) {
        let header = Header {
            key: Some(MaskingKey([1, 2, 3, 4])),
            ..Header::whole(opcode, 0)
        };
        let mut bytes = Vec::new();
        client_frame_into(&mut bytes, header, payload);
        self.receive(slot, &bytes);
    }

    /// An owned send has gone out: the socket has room again.
    fn unblock(&mut self, slot: Slot) {
        self.sockets.full.remove(&slot);
        let buffer = self
            .outbox
            .owned
            .remove(&slot)
            .expect("an owned send is in flight");
        self.sockets
            .written
            .entry(slot)
            .or_default()
            .extend_from_slice(&buffer);
        self.handle(Event::Sent { slot, buffer });
    }

    /// What the socket has taken since it was last asked, as text.
    fn taken(&mut self, slot: Slot) -> String {
        let bytes = self.sockets.written.remove(&slot).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The frames that the socket has taken, one line each; of messages only the length.
    fn frames(&mut self, slot: Slot) -> Vec<String> {
        let mut bytes = self.sockets.written.remove(&slot).unwrap_or_default();
        let mut bytes = &mut bytes[..];
        let (mut decoder, mut frames) = (Decoder::default(), Vec::new());
        let rules = Rules::client(1 << 24);
        while let Some(incoming) = decoder.next(&mut bytes, &rules, None).unwrap() {
            frames.push(match incoming {
                Incoming::Text(text) if text.len() < 10 => text.to_owned(),
                Incoming::Text(text) => format!("{} B", text.len()),
                Incoming::Close(Some((code, reason))) => format!("close {code} {reason}"),
                other => format!("{other:?}"),
            });
        }
        assert!(!decoder.is_mid_message(), "a torn frame");
        frames
    }

    fn told(&mut self) -> Vec<String> {
        self.diary.take()
    }
}

/// A subscriber whose socket is full, and a publisher.
fn with_slow_subscriber(slow_policy: SlowPolicy) -> (Rig, Slot, Slot) {
    let mut rig = Rig::new(Options {
        slow_policy,
        topic_window_bytes: 100_000,
        ..Options::default()
    });
    let (slow, publisher) = (rig.open("slow"), rig.open("publisher"));
    rig.say(slow, "sub t");
    rig.turn();
    rig.sockets.full.insert(slow);
    for _ in 0..5 {
        rig.say(publisher, "pub t 60000");
        rig.turn();
    }
    (rig, slow, publisher)
}

#[test]
fn gap_goes_on_with_the_oldest_message_that_is_left_and_tells_how_much_is_not() {
    let (mut rig, slow, publisher) = with_slow_subscriber(SlowPolicy::Gap);
    rig.unblock(slow);
    // The first message was in flight, the last is in the window: three are missed.
    assert_eq!(rig.told(), [format!("lagged t {}", 3 * 60_004)]);
    rig.turn();
    assert_eq!(rig.frames(slow), ["60000 B", "60000 B"]);
    rig.say(publisher, "pub t 10");
    rig.turn();
    assert_eq!(rig.frames(slow), ["10 B"]);
    assert_eq!(rig.told(), ["drain"]);
}

#[test]
fn latest_goes_on_with_the_next_message_after_the_window_has_passed() {
    let (mut rig, slow, publisher) = with_slow_subscriber(SlowPolicy::Latest);
    rig.say(publisher, "pub t 20");
    rig.unblock(slow);
    let told = rig.told();
    assert!(
        told.len() == 1 && told[0].starts_with("lagged t "),
        "{told:?}"
    );
    rig.turn();
    let frames = rig.frames(slow);
    assert_eq!(
        (&*frames[0], frames.last().map(|f| &**f)),
        ("60000 B", Some("20 B"))
    );
    assert!(frames.len() < 6, "{frames:?}");
}

#[test]
fn disconnect_closes_a_subscriber_whom_the_window_has_passed() {
    let (mut rig, slow, publisher) = with_slow_subscriber(SlowPolicy::Disconnect);
    assert_eq!(rig.told(), ["close slow 4508 slow subscriber"]);
    // The lane was left without subscribers while it stood on the list of the next turn, and the
    // turn panicked. Found by the simulator.
    rig.say(publisher, "pub t 10");
    rig.turn();
    rig.unblock(slow);
    rig.turn();
    assert_eq!(rig.frames(slow), ["60000 B", "close 4508 slow subscriber"]);
    assert_eq!(rig.shard.counters().too_slow, 1);
}

/// A connection that is passed in one topic while it is catching up, with its socket not full.
///
/// It was closed in the middle of concluding the lanes, and what other lanes had just sent was sent
/// again; or, under another policy, never told what it had missed.
fn passed_while_catching_up(slow_policy: SlowPolicy) -> (Rig, Slot) {
    let mut rig = Rig::new(Options {
        slow_policy,
        topic_window_bytes: 400_000,
        message_bytes_max: 1 << 20,
        ..Options::default()
    });
    let (slow, publisher) = (rig.open("slow"), rig.open("publisher"));
    for topic in ["t", "other"] {
        rig.say(slow, &format!("sub {topic}"));
    }
    rig.turn();
    rig.sockets.full.insert(slow);
    for _ in 0..6 {
        rig.say(publisher, "pub t 60000");
        rig.turn();
    }
    rig.unblock(slow);
    rig.taken(slow);
    for _ in 0..12 {
        rig.say(publisher, "pub t 60000");
    }
    rig.say(publisher, "pub other 11");
    for _ in 0..3 {
        rig.turn();
    }
    (rig, slow)
}

#[test]
fn what_a_turn_has_sent_is_not_sent_again_to_who_is_closed_in_it() {
    let (mut rig, slow) = passed_while_catching_up(SlowPolicy::Disconnect);
    assert_eq!(rig.told(), ["close slow 4508 slow subscriber"]);
    let frames = rig.frames(slow);
    assert_eq!(
        frames.iter().filter(|frame| *frame == "11 B").count(),
        1,
        "{frames:?}"
    );
    // Nor did what lay behind the gap go out, as it did when the simulator found it.
    let sent = ["60000 B", "60000 B", "11 B", "close 4508 slow subscriber"];
    assert_eq!(frames, sent);
}

#[test]
fn who_is_passed_while_catching_up_is_told() {
    let (mut rig, _) = passed_while_catching_up(SlowPolicy::Gap);
    let told = rig.told();
    assert!(
        told.iter().any(|line| line.starts_with("lagged t ")),
        "{told:?}"
    );
}

#[test]
fn a_refusal_has_a_status_and_a_json_body() {
    let mut rig = Rig::new(Options::default());
    let (slot, answer) = rig.ask("/refused");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 403 Forbidden"), "{head}");
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(
        (&body["code"], &body["error"]),
        (&"forbidden".into(), &"not today".into())
    );
    assert_eq!(
        (&body["status"], &body["details"]["day"]),
        (&403.into(), &"Sunday".into())
    );
    assert_eq!(body["timestamp"], "2026-01-01T00:00:00.000Z");
    assert_eq!(body["request_id"].as_str().unwrap().len(), 36);
    assert!(rig.outbox.shut.contains(&slot));
}

#[test]
fn one_connection_too_many_is_refused_429() {
    let mut rig = Rig::new(Options {
        connections_per_user_max: 2,
        ..Options::default()
    });
    let oldest = rig.open("ann");
    rig.open("ann");
    let (_, answer) = rig.ask("/ann");
    assert!(
        answer.starts_with("HTTP/1.1 429 ") && answer.contains("\"limit\":2"),
        "{answer}"
    );
    assert_eq!(rig.frames(oldest), [""; 0]);
}

#[test]
fn one_connection_too_many_replaces_the_oldest() {
    let mut rig = Rig::new(Options {
        connections_per_user_max: 2,
        on_user_limit: OnUserLimit::EvictOldest,
        ..Options::default()
    });
    let (oldest, older) = (rig.open("ann"), rig.open("ann"));
    rig.open("ann");
    let reason = "replaced by a newer connection";
    assert_eq!(rig.told(), [format!("close ann 4409 {reason}")]);
    assert_eq!(rig.frames(oldest), [format!("close 4409 {reason}")]);
    assert_eq!(rig.frames(older), [""; 0]);
    assert_eq!((rig.shard.open_count(), rig.shard.user_count()), (2, 1));
}

#[test]
fn a_shutdown_closes_everybody_and_says_when_to_come_back() {
    let mut rig = Rig::new(Options::default());
    let (open, head) = (rig.open("ann"), rig.accept());
    rig.handle(Event::Mail(Mail::Shutdown));
    rig.turn();
    let frames = rig.frames(open);
    let reason = "close 1001 server shutting down; retry_in_ms=";
    let retry_in_ms: u64 = frames[0].strip_prefix(reason).unwrap().parse().unwrap();
    assert!(retry_in_ms < 5000);
    assert!(rig.outbox.closed.contains(&head));
    rig.accept();
    assert_eq!(rig.outbox.discarded, 1);
    for slot in [open, head] {
        rig.handle(Event::EndOfStream { slot });
        rig.handle(Event::Released { slot });
    }
    rig.turn();
    rig.shard.assert_quiet();
}

/// The private queue sends control frames first, and the 101 was not one: a ping from `open`, or the
/// pong for a ping that came with the request, went before it. Found by the simulator.
#[test]
fn nothing_goes_before_the_101() {
    let mut rig = Rig::new(Options::default());
    let (_, answer) = rig.ask("/pinged");
    assert!(
        answer.starts_with("HTTP/1.1 101 ") && answer.ends_with("first?"),
        "{answer}"
    );
}

/// A driver waits after `flush` unless it is told not to, and `flushed` comes after the wait: the
/// callback came with the next event, up to a second later.
#[test]
fn drain_does_not_wait_for_another_event() {
    let mut rig = Rig::new(Options::default());
    let slot = rig.open("ann");
    rig.sockets.full.insert(slot);
    rig.say(slot, "hello");
    rig.turn();
    rig.unblock(slot);
    rig.shard.prepare(&mut rig.outbox);
    assert!(rig.shard.has_more());
    rig.turn();
    assert_eq!(rig.told(), ["drain"]);
    rig.shard.prepare(&mut rig.outbox);
    assert!(!rig.shard.has_more());
}

/// The hidden topic is longer than a topic may be, but only `subscribe` looked at the length.
#[test]
fn nobody_can_name_the_topic_of_everybody() {
    let mut rig = Rig::new(Options::default());
    let (ann, ben) = (rig.open("ann"), rig.open("ben"));
    let everybody = "*".repeat(257);
    rig.say(ann, &format!("pub {everybody} 10"));
    rig.say(ben, &format!("unsub {everybody}"));
    rig.turn();
    assert_eq!((rig.frames(ann), rig.frames(ben)), (vec![], vec![]));
    rig.run(|context| context.broadcast("all of you", None));
    rig.turn();
    assert_eq!(rig.frames(ben), ["10 B"]);
}

/// A flood: so many messages of 1 KiB for so many hearers, more than a turn takes.
const FLOOD: usize = 200;
const HEARERS: usize = 40;

/// A publisher has sent a flood; its hearers have heard nothing of it yet.
fn flooded(rig: &mut Rig, publisher: Slot) -> Vec<Slot> {
    let hearers: Vec<Slot> = (0..HEARERS).map(|i| rig.open(&format!("h{i}"))).collect();
    hearers.iter().for_each(|&slot| rig.say(slot, "sub busy"));
    rig.turn();
    (0..FLOOD).for_each(|_| rig.say(publisher, "pub busy 1024"));
    hearers
}

/// How much of the flood all hearers have heard in each turn until there is no more to do.
fn heard_by_turn(rig: &mut Rig, hearers: &[Slot]) -> Vec<usize> {
    let mut turns = Vec::new();
    while turns.is_empty() || rig.shard.has_more() {
        rig.turn();
        let heard: BTreeSet<usize> = hearers.iter().map(|&h| rig.frames(h).len()).collect();
        assert_eq!(heard.len(), 1, "all have heard the same");
        turns.extend(heard);
    }
    turns
}

/// A publisher of 4 KiB messages to 200 subscribers had turns that took half a second, since a turn
/// sent all that had come in during the one before: whoever else was on the shard waited as long.
#[test]
fn a_flood_is_taken_in_portions_and_holds_up_nobody_else() {
    let mut rig = Rig::new(Options::default());
    let (publisher, ann, bob) = (rig.open("p"), rig.open("ann"), rig.open("bob"));
    rig.say(bob, "sub quiet");
    let hearers = flooded(&mut rig, publisher);
    // In the first turn, for no other was there.
    rig.say(ann, "pub quiet 5");
    rig.turn();
    assert_eq!(rig.frames(bob), ["xxxxx"]);
    let first = rig.frames(hearers[0]).len();
    assert_eq!(
        first, 26,
        "1 MiB for all, and the message that made it more"
    );
    hearers.iter().for_each(|&slot| drop(rig.taken(slot)));
    let rest: usize = heard_by_turn(&mut rig, &hearers).iter().sum();
    assert_eq!(first + rest, FLOOD);
}

#[test]
fn a_flood_goes_on_though_its_publishers_socket_is_full() {
    let mut rig = Rig::new(Options::default());
    let publisher = rig.open("p");
    rig.sockets.full.insert(publisher);
    rig.say(publisher, "an answer that the socket does not take");
    rig.turn();
    let hearers = flooded(&mut rig, publisher);
    let turns = heard_by_turn(&mut rig, &hearers);
    assert_eq!(turns.iter().sum::<usize>(), FLOOD);
    assert!(turns.len() > 1 && rig.outbox.owned.contains_key(&publisher));
}
