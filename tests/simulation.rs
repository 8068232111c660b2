//! Many runs of the simulator, each from its own seed.
//!
//! `CAMPANILE_SIM_SEEDS=n` runs the seeds below `n`; `CAMPANILE_SIM_SEED=n` runs one of them again,
//! which may also be a commit's name in hexadecimal digits. A failure prints its seed and settings
//! first.

use std::backtrace::Backtrace;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook, take_hook};
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

use campanile::sim::{self, Fault, Settings, Summary};

/// Seeds of an ordinary run.
const SEEDS: u64 = 200;
/// Seeds within which a planted bug must show.
const SEEDS_TO_CATCH: u64 = 100;

thread_local! {
    /// What the run on this thread has panicked with, if one is under way.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Keeps the panics of runs for their report, so that seed and settings are printed before them.
fn keep_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let ordinary = take_hook();
        set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
            let kept = PANIC.with_borrow_mut(|kept| {
                let is_run = kept.is_some();
                if is_run {
                    *kept = Some(format!("{info}\n{}", Backtrace::capture()));
                }
                is_run
            });
            if !kept {
                ordinary(info);
            }
        }));
    });
}

/// One run; what went wrong, if anything did.
fn attempt(seed: u64, fault: Option<Fault>) -> Result<Summary, String> {
    keep_panics();
    let settings = Settings::from_seed(seed);
    PANIC.set(Some(String::new()));
    let outcome = catch_unwind(AssertUnwindSafe(|| sim::run(seed, &settings, fault)));
    let panic = PANIC.take().unwrap_or_default();
    outcome.map_err(|_| {
        format!("CAMPANILE_SIM_SEED={seed}\n{settings:#?}\n{panic}\nCAMPANILE_SIM_SEED={seed}")
    })
}

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(sim::seed_from(&text).unwrap_or_else(|| panic!("{name} is neither a number nor a commit")))
}

/// Runs seeds on all cores until one fails: the sum of all runs.
fn attempt_all(seeds: u64) -> Summary {
    let next = AtomicU64::new(0);
    let work = || {
        let mut sum = Summary::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return Ok(sum);
            }
            let run = attempt(seed, None).inspect_err(|_| next.store(seeds, Ordering::Relaxed))?;
            sum.counters.merge(&run.counters);
            sum.received += run.received;
            sum.gaps += run.gaps;
            sum.passed += run.passed;
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let results: Vec<Result<Summary, String>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("runs are caught"))
            .collect()
    });
    let mut sum = Summary::default();
    for result in results {
        let part = result.unwrap_or_else(|failure| panic!("{failure}"));
        sum.counters.merge(&part.counters);
        sum.received += part.received;
        sum.gaps += part.gaps;
        sum.passed += part.passed;
    }
    sum
}

#[test]
fn whatever_happens_every_message_due_arrives_once_and_in_order() {
    if let Some(seed) = variable("CAMPANILE_SIM_SEED") {
        let summary = attempt(seed, None).unwrap_or_else(|failure| panic!("{failure}"));
        println!("{summary:#?}");
        return;
    }
    let seeds = variable("CAMPANILE_SIM_SEEDS").unwrap_or(SEEDS);
    let sum = attempt_all(seeds);
    println!("{seeds} seeds: {sum:#?}");
    if seeds >= SEEDS {
        assert!(sum.gaps > 0, "no window ever passed a subscriber");
        assert!(sum.passed > 0, "nobody ever passed a barrier");
        let idle = [
            "violations",
            "timed_out",
            // What the real driver counts.
            "mail_sent",
            "mail_delayed",
            "receive_buffers_exhausted",
            "completion_overflows",
            "accept_pauses",
            "enters",
            "sends",
            "wakes",
        ];
        for (name, count) in sum.counters.iter().filter(|(name, _)| !idle.contains(name)) {
            assert!(count > 0, "{name} never happens");
        }
    }
}

/// Looks for a seed that catches a planted bug.
fn assert_caught(fault: Fault) {
    let caught =
        (0..SEEDS_TO_CATCH).find_map(|seed| Some((seed, attempt(seed, Some(fault)).err()?)));
    let (seed, failure) = caught.unwrap_or_else(|| panic!("no seed catches {fault:?}"));
    let panic = failure
        .lines()
        .skip_while(|line| !line.starts_with("panicked"))
        .nth(1);
    println!(
        "{fault:?} is caught by seed {seed}: {}",
        panic.unwrap_or_default()
    );
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
