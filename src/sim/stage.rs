//! The stage: real shards, each with its pretend driver, and all that is pretended between and below
//! them. Who plays on it, which application and which clients, is the business of a world.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use super::Fault;
use super::clock::Clock;
use super::driver::{Bench, Driver, Happening, Taker};
use super::mailroom::{Mailroom, Service};
use super::network::{Network, descriptor};
use super::prng::Prng;
use super::settings::Weights;
use crate::id::ShardId;
use crate::metrics::{Counters, Pressure};
use crate::shard::{App, Event, Mail, Options, Shard, Shared};

/// Events of one shard in one turn, at most.
const EVENTS_PER_TURN_MAX: usize = 64;

/// Who sees what happens behind the scenes. What it does not care for it leaves as it is here.
pub(super) trait Witness<A: App> {
    /// An owned send to a client has begun, or was written whole.
    fn blocked(&self, _client: usize, _blocked: bool) {}

    /// Mail is put into the queue of its pair of shards.
    fn posted(&self, queue: &mut VecDeque<Mail<A>>, mail: Mail<A>) {
        queue.push_back(mail);
    }

    /// Mail is about to be handed to a shard.
    fn arriving(&self, _to: ShardId, _mail: &Mail<A>) {}

    /// A shard's application may have done something.
    fn handled(&self, _shard: ShardId, _app: &A) {}
}

/// What a stage is set up from.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) shards: u16,
    pub(super) options: Options,
    /// Slots of each shard.
    pub(super) sockets_max: u32,
    /// Requests that the service thread's queue holds.
    pub(super) service_queue_max: usize,
    pub(super) weights: Weights,
    pub(super) fault: Option<Fault>,
}

/// One shard and its driver.
pub(super) struct Station<A: App> {
    pub(super) shard: Shard<A>,
    pub(super) driver: Driver,
    ticked_s: u32,
}

/// Shards, drivers, network, mail, service thread, clock and chance.
pub(super) struct Stage<A: App, W> {
    pub(super) prng: Prng,
    pub(super) clock: Clock,
    pub(super) network: Network,
    pub(super) mailroom: Mailroom<A>,
    pub(super) service: Service<A>,
    pub(super) stations: Vec<Station<A>>,
    pub(super) shared: Arc<Shared>,
    pub(super) weights: Weights,
    /// Troubles are over.
    pub(super) healing: bool,
    witness: W,
    /// Sockets that nobody has accepted yet, and on which shard's listener they are.
    backlog: Vec<(ShardId, usize)>,
    fault: Option<Fault>,
}

impl<A: App, W: Witness<A>> Stage<A, W> {
    /// Shards with an application each; `prng` decides all from here on.
    pub(super) fn new(mut prng: Prng, plan: Plan, witness: W, mut app: impl FnMut() -> A) -> Self {
        let shared = Shared::new(plan.options, plan.shards, prng.seed());
        let clock = Clock::new();
        let stations = (0..plan.shards).map(ShardId).map(|id| {
            let app = app();
            let (shared, seed) = (Arc::clone(&shared), prng.seed());
            Station {
                shard: Shard::new(id, shared, app, plan.sockets_max, clock.now, seed),
                driver: Driver::new(id, plan.weights.short, plan.fault),
                ticked_s: 0,
            }
        });
        let stations = stations.collect();
        Self {
            clock,
            network: Network::default(),
            mailroom: Mailroom::new(plan.shards),
            service: Service::new(plan.service_queue_max),
            stations,
            shared,
            weights: plan.weights,
            healing: false,
            witness,
            backlog: Vec::new(),
            fault: plan.fault,
            prng,
        }
    }

    /// A client connects to some shard's listener, by a socket that buffers less than `capacity_max`
    /// bytes. Its number.
    pub(super) fn connect(&mut self, capacity_max: usize) -> usize {
        let capacity = self.prng.size(capacity_max) + 1;
        self.network.connect(capacity)
    }

    /// The socket of a client waits to be accepted.
    pub(super) fn knock(&mut self, client: usize) {
        let shard = self.prng.number(0..self.stations.len());
        self.backlog
            .push((self.stations[shard].driver.shard, client));
    }

