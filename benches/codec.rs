//! The WebSocket codec: `codec/<operation>/<variant>/<bytes>`, throughput in bytes of payload.
//!
//! Frames are masked with a key of zeros: unmasking does all its work and leaves them as they are,
//! so that one frame can be decoded over and over in place.

use std::hint::black_box;

use campanile::limits::RECV_BUFFER_BYTES;
use campanile::ws::handshake::accept_key;
use campanile::ws::utf8::Utf8Stream;
use campanile::ws::{
    Decoder, Deflater, Header, Inflater, MaskingKey, Opcode, Rules, WindowBits, client_frame_into,
    frame_into,
};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const SIZES: [usize; 4] = [64, 1024, 16 * 1024, 256 * 1024];
const RULES: Rules = Rules::server(1 << 20);

/// English-like JSON with some letters beyond ASCII, of exactly so many bytes.
fn json(bytes: usize) -> Vec<u8> {
    let mut text = String::new();
    for i in 0.. {
        text += &format!(r#"{{"type":"chat","data":{{"id":{i},"content":"Grüße, no. {i}"}}}}"#);
        if text.len() >= bytes {
            break;
        }
    }
    text.truncate(text.floor_char_boundary(bytes));
    while text.len() < bytes {
        text.push(' ');
    }
    text.into_bytes()
}

fn masked(opcode: Opcode, rsv1: bool, payload: &[u8]) -> Vec<u8> {
    let key = Some(MaskingKey([0; 4]));
    let mut out = Vec::new();
    client_frame_into(
        &mut out,
        Header {
            rsv1,
            key,
            ..Header::whole(opcode, 0)
        },
        payload,
    );
    out
}

/// Feeds `frames` in chunks and counts what comes out.
fn decode(
    decoder: &mut Decoder,
    frames: &mut [u8],
    chunk_bytes: usize,
    mut inflater: Option<&mut Inflater>,
) -> usize {
    let mut count = 0;
    for mut chunk in frames.chunks_mut(chunk_bytes) {
        while let Some(incoming) = decoder
            .next(&mut chunk, &RULES, inflater.as_deref_mut())
            .expect("the frames are valid")
        {
            black_box(incoming);
            count += 1;
        }
    }
    count
}

fn decoding(c: &mut Criterion) {
    let mut group = c.benchmark_group("codec/decode");
    for bytes in SIZES {
        group.throughput(Throughput::Bytes(bytes as u64));
        let mut decoder = Decoder::default();
        for (variant, opcode, chunk_bytes) in [
            ("text_whole", Opcode::Text, usize::MAX),
            ("binary_whole", Opcode::Binary, usize::MAX),
            ("text_chunked", Opcode::Text, RECV_BUFFER_BYTES),
        ] {
            let mut frame = masked(opcode, false, &json(bytes));
            group.bench_function(BenchmarkId::new(variant, bytes), |b| {
                b.iter(|| decode(&mut decoder, &mut frame, chunk_bytes, None));
            });
        }
        let mut payload = Vec::new();
        Deflater::new(1).compress(&json(bytes), WindowBits::MAX, &mut payload);
        let mut frame = masked(Opcode::Text, true, &payload);
        let mut inflater = Inflater::new();
        group.bench_function(BenchmarkId::new("text_compressed", bytes), |b| {
            b.iter(|| decode(&mut decoder, &mut frame, usize::MAX, Some(&mut inflater)));
        });
    }
    // A header and a byte at a time: the price of a hostile or a very slow sender.
    let mut frame = masked(Opcode::Text, false, &json(64));
    group.throughput(Throughput::Bytes(64));
    group.bench_function(BenchmarkId::new("text_bytewise", 64), |b| {
        b.iter(|| decode(&mut Decoder::default(), &mut frame, 1, None));
    });
    group.finish();
}

fn encoding(c: &mut Criterion) {
    let mut group = c.benchmark_group("codec/encode");
    for bytes in SIZES {
        group.throughput(Throughput::Bytes(bytes as u64));
        let payload = json(bytes);
        let mut out = Vec::new();
        group.bench_function(BenchmarkId::new("plain", bytes), |b| {
            b.iter(|| {
                out.clear();
                frame_into(&mut out, Opcode::Text, black_box(&payload));
            });
        });
        for (variant, level, window_bits) in [
            ("deflate_level_1", 1, 15),
            ("deflate_level_6", 6, 15),
            ("deflate_level_1_window_9", 1, 9),
        ] {
            let mut deflater = Deflater::new(level);
            let window_bits = WindowBits::new(window_bits).expect("9 to 15");
            group.bench_function(BenchmarkId::new(variant, bytes), |b| {
                b.iter(|| {
                    out.clear();
                    deflater.frame_into(&mut out, Opcode::Text, black_box(&payload), window_bits);
                });
            });
        }
    }
    group.finish();
}

/// Compression by itself, without frames: every message begins with an empty window.
fn deflating(c: &mut Criterion) {
    let mut group = c.benchmark_group("codec/deflate");
    for bytes in [64, 1024, 16 * 1024] {
        group.throughput(Throughput::Bytes(bytes as u64));
        let payload = json(bytes);
        let mut deflater = Deflater::new(1);
        let mut out = Vec::new();
        deflater.compress(&payload, WindowBits::MAX, &mut out);
        let compressed = out.clone();
        group.bench_function(BenchmarkId::new("compress_level_1", bytes), |b| {
            b.iter(|| {
                out.clear();
                deflater.compress(black_box(&payload), WindowBits::MAX, &mut out);
            });
        });
        let mut inflater = Inflater::new();
        group.bench_function(BenchmarkId::new("inflate", bytes), |b| {
            b.iter(|| {
                let inflated = inflater.inflate(black_box(&compressed), bytes);
                assert_eq!(inflated.map(<[u8]>::len), Ok(bytes));
            });
        });
    }
    group.finish();
}

fn pieces(c: &mut Criterion) {
    let mut group = c.benchmark_group("codec/mask");
    for bytes in SIZES {
        group.throughput(Throughput::Bytes(bytes as u64));
        let mut payload = json(bytes + 1);
        for (variant, start) in [("aligned", 0), ("unaligned", 1)] {
            group.bench_function(BenchmarkId::new(variant, bytes), |b| {
                b.iter(|| {
                    MaskingKey([1, 2, 3, 4]).apply(black_box(&mut payload[start..][..bytes]))
                });
            });
        }
    }
    group.finish();

    let mut group = c.benchmark_group("codec/utf8");
    for bytes in SIZES {
        group.throughput(Throughput::Bytes(bytes as u64));
        let payload = json(bytes);
        group.bench_function(BenchmarkId::new("stream", bytes), |b| {
            b.iter(|| Utf8Stream::default().push(black_box(&payload)));
        });
    }
    group.finish();

    c.benchmark_group("codec/handshake")
        .bench_function(BenchmarkId::new("accept_key", 24), |b| {
            b.iter(|| accept_key(black_box(b"dGhlIHNhbXBsZSBub25jZQ==")));
        });
}

criterion_group!(benches, decoding, encoding, deflating, pieces);
criterion_main!(benches);
