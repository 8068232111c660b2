//! `campanile check-token`: whose a token is, or why it is refused.

use std::fmt::Write;
use std::process::ExitCode;
use std::sync::Arc;

use campanile::HttpFetch;
use campanile::auth::{
    AuthError, AuthOptions, Authenticator, Identity, KeyOptions, Material, Mode, Verdict,
};
use campanile::time::{Clock, Timestamp};
use clap::Args;
use tokio::runtime::Builder;

use super::token_keys::{KeyArgs, KeyText, read_all};

/// What `check-token` takes.
#[derive(Debug, Args)]
pub(crate) struct CheckTokenArgs {
    /// The token, or - to read it from stdin
    #[arg(value_name = "TOKEN", allow_hyphen_values = true)]
    token: String,
    #[command(flatten)]
    key: KeyArgs,
}

/// Says whose a token is. Exit code 1 if it is refused, 2 if it cannot be checked.
pub(crate) fn run(args: &CheckTokenArgs) -> ExitCode {
    let now_s = Clock::start().now().unix_ms / 1000;
    match check(args, now_s) {
        Ok(Ok(identity)) => super::print(&describe(&identity)),
        Ok(Err(refused)) => {
            eprintln!("refused: {refused} ({})", refused.reason());
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(super::EXIT_USAGE)
        }
    }
}

/// What the server would say of a token. Errors: it cannot be asked.
fn check(args: &CheckTokenArgs, now_s: u64) -> Result<Result<Identity, AuthError>, String> {
    let token = match &args.token[..] {
        "-" => read_all(std::io::stdin()).map_err(|error| format!("stdin: {error}"))?,
        token => token.to_owned(),
    };
    let fetch = Arc::new(HttpFetch::at_need());
    let options = options(&args.key)?;
    let auth = Authenticator::new(options, Some(fetch)).map_err(|e| e.to_string())?;
    match auth.verify(token.trim(), now_s) {
        Ok(Verdict::Known(identity)) => Ok(Ok(identity)),
        Ok(Verdict::Later(pending)) => {
            // The key set must be fetched.
            let runtime = Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| error.to_string())?;
            Ok(runtime.block_on(pending))
        }
        Ok(Verdict::Guest | Verdict::FirstMessage) => Ok(Err(AuthError::Missing)),
        Err(refused) => Ok(Err(refused)),
    }
}

/// What the server would be told: the configuration's, and what the command line says instead.
fn options(args: &KeyArgs) -> Result<AuthOptions, String> {
    let configured = args.configured()?;
    let is_configured = configured.is_some();
    let mut options = configured.unwrap_or_default();
    // Also where the server lets guests in, this is about tokens.
    options.mode = Mode::Required;
    if !is_configured || args.has_key() {
        let (key, algorithm) = args.read()?;
        options.token.jwks_url = None;
        options.token.keys = vec![KeyOptions {
            id: args.kid.clone(),
            algorithms: vec![algorithm],
            material: match key {
                KeyText::Secret(secret) => Material::Secret(secret),
                KeyText::Pem(pem) => Material::PublicPem(pem),
            },
        }];
    }
    if let Some(issuer) = &args.issuer {
        options.token.issuer = Some(issuer.clone());
    }
    if let Some(audience) = &args.audience {
        options.token.audience = vec![audience.clone()];
    }
    Ok(options)
}

