//! What players may do with pairings: each rule by itself, and all against a simple model.

mod model;

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::*;
use crate::id::UserId;

const NOW: u64 = 1_795_227_149_123;
const MINUTE: u64 = 60_000;

fn user(name: &str) -> UserId {
    name.into()
}

fn random() -> [u8; RANDOM_BYTES] {
    std::array::from_fn(|_| fastrand::u8(..))
}

fn by(player: &UserId) -> Guesser<'_> {
    Guesser {
        player,
        address: None,
        now_ms: 0,
    }
}

fn draft_for(target: &str) -> Draft {
    Draft {
        target: Some(user(target)),
        ..Draft::default()
    }
}

/// Makes a pairing.
fn create(pairings: &mut Pairings, player: &str, draft: Draft) -> Result<Pairing, PairingError> {
    let change = pairings.create(&user(player), draft, &random(), NOW)?;
    pairings.apply(&change);
    Ok(change.pairing)
}

/// Applies what an outcome changes.
fn done(pairings: &mut Pairings, outcome: Result<Outcome, PairingError>) -> Change {
    match outcome.unwrap() {
        Outcome::Changed(change) => {
            pairings.apply(&change);
            change
        }
        Outcome::Unchanged(pairing) => panic!("unchanged: {pairing:?}"),
    }
}

fn told(change: &Change) -> Vec<(String, &'static str, Value)> {
    let value = |text: &str| serde_json::from_str(text).unwrap();
    let tellings = change.tellings().into_iter();
    tellings
        .map(|telling| {
            let payload = value(&telling.payload);
            (telling.player.to_string(), telling.message_type, payload)
        })
        .collect()
}

fn to(status: Status) -> Patch {
    Patch {
        status: Some(status),
        ..Patch::default()
    }
}

#[test]
fn a_pairing_goes_from_pending_to_active_to_expired() {
    let mut pairings = Pairings::new(PairingOptions::default());
    let made = create(&mut pairings, "p1", Draft::default()).unwrap();
    assert_eq!(made.expires_ms, Some(NOW + 10 * MINUTE));
    assert_eq!((made.code.as_str().len(), &made.partner), (6, &None));
    let typed = made.code.as_str().to_lowercase();
    let joined = pairings.join_by_code(by(&user("p2")), &typed, NOW + 1);
    let joined = done(&mut pairings, joined);
    assert_eq!(
        (joined.event, joined.status()),
        (Event::Joined, Status::Active)
    );
    assert_eq!(joined.pairing.partner, Some(user("p2")));
    assert_eq!(
        (joined.pairing.updated_ms, joined.pairing.expires_ms),
        (NOW + 1, None)
    );
    let ended = pairings.expire("p2", made.id, NOW + 2);
    let ended = done(&mut pairings, ended);
    assert_eq!(
        (ended.event, ended.status()),
        (Event::Expired, Status::Expired)
    );
    assert_eq!(pairings.get("p1", made.id, NOW + 2).unwrap(), ended.pairing);
}

#[test]
fn both_sides_are_told_and_the_code_is_the_makers_while_it_waits() {
    let mut pairings = Pairings::new(PairingOptions::default());
    let made = pairings
        .create(&user("p1"), Draft::default(), &random(), NOW)
        .unwrap();
    pairings.apply(&made);
    let object = json!({"id": made.pairing.id.to_string(), "code": made.pairing.code.as_str(),
        "status": "pending", "name": null, "initiator_id": "p1", "target_player_id": null,
        "partner_id": null, "player_ids": ["p1"], "created_at": "2026-11-21T02:12:29.123Z",
        "updated_at": "2026-11-21T02:12:29.123Z", "expires_at": "2026-11-21T02:22:29.123Z",
        "metadata": {}});
    assert_eq!(
        told(&made),
        [("p1".into(), "pairing-status", object.clone())]
    );
    let joined = pairings.join(&user("p2"), made.pairing.id, NOW + 1);
    let joined = done(&mut pairings, joined);
    let mut active = object;
    active["code"] = Value::Null;
    active["status"] = json!("active");
    active["partner_id"] = json!("p2");
    active["player_ids"] = json!(["p1", "p2"]);
    active["updated_at"] = json!("2026-11-21T02:12:29.124Z");
    active["expires_at"] = Value::Null;
    let expected = ["p1", "p2"].map(|of| (of.to_owned(), "pairing-status", active.clone()));
    assert_eq!(told(&joined), expected);
}

