//! What bytes are held, and what happens when the process is short of memory.

use super::*;
use crate::metrics::{Memory, Pressure};

/// Of a frame that never comes whole.
const PART: usize = 20_000;

impl Rig {
    fn short_of(&mut self, pressure: Pressure) {
        self.shard.core.shared.set_pressure(pressure);
    }

    fn memory(&self) -> Memory {
        self.shard.core.memory()
    }

    /// Sends `bytes` bytes of a longer message.
    fn begin_message(&mut self, slot: Slot, bytes: usize) {
        let mut frame = Vec::new();
        let header = Header {
            key: Some(MaskingKey([1, 2, 3, 4])),
            ..Header::whole(Opcode::Text, 0)
        };
        client_frame_into(&mut frame, header, &vec![b'x'; 30_000]);
        self.receive(slot, &frame[..bytes]);
        self.turn();
    }
}

#[test]
fn bytes_are_counted_where_they_are_kept_and_no_longer() {
    let mut rig = Rig::new(Options::default());
    let empty = rig.memory();
    assert_eq!(empty.total(), 0);
    let head = rig.accept();
    rig.receive(head, b"GET /x HTTP/1.1\r\n");
    assert_eq!(rig.memory().held, 17);

    let slow = rig.open("slow");
    let reader = rig.open("reader");
    rig.say(slow, "sub t");
    rig.turn();
    rig.say(slow, "an answer");
    assert_eq!(rig.memory().queues, 11, "two bytes of header");
    rig.sockets.full.insert(slow);
    rig.turn();
    assert_eq!((rig.memory().queues, rig.memory().in_flight), (0, 11));
    rig.say(reader, "pub t 5000");
    rig.turn();
    assert_eq!(
        rig.memory().topic_logs,
        65_536,
        "a chunk that a laggard keeps"
    );
    rig.begin_message(reader, 1000);
    assert!(rig.memory().partial >= 1000);
    assert_eq!(
        rig.memory().connections,
        rig.shard.core.connections.bytes() as u64
    );

    rig.unblock(slow);
    rig.turn();
    assert_eq!((rig.memory().in_flight, rig.memory().topic_logs), (0, 0));
    assert!(rig.memory().spare >= 65_536);
    for slot in [head, slow, reader] {
        rig.handle(Event::Failed { slot });
        rig.handle(Event::Released { slot });
    }
    rig.turn();
    rig.shard.assert_quiet();
    let spare = rig.memory().spare;
    assert_eq!(rig.memory().total(), spare);
}

#[test]
fn the_fattest_are_not_read_from_while_memory_is_short() {
    let mut rig = Rig::new(Options::default());
    let (fat, lean) = (rig.open("fat"), rig.open("lean"));
    rig.begin_message(fat, PART);
    rig.begin_message(lean, 100);
    rig.wait(1);
    assert!(rig.outbox.paused.is_empty(), "there is enough");
    rig.short_of(Pressure::Soft);
    rig.wait(2);
    assert_eq!(rig.outbox.paused, BTreeSet::from([fat]));
    assert_eq!(rig.shard.counters().pressed, 1);
    assert_eq!(rig.memory().spare, 0, "nothing is kept for reuse");
    rig.short_of(Pressure::None);
    rig.wait(1);
    assert!(rig.outbox.paused.is_empty());
    rig.short_of(Pressure::Hard);
    rig.wait(1);
    assert_eq!(rig.outbox.paused, BTreeSet::from([fat]));
    assert!(rig.shard.core.in_phase(fat, Phase::Open));
}

#[test]
fn who_has_become_lean_is_read_from_though_memory_is_short() {
    let mut rig = Rig::new(Options::default());
    let slow = rig.open("slow");
    rig.sockets.full.insert(slow);
    rig.say(slow, &"y".repeat(PART));
    rig.turn();
    rig.short_of(Pressure::Soft);
    rig.wait(1);
    assert_eq!(rig.outbox.paused, BTreeSet::from([slow]));
    rig.unblock(slow);
    rig.turn();
    assert_eq!(
        rig.outbox.paused,
        BTreeSet::from([slow]),
        "till the next tick"
    );
    rig.wait(1);
    assert!(rig.outbox.paused.is_empty());
    rig.say(slow, "hello");
    rig.turn();
    assert_eq!(rig.frames(slow).last().map(String::as_str), Some("hello"));
}

