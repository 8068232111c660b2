//! What the gate has counted.

use std::fmt;

use super::families::{Families, number};
use crate::auth::Gate;
use crate::security;

/// Shows what authentication has done, and the events of the security log.
///
/// Errors: of what it is written to, which has none.
pub fn of_gate(gate: &Gate, out: &mut Families<'_>) -> fmt::Result {
    let stats = gate.authenticator().stats();
    let plain = |value: u64| [(Vec::new(), number(value))];
    let counters = [
        (
            "tokens_verified",
            "Tokens whose signature was verified.",
            stats.verified,
        ),
        (
            "tokens_cached",
            "Tokens that were known from before.",
            stats.cached,
        ),
        (
            "sessions_confirmed",
            "Sessions that the session server has confirmed.",
            stats.sessions,
        ),
        (
            "jwks_fetches",
            "Key sets that were fetched.",
            stats.jwks_fetches,
        ),
        (
            "jwks_failures",
            "Key sets that could not be fetched or read.",
            stats.jwks_failures,
        ),
    ];
    for (name, help, value) in counters {
        out.counter(&format!("campanile_auth_{name}"), help, plain(value))?;
    }
    let reasons = stats
        .refused
        .iter()
        .map(|&(reason, value)| (vec![("reason", reason.to_owned())], number(value)));
    let help = "Credentials that were refused, by reason.";
    out.counter("campanile_auth_refused", help, reasons)?;
    let gauges = [
        (
            "keys",
            "Keys that tokens can be verified with now.",
            stats.keys,
        ),
        (
            "keys_skipped",
            "Keys of the last set that cannot be used.",
            stats.keys_skipped,
        ),
        (
            "revocations",
            "Revocations that are kept.",
            stats.revocations,
        ),
    ];
    for (name, help, value) in gauges {
        out.gauge(&format!("campanile_auth_{name}"), help, plain(value as u64))?;
    }
    let events = security::counts()
        .map(|(kind, value)| (vec![("kind", kind.as_str().to_owned())], number(value)));
    let help = "Security events, also those that were not written to the log.";
    out.counter("campanile_security_events", help, events)
}
