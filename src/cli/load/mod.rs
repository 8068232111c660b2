//! `campanile load`: a load generator for any WebSocket server.
//!
//! ```text
//!   connect echo fanout chat   the modes: what is measured, and in which order
//!   publish                    the mode that speaks HTTP, on sockets of tokio's
//!   traffic                    what the modes with messages have in common
//!   crowd                      the threads, and the one that leads them
//!   relay chat                 what clients say and must hear (each a Mode)
//!   client                     very many clients on one ring
//!   frames handshake message tls   the wire
//!   latency series process report   what is found out
//! ```
//! Everything that is received is checked; what is lost, doubled, reordered or damaged ends the run.

#![forbid(unsafe_code)]

mod chat;
mod client;
mod clock;
mod connect;
mod crowd;
mod echo;
mod fanout;
mod fault;
mod frames;
mod handshake;
mod latency;
mod message;
mod process;
mod publish;
mod relay;
mod report;
mod series;
mod shared;
mod target;
mod tls;
mod traffic;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use campanile::ring::raise_nofile;
use clap::{Args, Subcommand, ValueEnum};

use self::crowd::Plan;
use self::fault::Fault;
use self::handshake::Handshakes;
use self::message::{SENDERS_MAX, STAMP_BYTES};
use self::relay::Pace;
use self::report::Report;
use self::target::{Sources, Url};
use self::tls::Tls;
use self::traffic::Length;

const AFTER_HELP: &str = "\
Latencies: with --in-flight, from sending a message to receiving it (closed loop). With --rate, from \
when it was due to be sent (open loop): a server that stalls cannot hide what it delayed.

Every message is checked. A lost, doubled, reordered, damaged or misdirected one, a close frame or a \
broken connection ends the run with exit status 1 and its reason on stderr.

All options and figures: docs/LOAD.md.";

/// What `load` takes.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct LoadArgs {
    #[command(subcommand)]
    mode: LoadMode,
}

#[derive(Debug, Subcommand)]
enum LoadMode {
    /// Open connections, hold them idle, close them
    #[command(after_help = AFTER_HELP)]
    Connect(ConnectArgs),
    /// Every connection gets back what it sends
    #[command(after_help = AFTER_HELP)]
    Echo(EchoArgs),
    /// Every message of the publishers reaches every subscriber
    #[command(after_help = AFTER_HELP)]
    Fanout(FanoutArgs),
    /// Messages that are published over HTTP, and the subscribers who get them
    #[command(after_help = AFTER_HELP)]
    HttpPublish(HttpPublishArgs),
    /// Rooms of JSON chat messages, each of which reaches the whole room
    #[command(after_help = AFTER_HELP)]
    Chat(ChatArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ConnectArgs {
    #[command(flatten)]
    common: Common,
    /// Connections
    #[arg(long, value_name = "N", value_parser = count)]
    connections: usize,
    /// New connections a second, evenly spaced; without it as fast as they go
    #[arg(long, value_name = "N[/s]", value_parser = rate)]
    rate: Option<f64>,
    /// How long they stay idle before memory is read
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    hold: Duration,
    /// Opened and closed again before anything is measured
    #[arg(long, value_name = "N", default_value_t = 0)]
    warm_connections: usize,
    /// The server says something by itself, in JSON: it is read and not looked at
    #[arg(long)]
    greeted: bool,
    /// Then each sends one message to an echo server, and all are idle again
    #[arg(long, conflicts_with_all = ["broadcasts", "directs"])]
    exchange: bool,
    /// Then the first sends so many messages, one after the other, that reach everybody
    #[arg(long, value_name = "N", default_value_t = 0)]
    broadcasts: u32,
    /// Then the first sends so many messages "@USER .." to random users; needs {user} in the URL
    #[arg(long, value_name = "N", default_value_t = 0)]
    directs: u32,
    /// How many of these a second
    #[arg(long, value_name = "N[/s]", default_value = "1000", value_parser = rate)]
    direct_rate: f64,
}

#[derive(Debug, Args)]
pub(crate) struct EchoArgs {
    #[command(flatten)]
    common: Common,
    /// Connections
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = count)]
    connections: usize,
    #[command(flatten)]
    pace: PaceArgs,
}

