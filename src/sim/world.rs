//! The world: shards and clients, and what happens next.

use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use super::app::{AppMail, TestApp, name_of, topic_of};
use super::client::{Client, Codec};
use super::clock::Clock;
use super::driver::{Bench, Driver, Happening, Taker};
use super::mailroom::{Mailroom, Service};
use super::network::{Network, descriptor};
use super::oracle::{Oracle, SharedOracle, Target};
use super::payload;
use super::prng::Prng;
use super::settings::{Settings, Weights};
use super::{Fault, Summary};
use crate::id::ShardId;
use crate::shard::{Event, Mail, Shard, Shared};

/// Events of one shard in one turn, at most.
const EVENTS_PER_TURN_MAX: usize = 64;
/// Rounds in which a healed world must come to rest.
const ROUNDS_MAX: usize = 20_000;

/// One shard and its driver.
struct Station {
    shard: Shard<TestApp>,
    driver: Driver,
    ticked_s: u32,
}

#[derive(Clone, Copy)]
enum Step {
    Turn,
    Client,
    Connect,
    Trouble,
    Service,
    Time,
}

/// Everything there is.
pub(super) struct World {
    settings: Settings,
    prng: Prng,
    clock: Clock,
    network: Network,
    mailroom: Mailroom,
    service: Service,
    /// Sockets that nobody has accepted yet, and on which shard's listener they are.
    backlog: Vec<(ShardId, usize)>,
    stations: Vec<Station>,
    clients: Vec<Client>,
    codec: Codec,
    oracle: SharedOracle,
    shared: Arc<Shared>,
    fault: Option<Fault>,
    /// Troubles are over.
    healing: bool,
}

impl World {
    pub(super) fn new(seed: u64, settings: Settings, fault: Option<Fault>) -> Self {
        let mut prng = Prng::new(seed);
        let shards = settings.shards;
        let shared = Shared::new(settings.options.clone(), shards, prng.seed());
        let roomy = settings.roomy_queues;
        let oracle = Oracle::new(settings.options.clone(), roomy, shards);
        let oracle: SharedOracle = Rc::new(RefCell::new(oracle));
        let clock = Clock::new();
        let stations = (0..shards).map(ShardId).map(|id| {
            let app = TestApp::new(Rc::clone(&oracle), fault);
            let (shared, seed) = (Arc::clone(&shared), prng.seed());
            Station {
                shard: Shard::new(id, shared, app, settings.sockets_max, clock.now, seed),
                driver: Driver::new(id, settings.weights.short, fault),
                ticked_s: 0,
            }
        });
        let stations = stations.collect();
        Self {
            clock,
            network: Network::default(),
            mailroom: Mailroom::new(shards),
            service: Service::new(settings.service_queue_max),
            backlog: Vec::new(),
            stations,
            clients: Vec::new(),
            codec: Codec::new(),
            oracle,
            shared,
            fault,
            healing: false,
            prng,
            settings,
        }
    }

    /// Lives through a whole run.
    pub(super) fn run(mut self) -> Summary {
        for _ in 0..self.settings.steps {
            self.step();
            self.check();
        }
        self.heal();
        self.part();
        self.finish()
    }

    fn step(&mut self) {
        let step = self.prng.weighted(&[
            (40, Step::Turn),
            (50, Step::Client),
            (4, Step::Connect),
            (3, Step::Trouble),
            (6, Step::Service),
            (10, Step::Time),
        ]);
        match step {
            Step::Turn => {
                let station = self.prng.number(0..self.stations.len());
                self.turn(station);
            }
            Step::Client => {
                for _ in 0..3 {
                    self.client_step();
                }
            }
            Step::Connect => self.connect(),
            Step::Trouble => self.trouble(),
            Step::Service => {
                if !self.prng.chance(self.settings.weights.service_delay) {
                    self.serve();
                }
            }
            Step::Time => {
                let leap = self.prng.chance(self.settings.weights.leap);
                let range = if leap { 1000..30_000 } else { 0..50 };
                self.clock.advance_ms(self.prng.number(range) as u64);
            }
        }
    }

    fn connect(&mut self) {
        let present = self
            .clients
            .iter()
            .filter(|client| !client.is_over())
            .count();
        if present >= self.settings.clients_max {
            return;
        }
        let capacity = self.prng.size(self.settings.send_buffer_bytes_max) + 1;
        let number = self.network.connect(capacity);
        debug_assert_eq!(number, self.clients.len());
        self.clients
            .push(Client::new(number, &mut self.prng, &self.settings));
        let shard = self.prng.number(0..self.stations.len());
        self.backlog
            .push((self.stations[shard].driver.shard, number));
    }

