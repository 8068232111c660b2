//! What one publish costs when no, one, ten or all other shards of 64 have a subscriber, without
//! sockets: `publish/publisher_<messages>/<shards>` is the turn of the shard that publishes,
//! `publish/receiver_<messages>/<shards>` that of one shard that gets its mail.
//!
//! All shards are driven by one thread, so that the mail never crosses cores (`mesh/message` has
//! that) and nobody sleeps (`mesh/wake` has that).

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use campanile::id::{ShardId, Slot};
use campanile::mesh::{Endpoint, mesh};
use campanile::shard::{
    App, Descriptor, Event, Mail, Message, Options, Outbox, ServiceRequest, Shard, Shared, Socket,
};
use campanile::time::Now;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use support::{HEAD, Sends, TEXT_64};

const SHARDS: u16 = 64;
const TOPIC: &str = "room-4711";
/// Turns timed in one piece; the queues hold as many mails.
const TURNS: u64 = 64;
const NOW: Now = Now {
    monotonic_ms: 0,
    unix_ms: 1_700_000_000_000,
};

struct Publisher;

impl App for Publisher {
    type Data = ();
    type Mail = u32;

    fn open(&mut self, socket: &mut Socket<'_, Self>) {
        let _ = socket.subscribe(TOPIC);
    }

    fn message(&mut self, _: &mut Socket<'_, Self>, _: Message<'_>) {}

    /// Publishes so many messages.
    fn mail(&mut self, context: &mut campanile::Context<'_, Self>, messages: u32) {
        for _ in 0..messages {
            context.publish(TOPIC, Message::Binary(black_box(TEXT_64)), None);
        }
    }
}

/// A pretend kernel with real queues to the other shards.
struct Driver {
    endpoint: Endpoint<Mail<Publisher>>,
    adopted: Option<Slot>,
}

impl Outbox<Publisher> for Driver {
    fn mail(&mut self, to: ShardId, mail: Mail<Publisher>) {
        self.endpoint.send(to, mail);
    }

    fn adopt(&mut self, slot: Slot, _: Descriptor) {
        self.adopted = Some(slot);
    }

    fn receive(&mut self, _: Slot) {}

    fn release(&mut self, _: Slot) -> Descriptor {
        unreachable!("guests are at home where they are accepted");
    }

    fn discard(&mut self, _: Descriptor) {
        unreachable!("there is room for every connection");
    }

    fn promote(&mut self, _: Slot) {}

    fn pause_reading(&mut self, _: Slot) {}

    fn watch_end(&mut self, _: Slot) {}

    fn resume_reading(&mut self, _: Slot) {}

    fn send_owned(&mut self, _: Slot, _: Vec<u8>) {
        unreachable!("no send is short or large");
    }

    fn shutdown_write(&mut self, _: Slot) {}

    fn close(&mut self, _: Slot) {}

    fn service(
        &mut self,
        request: ServiceRequest<Publisher>,
    ) -> Result<(), ServiceRequest<Publisher>> {
        Err(request)
    }
}

struct Node {
    shard: Shard<Publisher>,
    driver: Driver,
}

impl Node {
    fn handle(&mut self, event: Event<'_, Publisher>) {
        self.shard.handle(NOW, event, &mut self.driver);
    }

    /// What a worker's turn does but for the kernel. Returns the sends.
    fn turn(&mut self) -> Sends {
        while let Some(mail) = self.driver.endpoint.receive() {
            self.handle(Event::Mail(mail));
        }
        self.shard.prepare(&mut self.driver);
        self.driver
            .endpoint
            .wakes(|_| unreachable!("nobody sleeps"));
        let mut sends = Sends::default();
        self.shard.flush(&mut sends);
        self.shard.flushed(&mut self.driver);
        sends
    }

    fn subscribe(&mut self) {
        self.handle(Event::Accepted {
            descriptor: Descriptor::plain(3),
            peer: SocketAddr::from(([127, 0, 0, 1], 40_000)),
        });
        let slot = self.driver.adopted.take().expect("the socket was adopted");
        let mut bytes = HEAD.to_vec();
        self.handle(Event::Received {
            slot,
            bytes: &mut bytes,
        });
        self.turn();
    }
}

/// The first shard publishes; `interested` others have one subscriber each.
fn nodes(interested: usize) -> Vec<Node> {
    let shared = Shared::new(Options::default(), SHARDS, 1);
    let capacity = usize::try_from(TURNS).expect("64");
    let (endpoints, _outside) = mesh(usize::from(SHARDS), capacity);
    let mut nodes: Vec<Node> = endpoints
        .into_iter()
        .map(|endpoint| {
            let (shared, id) = (Arc::clone(&shared), endpoint.shard());
            let driver = Driver {
                endpoint,
                adopted: None,
            };
            let shard = Shard::new(id, shared, Publisher, 16, NOW, u64::from(id.0));
            Node { shard, driver }
        })
        .collect();
    for node in &mut nodes[1..=interested] {
        node.subscribe();
    }
    nodes
}

#[expect(
    clippy::disallowed_methods,
    reason = "what is timed is a part of a round"
)]
fn clock() -> Instant {
    Instant::now()
}

/// Plays turns of the publisher and of the others; what each took.
fn play(nodes: &mut [Node], turns: u64, messages: u32, interested: usize) -> (Duration, Duration) {
    let (mut publishing, mut receiving) = (Duration::ZERO, Duration::ZERO);
    for begun in (0..turns).step_by(usize::try_from(TURNS).expect("64")) {
        let portion = TURNS.min(turns - begun);
        let began = clock();
        for _ in 0..portion {
            nodes[0].handle(Event::Mail(Mail::App(messages)));
            nodes[0].turn();
        }
        publishing += began.elapsed();
        for (place, node) in nodes[1..].iter_mut().enumerate() {
            let began = clock();
            for _ in 0..portion {
                // One mail a turn, as if the publisher had only just sent it.
                if let Some(mail) = node.driver.endpoint.receive() {
                    node.handle(Event::Mail(mail));
                }
                node.shard.prepare(&mut node.driver);
                let mut sends = Sends::default();
                node.shard.flush(&mut sends);
                node.shard.flushed(&mut node.driver);
                assert_eq!(sends.count, usize::from(place < interested));
            }
            if place == 0 {
                receiving += began.elapsed();
            }
        }
    }
    (publishing, receiving)
}

fn publish(c: &mut Criterion) {
    let mut group = c.benchmark_group("publish");
    for messages in [1, 16] {
        for interested in [0, 1, 10, 63] {
            let mut nodes = nodes(interested);
            let id = BenchmarkId::new(format!("publisher_{messages}"), interested);
            group.bench_function(id, |b| {
                b.iter_custom(|turns| play(&mut nodes, turns, messages, interested).0);
            });
        }
        let mut nodes = nodes(1);
        let id = BenchmarkId::new(format!("receiver_{messages}"), 1);
        group.bench_function(id, |b| {
            b.iter_custom(|turns| play(&mut nodes, turns, messages, 1).1);
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = publish
}
criterion_main!(benches);

#[path = "support/mod.rs"]
mod support;
