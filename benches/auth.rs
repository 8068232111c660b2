//! What it costs to say who somebody is: a token of each kind, verified and known from before; a whole
//! request; and all that the gate does for a handshake.
//!
//! `cargo bench --bench auth`, or one group of it: `cargo bench --bench auth -- auth/handshake`. In
//! `auth/handshake`, `new` has a token that was not seen before, `known` one that was.

use std::hint::black_box;
use std::net::SocketAddr;

use campanile::auth::addresses::AddressLimits;
use campanile::auth::{
    Algorithm, AuthOptions, Authenticator, Gate, GateOptions, KeyOptions, Material, Mode,
    TokenOptions,
};
use campanile::http;
use campanile::time::Now;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;

const NOW_S: u64 = 1_795_227_149;
const SECRET: &[u8] = b"a secret of thirty-two bytes, ok";

macro_rules! pem {
    ($name:literal) => {
        include_str!(concat!("../src/auth/tests/keys/", $name))
    };
}

/// An algorithm, what signs by it, and what verifies.
fn pairs() -> Vec<(Algorithm, EncodingKey, Material)> {
    let rsa = EncodingKey::from_rsa_pem(pem!("rsa.pem").as_bytes());
    let p256 = EncodingKey::from_ec_pem(pem!("ec-p256.pem").as_bytes());
    let p384 = EncodingKey::from_ec_pem(pem!("ec-p384.pem").as_bytes());
    let ed25519 = EncodingKey::from_ed_pem(pem!("ed25519.pem").as_bytes());
    let public = |pem: &str| Material::PublicPem(pem.into());
    let keys = "the keys of the tests are sound";
    let rsa = rsa.expect(keys);
    vec![
        (
            Algorithm::HS256,
            EncodingKey::from_secret(SECRET),
            Material::Secret(SECRET.into()),
        ),
        (Algorithm::RS256, rsa.clone(), public(pem!("rsa.pub.pem"))),
        (Algorithm::PS256, rsa, public(pem!("rsa.pub.pem"))),
        (
            Algorithm::ES256,
            p256.expect(keys),
            public(pem!("ec-p256.pub.pem")),
        ),
        (
            Algorithm::ES384,
            p384.expect(keys),
            public(pem!("ec-p384.pub.pem")),
        ),
        (
            Algorithm::EdDSA,
            ed25519.expect(keys),
            public(pem!("ed25519.pub.pem")),
        ),
    ]
}

fn options(algorithm: Algorithm, material: Material) -> AuthOptions {
    let key = KeyOptions {
        id: None,
        algorithms: vec![algorithm],
        material,
    };
    AuthOptions {
        mode: Mode::Required,
        token: TokenOptions {
            keys: vec![key],
            ..TokenOptions::default()
        },
        ..AuthOptions::default()
    }
}

fn token(algorithm: Algorithm, key: &EncodingKey) -> String {
    let claims = json!({
        "sub": "0193e2a1-7c1f-7000-8000-000000000001",
        "iss": "https://issuer.example",
        "aud": "chat",
        "iat": NOW_S,
        "exp": NOW_S + 3600,
        "roles": ["editor"],
    });
    jsonwebtoken::encode(&Header::new(algorithm), &claims, key).expect("the key is for it")
}

fn verify(c: &mut Criterion) {
    let mut group = c.benchmark_group("auth/verify");
    group.throughput(Throughput::Elements(1));
    for (algorithm, private, public) in pairs() {
        let options = options(algorithm, public);
        let token = token(algorithm, &private);
        let auth = Authenticator::new(options.clone(), None).expect("the options are sound");
        group.bench_function(format!("new/{algorithm:?}"), |b| {
            // To load the options again is to forget the tokens, and is not timed.
            let reload = || auth.reload(options.clone()).expect("as before");
            let verify = |()| auth.verify(black_box(&token), NOW_S).is_ok();
            b.iter_batched(reload, verify, criterion::BatchSize::PerIteration);
        });
        group.bench_function(format!("known/{algorithm:?}"), |b| {
            b.iter(|| auth.verify(black_box(&token), NOW_S).is_ok());
        });
    }
    group.finish();
}

