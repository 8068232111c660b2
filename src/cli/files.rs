//! The files that a configuration names: are they there, and can they be understood? The configuration
//! itself is loaded without reading them; `check-config`, the start and a reload all look at them here.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use campanile::config::{Algorithm, Config, Problem, is_key};
use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// Everything that is wrong with the files that a configuration names. What names none is not looked at.
pub(crate) fn problems(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut note = |key: String, result: Result<(), String>| {
        if let Err(message) = result {
            problems.push(Problem {
                source: "files".into(),
                line: None,
                key,
                message,
            });
        }
    };
    for (index, pair) in config.certificate.iter().enumerate() {
        let key = |name: &str| format!("tls.certificate[{index}].{name}");
        if !pair.certificate.is_empty() {
            note(key("certificate"), certificate(&pair.certificate));
        }
        if !pair.key.is_empty() {
            note(key("key"), private_key(&pair.key));
        }
    }
    let jwt = &config.jwt;
    if !jwt.secret_file.is_empty() {
        note(
            "auth.jwt.secret_file".into(),
            secret(&jwt.secret_file, &jwt.algorithms),
        );
    }
    if !jwt.public_key.is_empty() {
        let checked = public_key(&jwt.public_key, &jwt.algorithms);
        note("auth.jwt.public_key".into(), checked);
    }
    for (index, key) in config.auth_key.iter().enumerate() {
        if !key.public_key.is_empty() {
            let checked = public_key(&key.public_key, &[key.algorithm]);
            note(format!("auth.key[{index}].public_key"), checked);
        }
    }
    problems
}

/// Files with secrets that everybody on the machine can read: the configuration's own, if it has any, and
/// those that it names.
pub(crate) fn warnings(config: &Config, file: Option<&Path>) -> Vec<String> {
    let own = file.filter(|_| has_secrets(config));
    let named = config.certificate.iter().map(|pair| pair.key.as_str());
    let named = named
        .chain([config.jwt.secret_file.as_str()])
        .filter(|path| !path.is_empty())
        .map(Path::new);
    let open = own.into_iter().chain(named).filter(|path| is_open(path));
    open.map(|path| {
        let path = path.display();
        format!(
            "{path} holds a secret, and everybody on this machine can read it: `chmod o= {path}`"
        )
    })
    .collect()
}

/// Whether the text of the configuration has a secret in it.
fn has_secrets(config: &Config) -> bool {
    let keys = config.auth_key.iter().map(|key| &key.secret);
    let keys = keys.chain(config.api_key.iter().map(|key| &key.key));
    let mut secrets = keys.chain([&config.jwt.secret, &config.admin.token]);
    secrets.any(|secret| !secret.is_empty())
}

/// Whether a file can be read, or written, by those who are neither its owner nor of its group.
fn is_open(path: &Path) -> bool {
    let metadata = std::fs::metadata(path);
    metadata.is_ok_and(|found| found.permissions().mode() & 0o006 != 0)
}

fn read(path: &str) -> Result<String, String> {
    std::fs::read_to_string(Path::new(path)).map_err(|error| format!("{path}: {error}"))
}

fn certificate(path: &str) -> Result<(), String> {
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| format!("{path}: {error}"))?;
    if certificates.is_empty() {
        return Err(format!("{path}: no certificate in it"));
    }
    Ok(())
}

fn private_key(path: &str) -> Result<(), String> {
    let key = PrivateKeyDer::from_pem_file(path);
    key.map(drop).map_err(|error| format!("{path}: {error}"))
}

/// A file with a secret that is long enough for each of the algorithms.
fn secret(path: &str, algorithms: &[Algorithm]) -> Result<(), String> {
    let text = read(path)?;
    let length = text.trim_end_matches(['\r', '\n']).len();
    let wanted = algorithms
        .iter()
        .filter_map(|algorithm| algorithm.secret_bytes_min());
    match wanted.max() {
        Some(least) if length < least => Err(format!(
            "{path}: expected a secret of at least {least} bytes (RFC 7518 section 3.2), found one of {length}"
        )),
        _ => Ok(()),
    }
}