#[test]
fn a_pairing_for_a_player_is_a_friend_request() {
    let mut pairings = Pairings::new(PairingOptions::default());
    let made = pairings
        .create(&user("p1"), draft_for("p2"), &random(), NOW)
        .unwrap();
    pairings.apply(&made);
    let (id, code) = (made.pairing.id, made.pairing.code);
    let request = |status: &str| {
        json!({"request_id": id.to_string(), "sender_id": "p1", "receiver_id": "p2",
            "status": status, "timestamp": "2026-11-21T02:12:29.123Z"})
    };
    let messages = told(&made);
    assert_eq!(messages[1].0, "p2", "the target is one of the sides");
    assert_eq!(
        messages[1].2["code"],
        Value::Null,
        "and is not told the code"
    );
    assert_eq!(
        messages[2],
        ("p2".into(), "request-notification", request("pending"))
    );

    let stranger = user("p3");
    assert_eq!(
        pairings.join(&stranger, id, NOW),
        Err(PairingError::NotFound)
    );
    let by_code = pairings.join_by_code(by(&stranger), code.as_str(), NOW);
    assert_eq!(
        by_code,
        Err(PairingError::NotFound),
        "not even with the code"
    );
    assert_eq!(pairings.get("p3", id, NOW), Err(PairingError::NotFound));
    assert!(pairings.get("p2", id, NOW).is_ok());
    let renamed = Patch {
        name: Some(Some("mine".into())),
        ..Patch::default()
    };
    let renamed = pairings.change("p2", id, renamed, NOW);
    assert_eq!(renamed, Err(PairingError::NotPaired));

    let joined = pairings.join(&user("p2"), id, NOW);
    let messages = told(&done(&mut pairings, joined));
    assert_eq!(messages.len(), 3);
    assert_eq!(
        messages[2],
        ("p1".into(), "request-notification", request("active"))
    );
}

#[test]
fn a_target_may_decline() {
    let mut pairings = Pairings::new(PairingOptions::default());
    let made = create(&mut pairings, "p1", draft_for("p2")).unwrap();
    let declined = pairings.change("p2", made.id, to(Status::Expired), NOW);
    let declined = done(&mut pairings, declined);
    let last = told(&declined).pop().unwrap();
    assert_eq!((&*last.0, last.1), ("p1", "request-notification"));
    assert_eq!(
        pairings.join(&user("p2"), made.id, NOW),
        Err(PairingError::Expired)
    );
}

#[test]
fn only_the_allowed_transitions_are_made() {
    use Status::{Active, Expired, Pending};
    let pairing = |status| {
        let mut pairings = Pairings::new(PairingOptions::default());
        let id = create(&mut pairings, "p1", Draft::default()).unwrap().id;
        if status == Active {
            let joined = pairings.join(&user("p2"), id, NOW);
            done(&mut pairings, joined);
        }
        if status == Expired {
            let expired = pairings.expire("p1", id, NOW);
            done(&mut pairings, expired);
        }
        (pairings, id)
    };
    for from in [Pending, Active, Expired] {
        for to_status in [Pending, Active, Expired] {
            let (pairings, id) = pairing(from);
            let outcome = pairings.change("p1", id, to(to_status), NOW);
            let expected = match (from, to_status) {
                (Expired, _) => Err(PairingError::Expired),
                (Pending, Active) => Err(PairingError::NotJoined),
                (Active, Pending) => Err(PairingError::Transition { from, to: Pending }),
                (Pending | Active, Expired) => Ok(Some(Expired)),
                (Pending, Pending) | (Active, Active) => Ok(None),
            };
            let outcome = outcome.map(|outcome| match outcome {
                Outcome::Changed(change) => Some(change.status()),
                Outcome::Unchanged(_) => None,
            });
            assert_eq!(outcome, expected, "{from} to {to_status}");
        }
    }
}