fn identify(c: &mut Criterion) {
    let mut group = c.benchmark_group("auth/identify");
    group.throughput(Throughput::Elements(1));
    let (algorithm, private, public) = pairs().swap_remove(0);
    let token = token(algorithm, &private);
    let auth = Authenticator::new(options(algorithm, public), None).expect("the options are sound");
    let guests = Authenticator::guests();
    for (name, field) in [
        ("header", format!("authorization: Bearer {token}")),
        (
            "subprotocol",
            format!("sec-websocket-protocol: campanile.v1, bearer, {token}"),
        ),
        (
            "cookie",
            format!("cookie: theme=dark; campanile_token={token}; other=1"),
        ),
    ] {
        let text = format!(
            "GET /ws/lobby?batch=1 HTTP/1.1\r\nhost: example.com\r\nupgrade: websocket\r\n\
             connection: Upgrade\r\norigin: https://example.com\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{field}\r\n\r\n"
        );
        let head = http::parse(text.as_bytes());
        let head = head.expect("it is a request").expect("it is whole");
        group.bench_function(format!("known/{name}"), |b| {
            b.iter(|| auth.identify(black_box(&head), NOW_S).is_ok());
        });
        group.bench_function(format!("guest/{name}"), |b| {
            b.iter(|| guests.identify(black_box(&head), NOW_S).is_ok());
        });
    }
    group.finish();
}

/// All that stands between a request's bytes and its user: parsing, the client's address behind a proxy and
/// its count, the page's origin, the token.
fn pass(gate: &Gate, text: &[u8], peer: SocketAddr, now: Now) -> bool {
    let head = http::parse(text);
    let head = head.expect("it is a request").expect("it is whole");
    let visitor = gate.visitor(peer, true, &head);
    let Ok(_permit) = gate.enter(visitor.address, now) else {
        return false;
    };
    gate.check_origin(&head, &visitor, true).is_ok()
        && gate
            .authenticator()
            .identify(&head, now.unix_ms / 1000)
            .is_ok()
}

fn handshake(c: &mut Criterion) {
    let mut group = c.benchmark_group("auth/handshake");
    group.throughput(Throughput::Elements(1));
    let peer = SocketAddr::from(([10, 0, 0, 1], 50_000));
    let now = Now {
        monotonic_ms: 1_000_000,
        unix_ms: NOW_S * 1000,
    };
    for (algorithm, private, public) in pairs() {
        let options = options(algorithm, public);
        let auth = Authenticator::new(options.clone(), None).expect("the options are sound");
        let gate = Gate::new(auth, &gate_options()).expect("the options are sound");
        let text = format!(
            "GET /ws/lobby HTTP/1.1\r\nhost: chat.example\r\nupgrade: websocket\r\n\
             connection: Upgrade\r\norigin: https://chat.example\r\nx-forwarded-for: 203.0.113.7\r\n\
             x-forwarded-proto: https\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nauthorization: Bearer {}\r\n\r\n",
            token(algorithm, &private)
        );
        assert!(pass(&gate, text.as_bytes(), peer, now));
        group.bench_function(format!("new/{algorithm:?}"), |b| {
            // To load the options again is to forget the tokens, and is not timed.
            let reload = || {
                let loaded = gate.authenticator().reload(options.clone());
                loaded.expect("as before");
            };
            let pass = |()| pass(&gate, black_box(text.as_bytes()), peer, now);
            b.iter_batched(reload, pass, criterion::BatchSize::PerIteration);
        });
        group.bench_function(format!("known/{algorithm:?}"), |b| {
            b.iter(|| pass(&gate, black_box(text.as_bytes()), peer, now));
        });
    }
    group.finish();
}

/// Behind a proxy, with places of addresses counted.
fn gate_options() -> GateOptions {
    GateOptions {
        trusted_proxies: vec!["10.0.0.0/8".into()],
        addresses: AddressLimits {
            connections_max: 1000,
            ..AddressLimits::default()
        },
        ..GateOptions::default()
    }
}

criterion_group!(benches, verify, identify, handshake);
criterion_main!(benches);