    /// A client that is still there.
    fn some_client(&mut self) -> Option<usize> {
        let present = (0..self.clients.len()).filter(|&client| !self.clients[client].is_over());
        let present: Vec<usize> = present.collect();
        (!present.is_empty()).then(|| self.prng.pick(&present))
    }

    fn client_step(&mut self) {
        let Some(number) = self.some_client() else {
            return;
        };
        let clients = self.clients.len();
        let client = &mut self.clients[number];
        if self.prng.chance(self.settings.weights.stall) {
            let ms = self.prng.size(15_000) as u64;
            client.stall(self.clock.now.monotonic_ms + ms);
        }
        client.act(&mut self.prng, &self.settings, clients, &mut self.codec);
        self.pump(number);
    }

    fn pump(&mut self, number: usize) -> bool {
        self.clients[number].pump(
            self.network.link(number),
            self.clock.now.monotonic_ms,
            &mut self.prng,
            &mut self.codec,
            &self.oracle,
        )
    }

    fn trouble(&mut self) {
        let Some(number) = self.some_client() else {
            return;
        };
        // Weights are those of a step; this is one step in many.
        if self.prng.chance(self.settings.weights.reset * 10) {
            self.network.reset(number, &mut self.prng);
        } else if self.prng.chance(self.settings.weights.half_close * 10) {
            self.clients[number].hang_up(self.network.link(number));
        }
    }

    /// The service thread does one thing.
    fn serve(&mut self) {
        if let Some((shard, mail)) = self.service.work() {
            self.mailroom.post_from_outside(shard, mail);
        }
        if let Some(request) = self.service.requests.pop_front() {
            let number = super::network::number(request.descriptor);
            assert_eq!(request.peer, address(number));
            let head = format!("GET /{number} HTTP/1.1\r\nhost: here\r\n\r\n");
            assert_eq!(request.bytes, head.as_bytes());
            let link = self.network.link(number);
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
            let room = link.room().min(answer.len());
            link.server_writes(&answer[..room]);
            self.network.close(request.descriptor);
        }
        if self.prng.chance(10) && !self.healing {
            self.speak_from_outside();
        }
    }

    /// Another thread of the process publishes, by way of a shard.
    fn speak_from_outside(&mut self) {
        let topic = self.prng.number(0..self.settings.topics + 1);
        let bytes = self.prng.size(self.settings.payload_bytes_max);
        let shard = self.prng.number(0..self.stations.len());
        let shard = self.stations[shard].driver.shard;
        let work: crate::shard::Work<TestApp> =
            Box::new(move |app, context| app.publish(context, topic, bytes, None));
        self.mailroom.post_from_outside(shard, Mail::Run(work));
    }

    /// One turn of one shard, in the order that [`Shard`] asks for. `false` if nothing happened.
    fn turn(&mut self, station: usize) -> bool {
        let mut busy = self.accept(station);
        busy |= self.deliver_mail(station);
        busy |= self.poll_sockets(station);
        self.tick(station);
        busy | self.end_turn(station)
    }

    fn handle(&mut self, station: usize, event: Event<'_, TestApp>) {
        let Station { shard, driver, .. } = &mut self.stations[station];
        let mut bench = Bench {
            driver,
            network: &mut self.network,
            mailroom: &mut self.mailroom,
            service: &mut self.service,
            oracle: &self.oracle,
            prng: &mut self.prng,
        };
        shard.handle(self.clock.now, event, &mut bench);
    }

    fn accept(&mut self, station: usize) -> bool {
        let shard = self.stations[station].driver.shard;
        let Some(place) = self
            .backlog
            .iter()
            .position(|&(listener, _)| listener == shard)
        else {
            return false;
        };
        let (_, number) = self.backlog.remove(place);
        let event = Event::Accepted {
            descriptor: descriptor(number),
            peer: address(number),
        };
        self.handle(station, event);
        true
    }

