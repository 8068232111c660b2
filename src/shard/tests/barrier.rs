//! Barriers: when the application is told that a peer was sent, or has got, everything.

use super::*;

impl Rig {
    /// The frames that the socket has taken but for a ping, which must be the last, and its payload.
    fn frames_and_ping(&mut self, slot: Slot) -> (Vec<String>, Vec<u8>) {
        let mut frames = self.frames(slot);
        let last = frames.pop().expect("frames were sent");
        let list = last
            .strip_prefix("Ping([")
            .and_then(|rest| rest.strip_suffix("])"));
        let list = list.unwrap_or_else(|| panic!("no ping is last: {frames:?}, {last}"));
        let payload: Vec<u8> = list.split(", ").map(|byte| byte.parse().unwrap()).collect();
        assert!(frames.iter().all(|frame| !frame.starts_with("Ping")));
        (frames, payload)
    }

    /// The payload of the ping that a connection is sent alone.
    fn ping(&mut self, slot: Slot) -> Vec<u8> {
        let (frames, payload) = self.frames_and_ping(slot);
        assert_eq!(frames, [""; 0]);
        payload
    }

    fn pong(&mut self, slot: Slot, payload: &[u8]) {
        self.frame(slot, Opcode::Pong, payload);
    }
}

/// A subscriber of `t`, and a publisher.
fn pair() -> (Rig, Slot, Slot) {
    let mut rig = Rig::new(Options::default());
    let (ann, publisher) = (rig.open("ann"), rig.open("publisher"));
    rig.say(ann, "sub t");
    rig.turn();
    (rig, ann, publisher)
}

#[test]
fn the_ping_goes_behind_replies_and_topics_and_its_pong_proves_them() {
    let (mut rig, ann, publisher) = pair();
    rig.say(ann, "pong 7");
    rig.say(ann, "reply");
    rig.say(publisher, "pub t 5");
    rig.frame(ann, Opcode::Ping, b"yours");
    rig.turn();
    let (frames, ping) = rig.frames_and_ping(ann);
    assert_eq!(
        frames,
        ["Pong([121, 111, 117, 114, 115])", "reply", "xxxxx"]
    );
    assert_eq!(rig.told(), [""; 0]);
    rig.pong(ann, &ping);
    assert_eq!(rig.told(), ["passed 7"]);
    rig.turn();
    assert_eq!(rig.frames(ann), [""; 0], "one ping is enough");
}

#[test]
fn what_the_kernel_has_taken_is_told_without_another_event() {
    let (mut rig, ann, publisher) = pair();
    rig.say(publisher, "pub t 5");
    rig.say(ann, "written 1");
    rig.shard.prepare(&mut rig.outbox);
    assert!(rig.shard.has_more());
    rig.turn();
    assert_eq!(rig.told(), ["passed 1"]);
    assert_eq!(rig.frames(ann), ["xxxxx"]);
    rig.turn();
    assert!(!rig.shard.has_more());
    assert_eq!(rig.told(), [""; 0]);
}

#[test]
fn a_full_socket_has_neither_written_nor_pinged() {
    let (mut rig, ann, publisher) = pair();
    rig.sockets.full.insert(ann);
    rig.say(publisher, "pub t 5");
    rig.turn();
    for request in ["written 1", "pong 2", "reply"] {
        rig.say(ann, request);
    }
    rig.say(publisher, "pub t 6");
    rig.turn();
    rig.unblock(ann);
    assert_eq!(rig.told(), [""; 0], "more is owed than was in flight");
    assert_eq!(rig.frames(ann), ["xxxxx"]);
    rig.turn();
    assert_eq!(rig.told(), ["drain", "passed 1"]);
    let (frames, ping) = rig.frames_and_ping(ann);
    assert_eq!(frames, ["reply", "xxxxxx"]);
    rig.pong(ann, &ping);
    assert_eq!(rig.told(), ["passed 2"]);
}

