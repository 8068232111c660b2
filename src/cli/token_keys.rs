//! The keys that the token commands take on the command line.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use campanile::auth::{Algorithm, AuthOptions};
use campanile::config;
use clap::Args;

use super::auth_options::auth_options;
use super::{FileArgs, sources};

/// Longest file with a key or a token, bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Where the key is.
#[derive(Debug, Args)]
pub(crate) struct KeyArgs {
    /// Take what is not named here from `[auth.jwt]` of this configuration file
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The secret of HS256, HS384 and HS512. It stands in the list of processes: better a file
    #[arg(long, value_name = "SECRET", conflicts_with_all = ["secret_file", "key"])]
    secret: Option<String>,
    /// A file with the secret; a line end after it is left out
    #[arg(long, value_name = "FILE", conflicts_with = "key")]
    secret_file: Option<PathBuf>,
    /// A file with a key in PEM: the private one to make tokens, the public one to check them
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// The algorithm: HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384
    /// or EdDSA. HS256 for a secret; for a key it must be said
    #[arg(long, value_name = "NAME", value_parser = algorithm)]
    algorithm: Option<Algorithm>,
    /// The key's id (`kid`)
    #[arg(long, value_name = "ID")]
    pub(crate) kid: Option<String>,
    /// Who issues the tokens (`iss`)
    #[arg(long, value_name = "ISSUER")]
    pub(crate) issuer: Option<String>,
    /// Whom they are for (`aud`)
    #[arg(long, value_name = "AUDIENCE")]
    pub(crate) audience: Option<String>,
}

/// A key as it was read. Never printed.
pub(crate) enum KeyText {
    Secret(Vec<u8>),
    Pem(String),
}

fn algorithm(name: &str) -> Result<Algorithm, String> {
    Algorithm::from_str(name).map_err(|_| "no such algorithm".into())
}

impl KeyArgs {
    /// Whether a key is named on the command line.
    pub(crate) fn has_key(&self) -> bool {
        self.secret.is_some() || self.secret_file.is_some() || self.key.is_some()
    }

    /// The options of the configuration file. Errors: what is wrong with it, a line each.
    pub(crate) fn configured(&self) -> Result<Option<AuthOptions>, String> {
        let Some(path) = &self.config else {
            return Ok(None);
        };
        let args = FileArgs {
            config: Some(path.clone()),
        };
        let config = sources::of_file(&args).and_then(|sources| config::load(&sources));
        let config = config.map_err(|problems| {
            let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
            lines.join("\n")
        })?;
        auth_options(&config).map(Some)
    }

    /// The key and its algorithm. Errors: none is named, or a file cannot be read.
    pub(crate) fn read(&self) -> Result<(KeyText, Algorithm), String> {
        let key = match (&self.secret, &self.secret_file, &self.key) {
            (Some(secret), ..) => KeyText::Secret(secret.clone().into_bytes()),
            (_, Some(file), _) => KeyText::Secret(read_line(file)?.into_bytes()),
            (.., Some(file)) => KeyText::Pem(read_text(file)?),
            (None, None, None) => {
                return Err("a key is needed: --secret-file FILE, --key FILE or --secret".into());
            }
        };
        match (&key, self.algorithm) {
            (_, Some(algorithm)) => Ok((key, algorithm)),
            (KeyText::Secret(_), None) => Ok((key, Algorithm::HS256)),
            (KeyText::Pem(_), None) => Err("--key needs --algorithm, such as ES256".into()),
        }
    }
}

/// A file without the line end at its end.
pub(crate) fn read_line(path: &Path) -> Result<String, String> {
    let text = read_text(path)?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

pub(crate) fn read_text(path: &Path) -> Result<String, String> {
    let file = std::fs::File::open(path);
    file.and_then(read_all)
        .map_err(|error| format!("{}: {error}", path.display()))
}

/// All text, if it is not longer than a key or a token can be.
pub(crate) fn read_all(from: impl Read) -> std::io::Result<String> {
    let mut text = String::new();
    let read = from.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if read as u64 > FILE_BYTES_MAX {
        return Err(std::io::Error::other("longer than a key or a token can be"));
    }
    Ok(text)
}
