//! The configuration's sections about who comes in, as the library takes them.

use std::path::Path;

use campanile::auth::{
    self, AuthOptions, KeyOptions, Material, Mode, TokenOptions,
    addresses::AddressLimits,
    keys::{self, ServerKeyOptions, ServerKeys, ServerKeysError},
};
use campanile::auth::{GateOptions, OriginRequired};
use campanile::config::{
    Algorithm, AuthMode, Config, OriginRequire, Scope, Secret, Source, is_key,
};

use super::token_keys::{read_line, read_text};

/// Options of the authenticator. Errors: a file with a key cannot be read; nothing of it is said.
pub(crate) fn auth_options(config: &Config) -> Result<AuthOptions, String> {
    let (section, jwt) = (&config.auth, &config.jwt);
    let some = |text: &String| (!text.is_empty()).then(|| text.clone());
    Ok(AuthOptions {
        mode: match config.auth_mode() {
            AuthMode::Required => Mode::Required,
            AuthMode::FirstMessage => Mode::FirstMessage,
            AuthMode::Auto | AuthMode::Optional => Mode::Optional,
            AuthMode::Trust => Mode::Trust,
        },
        sources: section.sources.iter().map(|s| source(*s)).collect(),
        cookie_name: section.cookie_name.clone(),
        token: TokenOptions {
            keys: key_options(config)?,
            jwks_url: some(&jwt.jwks_url),
            jwks_refresh: jwt.jwks_refresh,
            algorithms: jwt.algorithms.iter().map(|a| algorithm(*a)).collect(),
            issuer: some(&jwt.issuer),
            audience: jwt.audience.clone(),
            user_id_claim: jwt.user_id_claim.clone(),
            roles_claim: jwt.roles_claim.clone(),
            leeway: jwt.leeway,
            token_bytes_max: jwt.max_token_size,
            ..TokenOptions::default()
        },
        session_url: some(&section.session_url),
        session_timeout: section.session_timeout,
        first_message_timeout: section.timeout,
        expiry_grace: section.expiry_grace,
        expiry_notice: section.expiry_notice,
        revalidate_interval: section.revalidate_interval,
        ..AuthOptions::default()
    })
}

/// Options of the gate: origins, proxies and addresses.
pub(crate) fn gate_options(config: &Config) -> GateOptions {
    let limits = &config.limits;
    let connections_max = u32::try_from(limits.max_connections_per_address);
    GateOptions {
        origins: config.origin.allowed.clone(),
        origin_required: match config.origin.require {
            OriginRequire::Auto => OriginRequired::Auto,
            OriginRequire::Always => OriginRequired::Always,
            OriginRequire::Never => OriginRequired::Never,
        },
        trusted_proxies: config
            .server
            .trusted_proxies
            .iter()
            .map(ToString::to_string)
            .collect(),
        handshakes_per_second: limits.handshakes_per_second,
        addresses: AddressLimits {
            handshakes_per_second: limits.address_handshakes_per_second,
            burst: limits.address_handshake_burst,
            connections_max: connections_max.unwrap_or(u32::MAX),
        },
    }
}

/// What the admin token is called among the keys of the API.
const ADMIN: &str = "admin-token";

/// The keys of the HTTP API. Errors: a name or a key stands twice.
pub(crate) fn server_keys(config: &Config) -> Result<ServerKeys, ServerKeysError> {
    keys_and(config, None)
}

/// The same, and the token of the admin listener, which may do all. `None`: it needs none.
///
/// Errors: as [`server_keys`].
pub(crate) fn admin_keys(config: &Config) -> Result<Option<ServerKeys>, ServerKeysError> {
    let token = &config.admin.token;
    if token.is_empty() {
        return Ok(None);
    }
    let admin = ServerKeyOptions {
        name: ADMIN.into(),
        key: token.expose().to_owned(),
        scopes: [Scope::Publish, Scope::Users, Scope::Rooms, Scope::Admin]
            .map(scope)
            .into(),
    };
    keys_and(config, Some(admin)).map(Some)
}

fn keys_and(
    config: &Config,
    further: Option<ServerKeyOptions>,
) -> Result<ServerKeys, ServerKeysError> {
    let keys = config.api_key.iter().map(|key| ServerKeyOptions {
        name: key.name.clone(),
        key: key.key.expose().to_owned(),
        scopes: key.scopes.iter().map(|s| scope(*s)).collect(),
    });
    ServerKeys::new(&keys.chain(further).collect::<Vec<_>>())
}

