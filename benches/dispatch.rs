//! A whole chat message on a shard without a kernel: unmasked, scanned, found its handler, written
//! anew, appended to the room's log, and handed out to every other member.
//!
//! `dispatch/chat/flat/<members>`: throughput in deliveries, time per message.

use std::cell::Cell;
use std::hint::black_box;
use std::sync::Arc;

use campanile::id::{ShardId, Slot};
use campanile::realtime::{Realtime, RealtimeOptions};
use campanile::shard::{
    Descriptor, Event, Mail, Options, Outbox, ServiceRequest, Shard, Shared, Sink,
};
use campanile::time::Now;
use campanile::ws::{Header, MaskingKey, Opcode, client_frame_into};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const REQUEST: &str = "GET /ws HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\n\
    connection: upgrade\r\nsec-websocket-version: 13\r\n\
    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const CHAT: &str =
    r#"{"type":"chat","id":"c-118","content":"The meeting begins at ten; who brings the coffee?"}"#;

/// A driver that takes everything and does nothing, on one shard.
struct Nowhere {
    adopted: Option<Slot>,
}

impl Outbox<Realtime> for Nowhere {
    fn adopt(&mut self, slot: Slot, _: Descriptor) {
        self.adopted = Some(slot);
    }
    fn receive(&mut self, _: Slot) {}
    fn release(&mut self, _: Slot) -> Descriptor {
        unreachable!("there is one shard, and no plain HTTP")
    }
    fn discard(&mut self, _: Descriptor) {}
    fn promote(&mut self, _: Slot) {}
    fn pause_reading(&mut self, _: Slot) {}
    fn resume_reading(&mut self, _: Slot) {}
    fn send_owned(&mut self, _: Slot, _: Vec<u8>) {}
    fn shutdown_write(&mut self, _: Slot) {}
    fn close(&mut self, _: Slot) {}
    fn mail(&mut self, _: ShardId, _: Mail<Realtime>) {}
    fn service(
        &mut self,
        request: ServiceRequest<Realtime>,
    ) -> Result<(), ServiceRequest<Realtime>> {
        Err(request)
    }
}

/// Counts what the kernel would be given.
#[derive(Default)]
struct Count {
    sends: usize,
    bytes: usize,
}

impl<'a> Sink<'a> for Count {
    fn send(&mut self, _: Slot, pieces: &[&'a [u8]]) {
        self.sends += 1;
        self.bytes += pieces.iter().map(|piece| piece.len()).sum::<usize>();
    }
}

fn turn(shard: &mut Shard<Realtime>, driver: &mut Nowhere) -> Count {
    let mut count = Count::default();
    shard.prepare(driver);
    shard.flush(&mut count);
    shard.flushed(driver);
    count
}

/// A shard with a room of that many members, and the slot of one of them.
fn room(members: u32, now: Now) -> (Shard<Realtime>, Nowhere, Slot) {
    let options = Options {
        compression: None,
        ..Options::default()
    };
    let shared = Shared::new(options, 1, 1);
    let app = Realtime::new(Arc::new(RealtimeOptions::default()));
    let mut shard = Shard::new(ShardId(0), shared, app, members, now, 1);
    let mut driver = Nowhere { adopted: None };
    for _ in 0..members {
        let event = Event::Accepted {
            descriptor: Descriptor(0),
            peer: ([127, 0, 0, 1], 1).into(),
        };
        shard.handle(now, event, &mut driver);
        let slot = driver.adopted.expect("there is room");
        let bytes = &mut REQUEST.as_bytes().to_vec()[..];
        shard.handle(now, Event::Received { slot, bytes }, &mut driver);
        turn(&mut shard, &mut driver);
    }
    assert_eq!(shard.open_count(), members as usize);
    let sender = driver.adopted.expect("there is a member");
    (shard, driver, sender)
}

fn chat(criterion: &mut Criterion) {
    let now = Now {
        monotonic_ms: 1000,
        unix_ms: 1_795_226_400_000,
    };
    let mut group = criterion.benchmark_group("dispatch/chat/flat");
    for members in [2, 100, 10_000] {
        let (mut shard, mut driver, slot) = room(members, now);
        // A key of zeros leaves the bytes as they are, so that they serve again.
        let header = Header {
            key: Some(MaskingKey([0; 4])),
            ..Header::whole(Opcode::Text, CHAT.len())
        };
        let mut frame = Vec::new();
        client_frame_into(&mut frame, header, CHAT.as_bytes());
        let delivered = Cell::new(0);
        group.throughput(Throughput::Elements(u64::from(members) - 1));
        group.bench_function(BenchmarkId::from_parameter(members), |bencher| {
            bencher.iter(|| {
                let bytes = black_box(&mut frame[..]);
                shard.handle(now, Event::Received { slot, bytes }, &mut driver);
                let count = turn(&mut shard, &mut driver);
                delivered.set(count.sends);
                black_box(count.bytes)
            });
        });
        assert_eq!(delivered.get(), members as usize - 1, "all but the sender");
    }
    group.finish();
}

criterion_group!(benches, chat);
criterion_main!(benches);