/// Who somebody is, a line for each thing that is known.
fn describe(identity: &Identity) -> String {
    let time = |seconds: Option<u64>| match seconds {
        Some(seconds) => Timestamp::new(seconds.saturating_mul(1000)).to_string(),
        None => "not said".into(),
    };
    let roles: Vec<&str> = identity.roles.iter().collect();
    let mut lines = format!("user     {}\n", identity.user);
    for (name, value) in [
        ("roles", roles.join(", ")),
        ("issued", time(identity.issued_s)),
        ("expires", time(identity.expires_s)),
        (
            "id",
            identity
                .token_id
                .as_deref()
                .unwrap_or("none")
                .escape_debug()
                .to_string(),
        ),
    ] {
        writeln!(lines, "{name:8} {value}").expect("a String takes all that is written to it");
    }
    lines
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::{Cli, Command, gen_token};
    use super::*;

    const SECRET: &str = "--secret=a secret of thirty-two bytes, ok";

    fn folder() -> std::path::PathBuf {
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/auth/tests/keys")
    }

    fn command(args: &[&str]) -> Command {
        let args = std::iter::once("campanile").chain(args.iter().copied());
        Cli::try_parse_from(args).unwrap().command.unwrap()
    }

    /// Makes a token by the first list of flags and checks it by the second.
    fn made_and_checked(make: &[&str], by: &[&str], now_s: u64) -> Result<Identity, AuthError> {
        let Command::GenToken(made) = command(&[&["gen-token", "--user=ann"], make].concat())
        else {
            panic!("another command");
        };
        let token = gen_token::token(&made, 1000).unwrap();
        let Command::CheckToken(checked) = command(&[&["check-token", &token], by].concat()) else {
            panic!("another command");
        };
        check(&checked, now_s).unwrap()
    }

    #[test]
    fn what_is_made_is_known_and_other_keys_and_times_are_refused() {
        let identity = made_and_checked(&[SECRET, "--roles=a,b"], &[SECRET], 1000).unwrap();
        let shown = describe(&identity);
        for line in [
            "user     ann\n",
            "roles    a, b\n",
            "expires  1970-01-01T01:16:40.000Z\n",
        ] {
            assert!(shown.contains(line), "{shown}");
        }
        let other = "--secret=another secret of 32 bytes: ok!!";
        for (make, by, now_s, refused) in [
            (vec![SECRET], vec![other], 1000, AuthError::BadSignature),
            (vec![SECRET], vec![SECRET], 1000 + 3630, AuthError::Expired),
            (vec![SECRET], vec![SECRET], 960, AuthError::NotYetValid),
            (
                vec![SECRET, "--kid=a"],
                vec![SECRET, "--kid=b"],
                1000,
                AuthError::UnknownKey,
            ),
            (
                vec![SECRET],
                vec![SECRET, "--issuer=x"],
                1000,
                AuthError::WrongIssuer,
            ),
            (
                vec![SECRET],
                vec![SECRET, "--audience=x"],
                1000,
                AuthError::WrongAudience,
            ),
            (
                vec![SECRET],
                vec![SECRET, "--algorithm=HS384"],
                1000,
                AuthError::Algorithm,
            ),
        ] {
            assert_eq!(
                made_and_checked(&make, &by, now_s),
                Err(refused),
                "{make:?} {by:?}"
            );
        }
        let same = [SECRET, "--issuer=x", "--audience=y", "--kid=z"];
        let longer = [&same[..], &["--expires=2h"]].concat();
        assert!(made_and_checked(&longer, &same, 1000 + 7200).is_ok());
    }

    #[test]
    fn keys_come_from_files() {
        for (algorithm, name) in [("ES256", "ec-p256"), ("RS256", "rsa"), ("EdDSA", "ed25519")] {
            let algorithm = format!("--algorithm={algorithm}");
            let key =
                |end: &str| format!("--key={}", folder().join(name.to_owned() + end).display());
            let (private, public) = (key(".pem"), key(".pub.pem"));
            let found = made_and_checked(&[&private, &algorithm], &[&public, &algorithm], 1000);
            assert_eq!(&*found.unwrap().user, "ann");
        }
    }

    #[test]
    fn what_cannot_be_is_said_without_the_secret() {
        for flags in [
            &["--secret=short"][..],
            &[],
            &["--key=missing.pem", "--algorithm=ES256"],
            &["--key=missing.pem"],
            &[SECRET, "--algorithm=ES256"],
        ] {
            let Command::GenToken(args) = command(&[&["gen-token", "--user=ann"], flags].concat())
            else {
                panic!("another command");
            };
            let error = gen_token::token(&args, 1000).unwrap_err();
            assert!(
                !error.contains("thirty-two") && !error.contains("short\""),
                "{error}"
            );
            let Command::CheckToken(args) = command(&[&["check-token", "-x.y"], flags].concat())
            else {
                panic!("another command");
            };
            assert!(check(&args, 1000).is_err(), "{flags:?}");
        }
    }
}