#[test]
fn a_torn_ping_is_sent_to_its_end_once() {
    for room in 0..17 {
        let (mut rig, ann, publisher) = pair();
        rig.say(ann, "pong 1");
        rig.say(ann, "written 2");
        rig.say(publisher, "pub t 5");
        // Seven bytes of the message, ten of the ping.
        rig.sockets.room.insert(ann, room);
        rig.turn();
        assert_eq!(rig.told(), [""; 0]);
        rig.say(publisher, "pub t 6");
        rig.turn();
        rig.unblock(ann);
        let (frames, ping) = rig.frames_and_ping(ann);
        assert_eq!(frames, ["xxxxx"], "room for {room} bytes");
        rig.pong(ann, &ping);
        assert_eq!(rig.told(), ["passed 1"]);
        rig.turn();
        assert_eq!(rig.frames(ann), ["xxxxxx"]);
        assert_eq!(rig.told(), ["drain", "passed 2"]);
    }
}

#[test]
fn who_is_behind_catches_up_first() {
    let (mut rig, slow, publisher) = pair();
    rig.sockets.full.insert(slow);
    for _ in 0..10 {
        rig.say(publisher, "pub t 60000");
        rig.turn();
    }
    rig.say(slow, "pong 1");
    rig.say(slow, "written 2");
    rig.unblock(slow);
    assert_eq!(rig.frames(slow), ["60000 B"]);
    let mut turns = 0;
    let mut got = 0;
    loop {
        rig.turn();
        turns += 1;
        let told = rig.told();
        if told.contains(&"passed 2".to_owned()) {
            break;
        }
        let frames = rig.frames(slow);
        assert!(!frames.is_empty() && frames.iter().all(|frame| frame == "60000 B"));
        got += frames.len();
    }
    let (frames, ping) = rig.frames_and_ping(slow);
    assert_eq!(got + frames.len(), 9);
    assert!(turns > 1, "the catching up takes several turns");
    rig.pong(slow, &ping);
    assert_eq!(rig.told(), ["passed 1"]);
}

#[test]
fn more_pieces_than_a_send_takes_go_before_the_ping() {
    let (mut rig, ann, publisher) = pair();
    for topics in [PIECES_MAX - 1, PIECES_MAX, 3 * PIECES_MAX] {
        for topic in 0..topics {
            rig.say(ann, &format!("sub t{topic}"));
            rig.say(publisher, &format!("pub t{topic} 5"));
        }
        rig.turn();
        drop(rig.taken(ann));
        for topic in 0..topics {
            rig.say(publisher, &format!("pub t{topic} 5"));
        }
        rig.say(ann, "pong 1");
        rig.turn();
        rig.turn();
        let (frames, ping) = rig.frames_and_ping(ann);
        assert_eq!(frames.len(), topics);
        rig.pong(ann, &ping);
        assert_eq!(rig.told(), ["passed 1"]);
    }
}

#[test]
fn what_is_copied_for_want_of_pieces_is_not_owed() {
    let (mut rig, slow, publisher) = pair();
    for topic in 0..PIECES_MAX {
        rig.say(slow, &format!("sub t{topic}"));
    }
    rig.turn();
    rig.sockets.full.insert(slow);
    for _ in 0..10 {
        rig.say(publisher, "pub t 60000");
        rig.turn();
    }
    rig.unblock(slow);
    drop(rig.taken(slow));
    for topic in 0..PIECES_MAX {
        rig.say(publisher, &format!("pub t{topic} 5"));
    }
    rig.say(slow, "pong 1");
    rig.turn();
    let (frames, ping) = rig.frames_and_ping(slow);
    assert_eq!(frames.len(), 9 + PIECES_MAX);
    assert_eq!(rig.told(), ["drain"]);
    rig.pong(slow, &ping);
    assert_eq!(rig.told(), ["passed 1"]);
}

