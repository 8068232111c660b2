//! `/metrics`, health and the memory budget over real sockets; and that what is written about metrics
//! is true: docs/METRICS.md and the dashboard.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use axum::Router;
use campanile::api::dashboard::DashboardOptions;
use campanile::api::health::Probes;
use campanile::api::metrics::{self, Exposition};
use campanile::api::{self, ApiOptions, State};
use campanile::id::ShardId;
use campanile::realtime::protocol::Message;
use campanile::realtime::{Ctx, Handler, HandlerError, Realtime, RealtimeOptions};
use campanile::server::{MemoryOptions, MemoryUse};
use campanile::shard::Options;
use campanile::store::{Store, StoreOptions, StoreThread};
use campanile::{Server, ServerHandle};
use support::{Client, Raw, Response, Site, block_on, within_bound};

/// A handler that takes its time.
struct Nap;

impl Handler for Nap {
    fn message_type(&self) -> &str {
        "nap \"really\""
    }

    fn handle(&mut self, ctx: &mut Ctx<'_>, _message: &Message<'_>) -> Result<(), HandlerError> {
        // Nobody says anything: it is the time that passes.
        let (_held, silence) = mpsc::channel::<()>();
        let _ = silence.recv_timeout(Duration::from_millis(60));
        ctx.reply("napped", |fields| fields);
        Ok(())
    }
}

/// A server with a store, gone when the test is.
struct House {
    site: Site<Realtime>,
    store: Store,
    used: Arc<AtomicU64>,
    _thread: StoreThread,
    _folder: Folder,
}