#[derive(Debug, Args)]
pub(crate) struct FanoutArgs {
    #[command(flatten)]
    common: Common,
    /// How many publish; they are the first of the subscribers
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count)]
    publishers: usize,
    /// Connections
    #[arg(long, value_name = "N", value_parser = count)]
    subscribers: usize,
    /// Check that all subscribers get all messages in one order, and not only each publisher's
    #[arg(long)]
    total_order: bool,
    #[command(flatten)]
    pace: PaceArgs,
}

/// What every mode watches and writes.
#[derive(Debug, Args)]
struct Watch {
    /// The server's process, to report its processor time and, of many connections, memory
    #[arg(long, value_name = "PID")]
    server_pid: Option<u32>,
    /// The server's core, to report how busy it was
    #[arg(long, value_name = "N")]
    server_core: Option<usize>,
    /// How long the whole run may take
    #[arg(long, value_name = "TIME", default_value = "120s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// Write the figures as JSON, - for stdout
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct HttpPublishArgs {
    /// Where subscribers connect, ws://host:port/path?query; the HTTP API is on the same port. {user} becomes
    /// the subscriber's number
    #[arg(long, value_name = "URL")]
    url: Url,
    /// The key of the server API, with the scope publish
    #[arg(long, value_name = "KEY")]
    token: Option<String>,
    /// Connections that publish, each with one request under way
    #[arg(long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=4096))]
    connections: u32,
    /// WebSockets that are subscribed to the topic
    #[arg(long, value_name = "N", default_value_t = 0)]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=4096))]
    subscribers: u32,
    /// What is published to; a topic of nobody else's
    #[arg(long, value_name = "NAME", default_value = "load", value_parser = topic)]
    topic: String,
    /// Text in a message's data, bytes
    #[arg(long, value_name = "BYTES", default_value_t = 16)]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=32_768))]
    size: u32,
    /// Requests go out for so long before anything is measured
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = humantime::parse_duration)]
    warm_up: Duration,
    /// How long it is measured
    #[arg(long, value_name = "TIME", default_value = "4s", value_parser = humantime::parse_duration)]
    duration: Duration,
    /// Core of the load's thread
    #[arg(long, value_name = "N")]
    core: Option<usize>,
    #[command(flatten)]
    watch: Watch,
}

#[derive(Debug, Args)]
pub(crate) struct ChatArgs {
    #[command(flatten)]
    common: Common,
    /// Rooms; {room} in the URL becomes 0, 1, ..
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count)]
    rooms: usize,
    /// Connections in each room
    #[arg(long, value_name = "N", value_parser = count)]
    room_size: usize,
    /// How many of them publish
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count)]
    publishers: usize,
    /// What happens besides chat messages
    #[arg(long, value_enum, default_value_t = Mix::Chat)]
    mix: Mix,
    #[command(flatten)]
    pace: PaceArgs,
}

/// What happens in a chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mix {
    /// Nothing but chat messages
    Chat,
    /// After every 5th message somebody types, after every 10th somebody pings, after every 1,000th
    /// a member that does not publish leaves and comes back
    Mixed,
}

/// When messages are sent, and how many.
#[derive(Debug, Args)]
pub(crate) struct PaceArgs {
    /// Messages that each sender has under way: closed loop
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "rate")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=65_536))]
    in_flight: u32,
    /// Messages a second of all senders together: open loop
    #[arg(long, value_name = "N[/s]", value_parser = rate)]
    rate: Option<f64>,
    /// Stop after so many messages instead of --duration, and report how long the slowest took
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    messages: Option<u64>,
}

impl PaceArgs {
    fn pace(&self) -> Pace {
        self.rate.map_or(Pace::InFlight(self.in_flight), Pace::Rate)
    }
}

