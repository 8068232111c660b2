//! The log: lines on stderr, filtered by `RUST_LOG`.

use std::io::IsTerminal;

use campanile::config::Problem;
use tracing_subscriber::EnvFilter;

/// Variable that filters the log.
const VARIABLE: &str = "RUST_LOG";

/// Starts the log: `RUST_LOG` if it is set, else `info`, and `debug` for our own if `verbose`.
///
/// Errors: `RUST_LOG` cannot be understood. Panics if the log was started before.
pub(crate) fn start(verbose: bool) -> Result<(), Problem> {
    let filter = filter(std::env::var(VARIABLE).ok().as_deref(), verbose)?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    Ok(())
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