struct Folder(std::path::PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn routes(handle: ServerHandle<Realtime>, store: Store) -> Router {
    let exposition = Exposition::new(handle.clone(), Some(store.clone())).with(|out| {
        out.counter(
            "campanile_test_source",
            "Of a source.",
            [(vec![("code", "7".into())], 5.0)],
        )
    });
    let options = ApiOptions {
        development: true,
        ..ApiOptions::default()
    };
    let mut state = State::new(handle.clone(), options);
    state.store = Some(store.clone());
    let dashboard = DashboardOptions {
        server: handle,
        store: Some(store),
        token: None,
    };
    api::admin_router(state, dashboard).nest("/own", metrics::routes(exposition))
}

impl House {
    /// With a memory limit of 1000 bytes, of which as many are used as the test says.
    fn new(shards: usize) -> Self {
        let name = format!("campanile-metrics-{}", uuid::Uuid::now_v7());
        let folder = Folder(std::env::temp_dir().join(name));
        let (store, thread) = Store::open(&StoreOptions::new(&folder.0)).unwrap();
        let used = Arc::new(AtomicU64::new(100));
        let memory = MemoryOptions {
            limit: 1000,
            used: MemoryUse::Set(Arc::clone(&used)),
            ..MemoryOptions::default()
        };
        let (of_shards, of_routes) = (store.clone(), store.clone());
        let server = Server::new(move |_| {
            Realtime::with_store(RealtimeOptions::default(), of_shards.clone()).with(Nap)
        });
        let server = server
            .shards(shards)
            .options(Options::default())
            .memory(memory)
            .router_with(|handle| routes(handle, of_routes));
        Self {
            site: Site::start(server),
            store,
            used,
            _thread: thread,
            _folder: folder,
        }
    }

    fn get(&self, path: &str, accept: &str) -> Response {
        let mut raw = Raw::connect(self.site.address);
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n\r\n");
        raw.write(request.as_bytes());
        raw.response()
    }

    fn scrape(&self) -> String {
        let response = self.get("/metrics", "*/*");
        assert_eq!(response.status, 200, "{}", response.body);
        assert_eq!(
            response.field("content-type"),
            Some("text/plain; version=0.0.4; charset=utf-8")
        );
        response.body
    }

    fn probe(&self, path: &str) -> (u16, serde_json::Value) {
        let response = self.get(path, "*/*");
        assert_eq!(response.field("cache-control"), Some("no-store"));
        (response.status, response.json())
    }

    fn enter(&self, user: &str) -> Client {
        Client::open(self.site.address, &format!("/ws?user_id={user}"))
    }

    /// The status that an upgrade gets.
    fn knock(&self) -> u16 {
        Raw::connect(self.site.address)
            .upgrade("/ws?user_id=late", "")
            .status
    }

    /// Keeps a shard busy until what is returned is dropped.
    fn occupy(&self, shard: ShardId) -> mpsc::Sender<()> {
        let (release, released) = mpsc::channel::<()>();
        let (begun, begins) = mpsc::channel();
        let handle = self.site.handle.clone();
        thread::spawn(move || {
            block_on(handle.ask(shard, move |_, _| {
                begun.send(()).unwrap();
                // An error says that the test is done with it.
                let _ = released.recv_timeout(support::BOUND);
            }))
        });
        begins.recv_timeout(support::BOUND).unwrap();
        release
    }
}

/// Reads until a text has this in it.
fn until(client: &mut Client, what: &str) {
    while !client.hear().contains(what) {}
}

/// The values of a metric whose labels have `label` in them, together.
fn sum(scrape: &str, name: &str, label: &str) -> f64 {
    let samples = scrape.lines().filter(|line| !line.starts_with('#'));
    let samples = samples.filter_map(|line| {
        let (sample, value) = line.rsplit_once(' ')?;
        let (found, labels) = sample.split_once('{').unwrap_or((sample, ""));
        (found == name && labels.contains(label)).then(|| value.parse::<f64>().unwrap())
    });
    samples.sum()
}

#[test]
fn a_scrape_tells_what_has_happened() {
    let house = House::new(2);
    let (mut ann, mut bob) = (house.enter("ann"), house.enter("bob"));
    ann.say(r#"{"type":"chat","text":"hello"}"#);
    until(&mut bob, "hello");
    ann.say(r#"{"type":"nap \"really\""}"#);
    until(&mut ann, "napped");
    ann.say(r#"{"type":"no-such-type"}"#);
    until(&mut ann, "error");
    let mut gone = house.enter("gone");
    gone.start_close(4321, "bye");
    gone.closed();
    assert_eq!(
        Raw::connect(house.site.address)
            .upgrade("/nowhere", "")
            .status,
        404
    );

    let scrape = house.scrape();
    let is = |name: &str, label: &str, value: f64| {
        assert_eq!(sum(&scrape, name, label), value, "{name} {label}\n{scrape}");
    };
    is("campanile_connections", "", 2.0);
    is("campanile_users", "", 2.0);
    is("campanile_shard_up", "", 2.0);
    is("campanile_shard_accepting", "", 2.0);
    is("campanile_connections_opened_total", "", 3.0);
    is("campanile_connections_closed_total", "code=\"4321\"", 1.0);
    is(
        "campanile_handshakes_refused_total",
        "reason=\"not_found\"",
        1.0,
    );
    is("campanile_messages_received_total", "", 3.0);
    is("campanile_handler_seconds_count", "handler=\"chat\"", 1.0);
    is(
        "campanile_handler_seconds_count",
        r#"handler="nap \"really\"""#,
        1.0,
    );
    is("campanile_handler_seconds_count", "handler=\"other\"", 1.0);
    is("campanile_messages_refused_total", "reason=\"other\"", 1.0);
    is("campanile_handshake_seconds_count", "", 3.0);
    is("campanile_rooms", "", 1.0);
    is("campanile_room_members", "", 2.0);
    is("campanile_memory_limit_bytes", "", 1000.0);
    is("campanile_store_failing", "", 0.0);
    let own = house.get("/own/metrics", "*/*").body;
    assert_eq!(sum(&own, "campanile_test_source_total", "code=\"7\""), 5.0);
    is("campanile_draining", "", 0.0);
    for (name, label) in [
        ("campanile_slow_turns_total", ""),
        ("campanile_turn_seconds_count", "shard=\"0\""),
        ("campanile_memory_bytes", "kind=\"connections\""),
        ("campanile_messages_fanned_out_total", ""),
        ("campanile_room_messages_total", ""),
        ("process_open_fds", ""),
    ] {
        assert!(sum(&scrape, name, label) > 0.0, "{name} {label}\n{scrape}");
    }
    assert!(sum(&scrape, "campanile_handler_seconds_sum", "nap") >= 0.06);
}

#[test]
fn health_is_for_everybody_and_metrics_are_for_the_admin_listener() {
    for (is_admin, status) in [(false, 404), (true, 200)] {
        let server = Server::new(|_| Realtime::new(RealtimeOptions::default())).shards(1);
        let site = Site::start(server.router_with(move |handle| {
            let options = ApiOptions {
                development: true,
                ..ApiOptions::default()
            };
            let state = State::new(handle.clone(), options);
            let dashboard = DashboardOptions {
                server: handle,
                store: None,
                token: None,
            };
            match is_admin {
                true => api::admin_router(state, dashboard),
                false => api::router(state),
            }
        }));
        for (path, expected) in [
            ("/healthz", 200),
            ("/readyz", 200),
            ("/startupz", 200),
            ("/metrics", status),
        ] {
            let mut raw = Raw::connect(site.address);
            raw.write(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes());
            let response = raw.response();
            assert_eq!(response.status, expected, "{path}: {}", response.body);
        }
    }
}

#[test]
fn who_accepts_open_metrics_gets_it() {
    let house = House::new(1);
    let accept = "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;q=0.5";
    let response = house.get("/metrics", accept);
    let kind = response.field("content-type");
    assert_eq!(
        kind,
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    assert!(response.body.ends_with("\n# EOF\n"));
    assert!(
        response
            .body
            .contains("\n# TYPE campanile_slow_turns counter\n")
    );
    assert!(
        response
            .body
            .contains("\ncampanile_slow_turns_total{shard=\"0\"} 0")
    );
}

#[test]
fn answers_over_http_are_counted_by_route_and_nobody_makes_up_series() {
    let house = House::new(1);
    for path in [
        "/api/v1/rooms/a",
        "/api/v1/rooms/b",
        "/made/up",
        "/made/up/too",
    ] {
        assert_eq!(house.get(path, "*/*").status, 404, "{path}");
    }
    assert_eq!(house.probe("/healthz").0, 200);
    let scrape = house.scrape();
    for (labels, value) in [
        (
            r#"method="GET",route="/api/v1/rooms/{id}",status="404""#,
            2.0,
        ),
        (r#"method="GET",route="other",status="404""#, 2.0),
        (r#"method="GET",route="/healthz",status="200""#, 1.0),
    ] {
        assert_eq!(
            sum(&scrape, "campanile_http_requests_total", labels),
            value,
            "{scrape}"
        );
    }
    assert_eq!(sum(&scrape, "campanile_http_requests_total", ""), 5.0);
    assert_eq!(
        sum(&scrape, "campanile_http_request_seconds_count", ""),
        5.0
    );
}

#[test]
fn a_scrape_is_as_long_with_many_connections_as_with_few() {
    let house = House::new(1);
    let names = |scrape: &str| -> BTreeSet<String> {
        let samples = scrape
            .lines()
            .filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned()));
        samples.filter(|sample| !sample.starts_with('#')).collect()
    };
    let first = house.enter("first");
    // A scrape counts as an answer in those after it.
    house.scrape();
    let few = names(&house.scrape());
    let many: Vec<Client> = (0..200)
        .map(|n| house.enter(&format!("user-{n}")))
        .collect();
    let scrape = house.scrape();
    assert_eq!(sum(&scrape, "campanile_connections", ""), 201.0);
    assert_eq!(names(&scrape), few);
    drop((first, many));
}

#[test]
fn a_shard_that_does_not_answer_is_named_and_hides_no_other() {
    let house = House::new(2);
    assert_eq!(
        house.probe("/startupz"),
        (200, serde_json::json!({"status": "started"}))
    );
    let well = serde_json::json!({"status": "ok", "shards": 2, "silent": []});
    assert_eq!(house.probe("/healthz"), (200, well));
    // The kernel chooses whose listener a connection comes to, so the other shard's answer is asked
    // for by whoever gets through.
    let busy = house.occupy(ShardId(1));
    let report = block_on(Exposition::new(house.site.handle.clone(), None).report());
    let answered: Vec<bool> = report.shards.iter().map(Option::is_some).collect();
    assert_eq!(answered, [true, false]);
    let probes = Probes::new(house.site.handle.clone(), None);
    let health = block_on(probes.health());
    let ill = serde_json::json!({"status": "failing", "shards": 2, "silent": [1]});
    assert_eq!((health.is_well, health.body), (false, ill));
    assert!(!block_on(probes.startup()).is_well);
    let text = block_on(Exposition::new(house.site.handle.clone(), None).open_metrics()).unwrap();
    assert_eq!(sum(&text, "campanile_shard_up", "shard=\"1\""), 0.0);
    assert_eq!(sum(&text, "campanile_shard_up", "shard=\"0\""), 1.0);
    assert!(!text.contains("campanile_connections{shard=\"1\"}"));
    drop(busy);
    assert!(within_bound(|| block_on(probes.health()).is_well));
    assert!(block_on(probes.startup()).is_well);
}

#[test]
fn without_memory_nobody_new_is_let_in_until_there_is_some_again() {
    let house = House::new(2);
    let mut inside = house.enter("inside");
    assert_eq!(house.probe("/readyz").0, 200);
    house.used.store(960, Ordering::Relaxed);
    assert!(within_bound(|| house.knock() == 503), "nobody is refused");
    let (status, body) = house.probe("/readyz");
    assert_eq!(
        (status, &body["checks"]["memory"]),
        (503, &"failing".into())
    );
    assert_eq!(body["checks"]["shards"], "ok");
    assert_eq!(house.probe("/healthz").0, 200, "a restart would not help");
    let scrape = house.scrape();
    assert_eq!(sum(&scrape, "campanile_memory_pressure", ""), 2.0);
    assert!(sum(&scrape, "campanile_memory_handshakes_refused_total", "") >= 1.0);
    inside.say(r#"{"type":"ping"}"#);
    until(&mut inside, "pong");
    house.used.store(500, Ordering::Relaxed);
    assert!(
        within_bound(|| house.knock() == 101),
        "nobody is let in again"
    );
    assert_eq!(house.probe("/readyz").0, 200);
}

#[test]
fn who_is_told_to_end_is_not_ready() {
    let house = House::new(1);
    let probes = Probes::new(house.site.handle.clone(), Some(house.store.clone()));
    assert!(block_on(probes.readiness()).is_well);
    house.site.handle.shutdown();
    let readiness = block_on(probes.readiness());
    assert!(!readiness.is_well);
    assert_eq!(readiness.body["checks"]["draining"], "failing");
    assert_eq!(readiness.body["checks"]["store"], "ok");
}

fn read(path: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The families of a scrape, as rows of a table.
fn rows(scrape: &str) -> Vec<String> {
    let mut helps = BTreeMap::new();
    let mut rows = Vec::new();
    for line in scrape.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|l| l.split_once(' ')) {
            helps.insert(name, help);
        } else if let Some((name, kind)) = line
            .strip_prefix("# TYPE ")
            .and_then(|line| line.split_once(' '))
        {
            let help = helps.get(name).expect("every metric has a help text");
            rows.push(format!("| `{name}` | {kind} | {help} |"));
        }
    }
    rows
}

#[test]
fn every_metric_is_in_the_document_and_no_other() {
    let house = House::new(1);
    let rows = rows(&house.scrape());
    assert!(rows.len() > 60, "{rows:#?}");
    let document = read("docs/METRICS.md");
    let is_metric =
        |line: &&str| line.starts_with("| `campanile_") || line.starts_with("| `process_");
    let written: Vec<_> = document.lines().filter(is_metric).collect();
    assert_eq!(written, rows, "the table is to be:\n{}\n", rows.join("\n"));
}

#[test]
fn the_dashboard_shows_only_what_there_is() {
    let house = House::new(1);
    let mut ann = house.enter("ann");
    ann.say(r#"{"type":"ping"}"#);
    until(&mut ann, "pong");
    let scrape = house.scrape();
    let mut known = BTreeSet::new();
    for line in scrape.lines() {
        if let Some((name, kind)) = line
            .strip_prefix("# TYPE ")
            .and_then(|line| line.split_once(' '))
        {
            let suffixes: &[&str] = match kind {
                "histogram" => &["_bucket", "_sum", "_count"],
                _ => &[""],
            };
            known.extend(suffixes.iter().map(|suffix| format!("{name}{suffix}")));
        }
    }
    let text = read("deploy/grafana/campanile.json");
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut expressions = Vec::new();
    find(&dashboard, "expr", &mut expressions);
    assert!(expressions.len() > 20, "{expressions:?}");
    for expression in expressions {
        let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let names =
            words.filter(|word| word.starts_with("campanile_") || word.starts_with("process_"));
        let names: Vec<_> = names.collect();
        assert!(!names.is_empty(), "{expression} shows nothing");
        for name in names {
            assert!(known.contains(name), "{name} is not exposed: {expression}");
        }
    }
}

/// The strings of all members of that name, however deep.
fn find<'v>(value: &'v serde_json::Value, name: &str, found: &mut Vec<&'v str>) {
    match value {
        serde_json::Value::Object(members) => {
            for (key, value) in members {
                match value.as_str() {
                    Some(text) if key == name => found.push(text),
                    _ => find(value, name, found),
                }
            }
        }
        serde_json::Value::Array(values) => {
            values.iter().for_each(|value| find(value, name, found));
        }
        _ => {}
    }
}

/// `promtool` is in Debian's package `prometheus`, which scripts/test installs.
#[test]
fn promtool_has_nothing_to_complain_about() {
    let promtool = std::env::var("PROMTOOL").unwrap_or_else(|_| "promtool".into());
    let child = Command::new(&promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) if std::env::var_os("CAMPANILE_NEEDS_PROMTOOL").is_none() => {
            return println!("SKIPPED, so not tested here: {promtool} cannot be run: {error}");
        }
        Err(error) => panic!("{promtool}: {error}"),
    };
    let house = House::new(2);
    let mut ann = house.enter("ann");
    ann.say(r#"{"type":"nap \"really\""}"#);
    until(&mut ann, "napped");
    child
        .stdin
        .take()
        .unwrap()
        .write_all(house.scrape().as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}
