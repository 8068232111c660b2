//! What the hot paths allocate in their steady state: nothing, but for what is listed here.
//!
//! A program of its own, because it counts in the allocator of the whole program; it counts for one
//! thread. The paths are those of `benches/instructions`, the shards are driven as there.

#[path = "../benches/support/mod.rs"]
mod support;

use campanile::realtime::protocol::{
    Body, Id, MessageId, Outbound, Position, Profile, Recipient, Status, TextName, Timestamp,
};
use support::paths::PATHS;

/// Times a path is gone before anything is counted: by then every buffer has its size.
const WARM_UP: usize = 300;
/// Times it is gone while allocations are counted.
const RUNS: u64 = 1000;
/// Allocations of all runs together by which a list that grows without end may exceed the count:
/// the clock of the paths stands still, so that the checks of connections gone pile up in the timer
/// wheel, and a list that doubles does so less often than this.
const GROWTHS_MAX: u64 = 8;

/// What allocates, how often each time, and why.
const ALLOCATING: [(&str, u64); 5] = [
    // The value of `Sec-WebSocket-Accept`, and the same as a header field.
    ("http/upgrade/head-and-101/1", 2),
    // The batch, which is shared with other threads: what it counts its readers by. Its payloads and
    // entries come back and are used again. Once a turn and topic, not once a message.
    ("shard/publish/elsewhere/100", 1),
    // The same: two formats, one batch.
    ("shard/publish/elsewhere-encoded/100", 1),
    // The two of the upgrade; the guest's name and the connection's own lists.
    ("shard/connect/open-and-close/1", 6),
    // The frame on its way to the room's home, and the batch that comes back.
    ("realtime/chat/home-elsewhere/2", 2),
];

#[test]
fn the_hot_paths_allocate_nothing() {
    for path in PATHS {
        let mut run = (path.prepare)();
        (0..WARM_UP).for_each(|_| run());
        let counted = allocation_counter::measure(|| (0..RUNS).for_each(|_| run()));
        let listed = ALLOCATING.iter().find(|(name, _)| *name == path.name);
        println!("{}: {} in {RUNS}", path.name, counted.count_total);
        match listed {
            None => assert_eq!(counted.count_total, 0, "{} allocates", path.name),
            Some((_, each)) => {
                let at_most = each * RUNS + GROWTHS_MAX;
                let expected = each * RUNS..=at_most;
                assert!(
                    expected.contains(&counted.count_total),
                    "{}: {expected:?} were expected, not {}",
                    path.name,
                    counted.count_total
                );
            }
        }
    }
}

#[test]
fn a_chat_is_written_in_every_profile_without_allocating() {
    let at = Timestamp::new(0);
    let recipients = ["43", "44"].map(|user| Recipient {
        user,
        status: Status::Sent,
        updated_at: at,
    });
    let body = |object, text| Body::Chat {
        object,
        text,
        recipients: &recipients,
    };
    // The names of members may be escaped, and the text may have another name or none.
    let bodies = [
        body(r#"{"content":"hi","\u0074ype":1}"#, TextName::Content),
        body(r#"{"\u0074ext":"hi","n":[1]}"#, TextName::Text),
        body(r#"{"dice":[1,6]}"#, TextName::Whole),
        Body::Object(r#"{"\u0075ser_id":1}"#),
    ];
    let mut out = Vec::with_capacity(4096);
    for (body, profile) in bodies
        .into_iter()
        .flat_map(|body| Profile::ALL.map(|profile| (body, profile)))
    {
        let outbound = Outbound {
            message_type: "chat",
            id: Some(Id::Message(MessageId::new(1, 2))),
            room: Some("lobby"),
            user: Some("42"),
            at,
            position: Some(Position {
                offset: 1,
                epoch: Some("k3"),
            }),
            body,
        };
        out.clear();
        let counted = allocation_counter::measure(|| {
            outbound.write(profile, &mut out);
        });
        assert_eq!(counted.count_total, 0, "{profile}: {body:?}");
    }
}

#[test]
fn every_exception_is_a_path() {
    for (name, _) in ALLOCATING {
        assert!(PATHS.iter().any(|path| path.name == name), "{name}");
    }
}
