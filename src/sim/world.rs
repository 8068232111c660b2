//! The world: shards and clients, and what happens next.

use std::cell::RefCell;
use std::rc::Rc;

use super::app::{AppMail, TestApp, name_of, topic_of};
use super::client::{Client, Codec};
use super::oracle::{Oracle, SharedOracle, Target};
use super::payload;
use super::prng::Prng;
use super::settings::{Settings, Weights};
use super::stage::{Plan, Stage, Witness, address};
use super::{Fault, Summary};
use crate::id::ShardId;
use crate::shard::Mail;

/// Rounds in which a healed world must come to rest.
const ROUNDS_MAX: usize = 20_000;

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
    stage: Stage<TestApp, SharedOracle>,
    clients: Vec<Client>,
    codec: Codec,
    oracle: SharedOracle,
}

impl Witness<TestApp> for SharedOracle {
    fn blocked(&self, client: usize, blocked: bool) {
        self.borrow_mut().blocked(client, blocked);
    }

    fn arriving(&self, to: ShardId, mail: &Mail<TestApp>) {
        let mut oracle = self.borrow_mut();
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
            Mail::App(AppMail::Spawned { .. } | AppMail::Knock(_))
            | Mail::Arrival(_)
            | Mail::Answer(..)
            | Mail::Run(_)
            | Mail::Shutdown => {}
        }
    }
}

