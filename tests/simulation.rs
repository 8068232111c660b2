//! Many runs of the simulator, each from its own seed.
//!
//! `CAMPANILE_SIM_SEEDS=n` runs the seeds below `n`; `CAMPANILE_SIM_SEED=n` runs one of them again,
//! which may also be a commit's name in hexadecimal digits. A failure prints its seed and settings
//! first.

#[path = "support/seeds.rs"]
mod seeds;

use campanile::sim::{self, Fault, Settings, Summary};

/// Seeds of an ordinary run.
const SEEDS: u64 = 200;
/// Seeds within which a planted bug must show.
const SEEDS_TO_CATCH: u64 = 100;

/// One run; what went wrong, if anything did.
fn run(seed: u64, fault: Option<Fault>) -> Result<Summary, String> {
    let settings = Settings::from_seed(seed);
    seeds::attempt(seed, &settings, || sim::run(seed, &settings, fault))
}

#[test]
fn whatever_happens_every_message_due_arrives_once_and_in_order() {
    if let Some(seed) = seeds::variable("CAMPANILE_SIM_SEED") {
        let summary = run(seed, None).unwrap_or_else(|failure| panic!("{failure}"));
        println!("{summary:#?}");
        return;
    }
    let count = seeds::variable("CAMPANILE_SIM_SEEDS").unwrap_or(SEEDS);
    let mut sum = Summary::default();
    for part in seeds::run_all(count, |seed| run(seed, None)) {
        sum.counters.merge(&part.counters);
        sum.received += part.received;
        sum.gaps += part.gaps;
        sum.passed += part.passed;
    }
    println!("{count} seeds: {sum:#?}");
    if count >= SEEDS {
        assert!(sum.gaps > 0, "no window ever passed a subscriber");
        assert!(sum.passed > 0, "nobody ever passed a barrier");
        let idle = [
            "violations",
            "timed_out",
            // It has no stopwatch.
            "slow_turns",
            // What the real driver counts.
            "mail_sent",
            "mail_delayed",
            "receive_buffers_exhausted",
            "completion_overflows",
            "accept_pauses",
            "enters",
            "sends",
            "wakes",
            "tls_handshakes",
            "tls_resumed",
            "tls_failed_plain",
            "tls_failed_refused",
            "tls_failed_protocol",
            "tls_failed_unfinished",
            "proxy_refused",
        ];
        for (name, count) in sum.counters.iter().filter(|(name, _)| !idle.contains(name)) {
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
fn a_short_send_that_loses_a_piece_is_caught() {
    assert_caught(Fault::DropPiece);
}

#[test]
fn a_publication_delivered_twice_is_caught() {
    assert_caught(Fault::DeliverTwice);
}

#[test]
fn a_publisher_that_is_not_left_out_is_caught() {
    assert_caught(Fault::ForgetExclude);
}

#[test]
fn mail_that_overtakes_mail_is_caught() {
    assert_caught(Fault::ReorderMail);
}

#[test]
fn a_ping_ahead_of_what_it_is_to_prove_is_caught() {
    assert_caught(Fault::PingAhead);
}

#[test]
fn a_join_that_overtakes_publications_is_caught() {
    assert_caught(Fault::JoinOutOfOrder);
}

#[test]
fn a_topic_that_is_not_held_for_a_joiner_is_caught() {
    assert_caught(Fault::ForgetHold);
}
