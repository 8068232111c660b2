//! The command line: what was asked for, and which function does it. No logic of the server.
//!
//! Exit codes: 0 done, 1 the start failed or a check of `doctor` did, 2 wrong use or configuration.

mod auth_options;
mod chat_page;

mod check_token;
mod doctor;
mod files;
mod gen_token;
mod health;
mod house;
mod load;
mod logging;
mod notify;
mod pairing_options;
mod realtime_options;
mod reload;
mod serve;
mod sources;
mod token_keys;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use campanile::config::{self, Config, Origin, Problem, Sources};
use clap::{Args, Parser, Subcommand};

/// The configuration or the use of the command line is wrong. clap uses the same code.
const EXIT_USAGE: u8 = 2;

const AFTER_HELP: &str = "\
Without a command and without -c the server starts in development mode: it listens on \
127.0.0.1:8080 and lets everybody in as a guest.

Options come from the file, from variables CAMPANILE_SECTION__KEY (CAMPANILE_SERVER__SHARDS=2) and \
from flags; each overrides the one before. RUST_LOG filters the log, which goes to stderr.

Exit codes: 0 done, 1 the start failed or a check did, 2 wrong use or configuration.";

/// A realtime WebSocket server for Linux: one io_uring per core.
#[derive(Debug, Parser)]
#[command(name = "campanile", version, after_help = AFTER_HELP)]
#[command(args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server (the same as no command)
    Serve(ServeArgs),
    /// Check file and variables: prints "ok", or every problem and exits 2
    CheckConfig(FileArgs),
    /// Print a configuration file with every option, its default and its meaning
    DefaultConfig(DefaultConfigArgs),
    /// Check what the server needs of this machine, with the command that mends what is wrong
    Doctor,
    /// Ask a running server whether it is well: prints "ok", or why not and exits 1
    Health(health::HealthArgs),
    /// Make a token for a user, signed with a key of yours
    GenToken(gen_token::GenTokenArgs),
    /// Say whose a token is, or why it is refused (exit code 1)
    CheckToken(check_token::CheckTokenArgs),
    /// Put a WebSocket server under load, check all that it answers, and measure it
    Load(Box<load::LoadArgs>),
}

/// What `serve` takes.
#[derive(Debug, Args)]
struct ServeArgs {
    #[command(flatten)]
    file: FileArgs,
    /// Address to listen on instead of `server.listen`; may be repeated
    #[arg(short, long, value_name = "ADDR")]
    listen: Vec<String>,
    /// Address of the admin listener instead of `server.admin_listen`; may be repeated, "" = none
    #[arg(long, value_name = "ADDR")]
    admin_listen: Vec<String>,
    /// Threads that serve connections, 0 = one per allowed core
    #[arg(short, long, value_name = "N")]
    shards: Option<String>,
    /// Development mode: loopback and guests, whatever file and variables say
    #[arg(long)]
    dev: bool,
    /// Log a line for each connection and message
    #[arg(short, long)]
    verbose: bool,
}

#[derive(Debug, Args)]
struct FileArgs {
    /// Configuration file, TOML
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct DefaultConfigArgs {
    /// As a page of documentation instead
    #[arg(long)]
    markdown: bool,
}

/// Does what the command line asks for.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command.unwrap_or(Command::Serve(cli.serve)) {
        Command::Serve(args) => run_server(args),
        Command::CheckConfig(args) => check_config(&args),
        Command::DefaultConfig(args) if args.markdown => print(&config::reference()),
        Command::DefaultConfig(_) => print(&config::default_toml()),
        Command::Doctor => doctor::run(),
        Command::Health(args) => health::run(&args),
        Command::GenToken(args) => gen_token::run(&args),
        Command::CheckToken(args) => check_token::run(&args),
        Command::Load(args) => load::run(&args),
    }
}

fn run_server(args: ServeArgs) -> ExitCode {
    let config = match load_config(&args) {
        Ok(config) => config,
        Err(problems) => return refuse(&problems),
    };
    if let Err(problem) = logging::start(config.server.verbose_logging, &config.log.security_file) {
        return refuse(&[problem]);
    }
    let origin = sources::origin(&args);
    announce(&config, &origin);
    serve::run(&config, &origin, Box::new(move || load_config(&args)))
}

/// Everything that `serve` goes by: at the start, and again at SIGHUP.
fn load_config(args: &ServeArgs) -> Result<Config, Vec<Problem>> {
    checked(&sources::of_serve(args)?)
}

/// Texts, the files that they name, and what is to be made of both.
fn checked(sources: &Sources) -> Result<Config, Vec<Problem>> {
    let config = config::load_and_check(sources, files::problems)?;
    house::try_out(&config).map(|()| config)
}

/// The first lines of the log: where the configuration is from, and what is risky in it.
fn announce(config: &Config, origin: &Origin) {
    let listen = &config.server.listen;
    match origin {
        Origin::Development => tracing::info!(
            ?listen,
            "development mode: whoever connects is let in; `campanile serve -c FILE` is the \
             ordinary form"
        ),
        Origin::File(path) => tracing::info!(?listen, "configuration from {}", path.display()),
    }
    let file = match origin {
        Origin::Development => None,
        Origin::File(path) => Some(path.as_path()),
    };
    for warning in warnings(config, file) {
        tracing::warn!("{warning}");
    }
}

/// What is risky in a configuration, and in the files that it is made of.
fn warnings(config: &Config, file: Option<&Path>) -> Vec<String> {
    let mut warnings = config.warnings();
    warnings.extend(files::warnings(config, file));
    warnings
}

fn check_config(args: &FileArgs) -> ExitCode {
    match sources::of_file(args).and_then(|sources| checked(&sources)) {
        Ok(config) => {
            for warning in warnings(&config, args.config.as_deref()) {
                eprintln!("warning: {warning}");
            }
            print("ok\n")
        }
        Err(problems) => refuse(&problems),
    }
}

/// Every problem on a line of its own, and the exit code for them.
fn refuse(problems: &[Problem]) -> ExitCode {
    for problem in problems {
        eprintln!("{problem}");
    }
    ExitCode::from(EXIT_USAGE)
}

/// Writes to stdout. A reader who has gone (`| head`) is not an error.
fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            eprintln!("stdout: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_command_takes_the_flags_of_serve() {
        let bare = Cli::try_parse_from(["campanile", "--listen", "[::1]:1", "--dev"]).unwrap();
        assert!(bare.command.is_none());
        assert_eq!(bare.serve.listen, ["[::1]:1"]);
        assert!(bare.serve.dev);
    }
}
