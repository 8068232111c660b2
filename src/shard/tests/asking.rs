//! Connections whose first messages say whose they are.

use super::*;

/// The answer to a handshake: say first who you are, within five seconds.
pub(super) fn asked() -> Upgrade<()> {
    Upgrade::Ask(Ask {
        accept: Accept::default(),
        timeout: Duration::from_secs(5),
    })
}

/// `i am N` is N, `i am nobody` is refused, `ask them` takes a while; to all else: `who?`.
pub(super) fn answer(asked: &mut Asked<'_, Scripted>, message: Message<'_>) -> Option<Upgrade<()>> {
    let Message::Text(text) = message else {
        return None;
    };
    match text.strip_prefix("i am ") {
        Some("nobody") => {
            let status = ::http::StatusCode::UNAUTHORIZED;
            Some(Refusal::new(status, "unauthorized", "no such user").into())
        }
        Some(name) => Some(Accept::default().user(name).into()),
        None if text == "ask them" => Some(Upgrade::Defer(Box::pin(std::future::pending()))),
        None => {
            asked.send("who?");
            None
        }
    }
}

/// A connection that has its 101 and is asked.
fn knock(rig: &mut Rig) -> Slot {
    let open = rig.shard.open_count();
    let (slot, answer) = rig.ask("/asked");
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert_eq!(rig.shard.open_count(), open);
    slot
}

#[test]
fn who_says_who_they_are_is_open_and_what_they_said_with_it_counts() {
    let mut rig = Rig::new(Options::default());
    let slot = knock(&mut rig);
    rig.say(slot, "hello");
    rig.frame(slot, Opcode::Ping, b"?");
    rig.turn();
    assert_eq!(rig.frames(slot), ["Pong([63])", "who?"]);
    assert_eq!(rig.shard.open_count(), 0);
    let mut bytes = Vec::new();
    for text in ["i am ann", "first", "second"] {
        let header = Header {
            key: Some(MaskingKey([1, 2, 3, 4])),
            ..Header::whole(Opcode::Text, 0)
        };
        client_frame_into(&mut bytes, header, text.as_bytes());
    }
    // The last frame comes in two parts.
    let (most, rest) = bytes.split_at(bytes.len() - 3);
    rig.receive(slot, most);
    rig.receive(slot, rest);
    rig.turn();
    assert_eq!(rig.frames(slot), ["first", "second"]);
    assert_eq!((rig.shard.open_count(), rig.shard.user_count()), (1, 1));
    rig.wait(20);
    assert_eq!(rig.shard.open_count(), 1, "the deadline is gone");
}

#[test]
fn a_token_that_comes_with_the_request_and_in_single_bytes_is_heard() {
    let mut rig = Rig::new(Options::default());
    let slot = knock(&mut rig);
    let header = Header {
        key: Some(MaskingKey([9, 2, 3, 4])),
        ..Header::whole(Opcode::Text, 0)
    };
    let mut bytes = Vec::new();
    client_frame_into(&mut bytes, header, b"i am bob");
    for byte in bytes {
        rig.receive(slot, &[byte]);
    }
    assert_eq!(rig.shard.user_count(), 1);
}

#[test]
fn who_is_at_home_elsewhere_goes_there_with_all_that_was_said_and_not_sent() {
    let shared = Shared::new(Options::default(), 2, 1);
    let [mut here, mut there] =
        [0, 1].map(|shard| Rig::one_of(Arc::clone(&shared), ShardId(shard)));
    let name = (0..100)
        .map(|n| format!("u{n}"))
        .find(|name| shared.placement.home(name) == ShardId(1))
        .unwrap();
    let slot = knock(&mut here);
    // An answer that this turn has not sent yet goes along.
    here.say(slot, "hello");
    here.say(slot, &format!("i am {name}"));
    let (to, mail) = here.outbox.mails.pop().unwrap();
    assert_eq!(to, ShardId(1));
    assert_eq!(here.shard.socket_count(), 0);
    there.handle(Event::Mail(mail));
    let slot = there.slots.pop_front().unwrap();
    there.say(slot, "echo");
    there.turn();
    assert_eq!(there.frames(slot), ["who?", "echo"]);
    assert_eq!(there.shard.user_count(), 1);
}

#[test]
fn who_is_refused_gets_the_application_s_word_and_a_close_frame() {
    let mut rig = Rig::new(Options::default());
    let slot = knock(&mut rig);
    rig.say(slot, "i am nobody");
    rig.turn();
    assert_eq!(
        rig.frames(slot),
        ["12 B", "close 4401 no such user"],
        "unauthorized, and the end"
    );
    rig.turn();
    assert!(rig.outbox.shut.contains(&slot));
    assert_eq!(rig.shard.counters().refused, 1);
    assert!(rig.diary.borrow().is_empty(), "it was never open");
}

#[test]
fn a_user_who_has_too_many_connections_is_refused_by_a_close_frame_too() {
    let mut rig = Rig::new(Options {
        connections_per_user_max: 1,
        ..Options::default()
    });
    rig.open("ann");
    let slot = knock(&mut rig);
    rig.say(slot, "i am ann");
    rig.turn();
    let frames = rig.frames(slot);
    assert!(frames[1].starts_with("close 4429 "), "{frames:?}");
    assert_eq!(rig.shard.open_count(), 1);
}

#[test]
fn whoever_says_nothing_in_time_is_closed_with_4408() {
    let mut rig = Rig::new(Options::default());
    let slot = knock(&mut rig);
    rig.wait(7);
    let frames = rig.frames(slot);
    assert!(
        frames.last().unwrap().starts_with("close 4408 "),
        "{frames:?}"
    );
    let waiting = knock(&mut rig);
    rig.say(waiting, "ask them");
    rig.wait(30);
    let frames = rig.frames(waiting);
    assert!(
        frames.last().unwrap().starts_with("close 1013 "),
        "{frames:?}"
    );
}

#[test]
fn whoever_says_too_much_or_what_no_frame_is_is_closed() {
    let mut rig = Rig::new(Options::default());
    let slot = knock(&mut rig);
    for _ in 0..17 {
        rig.say(slot, "hello");
    }
    rig.turn();
    let frames = rig.frames(slot);
    assert_eq!(frames.len(), 17);
    assert!(frames[16].starts_with("close 4400 "), "{frames:?}");
    let unmasked = knock(&mut rig);
    rig.receive(unmasked, b"\x81\x02hi");
    rig.turn();
    let frames = rig.frames(unmasked);
    assert!(frames[0].starts_with("close 1002 "), "{frames:?}");
    let gone = knock(&mut rig);
    rig.frame(gone, Opcode::Close, &1000u16.to_be_bytes());
    rig.turn();
    assert_eq!(rig.frames(gone), ["close 1000 "]);
}
