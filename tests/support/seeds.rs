//! Runs of a simulation, each from its own seed.

use std::backtrace::Backtrace;
use std::cell::RefCell;
use std::fmt;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook, take_hook};
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

use campanile::sim;

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
pub(crate) fn attempt<T>(
    seed: u64,
    settings: &impl fmt::Debug,
    run: impl FnOnce() -> T,
) -> Result<T, String> {
    keep_panics();
    PANIC.set(Some(String::new()));
    let outcome = catch_unwind(AssertUnwindSafe(run));
    let panic = PANIC.take().unwrap_or_default();
    outcome.map_err(|_| {
        format!("CAMPANILE_SIM_SEED={seed}\n{settings:#?}\n{panic}\nCAMPANILE_SIM_SEED={seed}")
    })
}

/// The number, or the commit, that a variable of the environment holds.
pub(crate) fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(sim::seed_from(&text).unwrap_or_else(|| panic!("{name} is neither a number nor a commit")))
}

/// Runs the seeds below `seeds` on all cores, until one fails: what the runs came to.
///
/// Panics with the failure.
pub(crate) fn run_all<T: Send>(
    seeds: u64,
    run: impl Fn(u64) -> Result<T, String> + Sync,
) -> Vec<T> {
    let next = AtomicU64::new(0);
    let work = || {
        let mut all = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return Ok(all);
            }
            all.push(run(seed).inspect_err(|_| next.store(seeds, Ordering::Relaxed))?);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let results: Vec<Result<Vec<T>, String>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let joined = threads.into_iter();
        joined
            .map(|thread| thread.join().expect("runs are caught"))
            .collect()
    });
    let mut all = Vec::new();
    for result in results {
        all.extend(result.unwrap_or_else(|failure| panic!("{failure}")));
    }
    all
}

/// Looks for a seed below `seeds` that catches a planted bug.
pub(crate) fn assert_caught(
    fault: impl fmt::Debug,
    seeds: u64,
    run: impl Fn(u64) -> Result<(), String>,
) {
    let caught = (0..seeds).find_map(|seed| Some((seed, run(seed).err()?)));
    let (seed, failure) = caught.unwrap_or_else(|| panic!("no seed catches {fault:?}"));
    let mut lines = failure
        .lines()
        .skip_while(|line| !line.starts_with("panicked"));
    let panic = lines.nth(1).unwrap_or_default();
    println!("{fault:?} is caught by seed {seed}: {panic}");
}