/// What all modes take.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// The server: ws[s]://host:port/path?query. {user} becomes the connection's number, {room} its room's
    #[arg(long, value_name = "URL")]
    url: Url,
    /// Authorities that are trusted, PEM; wss:// needs them
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Come back by the ticket of a TLS session that was there before; else all handshakes are full
    #[arg(long, requires = "ca")]
    tls_resume: bool,
    /// Messages flow for so long before anything is measured
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = humantime::parse_duration)]
    warm_up: Duration,
    /// How long it is measured
    #[arg(long, value_name = "TIME", default_value = "4s", value_parser = humantime::parse_duration)]
    duration: Duration,
    /// Payload, bytes: 24 to 67108864; if not given 64, in chat 47 of content
    #[arg(long, value_name = "BYTES", value_parser = size)]
    size: Option<usize>,
    /// Threads, each with a ring of its own; as many as RLIMIT_NOFILE needs if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Source addresses, for a server on 127.0.0.0/8: 50,000 connections from each
    #[arg(long, value_name = "FIRST[-LAST]")]
    sources: Option<Sources>,
    /// Core of the load's threads; may be repeated
    #[arg(long, value_name = "N")]
    core: Vec<usize>,
    #[command(flatten)]
    watch: Watch,
    /// Write what came in each quarter of a second, one JSON object a line
    #[arg(long, value_name = "FILE")]
    series: Option<PathBuf>,
    /// No progress on stderr
    #[arg(long)]
    quiet: bool,
    /// A field of the request; may be repeated
    #[arg(long, value_name = "NAME: VALUE", value_parser = header)]
    header: Vec<(String, String)>,
    /// Subprotocol to offer
    #[arg(long, value_name = "NAME", value_parser = token)]
    subprotocol: Option<String>,
}

/// Connections of one ring, as a share of RLIMIT_NOFILE: some descriptors are on their way.
const RING_SHARE: (u64, u64) = (85, 100);
/// Most bytes that the senders' own messages may take while they wait.
const SIZE_MAX: usize = 64 << 20;

impl Common {
    fn payload_bytes(&self, otherwise: usize) -> usize {
        self.size.unwrap_or(otherwise)
    }

    fn length(&self, messages: Option<u64>) -> Length {
        messages.map_or(
            Length::Time {
                warm_up: self.warm_up,
                duration: self.duration,
            },
            Length::Messages,
        )
    }

    fn tls(&self) -> Result<Option<Tls>, String> {
        match (self.url.is_secure, &self.ca) {
            (true, Some(ca)) => Tls::new(ca, self.url.host(), self.tls_resume).map(Some),
            (true, None) => Err("wss:// needs --ca: whom to trust".to_owned()),
            (false, Some(_)) => Err("--ca is for wss://".to_owned()),
            (false, None) => Ok(None),
        }
    }

    fn handshakes(&self) -> Result<Handshakes, Fault> {
        let subprotocol = self.subprotocol.as_deref();
        let tls = self.tls().map_err(Fault::Impossible)?;
        Handshakes::new(&self.url, tls, self.sources, &self.header, subprotocol)
            .map_err(Fault::Impossible)
    }

    fn plan(&self, connections: usize, payload_bytes: usize) -> Result<Plan, Fault> {
        let soft = raise_nofile()?.soft;
        let per_ring = usize::try_from(soft * RING_SHARE.0 / RING_SHARE.1).unwrap_or(usize::MAX);
        let per_ring = per_ring.clamp(1, campanile::limits::CONNECTIONS_PER_SHARD_MAX);
        let needed = connections.div_ceil(per_ring);
        Ok(Plan {
            connections,
            threads: self.threads.map_or(needed, usize::from).min(connections),
            cores: self.core.clone(),
            // A server may wrap what it passes on.
            message_bytes_max: (1 << 20) + 2 * payload_bytes,
            timeout: self.watch.timeout,
            quiet: self.quiet,
            server: self.watch.server_pid,
            server_core: self.watch.server_core,
            series: self.series.clone(),
        })
    }
}

