//! Tests of the authenticator from outside: every kind of credential, good and bad.

/// A key of the folder beside this file.
macro_rules! pem {
    ($name:literal) => {
        include_str!(concat!("keys/", $name))
    };
}

mod forged;
mod jwks;
mod requests;
mod sessions;
mod tokens;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

use super::*;

/// The time of these tests, unix seconds.
const NOW: u64 = 1_795_227_149;
const SECRET: &[u8] = b"a secret of thirty-two bytes, ok";

/// A pair of keys for one algorithm: what signs, and what verifies.
struct Pair {
    algorithm: Algorithm,
    private: EncodingKey,
    public: Material,
}

fn secret(algorithm: Algorithm) -> Pair {
    Pair {
        algorithm,
        private: EncodingKey::from_secret(SECRET),
        public: Material::Secret(SECRET.into()),
    }
}

fn rsa(algorithm: Algorithm) -> Pair {
    Pair {
        algorithm,
        private: EncodingKey::from_rsa_pem(pem!("rsa.pem").as_bytes()).unwrap(),
        public: Material::PublicPem(pem!("rsa.pub.pem").into()),
    }
}

fn ec(algorithm: Algorithm) -> Pair {
    let (private, public) = match algorithm {
        Algorithm::ES256 => (pem!("ec-p256.pem"), pem!("ec-p256.pub.pem")),
        _ => (pem!("ec-p384.pem"), pem!("ec-p384.pub.pem")),
    };
    Pair {
        algorithm,
        private: EncodingKey::from_ec_pem(private.as_bytes()).unwrap(),
        public: Material::PublicPem(public.into()),
    }
}

fn ed25519() -> Pair {
    Pair {
        algorithm: Algorithm::EdDSA,
        private: EncodingKey::from_ed_pem(pem!("ed25519.pem").as_bytes()).unwrap(),
        public: Material::PublicPem(pem!("ed25519.pub.pem").into()),
    }
}

/// A pair for each algorithm that is known.
fn pairs() -> Vec<Pair> {
    use Algorithm::*;
    let secrets = [HS256, HS384, HS512].map(secret);
    let rsas = [RS256, RS384, RS512, PS256, PS384, PS512].map(rsa);
    secrets
        .into_iter()
        .chain(rsas)
        .chain([ES256, ES384].map(ec))
        .chain([ed25519()])
        .collect()
}

impl Pair {
    /// Signs claims, with a `kid` or without.
    fn sign(&self, kid: Option<&str>, claims: &Value) -> String {
        let header = Header {
            kid: kid.map(Into::into),
            ..Header::new(self.algorithm)
        };
        jsonwebtoken::encode(&header, claims, &self.private).unwrap()
    }

    fn key(&self, id: Option<&str>) -> KeyOptions {
        KeyOptions {
            id: id.map(Into::into),
            algorithms: vec![self.algorithm],
            material: self.public.clone(),
        }
    }
}

/// Claims of a good token of `ann`.
fn claims() -> Value {
    json!({"sub": "ann", "exp": NOW + 3600, "iat": NOW - 10})
}

/// The claims of a good token with further or other members; null takes one away.
fn with(others: Value) -> Value {
    let mut claims = claims();
    let own = claims.as_object_mut().unwrap();
    for (name, value) in others.as_object().unwrap() {
        match value {
            Value::Null => drop(own.remove(name)),
            value => drop(own.insert(name.clone(), value.clone())),
        }
    }
    claims
}

fn token_options(keys: Vec<KeyOptions>) -> AuthOptions {
    AuthOptions {
        token: TokenOptions {
            keys,
            ..TokenOptions::default()
        },
        ..AuthOptions::default()
    }
}

/// An authenticator that knows the key of a pair.
fn knowing(pair: &Pair) -> Authenticator {
    Authenticator::new(token_options(vec![pair.key(None)]), None).unwrap()
}

/// A token as it is put together from anything at all.
fn assemble(header: &Value, claims: &Value, signature: &str) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{signature}", part(header), part(claims))
}

/// Who it is, now or later.
fn settle(verdict: Result<Verdict, AuthError>) -> Result<Identity, AuthError> {
    match verdict? {
        Verdict::Known(identity) => Ok(identity),
        Verdict::Later(pending) => pending
            .now_or_never()
            .expect("the answers of a fake come at once"),
        other => panic!("{other:?}"),
    }
}

fn verify(auth: &Authenticator, token: &str) -> Result<Identity, AuthError> {
    settle(auth.verify(token, NOW))
}

fn refused(auth: &Authenticator, reason: &str) -> u64 {
    let refused = auth.stats().refused;
    let found = refused.iter().find(|(name, _)| *name == reason);
    found.expect("a reason that there is").1
}

/// What a fake server was asked.
type Asked = (String, Vec<(&'static str, String)>);

/// A server that answers as it was told, in this order, and then no more.
#[derive(Default)]
struct Fake {
    answers: Mutex<VecDeque<Result<Fetched, FetchError>>>,
    asked: Mutex<Vec<Asked>>,
    /// Answers wait until this many were asked for again.
    is_slow: bool,
    released: AtomicU64,
}

impl Fake {
    fn new(answers: impl IntoIterator<Item = Result<Fetched, FetchError>>) -> Arc<Self> {
        Arc::new(Self {
            answers: Mutex::new(answers.into_iter().collect()),
            ..Self::default()
        })
    }

    fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

impl Fetch for Arc<Fake> {
    fn get(
        &self,
        url: &str,
        headers: Vec<(&'static str, String)>,
        _: Duration,
    ) -> BoxFuture<'static, Result<Fetched, FetchError>> {
        self.asked.lock().unwrap().push((url.into(), headers));
        let answer = self.answers.lock().unwrap().pop_front();
        let answer = answer.unwrap_or(Err(FetchError::Failed("no more answers".into())));
        let fake = self.clone();
        async move {
            // Polled again and again until it is let go.
            std::future::poll_fn(|context| {
                if fake.is_slow && fake.released.load(Ordering::Relaxed) == 0 {
                    context.waker().wake_by_ref();
                    return std::task::Poll::Pending;
                }
                std::task::Poll::Ready(())
            })
            .await;
            answer
        }
        .boxed()
    }
}

fn answer(status: u16, body: impl ToString) -> Result<Fetched, FetchError> {
    Ok(Fetched {
        status,
        body: body.to_string().into_bytes(),
    })
}
