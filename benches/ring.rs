//! What it costs to wait: an idle connection armed by a poll, a busy one by a multishot receive, and
//! the way from one to the other and back.
//!
//! ```text
//!   cargo bench --bench ring -- [CONNECTIONS]
//! ```
//! Both ends of every connection are in this process; the far ends do nothing but send one byte. The
//! kernel's memory is the slab of the whole machine, so that nothing else should run. As `cargo test`
//! starts it (without `--bench`) everything is tiny.

use std::error::Error;
use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::IntoRawFd;
use std::time::Duration;

use campanile::id::Slot;
use campanile::ring::{self, Completion, Ring, RingConfig};
use campanile::time::Now;

/// Descriptors that are not connections.
const SPARE_DESCRIPTORS: u64 = 100;
const QUIET_SECONDS: u32 = 5;

struct Bench {
    ring: Ring,
    far_ends: Vec<TcpStream>,
}

/// One state of all connections: what the kernel holds, and what it took to get there.
struct Stage {
    name: &'static str,
    slab_bytes: u64,
    cpu_us: f64,
}

impl Bench {
    fn connect(count: usize) -> Result<Self, Box<dyn Error>> {
        let config = RingConfig {
            quiet_seconds: QUIET_SECONDS,
            ..RingConfig::default()
        };
        let mut bench = Self {
            ring: Ring::prepare(&config)?.enable()?,
            far_ends: Vec::with_capacity(count),
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        for number in 0..count {
            bench
                .far_ends
                .push(TcpStream::connect(listener.local_addr()?)?);
            let (near, _) = listener.accept()?;
            let slot = Slot(u32::try_from(number)?);
            bench.ring.adopt(slot, near.into_raw_fd());
            bench.ring.promote(slot);
            bench.turn()?;
        }
        Ok(bench)
    }

    /// One turn that does not wait; how many bytes came.
    fn turn(&mut self) -> Result<usize, Box<dyn Error>> {
        self.ring.submit_and_wait(Some(Duration::ZERO), |_| ())?;
        let mut received = 0;
        while let Some(completion) = self.ring.next_completion() {
            match completion {
                Completion::Received(_, bytes) => received += bytes.len(),
                other => return Err(format!("unexpected: {other:?}").into()),
            }
        }
        Ok(received)
    }

    /// Every far end says one byte, and all of them come in.
    fn exchange(&mut self) -> Result<(), Box<dyn Error>> {
        for far_end in &mut self.far_ends {
            far_end.write_all(b"x")?;
        }
        let mut due = self.far_ends.len();
        while due > 0 {
            due -= self.turn()?;
        }
        Ok(())
    }

    /// Turns until the kernel has taken back what was cancelled.
    fn settle(&mut self) -> Result<(), Box<dyn Error>> {
        for _ in 0..self.far_ends.len() / 8 + 100 {
            self.turn()?;
        }
        Ok(())
    }

    fn tick(&mut self, second: u64) -> Result<(), Box<dyn Error>> {
        self.ring.tick(Now {
            monotonic_ms: second * 1000,
            unix_ms: 0,
        });
        self.settle()
    }
}

fn slab_bytes() -> Result<u64, Box<dyn Error>> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("Slab:"));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(number.ok_or("no Slab in meminfo")?.trim().parse::<u64>()? * 1024)
}

/// Processor time of this process, microseconds.
fn cpu_us() -> Result<f64, Box<dyn Error>> {
    let text = fs::read_to_string("/proc/self/schedstat")?;
    let first = text.split(' ').next().ok_or("empty schedstat")?;
    Ok(first.parse::<f64>()? / 1000.0)
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let is_bench = arguments.iter().any(|argument| argument == "--bench");
    let wanted = arguments.iter().find_map(|argument| argument.parse().ok());
    let limit = ring::raise_nofile()?.soft.saturating_sub(SPARE_DESCRIPTORS);
    let most = usize::try_from(limit)?;
    let count = wanted
        .unwrap_or(if is_bench { 10_000 } else { 20 })
        .min(most);

    let mut bench = Bench::connect(count)?;
    let mut stages = Vec::new();
    let mut stage =
        |name, bench: &mut Bench, act: &mut dyn FnMut(&mut Bench) -> Result<(), Box<dyn Error>>| {
            let before = cpu_us()?;
            act(bench)?;
            stages.push(Stage {
                name,
                slab_bytes: slab_bytes()?,
                cpu_us: cpu_us()? - before,
            });
            Ok::<(), Box<dyn Error>>(())
        };
    stage("a poll on each", &mut bench, &mut Bench::settle)?;
    stage(
        "first byte: poll to receive",
        &mut bench,
        &mut Bench::exchange,
    )?;
    stage("second byte", &mut bench, &mut Bench::exchange)?;
    stage("quiet: receive to poll", &mut bench, &mut |bench| {
        let ticks = bench.far_ends.len() as u64 / 4096 + 1;
        let first = u64::from(QUIET_SECONDS);
        (first..first + ticks).try_for_each(|second| bench.tick(second))
    })?;
    stage(
        "third byte: poll to receive",
        &mut bench,
        &mut Bench::exchange,
    )?;
    println!("{count} connections, both ends in this process");
    println!("{:30} {:>12} {:>12}", "", "CPU, µs each", "slab, B each");
    let first = stages[0].slab_bytes as f64;
    for stage in &stages {
        let each = |total: f64| total / count as f64;
        println!(
            "{:30} {:>12.2} {:>+12.0}",
            stage.name,
            each(stage.cpu_us),
            each(stage.slab_bytes as f64 - first)
        );
    }
    let counters = bench.ring.counters();
    println!("{} went quiet", counters.quiet_transitions);
    Ok(())
}