#[test]
fn one_whose_socket_is_full_is_read_from_when_that_is_over_too() {
    let mut rig = Rig::new(Options::default());
    let slow = rig.open("slow");
    rig.sockets.full.insert(slow);
    rig.say(slow, &"y".repeat(PART));
    rig.turn();
    rig.short_of(Pressure::Soft);
    rig.wait(1);
    rig.short_of(Pressure::None);
    rig.wait(1);
    assert_eq!(
        rig.outbox.paused,
        BTreeSet::from([slow]),
        "it is still full"
    );
    rig.unblock(slow);
    rig.turn();
    assert!(rig.outbox.paused.is_empty());
}

#[test]
fn who_holds_much_for_as_long_as_silence_may_last_is_closed_and_not_as_silent() {
    let mut rig = Rig::new(Options::default());
    let fat = rig.open("fat");
    rig.begin_message(fat, PART);
    rig.short_of(Pressure::Soft);
    rig.wait(59);
    assert_eq!(rig.told(), [""; 0]);
    rig.wait(1);
    assert_eq!(rig.told(), ["close fat 1013 short of memory"]);
    assert!(rig.outbox.paused.is_empty(), "its end is to be seen");
}

#[test]
fn who_has_gone_is_read_to_the_end_though_memory_is_short() {
    let mut rig = Rig::new(Options::default());
    let (fat, stays) = (rig.open("fat"), rig.open("stays"));
    rig.begin_message(fat, PART);
    rig.begin_message(stays, PART);
    rig.short_of(Pressure::Soft);
    rig.wait(1);
    assert_eq!(rig.outbox.end_watched, BTreeSet::from([fat, stays]));
    rig.handle(Event::Ending { slot: fat });
    assert_eq!(rig.outbox.paused, BTreeSet::from([stays]));
    rig.wait(2);
    assert_eq!(
        rig.outbox.paused,
        BTreeSet::from([stays]),
        "it is not pressed again, though fat"
    );
    let before = rig.memory().partial;
    rig.handle(Event::EndOfStream { slot: fat });
    rig.handle(Event::Released { slot: fat });
    assert_eq!(rig.told(), ["close fat 1006 connection ended"]);
    assert!(rig.memory().partial <= before - PART as u64);
    rig.wait(1);
    assert_eq!(rig.shard.core.pressed.len(), 1);
    // Stale news of a place that is free.
    rig.handle(Event::Ending { slot: fat });
}

#[test]
fn a_pressed_place_with_another_tenant_is_forgotten() {
    let mut rig = Rig::new(Options::default());
    let fat = rig.open("fat");
    rig.begin_message(fat, PART);
    rig.short_of(Pressure::Soft);
    rig.wait(1);
    rig.handle(Event::Failed { slot: fat });
    rig.handle(Event::Released { slot: fat });
    rig.outbox.paused.clear();
    rig.outbox.closed.clear();
    rig.slots.push_front(fat);
    assert_eq!(rig.open("other"), fat);
    rig.wait(1);
    assert!(rig.outbox.paused.is_empty() && rig.shard.core.pressed.is_empty());
}

#[test]
fn without_memory_handshakes_are_refused_and_who_is_in_stays() {
    let mut rig = Rig::new(Options::default());
    let inside = rig.open("inside");
    rig.short_of(Pressure::Hard);
    let (_, answer) = rig.ask("/late");
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("\r\nretry-after: 1\r\n"), "{answer}");
    assert_eq!(rig.shard.counters().refused_memory, 1);
    rig.say(inside, "still here");
    rig.turn();
    assert_eq!(rig.frames(inside), ["10 B"]);
    rig.short_of(Pressure::Soft);
    rig.open("later");
}