/// All keys that are given: those of `auth.jwt`, then each `auth.key`.
fn key_options(config: &Config) -> Result<Vec<KeyOptions>, String> {
    let jwt = &config.jwt;
    let mut materials = Vec::new();
    materials.extend(secret(&jwt.secret));
    if !jwt.secret_file.is_empty() {
        let secret = read_line(Path::new(&jwt.secret_file))?;
        materials.push(Material::Secret(secret.into_bytes()));
    }
    materials.extend(public_key(&jwt.public_key)?);
    let unnamed = materials.into_iter().map(|material| KeyOptions {
        id: None,
        algorithms: Vec::new(),
        material,
    });
    let mut keys: Vec<_> = unnamed.collect();
    for key in &config.auth_key {
        let material = match secret(&key.secret) {
            Some(secret) => Some(secret),
            None => public_key(&key.public_key)?,
        };
        keys.extend(material.map(|material| KeyOptions {
            id: (!key.id.is_empty()).then(|| key.id.clone()),
            algorithms: vec![algorithm(key.algorithm)],
            material,
        }));
    }
    Ok(keys)
}

fn secret(secret: &Secret) -> Option<Material> {
    (!secret.is_empty()).then(|| Material::Secret(secret.expose().as_bytes().into()))
}

/// A public key in place, or in the file of this path. `None`: there is none.
fn public_key(text_or_path: &str) -> Result<Option<Material>, String> {
    let text = match text_or_path {
        "" => return Ok(None),
        text if is_key(text) => text.to_owned(),
        path => read_text(Path::new(path))?,
    };
    Ok(Some(match text.trim_start().starts_with('{') {
        true => Material::PublicJwk(text),
        false => Material::PublicPem(text),
    }))
}

fn source(source: Source) -> auth::Source {
    match source {
        Source::Header => auth::Source::Header,
        Source::Subprotocol => auth::Source::Subprotocol,
        Source::Cookie => auth::Source::Cookie,
        Source::Query => auth::Source::Query,
    }
}

fn scope(scope: Scope) -> keys::Scope {
    match scope {
        Scope::Publish => keys::Scope::Publish,
        Scope::Users => keys::Scope::Users,
        Scope::Rooms => keys::Scope::Rooms,
        Scope::Admin => keys::Scope::Admin,
    }
}

fn algorithm(algorithm: Algorithm) -> auth::Algorithm {
    match algorithm {
        Algorithm::HS256 => auth::Algorithm::HS256,
        Algorithm::HS384 => auth::Algorithm::HS384,
        Algorithm::HS512 => auth::Algorithm::HS512,
        Algorithm::RS256 => auth::Algorithm::RS256,
        Algorithm::RS384 => auth::Algorithm::RS384,
        Algorithm::RS512 => auth::Algorithm::RS512,
        Algorithm::PS256 => auth::Algorithm::PS256,
        Algorithm::PS384 => auth::Algorithm::PS384,
        Algorithm::PS512 => auth::Algorithm::PS512,
        Algorithm::ES256 => auth::Algorithm::ES256,
        Algorithm::ES384 => auth::Algorithm::ES384,
        Algorithm::EdDSA => auth::Algorithm::EdDSA,
    }
}

#[cfg(test)]
mod tests {
    use campanile::auth::Authenticator;
    use campanile::config::{Flag, Sources};

    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_library() {
        let library = AuthOptions {
            mode: Mode::Optional,
            ..AuthOptions::default()
        };
        assert_eq!(auth_options(&Config::default()), Ok(library));
    }

    #[test]
    fn keys_are_taken_from_texts_and_files() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/auth/tests/keys");
        let path = |name: &str| folder.join(name).display().to_string();
        let toml = format!(
            "[auth]\nmode = \"required\"\n[auth.jwt]\nsecret = \"a secret of thirty-two bytes, ok\"\n\
             algorithms = [\"HS256\", \"ES256\"]\npublic_key = \"{}\"\n\
             [[auth.key]]\nid = \"a\"\nalgorithm = \"RS256\"\npublic_key = \"{}\"\n",
            path("ec-p256.pub.pem"),
            path("rsa.pub.pem")
        );
        let sources = Sources {
            file: Some(("file".into(), toml)),
            flags: Vec::<Flag>::new(),
            ..Sources::default()
        };
        let config = campanile::config::load(&sources).unwrap();
        let options = auth_options(&config).unwrap();
        let ids: Vec<_> = options
            .token
            .keys
            .iter()
            .map(|key| key.id.as_deref())
            .collect();
        assert_eq!(ids, [None, None, Some("a")]);
        assert_eq!(Authenticator::new(options, None).unwrap().stats().keys, 3);
        let mut config = config;
        config.jwt.public_key = path("missing.pem");
        assert!(auth_options(&config).unwrap_err().contains("missing.pem"));
    }
}