#[test]
fn one_ping_is_in_flight_and_the_next_is_for_the_newest_token() {
    let (mut rig, ann, publisher) = pair();
    rig.say(ann, "pong 1");
    rig.say(ann, "pong 2");
    rig.turn();
    let first = rig.ping(ann);
    rig.say(publisher, "pub t 5");
    rig.say(ann, "pong 3");
    rig.say(ann, "pong 4");
    rig.turn();
    assert_eq!(rig.frames(ann), ["xxxxx"]);
    rig.pong(ann, &first);
    assert_eq!(rig.told(), ["passed 2"]);
    rig.turn();
    let second = rig.ping(ann);
    assert_ne!(first, second);
    rig.pong(ann, &first);
    assert_eq!(rig.told(), [""; 0], "an old pong proves nothing newer");
    rig.pong(ann, &second);
    assert_eq!(rig.told(), ["passed 4"]);
    rig.pong(ann, &second);
    assert_eq!(rig.told(), [""; 0], "each is told once");
}

#[test]
fn a_stray_pong_proves_nothing() {
    let (mut rig, ann, other) = pair();
    rig.pong(ann, &[0; 8]);
    rig.say(ann, "pong 1");
    // Not sent yet.
    rig.pong(ann, &[0; 8]);
    rig.turn();
    let ping = rig.ping(ann);
    rig.pong(ann, b"");
    rig.pong(ann, &ping[1..]);
    rig.pong(ann, &[&ping[..], b"!"].concat());
    rig.pong(other, &ping);
    assert_eq!(rig.told(), [""; 0]);
    rig.pong(ann, &ping);
    assert_eq!(rig.told(), ["passed 1"]);
}

#[test]
fn nothing_is_told_of_a_connection_that_closes() {
    let (mut rig, ann, _) = pair();
    rig.say(ann, "pong 1");
    rig.turn();
    let ping = rig.ping(ann);
    for request in ["pong 2", "written 3", "close"] {
        rig.say(ann, request);
    }
    rig.turn();
    rig.pong(ann, &ping);
    rig.turn();
    assert_eq!(rig.told(), ["close ann 1000 done"]);
    assert_eq!(rig.frames(ann), ["close 1000 done"]);
    rig.handle(Event::EndOfStream { slot: ann });
    rig.handle(Event::Released { slot: ann });
    // Nor of the next connection in the slot.
    rig.slots.push_front(ann);
    let next = rig.open("next");
    assert_eq!(next, ann);
    rig.pong(next, &ping);
    rig.turn();
    assert_eq!(rig.told(), [""; 0]);
    assert_eq!(rig.frames(next), [""; 0]);
}

#[test]
fn a_connection_that_is_cut_leaves_no_barrier() {
    let (mut rig, ann, publisher) = pair();
    rig.say(ann, "pong 1");
    rig.turn();
    for slot in [ann, publisher] {
        rig.handle(Event::Failed { slot });
        rig.handle(Event::Released { slot });
    }
    rig.turn();
    rig.shard.assert_quiet();
}

#[test]
fn the_keepalive_asks_for_the_pong_again() {
    let (mut rig, ann, _) = pair();
    rig.say(ann, "pong 1");
    rig.turn();
    let ping = rig.ping(ann);
    rig.wait(54);
    assert_eq!(rig.ping(ann), ping);
    rig.pong(ann, &ping);
    assert_eq!(rig.told(), ["passed 1"]);
    rig.wait(54);
    assert_eq!(rig.frames(ann), ["Ping([])"], "nothing is awaited any more");
}

#[test]
fn a_users_open_connections_are_listed_the_oldest_first() {
    let mut rig = Rig::new(Options::default());
    let slots = ["ann", "ben", "ann", "ann"].map(|user| rig.open(user));
    rig.handle(Event::Mail(Mail::Run(Box::new(move |_, context| {
        let list = |context: &Context<'_, _>, user| -> Vec<Slot> {
            let ids = context.connections_of(user);
            ids.iter().map(|id| id.slot()).collect()
        };
        assert_eq!(list(context, "ann"), [slots[0], slots[2], slots[3]]);
        assert_eq!(list(context, "nobody"), []);
        let id = context.connections_of("ann")[0];
        context.close(id, CloseCode::NORMAL, "");
        // The application has not heard of it yet, and it still counts.
        assert_eq!(list(context, "ann"), [slots[2], slots[3]]);
        assert_eq!(context.user_connection_count("ann"), 3);
    }))));
}
