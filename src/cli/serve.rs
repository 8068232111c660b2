//! `campanile serve`: runs the server until it is told to stop.

use std::process::ExitCode;

use campanile::config::{Config, Origin};

/// `EX_SOFTWARE` of sysexits.h: this build cannot do what was asked.
const EXIT_SOFTWARE: u8 = 70;

/// Runs the server. Logging is set up and the configuration has been announced.
pub(crate) fn run(config: Config, origin: &Origin) -> ExitCode {
    tracing::error!(
        listen = ?config.server.listen,
        "{origin}: this build has no server in it"
    );
    ExitCode::from(EXIT_SOFTWARE)
}
