//! The built binary, as a person at a shell meets it. No test here opens a socket.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use campanile::config::{Config, Sources, load};

/// Runs the binary with these variables and no others.
fn campanile_with(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_campanile"));
    command
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied());
    command.output().expect("the binary runs")
}

fn campanile(arguments: &[&str]) -> Output {
    campanile_with(arguments, &[])
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).expect("UTF-8")
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).expect("UTF-8")
}

/// A file that is gone at the end of the test.
struct TemporaryFile(PathBuf);

impl TemporaryFile {
    fn new(test: &str, text: impl AsRef<[u8]>) -> Self {
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let path = directory.join(format!("{test}-{}.toml", std::process::id()));
        std::fs::write(&path, text).expect("the file is written");
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("UTF-8")
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        // What is left behind is only a small file in the target directory.
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn help_and_version_go_to_stdout() {
    let help = campanile(&["--help"]);
    assert!(help.status.success());
    for word in [
        "serve",
        "check-config",
        "default-config",
        "doctor",
        "--listen",
        "CAMPANILE_",
    ] {
        assert!(stdout(&help).contains(word), "{word}");
    }
    let version = campanile(&["--version"]);
    assert_eq!(
        stdout(&version),
        format!("campanile {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn wrong_use_exits_2() {
    for arguments in [
        &["sing"][..],
        &["--tune", "x"],
        &["serve", "--listen"],
        &["doctor", "x"],
    ] {
        let output = campanile(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn secrets_that_everybody_can_read_are_warned_of() {
    let open_to = |file: &TemporaryFile, mode| {
        std::fs::set_permissions(&file.0, PermissionsExt::from_mode(mode)).expect("it is our own");
    };
    let secret = TemporaryFile::new("secret", "0123456789abcdef0123456789abcdef\n");
    let text = format!(
        "[auth]\nmode = \"required\"\njwt.secret_file = {:?}\n",
        secret.path()
    );
    let plain = TemporaryFile::new("plain", &text);
    let own = TemporaryFile::new(
        "own",
        format!("{text}[admin]\ntoken = \"0123456789abcdef\"\n"),
    );
    let warned = |file: &TemporaryFile| {
        let checked = campanile(&["check-config", "-c", file.path()]);
        assert_eq!((checked.status.code(), stdout(&checked)), (Some(0), "ok\n"));
        let lines = stderr(&checked).lines();
        let path = |line: &str| {
            line.strip_prefix("warning: ")?
                .split_once(" holds a secret")
                .map(|it| it.0.to_owned())
        };
        lines
            .map(|line| path(line).unwrap_or_else(|| panic!("{line}")))
            .collect::<Vec<_>>()
    };
    for file in [&secret, &plain, &own] {
        open_to(file, 0o644);
    }
    assert_eq!(
        warned(&plain),
        [secret.path()],
        "there is no secret in the file itself"
    );
    assert_eq!(warned(&own), [own.path(), secret.path()]);
    open_to(&own, 0o640);
    open_to(&secret, 0o600);
    assert_eq!(warned(&own), [""; 0]);
}

#[test]
fn the_default_file_is_ok_and_equals_the_defaults() {
    let printed = campanile(&["default-config"]);
    assert!(printed.status.success());
    let text = stdout(&printed).to_string();
    let sources = Sources {
        file: Some(("default".into(), text.clone())),
        ..Sources::default()
    };
    assert_eq!(load(&sources), Ok(Config::default()));

    let file = TemporaryFile::new("default", text);
    let checked = campanile(&["check-config", "-c", file.path()]);
    assert_eq!((checked.status.code(), stdout(&checked)), (Some(0), "ok\n"));
    assert_eq!(stderr(&checked), "");
}

#[test]
fn default_config_prints_the_page_of_documentation() {
    let printed = campanile(&["default-config", "--markdown"]);
    assert_eq!(stdout(&printed), campanile::config::reference());
}

#[test]
fn check_config_names_every_problem_of_file_and_variables() {
    let file = TemporaryFile::new(
        "problems",
        "[limits]\nmax_message_size = \"big\"\n\n[server]\nshard = 2\n",
    );
    let variables = [
        ("CAMPANILE_SHUTDOWN__DRAIN", "soon"),
        ("CAMPANILE_ROOM", "not ours"),
    ];
    let output = campanile_with(&["check-config", "-c", file.path()], &variables);
    assert_eq!((output.status.code(), stdout(&output)), (Some(2), ""));
    let path = file.path();
    assert_eq!(
        stderr(&output),
        format!(
            "{path}:2: limits.max_message_size: expected bytes 1..=67108864, found \"big\"\n\
             {path}:5: server.shard: unknown option; did you mean \"shards\"?\n\
             CAMPANILE_SHUTDOWN__DRAIN: shutdown.drain: expected duration 0s..=1h, found \"soon\"\n"
        )
    );
}

#[test]
fn check_config_names_problems_of_routes_and_namespaces_together() {
    let file = TemporaryFile::new(
        "tables",
        "[[route]]\npath = \"/ws/{room}\"\n\n[[namespace]]\n[[namespace]]\npattern = \"team:*\"\n\
         [[namespace]]\npattern = \"x\"\npublish = [\"role:\"]\n[origin]\nrequire = \"sometimes\"\n",
    );
    let output = campanile(&["check-config", "-c", file.path()]);
    assert_eq!(output.status.code(), Some(2));
    let path = file.path();
    let said: Vec<&str> = stderr(&output).lines().collect();
    let expected = [
        "2: route[0].path: expected a path",
        "9: namespace[2].publish: expected 1..=32 of",
        "11: origin.require: expected \"auto\" or \"always\" or \"never\"",
        "6: namespace[1].pattern: \"team:*\" never holds",
        "8: namespace[2].pattern: \"x\" never holds",
    ];
    assert_eq!(said.len(), expected.len(), "{said:?}");
    for (line, expected) in said.iter().zip(expected) {
        assert!(line.starts_with(&format!("{path}:{expected}")), "{line}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_a_problem() {
    let absent = campanile(&["check-config", "-c", "no/such/file.toml"]);
    assert_eq!(absent.status.code(), Some(2));
    assert!(stderr(&absent).starts_with("no/such/file.toml: cannot be read: "));

    let binary = TemporaryFile::new("binary", [0xff, 0xfe, 0x00]);
    let output = campanile(&["serve", "-c", binary.path()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("cannot be read"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn check_config_warns_of_what_is_risky_and_allowed() {
    let variables = [("CAMPANILE_AUTH__MODE", "trust")];
    let output = campanile_with(&["check-config"], &variables);
    assert_eq!((output.status.code(), stdout(&output)), (Some(0), "ok\n"));
    assert!(stderr(&output).starts_with("warning: auth.mode = \"trust\""));
}

/// A system without roots of trust, as a small container is.
const NO_ROOTS: [(&str, &str); 2] = [
    ("SSL_CERT_FILE", "/dev/null"),
    ("SSL_CERT_DIR", "/dev/null"),
];

#[test]
fn roots_of_trust_are_needed_only_for_servers_that_are_asked() {
    let output = campanile_with(&["check-config"], &NO_ROOTS);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let secret = TemporaryFile::new("no-roots-secret", "0123456789abcdef0123456789abcdef");
    let file = secret.0.to_str().expect("UTF-8");
    let made = campanile(&["gen-token", "--user", "ann", "--secret-file", file]);
    let token = stdout(&made).trim();
    let output = campanile_with(&["check-token", token, "--secret-file", file], &NO_ROOTS);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let url = "https://issuer.example/there";
    for variable in [
        "CAMPANILE_AUTH__JWT__JWKS_URL",
        "CAMPANILE_AUTH__SESSION_URL",
    ] {
        let mut variables = NO_ROOTS.to_vec();
        variables.extend([
            (variable, url),
            ("CAMPANILE_AUTH__JWT__ALGORITHMS", "ES256"),
        ]);
        let output = campanile_with(&["check-config"], &variables);
        assert_eq!(output.status.code(), Some(2), "{variable}");
        assert!(
            stderr(&output).contains("ca-certificates"),
            "{}",
            stderr(&output)
        );
    }
}

#[test]
fn serve_refuses_guests_on_a_public_address_and_names_the_options() {
    let output = campanile(&["serve", "--listen", "127.0.0.1:1", "--listen", "0.0.0.0:1"]);
    assert_eq!(output.status.code(), Some(2));
    let said = stderr(&output);
    assert!(
        said.starts_with("--listen: server.listen: 0.0.0.0:1 is not loopback"),
        "{said}"
    );
    assert!(
        said.contains("auth.allow_guests") && said.contains("auth.mode"),
        "{said}"
    );
}

#[test]
fn flags_are_checked_like_options() {
    let output = campanile(&["--shards", "1025", "--listen", "here"]);
    assert_eq!(output.status.code(), Some(2));
    let said = stderr(&output);
    assert!(said.contains("--shards: server.shards: expected integer 0..=1024, found \"1025\""));
    assert!(said.contains("--listen: server.listen: expected"), "{said}");
}

#[test]
fn a_log_filter_that_cannot_be_understood_stops_the_start() {
    let output = campanile_with(&["serve"], &[("RUST_LOG", "campanile=loud")]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).starts_with("RUST_LOG: "),
        "{}",
        stderr(&output)
    );
}

#[test]
fn doctor_prints_a_table_and_fails_only_with_a_failed_check() {
    let output = campanile(&["doctor"]);
    let table = stdout(&output);
    assert!(table.starts_with("CHECK "), "{table}");
    for name in [
        "kernel",
        "seccomp",
        "RLIMIT_NOFILE",
        "net.core.somaxconn",
        "fs.file-max",
    ] {
        assert!(
            table.lines().any(|line| line.starts_with(name)),
            "{name}\n{table}"
        );
    }
    let failed = table
        .lines()
        .any(|line| line.split_whitespace().any(|word| word == "FAIL"));
    assert_eq!(output.status.code(), Some(i32::from(failed)), "{table}");
}
