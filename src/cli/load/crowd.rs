//! The threads of a load, and the one that leads them: it gives commands, watches how far they are,
//! shows progress, and ends the run when one fails or time is over.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use campanile::ring::Waker;
use core_affinity::CoreId;

use super::client::{Core, Mode, Share, prepare};
use super::clock::{Origin, micros, pause};
use super::fault::Fault;
use super::handshake::Handshakes;
use super::latency::Published;
use super::process;
use super::series::Series;
use super::shared::{Shared, Totals};

/// What the leading thread asks of the others.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Command {
    /// Open connections until the first so many of all threads are open, so many a second.
    Open { count: usize, per_s: Option<f64> },
    /// Begin to send.
    Start,
    /// Send no more.
    Stop,
    /// The first client sends one message to everybody.
    Broadcast,
    /// The first client sends to that many random users, so many a second.
    Directs { messages: u32, per_s: f64 },
    /// Check what only the whole tells, after everything has come.
    Verify,
    /// Close all connections.
    Close,
}

/// How the threads of a run are to be.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) connections: usize,
    pub(crate) threads: usize,
    pub(crate) cores: Vec<usize>,
    pub(crate) message_bytes_max: usize,
    pub(crate) timeout: Duration,
    pub(crate) quiet: bool,
    pub(crate) server: Option<u32>,
    pub(crate) server_core: Option<usize>,
    pub(crate) series: Option<PathBuf>,
}

struct Thread {
    commands: Sender<Command>,
    waker: Waker,
    joined: JoinHandle<()>,
}

/// The running threads.
pub(crate) struct Crowd {
    pub(crate) plan: Plan,
    pub(crate) shared: Arc<Shared>,
    threads: Vec<Thread>,
    shown_us: u64,
    shown: Totals,
    series: Option<Series>,
}

/// Between two looks at how far the others are.
const LOOK_AGAIN: Duration = Duration::from_millis(2);
const PROGRESS_US: u64 = 1_000_000;

pub(crate) fn pin(core: usize) {
    if !core_affinity::set_for_current(CoreId { id: core }) {
        eprintln!("warning: core {core} cannot be had");
    }
}

impl Crowd {
    /// Starts the threads; `mode` makes what the clients of each do.
    pub(crate) fn start<M: Mode>(
        plan: Plan,
        handshakes: Handshakes,
        mode: impl Fn(Share, usize, &Arc<Shared>) -> M,
    ) -> Result<Self, Fault> {
        if let Some(&core) = plan.cores.first() {
            pin(core);
        }
        let shared = Arc::new(Shared::new(handshakes, plan.threads));
        let series = plan
            .series
            .as_deref()
            .map(|path| Series::create(path, &shared));
        let series = series.transpose()?;
        let mut threads = Vec::new();
        for index in 0..plan.threads {
            let share = Share {
                index,
                of: plan.threads,
            };
            let capacity = share.part_of(plan.connections);
            let ring = prepare(capacity, plan.message_bytes_max)?;
            let waker = ring.waker();
            let mode = mode(share, capacity, &shared);
            let (commands, orders) = channel();
            let its_shared = Arc::clone(&shared);
            let core = (!plan.cores.is_empty()).then(|| plan.cores[index % plan.cores.len()]);
            let bytes_max = plan.message_bytes_max;
            let joined = std::thread::Builder::new()
                .name(format!("load-{index}"))
                .spawn(move || {
                    if let Some(core) = core {
                        pin(core);
                    }
                    let core = Core::new(ring, Arc::clone(&its_shared), share, capacity, bytes_max);
                    if let Err(fault) = core.and_then(|core| run(core, mode, &orders)) {
                        its_shared.fail(fault);
                    }
                })?;
            threads.push(Thread {
                commands,
                waker,
                joined,
            });
        }
        Ok(Self {
            plan,
            shown_us: shared.origin.us(),
            shared,
            threads,
            shown: Totals::default(),
            series,
        })
    }

