//! Keys that tokens are verified with, each bound to the algorithms it is for.
//!
//! A key that was read as a public one can never be used as a secret: its kind is fixed when it is
//! read, and a token's `alg` only chooses among keys that are for it. That is what makes key
//! confusion (RFC 8725 section 2.1) impossible, and `alg: none` has no key at all.

use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};
use serde_json::Value;

use super::digest::fingerprint;
use super::options::{KeyError, KeyOptions, Material, SECRET_BYTES_MIN};

/// Most keys of one list, given or fetched: all of them may be tried for a token without a `kid`.
pub const KEYS_MAX: usize = 32;

/// An uncompressed point of P-256 and of P-384, bytes. SEC 1 section 2.3.3.
const P256_POINT_BYTES: usize = 65;
const P384_POINT_BYTES: usize = 97;
/// What an RSA key can be used for.
const RSA_ALGORITHMS: [Algorithm; 6] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];
/// RSA moduli that are verified with, bytes.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

/// Which key it was: 8 bytes of the SHA-256 of what it was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyPrint(pub(super) [u8; 8]);

/// A key that can be used.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) id: Option<Box<str>>,
    pub(super) print: KeyPrint,
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

impl Key {
    /// A key as it was given. `defaults`: the algorithms of keys that name none.
    pub(super) fn new(options: &KeyOptions, defaults: &[Algorithm]) -> Result<Self, KeyError> {
        let named = match &options.algorithms[..] {
            [] => defaults,
            own => own,
        };
        match &options.material {
            Material::Secret(secret) if secret.len() < SECRET_BYTES_MIN => {
                Err(KeyError::ShortSecret)
            }
            Material::Secret(secret) => {
                let key = DecodingKey::from_secret(secret);
                Self::bind(options.id.as_deref(), key, secret, named)
            }
            Material::PublicPem(pem) => {
                let key = of_pem(pem)?;
                Self::bind(options.id.as_deref(), key, pem.trim().as_bytes(), named)
            }
            Material::PublicJwk(text) => {
                let jwk = serde_json::from_str(text).map_err(|_| KeyError::Unreadable)?;
                let mut key = Self::of_json(jwk, named)?;
                key.id = options.id.as_deref().map(Into::into).or(key.id);
                Ok(key)
            }
        }
    }

    /// A public key of a set. Errors: a secret, a private key, or one that is not for signatures.
    ///
    /// Where the private half of a key is published (`d`, RFC 7518 section 6), anybody can sign with it.
    pub(super) fn of_json(jwk: Value, named: &[Algorithm]) -> Result<Self, KeyError> {
        if jwk.get("d").is_some() {
            return Err(KeyError::Private);
        }
        let jwk: Jwk = serde_json::from_value(jwk).map_err(|_| KeyError::Unreadable)?;
        Self::of_jwk(&jwk, named)
    }

