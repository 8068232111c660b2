//! `campanile gen-token`: a token for a user, signed with a key of one's own.

use std::process::ExitCode;
use std::time::Duration;

use campanile::auth::{Algorithm, Material, SECRET_BYTES_MIN, TokenOptions};
use campanile::id::UserId;
use campanile::time::Clock;
use campanile::who::Roles;
use clap::Args;
use jsonwebtoken::{AlgorithmFamily, EncodingKey, Header};
use serde_json::{Map, Value};

use super::token_keys::{KeyArgs, KeyText};

/// What `gen-token` takes.
#[derive(Debug, Args)]
pub(crate) struct GenTokenArgs {
    /// The user (`sub`)
    #[arg(short, long, value_name = "ID")]
    user: String,
    /// Roles, with commas between them
    #[arg(short, long, value_name = "LIST", default_value = "")]
    roles: String,
    /// How long the token is good
    #[arg(short, long, value_name = "TIME", default_value = "1h", value_parser = humantime::parse_duration)]
    expires: Duration,
    /// The token's id (`jti`), by which it can be revoked [default: a random one]
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    #[command(flatten)]
    key: KeyArgs,
}

/// Prints a token. Exit code 2 if there can be none.
pub(crate) fn run(args: &GenTokenArgs) -> ExitCode {
    match token(args, Clock::start().now().unix_ms / 1000) {
        Ok(token) => super::print(&format!("{token}\n")),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(super::EXIT_USAGE)
        }
    }
}

pub(super) fn token(args: &GenTokenArgs, now_s: u64) -> Result<String, String> {
    if !UserId::is_valid(&args.user) {
        return Err("--user: empty, too long or with control characters".into());
    }
    let roles = Roles::from_list(&args.roles).ok_or("--roles: no list of role names")?;
    let configured = args.key.configured()?.map(|options| options.token);
    let (key, algorithm) = match &configured {
        Some(token) if !args.key.has_key() => configured_secret(token)?,
        _ => args.key.read()?,
    };
    let header = Header {
        kid: args.key.kid.clone(),
        ..Header::new(algorithm)
    };
    let key = encoding_key(key, algorithm)?;
    let claims = claims(args, configured.as_ref(), &roles, now_s);
    jsonwebtoken::encode(&header, &claims, &key)
        .map_err(|_| format!("the key cannot sign by {algorithm:?}"))
}

fn claims(
    args: &GenTokenArgs,
    configured: Option<&TokenOptions>,
    roles: &Roles,
    now_s: u64,
) -> Map<String, Value> {
    let id = args
        .id
        .clone()
        .unwrap_or_else(|| uuid::Uuid::now_v7().to_string());
    let mut claims = Map::new();
    claims.insert("sub".into(), args.user.clone().into());
    claims.insert("iat".into(), now_s.into());
    claims.insert(
        "exp".into(),
        now_s.saturating_add(args.expires.as_secs()).into(),
    );
    claims.insert("jti".into(), id.into());
    let roles: Vec<&str> = roles.iter().collect();
    if !roles.is_empty() {
        claims.insert("roles".into(), roles.into());
    }
    let issuer = configured.and_then(|token| token.issuer.as_ref());
    let audience = configured.and_then(|token| token.audience.first());
    for (name, value) in [
        ("iss", args.key.issuer.as_ref().or(issuer)),
        ("aud", args.key.audience.as_ref().or(audience)),
    ] {
        if let Some(value) = value {
            claims.insert(name.into(), value.clone().into());
        }
    }
    claims
}

/// The secret of a configuration: a public key signs nothing.
fn configured_secret(token: &TokenOptions) -> Result<(KeyText, Algorithm), String> {
    let algorithm = token
        .algorithms
        .iter()
        .find(|a| a.family() == AlgorithmFamily::Hmac);
    let secret = token.keys.iter().find_map(|key| match &key.material {
        Material::Secret(secret) if key.id.is_none() => Some(secret.clone()),
        _ => None,
    });
    match (secret, algorithm) {
        (Some(secret), Some(algorithm)) => Ok((KeyText::Secret(secret), *algorithm)),
        _ => {
            Err("the configuration has no secret in auth.jwt: name the private key by --key".into())
        }
    }
}

/// What signs. Errors: a secret that is too short for the server, a key of another kind.
fn encoding_key(key: KeyText, algorithm: Algorithm) -> Result<EncodingKey, String> {
    let read = match (key, algorithm.family()) {
        (KeyText::Secret(secret), AlgorithmFamily::Hmac) if secret.len() < SECRET_BYTES_MIN => {
            return Err(format!("a secret has at least {SECRET_BYTES_MIN} bytes"));
        }
        (KeyText::Secret(secret), AlgorithmFamily::Hmac) => {
            return Ok(EncodingKey::from_secret(&secret));
        }
        (KeyText::Pem(pem), AlgorithmFamily::Rsa) => EncodingKey::from_rsa_pem(pem.as_bytes()),
        (KeyText::Pem(pem), AlgorithmFamily::Ec) => EncodingKey::from_ec_pem(pem.as_bytes()),
        (KeyText::Pem(pem), AlgorithmFamily::Ed) => EncodingKey::from_ed_pem(pem.as_bytes()),
        (KeyText::Secret(_) | KeyText::Pem(_), _) => {
            return Err(format!("{algorithm:?} is not for a key of this kind"));
        }
    };
    read.map_err(|_| {
        format!("the file has no private key in PEM (PKCS#8) that {algorithm:?} is for")
    })
}
