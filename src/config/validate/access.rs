//! Rules of who is let in: modes need a way to tell, keys must fit their algorithms.

use std::collections::BTreeMap;

use super::{Contradiction, contradiction};
use crate::config::load::element_key;
use crate::config::{Algorithm, AuthMode, Config, Secret};

pub(super) fn rules(config: &Config, found: &mut Vec<Contradiction>) {
    modes(config, found);
    keys_of_tokens(config, found);
    more_keys(config, found);
    keys_of_servers(config, found);
}

/// Warns of what says who somebody is and comes in clear text from another machine.
pub(super) fn clear_text(config: &Config) -> impl Iterator<Item = String> {
    let urls = [
        ("auth.jwt.jwks_url", &config.jwt.jwks_url),
        ("auth.session_url", &config.auth.session_url),
    ];
    let named = urls
        .into_iter()
        .filter(|(_, url)| url.starts_with("http://") && !is_of_this_machine(url));
    named.map(|(option, _)| {
        format!("{option} is not https: whoever is on the way there can say who somebody is")
    })
}

fn is_of_this_machine(url: &str) -> bool {
    let url = url.parse::<::http::Uri>().ok();
    url.as_ref()
        .and_then(::http::Uri::host)
        .is_some_and(|host| {
            let address = host.trim_start_matches('[').trim_end_matches(']');
            let address = address.parse::<std::net::IpAddr>();
            host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|it| it.is_loopback())
        })
}

fn modes(config: &Config, found: &mut Vec<Contradiction>) {
    let name = match config.auth.mode {
        AuthMode::Required => "required",
        AuthMode::FirstMessage => "first_message",
        AuthMode::Auto | AuthMode::Optional | AuthMode::Trust => return,
    };
    if !config.has_authenticator() {
        let options = [
            "auth.mode",
            "auth.session_url",
            "auth.jwt.secret",
            "auth.jwt.secret_file",
            "auth.jwt.public_key",
            "auth.jwt.jwks_url",
        ];
        let message = format!(
            "{name:?} lets nobody in while nothing can tell who somebody is: set auth.jwt.secret (or another \
             key), auth.jwt.jwks_url or auth.session_url"
        );
        found.push(contradiction(&options, message));
    }
}

/// `[auth.jwt]`: each key has an algorithm, each algorithm a key.
fn keys_of_tokens(config: &Config, found: &mut Vec<Contradiction>) {
    let jwt = &config.jwt;
    let has_text = !jwt.secret.is_empty();
    let has_file = !jwt.secret_file.is_empty();
    if has_text && has_file {
        let message = "auth.jwt.secret is set, too: one of them";
        let options = ["auth.jwt.secret_file", "auth.jwt.secret"];
        found.push(contradiction(&options, message.into()));
    }
    let is_hmac = |algorithm: &&Algorithm| algorithm.secret_bytes_min().is_some();
    let hmac = jwt.algorithms.iter().find(is_hmac);
    let public = jwt.algorithms.iter().find(|algorithm| !is_hmac(algorithm));
    let all = "auth.jwt.algorithms";
    for (option, is_set, algorithm, such_as) in [
        ("auth.jwt.secret", has_text, hmac, "HS256"),
        ("auth.jwt.secret_file", has_file, hmac, "HS256"),
        (
            "auth.jwt.public_key",
            !jwt.public_key.is_empty(),
            public,
            "ES256",
        ),
        (
            "auth.jwt.jwks_url",
            !jwt.jwks_url.is_empty(),
            public,
            "ES256",
        ),
    ] {
        if is_set && algorithm.is_none() {
            let message =
                format!("{all} has no algorithm that it is used with, such as {such_as:?}");
            found.push(contradiction(&[option, all], message));
        }
    }
    let has_secret = has_text || has_file;
    let has_public = !jwt.public_key.is_empty() || !jwt.jwks_url.is_empty();
    // Without any key the algorithms are those that nobody has set.
    for (algorithm, is_usable, wanted) in [
        (hmac, has_secret, "auth.jwt.secret"),
        (
            public,
            has_public,
            "auth.jwt.public_key or auth.jwt.jwks_url",
        ),
    ] {
        if let (Some(algorithm), false, true) = (algorithm, is_usable, has_secret || has_public) {
            let message = format!("{:?} needs {wanted}, or leave it out", algorithm.name());
            let options = [
                all,
                "auth.jwt.secret",
                "auth.jwt.secret_file",
                "auth.jwt.public_key",
                "auth.jwt.jwks_url",
            ];
            found.push(contradiction(&options, message));
        }
    }
    for algorithm in jwt.algorithms.iter().filter(is_hmac) {
        if let Some(message) = too_short(&jwt.secret, *algorithm) {
            found.push(contradiction(&["auth.jwt.secret", all], message));
            break;
        }
    }
}