#[test]
fn joining_says_whose_fault_it_is() {
    let mut pairings = Pairings::new(PairingOptions::default());
    let made = create(&mut pairings, "p1", Draft::default()).unwrap();
    let (p1, p2, p3) = (user("p1"), user("p2"), user("p3"));
    assert_eq!(pairings.join(&p1, made.id, NOW), Err(PairingError::Own));
    let unknown = PairingId::from_u128(1);
    assert_eq!(
        pairings.join(&p2, unknown, NOW),
        Err(PairingError::NotFound)
    );
    let late = NOW + 10 * MINUTE;
    assert_eq!(
        pairings.join(&p2, made.id, late),
        Err(PairingError::Expired)
    );
    let joined = pairings.join(&p2, made.id, late - 1);
    let joined = done(&mut pairings, joined);
    assert_eq!(pairings.join(&p3, made.id, late), Err(PairingError::Taken));
    let again = pairings.join(&p2, made.id, late);
    assert_eq!(again, Ok(Outcome::Unchanged(joined.pairing)));
    let used = pairings.join_by_code(by(&p3), made.code.as_str(), late);
    assert_eq!(used, Err(PairingError::Taken));
}

#[test]
fn names_and_metadata_can_be_changed_within_bounds() {
    let mut pairings = Pairings::new(PairingOptions::default());
    let made = create(&mut pairings, "p1", Draft::default()).unwrap();
    let metadata = |value: Value| Patch {
        metadata: value.as_object().cloned(),
        ..Patch::default()
    };
    let name = |name: &str| Patch {
        name: Some(Some(name.into())),
        ..Patch::default()
    };
    for patch in [metadata(json!({"level": 3})), name(&"ä".repeat(100))] {
        let described = pairings.change("p1", made.id, patch, NOW + 5);
        let described = done(&mut pairings, described);
        assert_eq!(described.event, Event::Described);
        assert_eq!(described.pairing.updated_ms, NOW + 5);
        assert_eq!(described.pairing.expires_ms, made.expires_ms);
    }
    let same = pairings.change("p1", made.id, metadata(json!({"level": 3})), NOW + 9);
    assert!(matches!(same, Ok(Outcome::Unchanged(_))));
    let deep = (0..17).fold(json!(1), |inner, _| json!({ "d": inner }));
    let large = json!({ "d": "x".repeat(2048) });
    let wrong = [
        name(""),
        name(" "),
        name("a\nb"),
        name(&"a".repeat(101)),
        metadata(deep),
        metadata(large),
    ];
    for patch in wrong {
        let refused = pairings.change("p1", made.id, patch.clone(), NOW);
        assert!(
            matches!(refused, Err(PairingError::Invalid(_))),
            "{patch:?}"
        );
    }
    let cleared = Patch {
        name: Some(None),
        metadata: Some(Map::new()),
        ..Patch::default()
    };
    let cleared = pairings.change("p1", made.id, cleared, NOW);
    let cleared = done(&mut pairings, cleared).pairing;
    assert_eq!((cleared.name, &*cleared.metadata), (None, "{}"));
}

#[test]
fn a_draft_is_checked() {
    let mut pairings = Pairings::new(PairingOptions::default());
    for (player, target) in [
        ("p1", "p1"),
        ("", "p2"),
        ("p1", ""),
        ("a\nb", "p2"),
        ("p1", "\0"),
    ] {
        let refused = create(&mut pairings, player, draft_for(target));
        assert!(
            matches!(refused, Err(PairingError::Invalid(_))),
            "{player:?} {target:?}"
        );
    }
    for seconds in [0, 24 * 60 * 60 + 1] {
        let draft = Draft {
            expires_in: Some(Duration::from_secs(seconds)),
            ..Draft::default()
        };
        let refused = create(&mut pairings, "p1", draft).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "expires_in_s is not from 1 to 86400 seconds"
        );
    }
}