    fn deliver_mail(&mut self, station: usize) -> bool {
        let to = self.stations[station].driver.shard;
        let mut mails = Vec::new();
        for queue in self.mailroom.queues_to(to) {
            let delayed = !self.healing && self.prng.chance(self.settings.weights.mail_delay);
            if delayed || queue.is_empty() {
                continue;
            }
            if self.fault == Some(Fault::ReorderMail) && queue.len() > 1 {
                queue.swap(0, 1);
            }
            let count = self
                .prng
                .number(1..queue.len().min(EVENTS_PER_TURN_MAX) + 1);
            mails.extend(queue.drain(..count));
        }
        let busy = !mails.is_empty();
        for mail in mails {
            self.witness(to, &mail);
            let again = match &mail {
                Mail::Publish(batch) if self.fault == Some(Fault::DeliverTwice) => {
                    Some(Mail::Publish(Arc::clone(batch)))
                }
                _ => None,
            };
            self.handle(station, Event::Mail(mail));
            if let Some(mail) = again {
                self.handle(station, Event::Mail(mail));
            }
        }
        busy
    }

    /// Tells the oracle what a mail brings.
    fn witness(&mut self, to: ShardId, mail: &Mail<TestApp>) {
        let mut oracle = self.oracle.borrow_mut();
        match mail {
            Mail::Publish(batch) => {
                let mut rest = &batch.payloads[..];
                for entry in &batch.entries {
                    let (payload, after) = rest.split_at(entry.bytes);
                    rest = after;
                    let topic = topic_of(&batch.topic);
                    let (id, formats) = (payload::id_of(payload), entry.formats);
                    oracle.appended(to, topic, id, formats, entry.exclude);
                }
                assert!(
                    rest.is_empty(),
                    "a batch has no more payload than its entries say"
                );
            }
            Mail::ToUser(user, frame) => {
                oracle.mail_delivered();
                oracle.sent_to(to, &Target::User(user), payload::id_of(&frame.payload));
            }
            Mail::ToConnection(id, frame) => {
                // Answers of spawned work go by way of the shard that asked: no mail of a context.
                oracle.mail_delivered();
                oracle.sent_to(to, &Target::Connection(*id), payload::id_of(&frame.payload));
            }
            Mail::Close(..)
            | Mail::App(AppMail::Numbered { .. } | AppMail::Join { .. } | AppMail::Joined { .. }) => {
                oracle.mail_delivered()
            }
            Mail::App(AppMail::Spawned { .. })
            | Mail::Arrival(_)
            | Mail::Answer(..)
            | Mail::Run(_)
            | Mail::Shutdown => {}
        }
    }

    fn poll_sockets(&mut self, station: usize) -> bool {
        let mut slots = self.stations[station].driver.slots();
        self.prng.shuffle(&mut slots);
        slots.truncate(EVENTS_PER_TURN_MAX);
        let mut busy = false;
        for slot in slots {
            let skipped = !self.healing && self.prng.chance(30);
            let driver = &mut self.stations[station].driver;
            // Something that an earlier event of this turn did may have freed the slot.
            if skipped || !driver.slots().contains(&slot) {
                continue;
            }
            let client = driver.client(slot);
            let Some(happening) = driver.poll(slot, &mut self.network, &mut self.prng) else {
                continue;
            };
            busy = true;
            match happening {
                Happening::Received(slot, mut bytes) => {
                    let bytes = &mut bytes[..];
                    self.handle(station, Event::Received { slot, bytes });
                }
                Happening::EndOfStream(slot) => self.handle(station, Event::EndOfStream { slot }),
                Happening::Failed(slot) => self.handle(station, Event::Failed { slot }),
                Happening::Progress(slot) => self.handle(station, Event::Progress { slot }),
                Happening::Sent(slot, buffer) => {
                    self.oracle.borrow_mut().blocked(client, false);
                    self.handle(station, Event::Sent { slot, buffer });
                }
                Happening::Released(slot) => self.handle(station, Event::Released { slot }),
            }
        }
        busy
    }

    fn tick(&mut self, station: usize) {
        let second = self.clock.now.seconds();
        if second > self.stations[station].ticked_s {
            self.stations[station].ticked_s = second;
            self.handle(station, Event::Tick);
        }
    }