    fn of_jwk(jwk: &Jwk, named: &[Algorithm]) -> Result<Self, KeyError> {
        let common = &jwk.common;
        let is_for_signatures = common
            .public_key_use
            .as_ref()
            .is_none_or(|purpose| *purpose == PublicKeyUse::Signature)
            && common
                .key_operations
                .as_ref()
                .is_none_or(|operations| operations.contains(&KeyOperations::Verify));
        let own = common.key_algorithm.map(Algorithm::try_from).transpose();
        let (Ok(own), true) = (own, is_for_signatures) else {
            return Err(KeyError::Algorithm);
        };
        let material = match &jwk.algorithm {
            AlgorithmParameters::RSA(rsa) => format!("{}.{}", rsa.n, rsa.e),
            AlgorithmParameters::EllipticCurve(ec) => format!("{}.{}", ec.x, ec.y),
            AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
                pair.x.clone()
            }
            _ => return Err(KeyError::Unreadable),
        };
        let key = DecodingKey::from_jwk(jwk).map_err(|_| KeyError::Unreadable)?;
        let named: Vec<_> = named
            .iter()
            .copied()
            .filter(|algorithm| own.is_none_or(|own| own == *algorithm))
            .collect();
        Self::bind(common.key_id.as_deref(), key, material.as_bytes(), &named)
    }

    /// Binds a key to those of the algorithms that it is for.
    fn bind(
        id: Option<&str>,
        key: DecodingKey,
        material: &[u8],
        named: &[Algorithm],
    ) -> Result<Self, KeyError> {
        let fitting = algorithms_of(&key)?;
        let algorithms: Vec<_> = named
            .iter()
            .copied()
            .filter(|algorithm| fitting.contains(algorithm))
            .collect();
        if algorithms.is_empty() {
            return Err(KeyError::Algorithm);
        }
        Ok(Self {
            id: id.map(Into::into),
            print: KeyPrint(fingerprint(material)),
            algorithms,
            key,
        })
    }

    /// Whether a token of this header may be signed with it.
    pub(super) fn fits(&self, algorithm: Algorithm, kid: Option<&str>) -> bool {
        let is_meant = match (kid, self.id.as_deref()) {
            (Some(kid), Some(id)) => kid == id,
            (None, _) | (_, None) => true,
        };
        is_meant && self.is_for(algorithm)
    }

    /// Whether it is for this algorithm.
    pub(super) fn is_for(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }

    /// Whether `signature` (base64url) is this key's for `message`.
    pub(super) fn verifies(&self, algorithm: Algorithm, message: &str, signature: &str) -> bool {
        debug_assert!(self.is_for(algorithm));
        // An error is a signature that is not base64url.
        jsonwebtoken::crypto::verify(signature, message.as_bytes(), &self.key, algorithm)
            .unwrap_or(false)
    }
}

/// A public key in PEM, whichever kind it is of.
fn of_pem(pem: &str) -> Result<DecodingKey, KeyError> {
    if pem.contains("PRIVATE KEY-----") {
        return Err(KeyError::Private);
    }
    if pem.contains("CERTIFICATE-----") {
        return Err(KeyError::Unreadable);
    }
    let pem = pem.trim().as_bytes();
    // RSA last: it is not told by its object identifier where the label says so.
    DecodingKey::from_ec_pem(pem)
        .or_else(|_| DecodingKey::from_ed_pem(pem))
        .or_else(|_| DecodingKey::from_rsa_pem(pem))
        .map_err(|_| KeyError::Unreadable)
}

/// The algorithms that a key can be used with, which also says that it is one.
fn algorithms_of(key: &DecodingKey) -> Result<&'static [Algorithm], KeyError> {
    let raw_bytes = key.try_get_as_bytes();
    match key.family() {
        AlgorithmFamily::Hmac => Ok(&[Algorithm::HS256, Algorithm::HS384, Algorithm::HS512]),
        AlgorithmFamily::Ec => match raw_bytes.map(<[u8]>::len) {
            Ok(P256_POINT_BYTES) => Ok(&[Algorithm::ES256]),
            Ok(P384_POINT_BYTES) => Ok(&[Algorithm::ES384]),
            _ => Err(KeyError::Unreadable),
        },
        AlgorithmFamily::Ed => match raw_bytes.map(<[u8]>::len) {
            Ok(32) => Ok(&[Algorithm::EdDSA]),
            _ => Err(KeyError::Unreadable),
        },
        AlgorithmFamily::Rsa => {
            let modulus_bytes = match key.kind() {
                // Zeros before it make no number longer.
                jsonwebtoken::DecodingKeyKind::RsaModulusExponent { n, .. } => {
                    n.iter().skip_while(|&&byte| byte == 0).count()
                }
                jsonwebtoken::DecodingKeyKind::SecretOrDer(der) => {
                    let components = DEFAULT_PROVIDER
                        .key_utils
                        .rsa_pub_components_from_public_key;
                    components(der).map_err(|_| KeyError::Unreadable)?.0.len()
                }
            };
            if !RSA_BYTES.contains(&modulus_bytes) {
                return Err(KeyError::RsaSize);
            }
            Ok(&RSA_ALGORITHMS)
        }
    }
}