/// What is said of a secret that is shorter than its algorithm wants. Source: RFC 7518 section 3.2.
fn too_short(secret: &Secret, algorithm: Algorithm) -> Option<String> {
    let least = algorithm.secret_bytes_min()?;
    let length = secret.expose().len();
    (!secret.is_empty() && length < least).then(|| {
        let name = algorithm.name();
        format!("{name} wants a secret of at least {least} bytes, found one of {length}")
    })
}

/// `[[auth.key]]`: the one sort of key that the algorithm takes, no identifier twice.
fn more_keys(config: &Config, found: &mut Vec<Contradiction>) {
    let mut seen = BTreeMap::new();
    for (index, key) in config.auth_key.iter().enumerate() {
        let option = |name| element_key("auth.key", index, name);
        let is_hmac = key.algorithm.secret_bytes_min().is_some();
        let (wanted, other) = if is_hmac {
            ("secret", "public_key")
        } else {
            ("public_key", "secret")
        };
        let has = |name| match name {
            "secret" => !key.secret.is_empty(),
            _ => !key.public_key.is_empty(),
        };
        let name = key.algorithm.name();
        if has(other) || !has(wanted) {
            let place = if has(other) {
                option(other)
            } else {
                option("algorithm")
            };
            let message = format!("{name} takes {wanted}, and nothing else");
            found.push(contradiction(
                &[&place, &option("algorithm"), &option(wanted)],
                message,
            ));
        } else if let Some(message) = too_short(&key.secret, key.algorithm) {
            found.push(contradiction(
                &[&option("secret"), &option("algorithm")],
                message,
            ));
        }
        let same = |other: usize| format!("{:?} is the id of auth.key[{other}], too", key.id);
        if let Some(before) = seen.insert(&key.id, index).filter(|_| !key.id.is_empty()) {
            let before_option = element_key("auth.key", before, "id");
            found.push(contradiction(
                &[&option("id"), &before_option],
                same(before),
            ));
        }
    }
}

