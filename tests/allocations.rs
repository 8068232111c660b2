//! What the hot paths allocate in their steady state: nothing, but for what is listed here.
//!
//! A program of its own, because it counts in the allocator of the whole program; it counts for one
//! thread. The paths are those of `benches/instructions`, the shards are driven as there.

#[path = "../benches/support/mod.rs"]
mod support;

use campanile::realtime::protocol::{
    Body, Id, MessageId, Outbound, Position, Profile, Recipient, Status, TextName, Timestamp,
};
use campanile::realtime::{Realtime, RealtimeOptions};
use campanile::shard::{Event, Mail, Work};
use support::Bench;
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
const ALLOCATING: [(&str, u64); 17] = [
    // The value of `Sec-WebSocket-Accept`, and the same as a header field.
    ("http/upgrade/head-and-101/1", 2),
    // The batch, which is shared with other threads: what it counts its readers by. Its payloads and
    // entries come back and are used again. Once a turn and topic, not once a message.
    ("shard/publish/elsewhere/100", 1),
    // The same: two formats, one batch.
    ("shard/publish/elsewhere-encoded/100", 1),
    // The two of the upgrade, and the connection's own lists.
    ("shard/connect/open-and-close/1", 4),
    // A room with history keeps the message: its text. Whatever the profiles, and however many
    // readers there are; and nothing where nothing is kept.
    ("realtime/chat/flat/2", KEPT),
    ("realtime/chat/flat/100", KEPT),
    ("realtime/chat/untold/2", KEPT),
    ("realtime/chat/v1/2", KEPT),
    ("realtime/chat/room/2", KEPT),
    ("realtime/chat/message/2", KEPT),
    ("realtime/chat/one-profile/4", KEPT),
    ("realtime/chat/two-profiles/4", KEPT),
    ("realtime/chat/four-profiles/4", KEPT),
    ("realtime/publish/history/2", KEPT),
    // The message on its way to the room, and its text, which the room keeps anew; the batch that
    // comes back; the word for the sender, and its way.
    ("realtime/chat/home-elsewhere/2", 5 + KEPT),
    // A connection, which is 4 of them; its question to the room, its place there, and what it is
    // told: a welcome, `subscribed` and who is there. However many the others are who are told of it.
    ("realtime/presence/names/100", 10),
    ("realtime/presence/counts/100", 10),
];
/// What a message costs that a room keeps.
const KEPT: u64 = 1;

#[test]
fn the_hot_paths_allocate_nothing() {
    let mut wrong = Vec::new();
    for path in PATHS {
        let mut run = (path.prepare)();
        (0..WARM_UP).for_each(|_| run());
        let counted = allocation_counter::measure(|| (0..RUNS).for_each(|_| run()));
        let count = counted.count_total;
        println!("{}: {count} in {RUNS}", path.name);
        let listed = ALLOCATING.iter().find(|(name, _)| *name == path.name);
        let each = listed.map_or(0, |(_, each)| *each);
        let growths = if each > 0 { GROWTHS_MAX } else { 0 };
        if !(each * RUNS..=each * RUNS + growths).contains(&count) {
            wrong.push(format!("{}: {each} each, not {count}", path.name));
        }
    }
    assert_eq!(wrong, [""; 0]);
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
fn what_a_scrape_asks_of_a_shard_is_the_same_work_for_any_number_of_connections() {
    let works = [10, 5000].map(|connections| {
        let mut bench = Bench::new(Realtime::new(RealtimeOptions::default()));
        bench.open(connections, 1000);
        let work: Work<Realtime> = Box::new(move |app, context| {
            let (figures, stats) = (context.figures(), app.stats());
            assert_eq!(
                (figures.connections, stats.members),
                (connections, connections)
            );
        });
        let counted = allocation_counter::measure(|| bench.handle(Event::Mail(Mail::Run(work))));
        (counted.count_total, counted.bytes_total)
    });
    assert_eq!(works[0], works[1]);
}

#[test]
fn every_exception_is_a_path() {
    for (name, _) in ALLOCATING {
        assert!(PATHS.iter().any(|path| path.name == name), "{name}");
    }
}
