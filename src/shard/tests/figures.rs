//! What a shard measures.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::metrics::Part;

const MS: u64 = 1_000_000;

impl Rig {
    fn figures(&mut self) -> Figures {
        let core = &mut self.shard.core;
        Context { core }.figures()
    }
}

/// A rig with a stopwatch that stands where it is put.
fn timed(options: Options) -> (Rig, Arc<AtomicU64>) {
    let mut rig = Rig::new(options);
    let at = Arc::new(AtomicU64::new(0));
    rig.shard.core.stopwatch = Stopwatch::Set(Arc::clone(&at));
    (rig, at)
}

#[test]
fn a_slow_turn_names_what_took_longest() {
    let (mut rig, at) = timed(Options::default());
    rig.shard.begin_turn(0);
    at.store(10 * MS, Ordering::Relaxed);
    rig.run(|context| context.handled(7));
    at.store(40 * MS, Ordering::Relaxed);
    rig.shard.lap(Part::Mail);
    let slow = rig.shard.end_turn(Part::Sends, 50 * MS);
    let expected = SlowTurn {
        took_ns: 50 * MS,
        part: "mail".into(),
        part_ns: 30 * MS,
    };
    assert_eq!(slow, Some(expected));

    rig.shard.begin_turn(60 * MS);
    at.store(130 * MS, Ordering::Relaxed);
    rig.run(|context| context.handled(7));
    let slow = rig.shard.end_turn(Part::Completions, 131 * MS).unwrap();
    // Scripted has no names for its handlers.
    assert_eq!((slow.part.as_str(), slow.part_ns), ("message", 70 * MS));

    // What a handler goes on with elsewhere was called mail, of which nobody knew whose it was.
    rig.shard.begin_turn(140 * MS);
    at.store(150 * MS, Ordering::Relaxed);
    let later = Arc::clone(&at);
    rig.run(move |context| {
        context.resume(7, |_| later.store(210 * MS, Ordering::Relaxed));
    });
    let slow = rig.shard.end_turn(Part::Mail, 211 * MS).unwrap();
    assert_eq!((slow.part.as_str(), slow.part_ns), ("message", 60 * MS));

    rig.shard.begin_turn(220 * MS);
    assert_eq!(rig.shard.end_turn(Part::Completions, 269 * MS), None);
    let figures = rig.figures();
    assert_eq!((figures.turns.count(), figures.counters.slow_turns), (4, 3));
    assert_eq!(figures.handlers[7].count(), 2);
    assert_eq!(figures.handlers[7].sum_ns(), 80 * MS);
}

#[test]
fn no_turn_is_slow_if_none_is_to_be() {
    let (mut rig, _) = timed(Options {
        slow_turn: Duration::ZERO,
        ..Options::default()
    });
    rig.shard.begin_turn(0);
    assert_eq!(rig.shard.end_turn(Part::Sends, 5000 * MS), None);
    assert_eq!(rig.figures().counters.slow_turns, 0);
}

#[test]
fn only_many_sends_are_timed_on_their_own() {
    let (mut rig, _) = timed(Options::default());
    let slots: Vec<Slot> = (0..90).map(|n| rig.open(&format!("user-{n}"))).collect();
    for &slot in &slots {
        rig.say(slot, "sub a");
        rig.say(slot, "sub b");
        rig.say(slot, "sub c");
    }
    rig.turn();
    rig.run(|context| context.publish("a", "x", None));
    rig.shard.prepare(&mut rig.outbox);
    assert_eq!(rig.shard.last_part(), Part::Completions);
    for topic in ["b", "c"] {
        rig.run(move |context| context.publish(topic, "x", None));
    }
    rig.shard.prepare(&mut rig.outbox);
    assert_eq!(rig.shard.last_part(), Part::Sends);
}

#[test]
fn handshakes_refusals_closings_and_deliveries_are_counted() {
    let (mut rig, at) = timed(Options::default());
    let slot = rig.accept();
    rig.now = rig.now.after(Duration::from_millis(30));
    rig.receive(slot, HEAD);
    rig.turn();
    let figures = rig.figures();
    assert_eq!(figures.handshakes.count(), 1);
    assert_eq!(figures.handshakes.sum_ns(), 30 * MS);
    assert_eq!(
        (figures.connections, figures.users, figures.pending),
        (1, 1, 0)
    );

    rig.shard.begin_turn(0);
    at.store(80 * MS, Ordering::Relaxed);
    let (_, answer) = rig.ask("/refused");
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    let slow = rig.shard.end_turn(Part::Completions, 81 * MS).unwrap();
    assert_eq!((slow.part.as_str(), slow.part_ns), ("handshake", 80 * MS));

    let others: Vec<Slot> = (0..3).map(|n| rig.open(&format!("other-{n}"))).collect();
    others.iter().for_each(|&slot| rig.say(slot, "sub t"));
    rig.turn();
    let before = rig.figures().counters;
    rig.run(|context| context.publish("t", "12345", None));
    let counters = rig.figures().counters;
    assert_eq!(counters.fanned_out - before.fanned_out, 3);
    assert_eq!(counters.bytes_out - before.bytes_out, 3 * 7);
    rig.turn();

    rig.say(others[0], "close");
    rig.turn();
    let figures = rig.figures();
    let refusals: Vec<_> = figures.refusals.iter().collect();
    assert_eq!(refusals, [(&"forbidden".into(), 1)]);
    let closings: Vec<_> = figures.closings.iter().collect();
    assert_eq!(closings, [(&1000, 1)]);
    assert_eq!(figures.topics, 1);
}

const HEAD: &[u8] =
    b"GET /ann HTTP/1.1\r\nhost: h\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
    sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