impl World {
    pub(super) fn new(seed: u64, settings: Settings, fault: Option<Fault>) -> Self {
        let roomy = settings.roomy_queues;
        let oracle = Oracle::new(settings.options.clone(), roomy, settings.shards);
        let oracle: SharedOracle = Rc::new(RefCell::new(oracle));
        let plan = Plan {
            shards: settings.shards,
            options: settings.options.clone(),
            sockets_max: settings.sockets_max,
            service_queue_max: settings.service_queue_max,
            weights: settings.weights,
            fault,
        };
        let app = || TestApp::new(Rc::clone(&oracle), fault);
        Self {
            stage: Stage::new(Prng::new(seed), plan, Rc::clone(&oracle), app),
            settings,
            clients: Vec::new(),
            codec: Codec::new(),
            oracle,
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
        let step = self.stage.prng.weighted(&[
            (40, Step::Turn),
            (50, Step::Client),
            (4, Step::Connect),
            (3, Step::Trouble),
            (6, Step::Service),
            (10, Step::Time),
        ]);
        match step {
            Step::Turn => {
                let station = self.stage.prng.number(0..self.stage.stations.len());
                self.stage.turn(station);
            }
            Step::Client => {
                for _ in 0..3 {
                    self.client_step();
                }
            }
            Step::Connect => self.connect(),
            Step::Trouble => self.trouble(),
            Step::Service => {
                if !self.stage.prng.chance(self.stage.weights.service_delay) {
                    self.serve();
                }
            }
            Step::Time => self.stage.pass_time(),
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
        let number = self.stage.connect(self.settings.send_buffer_bytes_max);
        debug_assert_eq!(number, self.clients.len());
        self.clients
            .push(Client::new(number, &mut self.stage.prng, &self.settings));
        self.stage.knock(number);
    }

    /// A client that is still there.
    fn some_client(&mut self) -> Option<usize> {
        let present = (0..self.clients.len()).filter(|&client| !self.clients[client].is_over());
        let present: Vec<usize> = present.collect();
        (!present.is_empty()).then(|| self.stage.prng.pick(&present))
    }

    fn client_step(&mut self) {
        let Some(number) = self.some_client() else {
            return;
        };
        let clients = self.clients.len();
        let client = &mut self.clients[number];
        if self.stage.prng.chance(self.settings.weights.stall) {
            let ms = self.stage.prng.size(15_000) as u64;
            client.stall(self.stage.clock.now.monotonic_ms + ms);
        }
        client.act(
            &mut self.stage.prng,
            &self.settings,
            clients,
            &mut self.codec,
        );
        self.pump(number);
    }

    fn pump(&mut self, number: usize) -> bool {
        self.clients[number].pump(
            self.stage.network.link(number),
            self.stage.clock.now.monotonic_ms,
            &mut self.stage.prng,
            &mut self.codec,
            &self.oracle,
        )
    }

    fn trouble(&mut self) {
        let Some(number) = self.some_client() else {
            return;
        };
        // Weights are those of a step; this is one step in many.
        if self.stage.prng.chance(self.settings.weights.reset * 10) {
            self.stage.network.reset(number, &mut self.stage.prng);
        } else if self
            .stage
            .prng
            .chance(self.settings.weights.half_close * 10)
        {
            self.clients[number].hang_up(self.stage.network.link(number));
        }
    }

    /// The service thread does one thing.
    fn serve(&mut self) {
        self.stage.work();
        if let Some(request) = self.stage.service.requests.pop_front() {
            let number = super::network::number(request.descriptor);
            assert_eq!(request.peer, address(number));
            let head = format!("GET /{number} HTTP/1.1\r\nhost: here\r\n\r\n");
            assert_eq!(request.bytes, head.as_bytes());
            let link = self.stage.network.link(number);
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
            let room = link.room().min(answer.len());
            link.server_writes(&answer[..room]);
            self.stage.network.close(super::network::descriptor(number));
        }
        if self.stage.prng.chance(10) && !self.stage.healing {
            self.speak_from_outside();
        }
    }

    /// Another thread of the process publishes, by way of a shard.
    fn speak_from_outside(&mut self) {
        let topic = self.stage.prng.number(0..self.settings.topics + 1);
        let bytes = self.stage.prng.size(self.settings.payload_bytes_max);
        let shard = self.stage.prng.number(0..self.stage.stations.len());
        let shard = self.stage.stations[shard].driver.shard;
        let work: crate::shard::Work<TestApp> =
            Box::new(move |app, context| app.publish(context, topic, bytes, None));
        self.stage
            .mailroom
            .post_from_outside(shard, Mail::Run(work));
    }

    /// What must be true after every step.
    fn check(&self) {
        let oracle = self.oracle.borrow();
        for station in &self.stage.stations {
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
            let interested = self.stage.shared.interest.shards(&name_of(topic));
            for id in self
                .stage
                .stations
                .iter()
                .map(|station| station.driver.shard)
            {
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
        let mut busy = !self.stage.service.is_idle();
        self.serve();
        for station in 0..self.stage.stations.len() {
            busy |= self.stage.turn(station);
        }
        for client in 0..self.clients.len() {
            busy |= self.pump(client);
        }
        self.check();
        busy || self.stage.is_under_way()
    }

    /// The troubles end, everybody reads: all that is due arrives.
    fn heal(&mut self) {
        self.settings.weights = Weights::default();
        self.stage.heal();
        self.clients.iter_mut().for_each(Client::wake);
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
        if self.stage.prng.chance(30) {
            self.stage.shut_down();
        } else {
            for (number, client) in self.clients.iter_mut().enumerate() {
                client.leave(self.stage.network.link(number), &mut self.stage.prng);
            }
        }
        for _ in 0..ROUNDS_MAX {
            self.stage.clock.advance_ms(100);
            let busy = self.round();
            if !busy && self.stage.socket_count() == 0 {
                return;
            }
        }
        panic!("not everybody can leave");
    }

    fn finish(self) -> Summary {
        self.oracle.borrow().finish();
        let mut summary = Summary {
            counters: self.stage.finish(),
            ..Summary::default()
        };
        let everybody = "*".repeat(crate::limits::TOPIC_BYTES_MAX + 1);
        let names = (1..=self.settings.topics).map(name_of).chain([everybody]);
        for name in names {
            assert!(
                self.stage.shared.interest.shards(&name).is_empty(),
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