    pub(crate) fn order(&self, command: Command) {
        for thread in &self.threads {
            // A thread that has ended has left a fault, which the next wait tells.
            let _gone = thread.commands.send(command);
            thread.waker.wake();
        }
    }

    /// Waits until the totals are as wanted.
    pub(crate) fn wait(
        &mut self,
        what: &'static str,
        mut until: impl FnMut(&Totals) -> bool,
    ) -> Result<Totals, Fault> {
        loop {
            let totals = self.look(what)?;
            if until(&totals) {
                return Ok(totals);
            }
            pause(LOOK_AGAIN);
        }
    }

    /// Lets so much time pass. The clients go on meanwhile.
    pub(crate) fn rest(&mut self, time: Duration) -> Result<Totals, Fault> {
        let until_us = self.shared.origin.us() + micros(time);
        loop {
            let totals = self.look("a rest is over")?;
            let left_us = until_us.saturating_sub(self.shared.origin.us());
            if left_us == 0 {
                return Ok(totals);
            }
            pause(Duration::from_micros(left_us.min(20_000)));
        }
    }

    /// Like [`Self::wait`], for at most `within`; `None` if that passed.
    pub(crate) fn wait_within(
        &mut self,
        within: Duration,
        what: &'static str,
        mut until: impl FnMut(&Totals) -> bool,
    ) -> Result<Option<Totals>, Fault> {
        let until_us = self.shared.origin.us() + micros(within);
        let mut has_passed = false;
        let origin = self.shared.origin;
        let totals = self.wait(what, |totals| {
            let is_done = until(totals);
            has_passed = !is_done && origin.us() > until_us;
            is_done || has_passed
        })?;
        Ok((!has_passed).then_some(totals))
    }

    fn look(&mut self, what: &'static str) -> Result<Totals, Fault> {
        self.shared.verdict()?;
        let now_us = self.shared.origin.us();
        if now_us > micros(self.plan.timeout) {
            return Err(Fault::Timeout { what });
        }
        if let Some(series) = &mut self.series {
            series.look(&self.shared, self.plan.server)?;
        }
        let totals = self.shared.totals();
        if !self.plan.quiet && now_us - self.shown_us >= PROGRESS_US {
            self.show(now_us, totals);
        }
        Ok(totals)
    }

    fn show(&mut self, now_us: u64, totals: Totals) {
        let mut recent = super::latency::histogram();
        for gauge in &self.shared.gauges {
            let mut published = gauge.published();
            recent += &published.recent;
            published.recent.reset();
        }
        let seconds = (now_us - self.shown_us) as f64 / 1e6;
        // A new start after a warm-up counts from the beginning again.
        let received = totals.received.saturating_sub(self.shown.received);
        eprintln!(
            "{:4} s  {} connections  {:.0} messages/s  p99 {} us",
            now_us / 1_000_000,
            totals.open,
            received as f64 / seconds,
            recent.value_at_quantile(0.99),
        );
        (self.shown_us, self.shown) = (now_us, totals);
    }

    /// Opens connections until `count` are open; returns how long that took, seconds.
    pub(crate) fn open(&mut self, count: usize, per_s: Option<f64>) -> Result<f64, Fault> {
        let began_us = self.shared.origin.us();
        self.order(Command::Open { count, per_s });
        let totals = self.wait("all connections are open", |totals| {
            totals.open >= count as u64
        })?;
        Ok(totals.opened_us.saturating_sub(began_us) as f64 / 1e6)
    }

    /// Closes all connections and waits until the rings have none.
    pub(crate) fn close(&mut self) -> Result<(), Fault> {
        self.order(Command::Close);
        self.wait("all connections are closed", |totals| totals.sockets == 0)?;
        Ok(())
    }

    /// Starts or ends the measuring of latencies, and waits until all threads do so.
    fn next_epoch(&mut self, what: &'static str) -> Result<(), Fault> {
        let epoch = self.shared.epoch.fetch_add(1, Ordering::AcqRel) + 1;
        for thread in &self.threads {
            thread.waker.wake();
        }
        let shared = Arc::clone(&self.shared);
        self.wait(what, |_| {
            let mut gauges = shared.gauges.iter();
            gauges.all(|gauge| gauge.epoch.load(Ordering::Acquire) == epoch)
        })?;
        Ok(())
    }

