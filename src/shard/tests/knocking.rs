//! Handshakes about which the application has a last word.

use super::*;

/// `/knock/let-in` and `/knock/turned-back` are answered at once; what others knock is kept.
pub(super) fn answer(
    kept: &RefCell<Vec<Knock<()>>>,
    context: &mut Context<'_, Scripted>,
    knock: Knock<()>,
) {
    match knock.accept.user.as_deref() {
        Some("let-in") => context.admit(knock),
        Some("turned-back") => context.refuse(knock, full()),
        _ => kept.borrow_mut().push(knock),
    }
}

/// A handshake for that user that knocks.
pub(super) fn knocking(user: &str) -> Accept<()> {
    let mut accept = Accept::default().user(user);
    accept.knocks = true;
    accept
}

fn full() -> Refusal {
    Refusal::new(
        ::http::StatusCode::CONFLICT,
        "room_full",
        "no place is left",
    )
}

/// A handshake that waits for the application's word.
fn knock(rig: &mut Rig, user: &str) -> (Slot, Knock<()>) {
    let (slot, answer) = rig.ask(&format!("/knock/{user}"));
    assert_eq!(answer, "", "nothing is answered yet");
    let knock = rig.knocks.borrow_mut().pop();
    (slot, knock.expect("the application was asked"))
}

#[test]
fn a_word_given_at_once_is_the_answer_of_the_same_turn() {
    let mut rig = Rig::new(Options::default());
    let (slot, answer) = rig.ask("/knock/let-in");
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    rig.say(slot, "hello");
    rig.turn();
    assert_eq!(rig.frames(slot), ["hello"]);
    let (slot, answer) = rig.ask("/knock/turned-back");
    assert!(answer.starts_with("HTTP/1.1 409 "), "{answer}");
    assert!(answer.contains(r#""code":"room_full""#), "{answer}");
    rig.turn();
    assert!(rig.outbox.shut.contains(&slot));
    assert_eq!(
        (rig.shard.open_count(), rig.shard.counters().refused),
        (1, 1)
    );
}

#[test]
fn a_word_from_another_shard_lets_it_go_on_to_its_home_with_what_came_with_the_request() {
    let shared = Shared::new(Options::default(), 2, 1);
    let [mut here, mut there] =
        [0, 1].map(|shard| Rig::one_of(Arc::clone(&shared), ShardId(shard)));
    for home in [0, 1] {
        let name = (0..100)
            .map(|n| format!("u{n}"))
            .find(|name| shared.placement.home(name) == ShardId(home))
            .unwrap();
        let (slot, knock) = knock(&mut here, &name);
        assert_eq!(knock.remote_address().ip(), Ipv4Addr::LOCALHOST);
        there.run(move |context| context.admit(knock));
        let (to, answer) = there.outbox.mails.pop().unwrap();
        assert_eq!(to, ShardId(0), "to where it waits");
        here.handle(Event::Mail(answer));
        if home == 0 {
            here.turn();
            assert!(here.taken(slot).starts_with("HTTP/1.1 101 "));
            continue;
        }
        let (to, arrival) = here.outbox.mails.pop().unwrap();
        assert_eq!(to, ShardId(1));
        there.handle(Event::Mail(arrival));
        let slot = there.slots.pop_front().unwrap();
        there.turn();
        assert!(there.taken(slot).starts_with("HTTP/1.1 101 "));
    }
    assert_eq!((here.shard.open_count(), there.shard.open_count()), (1, 1));
}

#[test]
fn without_a_word_it_is_refused_when_the_handshakes_time_is_over() {
    let mut rig = Rig::new(Options {
        handshake_timeout: Duration::from_secs(5),
        ..Options::default()
    });
    let (forgotten, dropped) = knock(&mut rig, "ann");
    drop(dropped);
    let (late, word) = knock(&mut rig, "bob");
    rig.wait(4);
    assert_eq!(rig.taken(forgotten), "");
    rig.wait(3);
    for slot in [forgotten, late] {
        let answer = rig.taken(slot);
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    }
    // What is said then is said to nobody.
    rig.run(move |context| context.admit(word));
    rig.turn();
    assert_eq!(
        (rig.taken(late), rig.shard.open_count()),
        (String::new(), 0)
    );
}

#[test]
fn a_word_about_one_that_is_gone_does_not_reach_who_has_its_place() {
    let mut rig = Rig::new(Options::default());
    let (slot, word) = knock(&mut rig, "ann");
    rig.handle(Event::Failed { slot });
    rig.turn();
    rig.handle(Event::Released { slot });
    rig.slots.push_front(slot);
    let (next, _waits) = knock(&mut rig, "bob");
    assert_eq!(next, slot, "in the same place");
    rig.run(move |context| context.admit(word));
    rig.turn();
    assert_eq!(
        (rig.taken(slot), rig.shard.open_count()),
        (String::new(), 0)
    );
}

#[test]
fn who_knocks_is_counted_as_a_handshake_and_held_to_the_limits_behind_it() {
    let mut rig = Rig::new(Options {
        connections_per_user_max: 1,
        ..Options::default()
    });
    rig.open("ann");
    let (slot, word) = knock(&mut rig, "ann");
    assert_eq!((rig.shard.socket_count(), rig.shard.open_count()), (2, 1));
    rig.run(move |context| context.admit(word));
    rig.turn();
    assert!(rig.taken(slot).starts_with("HTTP/1.1 429 "));
}