    /// Whether anything is on its way to a shard.
    pub(super) fn is_under_way(&self) -> bool {
        !self.mailroom.is_empty() || !self.backlog.is_empty()
    }

    /// Time passes, or leaps. Now and then memory becomes short, or is enough again.
    pub(super) fn pass_time(&mut self) {
        if self.prng.chance(self.weights.pressure) {
            let short = self.shared.pressure() != Pressure::None;
            let pressures = [Pressure::None, Pressure::Soft, Pressure::Hard];
            let choices = if short {
                &pressures[..1]
            } else {
                &pressures[1..]
            };
            self.shared.set_pressure(self.prng.pick(choices));
        }
        let leap = self.prng.chance(self.weights.leap);
        let range = if leap { 1000..30_000 } else { 0..50 };
        self.clock.advance_ms(self.prng.number(range) as u64);
    }

    /// The service thread ends one piece of work, if it can.
    pub(super) fn work(&mut self) {
        if let Some((shard, mail)) = self.service.work() {
            self.mailroom.post_from_outside(shard, mail);
        }
    }

    /// Sockets that shards have.
    pub(super) fn socket_count(&self) -> usize {
        let sockets = self.stations.iter().map(|s| s.shard.socket_count());
        sockets.sum()
    }

    /// From here on nothing is delayed, cut short or full.
    pub(super) fn heal(&mut self) {
        self.healing = true;
        self.weights = Weights::default();
        self.network.widen();
        // A tick, at which shards see it.
        self.shared.set_pressure(Pressure::None);
        self.clock.advance_ms(1000);
        self.stations
            .iter_mut()
            .for_each(|station| station.driver.short_percent = 0);
    }

    /// Asks every shard to shut down.
    pub(super) fn shut_down(&mut self) {
        for station in &self.stations {
            let shard = station.driver.shard;
            self.mailroom.post_from_outside(shard, Mail::Shutdown);
        }
    }

    /// Panics unless all sockets are closed and the shards hold nothing; what they have counted.
    pub(super) fn finish(&self) -> Counters {
        self.network.assert_closed();
        let mut counters = Counters::default();
        for Station { shard, .. } in &self.stations {
            shard.assert_quiet();
            counters.merge(shard.counters());
        }
        counters
    }

    /// One turn of one shard, in the order that [`Shard`] asks for. `false` if nothing happened.
    pub(super) fn turn(&mut self, station: usize) -> bool {
        let mut busy = self.accept(station);
        busy |= self.deliver_mail(station);
        busy |= self.poll_sockets(station);
        self.tick(station);
        busy | self.end_turn(station)
    }

    /// Hands one event to a shard.
    pub(super) fn handle(&mut self, station: usize, event: Event<'_, A>) {
        let Station { shard, driver, .. } = &mut self.stations[station];
        let mut bench = Bench {
            driver,
            network: &mut self.network,
            mailroom: &mut self.mailroom,
            service: &mut self.service,
            witness: &self.witness,
            prng: &mut self.prng,
        };
        shard.handle(self.clock.now, event, &mut bench);
        self.witness.handled(driver.shard, shard.app());
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
            let delayed = !self.healing && self.prng.chance(self.weights.mail_delay);
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
            self.witness.arriving(to, &mail);
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
                Happening::Ending(slot) => self.handle(station, Event::Ending { slot }),
                Happening::Failed(slot) => self.handle(station, Event::Failed { slot }),
                Happening::Progress(slot) => self.handle(station, Event::Progress { slot }),
                Happening::Sent(slot, buffer) => {
                    self.witness.blocked(client, false);
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
            witness: &self.witness,
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
            witness: &self.witness,
            prng: &mut self.prng,
        };
        for (slot, taken) in shorts {
            shard.short(slot, taken, &mut bench);
        }
        shard.flushed(&mut bench);
        driver.turn_ended();
        self.witness.handled(driver.shard, shard.app());
        has_more || sends > 0
    }
}

/// The address of a client.
pub(super) fn address(number: usize) -> SocketAddr {
    let port = u16::try_from(number % 65_536).expect("a remainder fits");
    (Ipv4Addr::LOCALHOST, port).into()
}