    /// From here on latencies are kept.
    pub(crate) fn begin_latencies(&mut self) -> Result<(), Fault> {
        self.next_epoch("latencies are measured")
    }

    /// Ends that, and returns what was measured.
    pub(crate) fn end_latencies(&mut self) -> Result<Published, Fault> {
        self.next_epoch("latencies are gathered")?;
        let mut all = Published::new();
        for gauge in &self.shared.gauges {
            let mut published = gauge.published();
            all.measured += &published.measured;
            all.longest_us = all.longest_us.max(published.longest_us);
            published.measured.reset();
            published.longest_us = 0;
        }
        Ok(all)
    }

    /// The clocks of now.
    pub(crate) fn reading(&self) -> Result<Reading, Fault> {
        let plan = &self.plan;
        Reading::take(self.shared.origin, plan.server, plan.server_core)
    }

    /// Ends the threads; their connections must be closed.
    pub(crate) fn end(self) -> Result<(), Fault> {
        for thread in self.threads {
            drop(thread.commands);
            thread.waker.wake();
            if thread.joined.join().is_err() {
                return Err(Fault::Impossible(
                    "a thread of the load panicked".to_owned(),
                ));
            }
        }
        if let Some(series) = self.series {
            series.end(&self.shared)?;
        }
        self.shared.verdict()
    }
}

fn us(ns: u64) -> f64 {
    ns as f64 / 1e3
}

/// Clocks of the server, of its core and of the load, read together. Microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    pub(crate) wall_us: u64,
    /// Where `--server-pid` names the server.
    pub(crate) server_us: Option<f64>,
    pub(crate) load_us: f64,
    /// Where `--server-core` names its core.
    pub(crate) core_us: Option<f64>,
}

/// What passed between two readings, microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Passed {
    pub(crate) wall_us: f64,
    pub(crate) server_us: Option<f64>,
    pub(crate) load_us: f64,
    pub(crate) core_us: Option<f64>,
}

impl Reading {
    /// Reads the clocks of the server's process and core, where they are known, and of this one.
    pub(crate) fn take(
        origin: Origin,
        server: Option<u32>,
        server_core: Option<usize>,
    ) -> Result<Self, Fault> {
        let core_us = server_core.map(process::core_busy_us).transpose()?;
        Ok(Self {
            wall_us: origin.us(),
            server_us: server.map(process::cpu_ns).transpose()?.map(us),
            load_us: us(process::cpu_ns(std::process::id())?),
            core_us: core_us.map(|us| us as f64),
        })
    }

    pub(crate) fn until(&self, now: &Self) -> Passed {
        let between = |then: Option<f64>, now: Option<f64>| Some(now? - then?);
        Passed {
            wall_us: (now.wall_us - self.wall_us) as f64,
            server_us: between(self.server_us, now.server_us),
            load_us: now.load_us - self.load_us,
            core_us: between(self.core_us, now.core_us),
        }
    }
}

/// The life of one thread: commands when there are some, and turns.
fn run<M: Mode>(mut core: Core, mut mode: M, orders: &Receiver<Command>) -> Result<(), Fault> {
    loop {
        core.read_clock();
        loop {
            match orders.try_recv() {
                Ok(Command::Open { count, per_s }) => core.open_until(count, per_s),
                Ok(Command::Close) => {
                    core.close_all();
                    mode.command(&mut core, Command::Close)?;
                }
                Ok(command) => mode.command(&mut core, command)?,
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    core.hand_over();
                    return Ok(());
                }
            }
        }
        if core.shared().has_failed() {
            // The process ends; to take this ring down first would only take time.
            loop {
                pause(Duration::from_secs(1));
            }
        }
        core.turn(&mut mode)?;
    }
}
