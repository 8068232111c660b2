//! The log: lines on stderr, filtered by `RUST_LOG`.

use std::fs::{File, OpenOptions};
use std::io::IsTerminal;
use std::sync::Mutex;

use campanile::config::Problem;
use campanile::security;
use tracing::Metadata;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

/// Variable that filters the log.
const VARIABLE: &str = "RUST_LOG";

/// Starts the log: `RUST_LOG` if it is set, else `info`, and `debug` for our own if `verbose`. Security
/// events go to `security_file` instead, one JSON object a line, if it is named.
///
/// Errors: `RUST_LOG` cannot be understood; the file cannot be opened. Panics if the log was started
/// before.
pub(crate) fn start(verbose: bool, security_file: &str) -> Result<(), Problem> {
    let filter = filter(std::env::var(VARIABLE).ok().as_deref(), verbose)?;
    let is_security = |metadata: &Metadata<'_>| metadata.target() == security::TARGET;
    let has_file = !security_file.is_empty();
    let lines = fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_filter(filter)
        .with_filter(filter_fn(move |metadata| {
            !(has_file && is_security(metadata))
        }));
    let events = match has_file {
        false => None,
        true => Some(
            fmt::layer()
                .json()
                .flatten_event(true)
                .with_writer(Mutex::new(append_to(security_file)?))
                .with_filter(filter_fn(is_security)),
        ),
    };
    tracing_subscriber::registry()
        .with(lines)
        .with(events)
        .init();
    Ok(())
}

/// Opens a file to be appended to. Lines go out whole, so that another process may rotate it by copying
/// and truncating.
fn append_to(path: &str) -> Result<File, Problem> {
    let file = OpenOptions::new().create(true).append(true).open(path);
    file.map_err(|error| Problem {
        source: path.into(),
        line: None,
        key: "log.security_file".into(),
        message: format!("cannot be opened: {error}"),
    })
}

fn filter(variable: Option<&str>, verbose: bool) -> Result<EnvFilter, Problem> {
    let directives = match variable {
        Some(set) if !set.trim().is_empty() => set,
        _ if verbose => "info,campanile=debug",
        _ => "info",
    };
    EnvFilter::try_new(directives).map_err(|error| Problem {
        source: VARIABLE.into(),
        line: None,
        key: String::new(),
        message: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_wins_over_verbose() {
        let shown = |variable, verbose| filter(variable, verbose).unwrap().to_string();
        assert_eq!(shown(None, false), "info");
        assert!(shown(None, true).contains("campanile=debug"));
        assert_eq!(shown(Some("warn"), true), "warn");
        assert_eq!(shown(Some(" "), false), "info");
    }

    #[test]
    fn a_filter_that_cannot_be_understood_is_a_problem() {
        assert_eq!(
            filter(Some("campanile=loud"), false).unwrap_err().source,
            "RUST_LOG"
        );
    }
}