/// Runs a load and reports what it found.
pub(crate) fn run(args: &LoadArgs) -> ExitCode {
    let mut report = Report::default();
    let (name, url, json) = match &args.mode {
        LoadMode::Connect(args) => ("connect", &args.common.url, &args.common.watch.json),
        LoadMode::Echo(args) => ("echo", &args.common.url, &args.common.watch.json),
        LoadMode::Fanout(args) => ("fanout", &args.common.url, &args.common.watch.json),
        LoadMode::HttpPublish(args) => ("http-publish", &args.url, &args.watch.json),
        LoadMode::Chat(args) => ("chat", &args.common.url, &args.common.watch.json),
    };
    report.text("mode", name);
    report.text("url", url);
    let result = match &args.mode {
        LoadMode::Connect(args) => connect::run(args, &args.common, &mut report),
        LoadMode::Echo(args) => echo::run(args, &args.common, &mut report),
        LoadMode::Fanout(args) => fanout::run(args, &args.common, &mut report),
        LoadMode::HttpPublish(args) => publish::run(args, &mut report),
        LoadMode::Chat(args) => chat::run(args, &args.common, &mut report),
    };
    report.count("errors", u64::from(result.is_err()));
    if let Err(fault) = &result {
        report.text("error", fault);
        eprintln!("error: {fault}");
    }
    match (tell(&report, json.as_deref()), result) {
        (ExitCode::SUCCESS, Ok(())) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn tell(report: &Report, json: Option<&Path>) -> ExitCode {
    let Some(path) = json else {
        return super::print(&report.for_people());
    };
    let text = format!("{}\n", report.json());
    if path == Path::new("-") {
        return super::print(&text);
    }
    match std::fs::write(path, text) {
        Ok(()) => super::print(&report.for_people()),
        Err(error) => {
            eprintln!("{}: {error}", path.display());
            ExitCode::FAILURE
        }
    }
}

fn count(text: &str) -> Result<usize, String> {
    let count: usize = text.parse().map_err(|_| "not a number")?;
    match count {
        0 => Err("at least 1".to_owned()),
        SENDERS_MAX.. => Err(format!("less than {SENDERS_MAX}")),
        _ => Ok(count),
    }
}

fn size(text: &str) -> Result<usize, String> {
    let size: usize = text.parse().map_err(|_| "not a number")?;
    if (STAMP_BYTES..=SIZE_MAX).contains(&size) {
        return Ok(size);
    }
    Err(format!("{STAMP_BYTES} to {SIZE_MAX}"))
}

fn rate(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix("/s").unwrap_or(text);
    let rate: f64 = number
        .parse()
        .map_err(|_| "not of the form 1000 or 1000/s")?;
    if rate.is_finite() && (0.001..=1e9).contains(&rate) {
        return Ok(rate);
    }
    Err("0.001 to 1000000000".to_owned())
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("not of the form Name: value")?;
    if value.bytes().any(|byte| byte < b' ' && byte != b'\t') {
        return Err("a value has no control characters".to_owned());
    }
    Ok((token(name)?, value.trim().to_owned()))
}

fn topic(text: &str) -> Result<String, String> {
    match text.len() {
        ..=64 => token(text),
        _ => Err("at most 64 characters".to_owned()),
    }
}

fn token(text: &str) -> Result<String, String> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if text.is_empty() || !text.bytes().all(is_token) {
        return Err("not a token of HTTP".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        load: LoadArgs,
    }

    fn parse(words: &str) -> Result<LoadMode, String> {
        let words = std::iter::once("load").chain(words.split_whitespace());
        match Program::try_parse_from(words) {
            Ok(program) => Ok(program.load.mode),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn rates_and_times_are_read() {
        let words = "connect --url ws://a/ --connections 9 --rate 250/s --hold 1m";
        let Ok(LoadMode::Connect(args)) = parse(words) else {
            panic!("it is right");
        };
        assert_eq!((args.connections, args.rate), (9, Some(250.0)));
        assert_eq!(args.hold, Duration::from_secs(60));
    }

    #[test]
    fn wrong_arguments_are_refused_with_what_is_wrong() {
        for (words, part) in [
            ("echo", "--url"),
            ("echo --url http://a/", "only ws:// and wss://"),
            ("echo --url ws://a/ --connections 0", "at least 1"),
            ("echo --url ws://a/ --size 23", "24 to"),
            ("echo --url ws://a/ --rate 0", "0.001"),
            (
                "echo --url ws://a/ --rate 5 --in-flight 2",
                "cannot be used with",
            ),
            (
                "connect --url ws://a/ --connections 1 --exchange --broadcasts 1",
                "cannot be",
            ),
            ("echo --url ws://a/ --header nothing", "Name: value"),
            (
                "echo --url ws://a/ --sources 127.0.1.2-127.0.1.1",
                "before the first",
            ),
            ("echo --url ws://a/ --messages 0", "messages"),
        ] {
            let error = parse(words).unwrap_err();
            assert!(error.contains(part), "{words}: {error}");
        }
    }
}