    fn end_turn(&mut self, station: usize) -> bool {
        let Station { shard, driver, .. } = &mut self.stations[station];
        let mut bench = Bench {
            driver,
            network: &mut self.network,
            mailroom: &mut self.mailroom,
            service: &mut self.service,
            oracle: &self.oracle,
            prng: &mut self.prng,
        };
        shard.prepare(&mut bench);
        let has_more = shard.has_more();
        let mut taker = Taker {
            driver,
            network: &mut self.network,
            prng: &mut self.prng,
            shorts: Vec::new(),
            sends: 0,
        };
        shard.flush(&mut taker);
        let Taker {
            mut shorts, sends, ..
        } = taker;
        self.prng.shuffle(&mut shorts);
        let mut bench = Bench {
            driver,
            network: &mut self.network,
            mailroom: &mut self.mailroom,
            service: &mut self.service,
            oracle: &self.oracle,
            prng: &mut self.prng,
        };
        for (slot, taken) in shorts {
            shard.short(slot, taken, &mut bench);
        }
        shard.flushed(&mut bench);
        driver.turn_ended();
        has_more || sends > 0
    }

    /// What must be true after every step.
    fn check(&self) {
        let oracle = self.oracle.borrow();
        for station in &self.stations {
            let (shard, id) = (&station.shard, station.driver.shard);
            assert_eq!(
                (shard.open_count(), shard.user_count()),
                oracle.population(id)
            );
            let counters = shard.counters();
            assert_eq!(counters.opened - counters.closed, shard.open_count() as u64);
            assert_eq!(counters.messages_in, oracle.messages_in[id.index()]);
        }
        for topic in 1..=self.settings.topics {
            let interested = self.shared.interest.shards(&name_of(topic));
            for id in self.stations.iter().map(|station| station.driver.shard) {
                let subscribed = oracle.subscriber_count(id, topic) > 0;
                let is_told = self.settings.shards == 1 || interested.contains(&id);
                assert!(
                    !subscribed || is_told,
                    "shard {id} is not told of topic {topic}"
                );
            }
        }
    }

    /// One round of a world without troubles. `false` if nothing is left to happen.
    fn round(&mut self) -> bool {
        let mut busy = !self.service.is_idle();
        self.serve();
        for station in 0..self.stations.len() {
            busy |= self.turn(station);
        }
        for client in 0..self.clients.len() {
            busy |= self.pump(client);
        }
        self.check();
        busy || !self.mailroom.is_empty() || !self.backlog.is_empty()
    }

    /// The troubles end, everybody reads: all that is due arrives.
    fn heal(&mut self) {
        self.healing = true;
        self.settings.weights = Weights::default();
        self.network.widen();
        self.clients.iter_mut().for_each(Client::wake);
        self.stations
            .iter_mut()
            .for_each(|station| station.driver.short_percent = 0);
        // A release takes its time by chance: quiet is several quiet rounds.
        let mut quiet = 0;
        for _ in 0..ROUNDS_MAX {
            quiet = if self.round() { 0 } else { quiet + 1 };
            if quiet == 5 {
                return self.oracle.borrow_mut().settled();
            }
        }
        panic!("the world does not come to rest");
    }

    /// Everybody leaves, or is shown out.
    fn part(&mut self) {
        if self.prng.chance(30) {
            for station in 0..self.stations.len() {
                let shard = self.stations[station].driver.shard;
                self.mailroom.post_from_outside(shard, Mail::Shutdown);
            }
        } else {
            for (number, client) in self.clients.iter_mut().enumerate() {
                client.leave(self.network.link(number), &mut self.prng);
            }
        }
        for _ in 0..ROUNDS_MAX {
            self.clock.advance_ms(100);
            let busy = self.round();
            let sockets: usize = self.stations.iter().map(|s| s.shard.socket_count()).sum();
            if !busy && sockets == 0 {
                return;
            }
        }
        panic!("not everybody can leave");
    }

    fn finish(self) -> Summary {
        self.oracle.borrow().finish();
        self.network.assert_closed();
        let mut summary = Summary::default();
        for Station { shard, .. } in &self.stations {
            shard.assert_quiet();
            summary.counters.merge(shard.counters());
        }
        let everybody = "*".repeat(crate::limits::TOPIC_BYTES_MAX + 1);
        let names = (1..=self.settings.topics).map(name_of).chain([everybody]);
        for name in names {
            assert!(
                self.shared.interest.shards(&name).is_empty(),
                "interest in {name} is left"
            );
        }
        let oracle = self.oracle.borrow();
        assert_eq!(summary.counters.opened, oracle.opened_count() as u64);
        (summary.received, summary.gaps) = (oracle.received, oracle.gaps);
        summary.passed = oracle.passed;
        summary
    }
}

/// The address of a client.
fn address(number: usize) -> SocketAddr {
    let port = u16::try_from(number % 65_536).expect("a remainder fits");
    (Ipv4Addr::LOCALHOST, port).into()
}