/// A public key, in place or in a file, that one of the algorithms takes.
fn public_key(text_or_path: &str, algorithms: &[Algorithm]) -> Result<(), String> {
    let (name, text) = if is_key(text_or_path) {
        ("the key".to_string(), text_or_path.to_string())
    } else {
        (text_or_path.to_string(), read(text_or_path)?)
    };
    let jwk = text
        .trim_start()
        .starts_with('{')
        .then(|| serde_json::from_str::<Jwk>(&text));
    let is_taken = algorithms.iter().any(|algorithm| match &jwk {
        Some(Ok(jwk)) => of_sort(jwk, *algorithm) && DecodingKey::from_jwk(jwk).is_ok(),
        Some(Err(_)) => false,
        None => from_pem(text.as_bytes(), *algorithm),
    });
    if is_taken {
        return Ok(());
    }
    let names: Vec<_> = algorithms
        .iter()
        .map(|algorithm| algorithm.name())
        .collect();
    Err(format!(
        "{name}: not a public key (PEM or JSON Web Key) for {}",
        names.join(", ")
    ))
}

/// Whether a key's `kty` is the one that the algorithm takes. A symmetric key never is: it is no public one.
fn of_sort(jwk: &Jwk, algorithm: Algorithm) -> bool {
    match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => algorithm.name().starts_with(['R', 'P']),
        AlgorithmParameters::EllipticCurve(_) => algorithm.name().starts_with("ES"),
        AlgorithmParameters::OctetKeyPair(_) => algorithm == Algorithm::EdDSA,
        _ => false,
    }
}

fn from_pem(pem: &[u8], algorithm: Algorithm) -> bool {
    let key = match algorithm {
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => return false,
        Algorithm::ES256 | Algorithm::ES384 => DecodingKey::from_ec_pem(pem),
        Algorithm::EdDSA => DecodingKey::from_ed_pem(pem),
        Algorithm::RS256
        | Algorithm::RS384
        | Algorithm::RS512
        | Algorithm::PS256
        | Algorithm::PS384
        | Algorithm::PS512 => DecodingKey::from_rsa_pem(pem),
    };
    key.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use campanile::config::{AuthKey, Certificate};

    const ED25519: &str = "-----BEGIN PUBLIC KEY-----\n\
        MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n\
        -----END PUBLIC KEY-----\n";

    fn said(change: impl FnOnce(&mut Config)) -> Vec<String> {
        let mut config = Config::default();
        change(&mut config);
        problems(&config).iter().map(Problem::to_string).collect()
    }

    #[test]
    fn every_file_that_is_missing_is_named() {
        let found = said(|config| {
            config.certificate = vec![Certificate {
                certificate: "/none/c.pem".into(),
                key: "/none/k.pem".into(),
            }];
            config.jwt.secret_file = "/none/secret".into();
            config.jwt.public_key = "/none/public".into();
        });
        let keys = ["tls.certificate[0].certificate", "tls.certificate[0].key"];
        let keys = keys
            .into_iter()
            .chain(["auth.jwt.secret_file", "auth.jwt.public_key"]);
        assert_eq!(found.len(), 4, "{found:?}");
        for (line, key) in found.iter().zip(keys) {
            assert!(line.starts_with(&format!("files: {key}: /none/")), "{line}");
        }
    }

    #[test]
    fn a_public_key_is_of_the_algorithms_sort() {
        let key = |algorithm, public_key: &str| AuthKey {
            algorithm,
            public_key: public_key.into(),
            ..AuthKey::default()
        };
        let jwk =
            r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
        let symmetric = r#"{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ"}"#;
        let found = said(|config| {
            config.auth_key = vec![
                key(Algorithm::EdDSA, ED25519),
                key(Algorithm::EdDSA, jwk),
                key(Algorithm::RS256, ED25519),
                key(Algorithm::ES256, jwk),
                key(Algorithm::EdDSA, symmetric),
                key(Algorithm::EdDSA, "{}"),
            ];
        });
        assert_eq!(found.len(), 4, "{found:?}");
        for (line, (index, name)) in
            found
                .iter()
                .zip([(2, "RS256"), (3, "ES256"), (4, "EdDSA"), (5, "EdDSA")])
        {
            let expected = format!(
                "files: auth.key[{index}].public_key: the key: not a public key (PEM or JSON Web Key) for {name}"
            );
            assert_eq!(line, &expected);
        }
    }
}