#[test]
fn a_player_has_so_many_pending_and_so_many_wait_for_one() {
    let mut pairings = Pairings::new(PairingOptions {
        pending_per_player_max: 2,
        pending_per_target_max: 3,
        ..PairingOptions::default()
    });
    for _ in 0..2 {
        create(&mut pairings, "p1", draft_for("t")).unwrap();
    }
    let too_many = |limit| PairingError::TooManyPending {
        limit,
        retry_after_ms: 10 * MINUTE,
    };
    let refused = create(&mut pairings, "p1", Draft::default());
    assert_eq!(refused.unwrap_err(), too_many(2));
    create(&mut pairings, "p2", draft_for("t")).unwrap();
    let refused = create(&mut pairings, "p2", draft_for("t"));
    assert_eq!(refused.unwrap_err(), too_many(3));
    create(&mut pairings, "p2", Draft::default()).unwrap();
    let later = pairings.create(&user("p1"), Draft::default(), &random(), NOW + 10 * MINUTE);
    assert!(later.is_ok(), "what is overdue does not wait, told or not");
}

#[test]
fn expired_ones_make_place_and_others_do_not() {
    let mut pairings = Pairings::new(PairingOptions {
        per_player_max: 2,
        total_max: 3,
        ..PairingOptions::default()
    });
    let first = create(&mut pairings, "p1", Draft::default()).unwrap();
    create(&mut pairings, "p1", Draft::default()).unwrap();
    let refused = create(&mut pairings, "p1", Draft::default());
    assert_eq!(refused.unwrap_err(), PairingError::TooMany { limit: 2 });
    let expired = pairings.expire("p1", first.id, NOW);
    done(&mut pairings, expired);
    create(&mut pairings, "p1", Draft::default()).unwrap();
    assert_eq!(
        pairings.get("p1", first.id, NOW),
        Err(PairingError::NotFound)
    );
    let third = create(&mut pairings, "p2", Draft::default()).unwrap();
    let refused = create(&mut pairings, "p3", Draft::default());
    assert_eq!(refused.unwrap_err(), PairingError::Full);
    let full = pairings.join(&user("p1"), third.id, NOW);
    assert_eq!(full, Err(PairingError::TooMany { limit: 2 }));
    let joined = pairings.join(&user("p3"), third.id, NOW);
    assert_eq!(
        done(&mut pairings, joined).forgotten,
        [],
        "joining takes no place of the server's"
    );
}

#[test]
fn wrong_codes_are_limited_and_then_the_right_one_is_refused_too() {
    let mut pairings = Pairings::new(PairingOptions::default());
    let made = create(&mut pairings, "p1", Draft::default()).unwrap();
    let guesser = user("p2");
    for wrong in ["222222", "no code", "", "ZZZZZZZZZ", "2222"] {
        let refused = pairings.join_by_code(by(&guesser), wrong, NOW);
        assert_eq!(refused, Err(PairingError::NotFound), "{wrong}");
    }
    let refused = pairings.join_by_code(by(&guesser), made.code.as_str(), NOW);
    let retry_after_ms = MINUTE;
    assert_eq!(
        refused,
        Err(PairingError::TooManyGuesses { retry_after_ms })
    );
    let by_id = pairings.join(&guesser, made.id, NOW);
    assert!(by_id.is_ok(), "who knows the name does not guess");
}

#[test]
fn a_page_follows_the_page_before_it() {
    let mut pairings = Pairings::new(PairingOptions::default());
    let mut made = Vec::new();
    for number in 0..7 {
        let change = pairings.create(&user("p1"), Draft::default(), &random(), NOW + number);
        let change = change.unwrap();
        pairings.apply(&change);
        made.insert(0, change.pairing);
    }
    let (mut listed, mut before) = (Vec::new(), None);
    loop {
        let page = pairings.list("p1", Some(Status::Pending), before, 3, NOW);
        assert!(page.pairings.len() <= 3);
        listed.extend(page.pairings);
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(listed, made);
    let expired = pairings.list("p1", Some(Status::Expired), None, 100, NOW + 10 * MINUTE);
    assert_eq!(expired.pairings.len(), 1, "the first is overdue");
    assert_eq!(pairings.list("p2", None, None, 100, NOW).pairings, []);
}
