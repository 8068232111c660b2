//! The ends of a connection, from both sides.

use campanile::shard::Options;
use campanile::ws::Opcode;

use crate::puppets;
use crate::support::{Client, Raw, frame_of};

#[test]
fn a_close_of_the_application_reaches_the_client_with_code_and_reason() {
    for shards in [1, 3] {
        let (site, diary) = puppets(shards, Options::default());
        for (number, (code, reason)) in [(1000, ""), (4001, "enough is enough"), (4999, "é")]
            .into_iter()
            .enumerate()
        {
            let user = format!("ann-{number}");
            let mut client = Client::open(site.address, &format!("/?user={user}"));
            // What was said before still comes.
            client.say("last words");
            client.say(&format!("/close {code} {reason}"));
            assert_eq!(client.hear(), "last words");
            assert_eq!(client.closed(), (code, reason.to_owned()));
            assert_eq!(diary.closed(&user), (code, reason.to_owned()));
        }
        site.wait_until_empty();
    }
}

#[test]
fn a_reason_is_cut_at_123_bytes_between_characters() {
    let (site, _) = puppets(1, Options::default());
    let mut client = Client::open(site.address, "/");
    client.say(&format!("/close 4000 x{}", "é".repeat(100)));
    assert_eq!(client.closed(), (4000, format!("x{}", "é".repeat(61))));
}

#[test]
fn a_code_that_may_not_be_sent_closes_without_one() {
    let (site, diary) = puppets(1, Options::default());
    let mut client = Client::open(site.address, "/?user=ann");
    client.say("/close 1006 unsaid");
    assert_eq!(client.closed(), (1005, String::new()));
    assert_eq!(diary.closed("ann"), (1006, "unsaid".into()));
}

#[test]
fn a_close_of_the_client_reaches_the_application_and_is_echoed() {
    for shards in [1, 3] {
        let (site, diary) = puppets(shards, Options::default());
        let mut client = Client::open(site.address, "/?user=ann");
        client.start_close(4321, "good bye");
        assert_eq!(client.closed(), (4321, "good bye".into()));
        assert_eq!(diary.closed("ann"), (4321, "good bye".into()));
        drop(client);

        let mut client = Client::open(site.address, "/?user=bob");
        client.start_close_without_code();
        assert_eq!(client.closed(), (1005, String::new()));
        assert_eq!(diary.closed("bob"), (1005, String::new()));
        drop(client);
        site.wait_until_empty();
    }
}

#[test]
fn a_client_that_vanishes_is_closed_1006() {
    let (site, diary) = puppets(3, Options::default());
    drop(Client::open(site.address, "/?user=ended"));
    assert_eq!(diary.closed("ended").0, 1006);
    Raw::open(site.address, "/?user=reset").reset();
    assert_eq!(diary.closed("reset").0, 1006);
    site.wait_until_empty();
}

#[test]
fn a_terminated_connection_ends_without_a_close_frame() {
    for shards in [1, 3] {
        let (site, diary) = puppets(shards, Options::default());
        let mut client = Client::open(site.address, "/?user=ann");
        client.say("/terminate");
        client.cut();
        assert_eq!(diary.closed("ann"), (1006, "terminated".into()));
        drop(client);
        site.wait_until_empty();
    }
}

#[test]
fn messages_after_the_close_frame_are_not_delivered() {
    let (site, diary) = puppets(1, Options::default());
    let mut raw = Raw::open(site.address, "/?user=ann");
    let mut bytes = close_frame(4000);
    bytes.extend(frame_of(Opcode::Text, b"too late"));
    raw.write(&bytes);
    assert_eq!(raw.closed(), (4000, "bye".into()));
    assert_eq!(diary.closed("ann").0, 4000);
    assert_eq!(site.stats().shards[0].counters.messages_in, 0);
}

fn close_frame(code: u16) -> Vec<u8> {
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend(b"bye");
    frame_of(Opcode::Close, &payload)
}
