//! What becomes due: pings, the wait for a pong, slow peers, idleness, handshakes, closes.

use super::*;

#[test]
fn silence_is_pinged_at_54_seconds_and_closed_at_60() {
    let mut rig = Rig::new(Options::default());
    let slot = rig.open("quiet");
    rig.wait(53);
    assert_eq!(rig.frames(slot), [""; 0]);
    rig.wait(1);
    assert_eq!(rig.frames(slot), ["Ping([])"]);
    rig.frame(slot, Opcode::Pong, b"");
    rig.wait(54);
    assert_eq!(rig.frames(slot), ["Ping([])"], "a pong is a sign of life");
    rig.wait(5);
    assert_eq!(rig.told(), [""; 0]);
    rig.wait(1);
    assert_eq!(rig.frames(slot), ["close 4504 no pong"]);
    assert_eq!(rig.told(), ["close quiet 4504 no pong"]);
}

/// After a ping the next look was taken when its pong would have been too late, 40 seconds on, though the
/// pong had come at once: a proxy that cuts quiet connections after 30 seconds cut them.
#[test]
fn a_peer_that_answers_is_pinged_in_every_period_however_long_the_wait_for_a_pong() {
    let mut rig = Rig::new(Options {
        ping_period: Duration::from_secs(20),
        ..Options::default()
    });
    let slot = rig.open("quiet");
    for _ in 0..5 {
        rig.wait(19);
        assert_eq!(rig.frames(slot), [""; 0]);
        rig.wait(1);
        assert_eq!(rig.frames(slot), ["Ping([])"]);
        rig.frame(slot, Opcode::Pong, b"");
    }
    rig.wait(20);
    assert_eq!(rig.frames(slot), ["Ping([])"]);
    rig.wait(39);
    assert_eq!(rig.frames(slot), [""; 0], "one unanswered ping is enough");
    rig.wait(1);
    assert_eq!(rig.frames(slot), ["close 4504 no pong"]);
}

/// A million connections on two cores: a broadcast took five seconds, in which nobody read the pongs
/// that had come, and then those who had sent them were closed as silent.
#[test]
fn a_shard_that_was_late_itself_waits_for_the_pong() {
    let mut rig = Rig::new(Options::default());
    let (alive, gone) = (rig.open("alive"), rig.open("gone"));
    rig.wait(53);
    rig.now = rig.now.after(Duration::from_secs(20));
    rig.wait(1);
    for slot in [alive, gone] {
        assert_eq!(rig.frames(slot), ["Ping([])"]);
    }
    rig.wait(5);
    assert_eq!(rig.told(), [""; 0]);
    rig.frame(alive, Opcode::Pong, b"");
    rig.wait(1);
    assert_eq!(rig.told(), ["close gone 4504 no pong"]);
}

#[test]
fn an_unfinished_request_head_is_answered_408_and_no_head_by_nothing() {
    let mut rig = Rig::new(Options::default());
    let (silent, slow) = (rig.accept(), rig.accept());
    rig.receive(slow, b"GET /x HTTP/1.1\r\n");
    rig.wait(10);
    assert!(rig.outbox.closed.is_empty() && rig.sockets.written.is_empty());
    rig.wait(1);
    assert!(rig.outbox.closed.contains(&silent));
    assert!(rig.taken(slow).starts_with("HTTP/1.1 408 "));
    assert!(rig.outbox.shut.contains(&slow));
    // Two, not three: the second, for the rest of the head, is still in flight. A third made the
    // ring panic, which any peer with a slow head could bring about. Found by the simulator.
    assert_eq!(rig.outbox.receives[&slow], 2);
    rig.handle(Event::EndOfStream { slot: slow });
    assert!(rig.outbox.closed.contains(&slow));
}

#[test]
fn an_answer_that_stays_away_is_a_503() {
    let mut rig = Rig::new(Options::default());
    let (slot, answer) = rig.ask("/never");
    assert_eq!(answer, "");
    rig.wait(11);
    assert!(rig.taken(slot).starts_with("HTTP/1.1 503 "));
}

#[test]
fn a_closing_connection_that_the_peer_does_not_end_is_cut() {
    let mut rig = Rig::new(Options::default());
    let slot = rig.open("ann");
    rig.say(slot, "close");
    rig.turn();
    assert_eq!(rig.frames(slot), ["close 1000 done"]);
    assert!(rig.outbox.shut.contains(&slot));
    rig.wait(2);
    assert!(!rig.outbox.closed.contains(&slot));
    rig.wait(1);
    assert!(rig.outbox.closed.contains(&slot));
    rig.handle(Event::Released { slot });
    assert_eq!(
        rig.told(),
        ["close ann 1000 done"],
        "and it is not told twice"
    );
    rig.turn();
    rig.shard.assert_quiet();
}

#[test]
fn a_peer_that_takes_nothing_for_write_wait_is_closed_4508() {
    let mut rig = Rig::new(Options::default());
    let slot = rig.open("ann");
    rig.sockets.full.insert(slot);
    rig.say(slot, "hello");
    rig.turn();
    rig.wait(10);
    assert_eq!(rig.told(), [""; 0]);
    rig.wait(1);
    assert_eq!(rig.told(), ["close ann 4508 too slow"]);
    rig.unblock(slot);
    rig.turn();
    assert_eq!(rig.frames(slot), ["hello", "close 4508 too slow"]);
}

#[test]
fn pongs_do_not_keep_an_idle_connection_open() {
    let mut rig = Rig::new(Options {
        idle_timeout: Duration::from_secs(20),
        ..Options::default()
    });
    let slot = rig.open("ann");
    rig.wait(15);
    rig.say(slot, "hello");
    rig.wait(10);
    rig.frame(slot, Opcode::Pong, b"");
    rig.wait(9);
    assert_eq!(rig.told(), [""; 0]);
    rig.wait(1);
    assert_eq!(rig.told(), ["close ann 1001 idle"]);
}
