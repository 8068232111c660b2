//! Many runs of the realtime application in the simulator, each from its own seed.
//!
//! `CAMPANILE_SIM_SEEDS=n` runs the seeds below `n`; `CAMPANILE_SIM_SEED=n` runs one of them again,
//! which may also be a commit's name in hexadecimal digits. A failure prints its seed, its settings
//! and what happened last.

#[path = "support/seeds.rs"]
mod seeds;

use campanile::sim::Fault;
use campanile::sim::realtime::{self, Settings, Tally};

/// Seeds of an ordinary run.
const SEEDS: u64 = 100;
/// Seeds within which a planted bug must show.
const SEEDS_TO_CATCH: u64 = 100;

fn run(seed: u64, fault: Option<Fault>) -> Result<Tally, String> {
    let settings = Settings::from_seed(seed);
    seeds::attempt(seed, &settings, || realtime::run(seed, &settings, fault))
}

#[test]
fn whatever_happens_rooms_keep_their_promises() {
    if let Some(seed) = seeds::variable("CAMPANILE_SIM_SEED") {
        let tally = run(seed, None).unwrap_or_else(|failure| panic!("{failure}"));
        println!("{tally:#?}");
        return;
    }
    let count = seeds::variable("CAMPANILE_SIM_SEEDS").unwrap_or(SEEDS);
    let mut sum = Tally::default();
    for tally in seeds::run_all(count, |seed| run(seed, None)) {
        sum.merge(&tally);
    }
    println!("{count} seeds: {sum:#?}");
    if count >= SEEDS {
        for (name, count) in sum.iter() {
            assert!(count > 0, "{name} never happens");
        }
    }
}

/// Looks for a seed that catches a planted bug.
fn assert_caught(fault: Fault) {
    seeds::assert_caught(fault, SEEDS_TO_CATCH, |seed| {
        run(seed, Some(fault)).map(drop)
    });
}

#[test]
fn an_answer_to_a_joiner_out_of_order_is_caught() {
    assert_caught(Fault::JoinOutOfOrder);
}

#[test]
fn a_lost_message_of_a_replay_is_caught() {
    assert_caught(Fault::LoseReplayed);
}

#[test]
fn a_repeated_message_of_a_replay_is_caught() {
    assert_caught(Fault::RepeatReplayed);
}

#[test]
fn a_room_for_one_more_is_caught() {
    assert_caught(Fault::RoomForOneMore);
}

#[test]
fn a_leave_that_is_not_told_is_caught() {
    assert_caught(Fault::LoseLeave);
}

#[test]
fn a_status_that_goes_backwards_is_caught() {
    assert_caught(Fault::UnreadStatus);
}

#[test]
fn a_delivery_that_nobody_has_proved_is_caught() {
    assert_caught(Fault::ProveUntested);
}

#[test]
fn a_publication_delivered_twice_is_caught() {
    assert_caught(Fault::DeliverTwice);
}

#[test]
fn mail_that_overtakes_mail_is_caught() {
    assert_caught(Fault::ReorderMail);
}