/// `[[api.key]]`: a name and a key, neither twice.
fn keys_of_servers(config: &Config, found: &mut Vec<Contradiction>) {
    let (mut names, mut keys) = (BTreeMap::new(), BTreeMap::new());
    for (index, key) in config.api_key.iter().enumerate() {
        let parts = [
            ("name", key.name.as_str(), &mut names),
            ("key", key.key.expose(), &mut keys),
        ];
        for (part, text, seen) in parts {
            let option = element_key("api.key", index, part);
            if text.is_empty() {
                found.push(contradiction(&[&option], format!("a {part} is wanted")));
            } else if let Some(other) = seen.insert(text, index) {
                let message = format!("it is the {part} of api.key[{other}], too");
                let before = element_key("api.key", other, part);
                found.push(contradiction(&[&option, &before], message));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ApiKey, AuthKey};

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn said(change: impl FnOnce(&mut Config)) -> Vec<String> {
        let mut config = Config::default();
        change(&mut config);
        let problems = config.validate().err().unwrap_or_default();
        let text =
            |problem: &crate::config::Problem| format!("{}: {}", problem.key, problem.message);
        problems.iter().map(text).collect()
    }

    #[test]
    fn a_mode_that_asks_needs_somebody_to_tell() {
        for mode in [AuthMode::Required, AuthMode::FirstMessage] {
            let found = said(|config| config.auth.mode = mode);
            assert_eq!(found.len(), 1, "{found:?}");
            for option in ["auth.jwt.secret", "auth.jwt.jwks_url", "auth.session_url"] {
                assert!(found[0].starts_with("auth.mode:") && found[0].contains(option));
            }
            let by_session = said(|config| {
                config.auth.mode = mode;
                config.auth.session_url = "https://example.com/session".into();
            });
            assert!(by_session.is_empty(), "{by_session:?}");
            let by_key = said(|config| {
                config.auth.mode = mode;
                config.jwt.secret = SECRET.into();
            });
            assert!(by_key.is_empty(), "{by_key:?}");
        }
    }

    #[test]
    fn algorithms_fit_the_keys() {
        let found = said(|config| config.jwt.public_key = "key.pem".into());
        assert_eq!(
            found,
            [
                "auth.jwt.public_key: auth.jwt.algorithms has no algorithm that it is used with, such as \
                 \"ES256\"",
                "auth.jwt.algorithms: \"HS256\" needs auth.jwt.secret, or leave it out",
            ]
        );
        let found = said(|config| {
            config.jwt.secret = SECRET.into();
            config.jwt.algorithms = vec![Algorithm::RS256];
        });
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[1].contains("\"RS256\" needs auth.jwt.public_key or auth.jwt.jwks_url"));
        let found = said(|config| {
            config.jwt.jwks_url = "https://example.com/keys".into();
            config.jwt.secret = SECRET.into();
            config.jwt.algorithms = vec![Algorithm::HS256, Algorithm::EdDSA];
        });
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn a_secret_is_as_long_as_its_hash() {
        let found = said(|config| config.jwt.secret = "too short".into());
        assert!(found[0].starts_with("auth.jwt.secret: expected a secret, 32..=4096 bytes"));
        assert!(found[0].contains("RFC 7518") && !found[0].contains("too short"));
        let found = said(|config| {
            config.jwt.secret = SECRET.into();
            config.jwt.algorithms = vec![Algorithm::HS256, Algorithm::HS512];
        });
        let expected =
            "auth.jwt.secret: HS512 wants a secret of at least 64 bytes, found one of 32";
        assert_eq!(found, [expected]);
        let found = said(|config| {
            config.jwt.secret = SECRET.into();
            config.jwt.secret_file = "secret".into();
        });
        assert_eq!(
            found,
            ["auth.jwt.secret_file: auth.jwt.secret is set, too: one of them"]
        );
    }

    #[test]
    fn a_further_key_is_of_the_sort_that_its_algorithm_takes() {
        let key = |id: &str, algorithm, secret: &str, public_key: &str| AuthKey {
            id: id.into(),
            algorithm,
            secret: secret.into(),
            public_key: public_key.into(),
        };
        let found = said(|config| {
            config.auth_key = vec![
                key("a", Algorithm::HS256, SECRET, ""),
                key("a", Algorithm::ES256, "", "key.pem"),
                key("", Algorithm::ES256, "", ""),
                key("", Algorithm::HS256, SECRET, "key.pem"),
                key("", Algorithm::RS256, SECRET, ""),
                key("", Algorithm::HS384, SECRET, ""),
            ];
        });
        assert_eq!(
            found,
            [
                "auth.key[1].id: \"a\" is the id of auth.key[0], too",
                "auth.key[2].algorithm: ES256 takes public_key, and nothing else",
                "auth.key[3].public_key: HS256 takes secret, and nothing else",
                "auth.key[4].secret: RS256 takes public_key, and nothing else",
                "auth.key[5].secret: HS384 wants a secret of at least 48 bytes, found one of 32",
            ]
        );
    }

    #[test]
    fn server_keys_have_names_and_are_their_own() {
        let key = |name: &str, key: &str| ApiKey {
            name: name.into(),
            key: key.into(),
            ..ApiKey::default()
        };
        let found = said(|config| {
            config.api_key = vec![key("a", SECRET), key("a", SECRET), key("", "short")];
        });
        assert_eq!(found.len(), 4, "{found:?}");
        assert!(found[0].starts_with("api.key[2].key: expected a secret, 16..=1024 bytes"));
        assert_eq!(
            found[1],
            "api.key[1].name: it is the name of api.key[0], too"
        );
        assert_eq!(found[2], "api.key[1].key: it is the key of api.key[0], too");
        assert_eq!(found[3], "api.key[2].name: a name is wanted");
    }
}
