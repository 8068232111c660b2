//! Who may watch: those who know the token, from no other site's page.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderName};
use subtle::ConstantTimeEq;

use crate::auth::addresses::network;
use crate::time::Clock;

/// Wrong tokens of one address before it has to wait.
const WRONG_MAX: u32 = 10;
/// How long: from the first wrong one.
const WINDOW_MS: u64 = 60_000;
/// Addresses whose wrong tokens are counted. Where there are more, those of the rest count together.
const ADDRESSES_MAX: usize = 1024;

/// Why somebody does not get in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    /// No token, or another one.
    Unauthorized,
    /// Too many wrong tokens from there. Whether this one is right has not been looked at.
    TooMany,
}

/// The token, and who has guessed.
pub(super) struct Gate {
    token: Option<String>,
    clock: Clock,
    guesses: Mutex<HashMap<Option<IpAddr>, Guesses>>,
}

/// Wrong tokens of one address within a window.
struct Guesses {
    since_ms: u64,
    count: u32,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gate(has_token: {})", self.token.is_some())
    }
}

impl Gate {
    /// Panics if the token is empty.
    pub(super) fn new(token: Option<String>, clock: Clock) -> Self {
        assert!(token.as_deref() != Some(""), "an empty token opens to all");
        Self {
            token,
            clock,
            guesses: Mutex::default(),
        }
    }

    /// Whether a token is asked for.
    pub(super) fn is_locked(&self) -> bool {
        self.token.is_some()
    }

    /// Lets in who presents the token; anybody, where none is asked for.
    pub(super) fn enter(&self, presented: &str, peer: Option<IpAddr>) -> Result<(), Denied> {
        let Some(token) = &self.token else {
            return Ok(());
        };
        let now = self.clock.now().monotonic_ms;
        let mut guesses = self.guesses.lock().unwrap_or_else(PoisonError::into_inner);
        let mut address = peer.map(network);
        if guesses.len() >= ADDRESSES_MAX && !guesses.contains_key(&address) {
            guesses.retain(|_, guesses| now - guesses.since_ms < WINDOW_MS);
            if guesses.len() >= ADDRESSES_MAX {
                address = None;
            }
        }
        let known = guesses.get_mut(&address);
        let known = known.filter(|guesses| now - guesses.since_ms < WINDOW_MS);
        if known
            .as_ref()
            .is_some_and(|guesses| guesses.count >= WRONG_MAX)
        {
            return Err(Denied::TooMany);
        }
        // The time tells how long the token is, and nothing of what it is.
        if bool::from(presented.as_bytes().ct_eq(token.as_bytes())) {
            guesses.remove(&address);
            return Ok(());
        }
        match known {
            Some(guesses) => guesses.count += 1,
            None => {
                let first = Guesses {
                    since_ms: now,
                    count: 1,
                };
                guesses.insert(address, first);
            }
        }
        Err(Denied::Unauthorized)
    }

    /// Whether a request is of this very site, or of no page at all: a WebSocket knows no same-origin
    /// rule but the server's.
    ///
    /// Where no token is asked for, the host must be an address or `localhost` as well. Any other name
    /// can be made to resolve to 127.0.0.1 by its owner, whose page would then be of the same origin.
    pub(super) fn is_of_this_site(&self, headers: &HeaderMap) -> bool {
        let (Ok(Some(host)), Ok(origin)) = (single(headers, &HOST), single(headers, &ORIGIN))
        else {
            return false;
        };
        if !self.is_locked() && !is_literal(host) {
            return false;
        }
        origin.is_none_or(|origin| {
            let of = ["http://", "https://"]
                .iter()
                .find_map(|scheme| origin.strip_prefix(scheme));
            of.is_some_and(|of| of.eq_ignore_ascii_case(host))
        })
    }
}

/// The one value of a header field; an error if there are several, or one that is no text.
fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, ()> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(drop),
        (Some(_), Some(_)) => Err(()),
    }
}

/// Whether a host, with its port or without, is a name that no resolver is asked for.
fn is_literal(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let inner = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    inner.is_some_and(|address| address.parse::<Ipv6Addr>().is_ok())
        || name.parse::<std::net::Ipv4Addr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

    fn locked() -> Gate {
        Gate::new(Some("open sesame".into()), Clock::start())
    }

    fn headers(fields: &[(HeaderName, &str)]) -> HeaderMap {
        let fields = fields.iter();
        fields
            .map(|(name, value)| (name.clone(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn the_token_opens_and_no_other_text_does() {
        let gate = locked();
        assert_eq!(gate.enter("open sesame", HERE), Ok(()));
        for wrong in ["", "open", "open sesam", "open sesame ", "OPEN SESAME"] {
            assert_eq!(
                gate.enter(wrong, HERE),
                Err(Denied::Unauthorized),
                "{wrong:?}"
            );
        }
        assert_eq!(Gate::new(None, Clock::start()).enter("", HERE), Ok(()));
    }

    #[test]
    fn who_has_guessed_too_often_waits_and_nobody_else_does() {
        let gate = locked();
        for _ in 0..WRONG_MAX {
            assert_eq!(gate.enter("guess", HERE), Err(Denied::Unauthorized));
        }
        assert_eq!(gate.enter("open sesame", HERE), Err(Denied::TooMany));
        let other = Some([10, 0, 0, 1].into());
        assert_eq!(gate.enter("open sesame", other), Ok(()));
    }

    #[test]
    fn a_guesser_has_one_allowance_for_all_addresses_of_its_network() {
        let gate = locked();
        for host in 0..WRONG_MAX {
            let host = format!("2001:db8::{host:x}").parse().unwrap();
            assert_eq!(gate.enter("guess", Some(host)), Err(Denied::Unauthorized));
        }
        let host = "2001:db8::ffff".parse().unwrap();
        assert_eq!(gate.enter("guess", Some(host)), Err(Denied::TooMany));
    }

    #[test]
    fn more_guessers_than_are_counted_share_one_allowance() {
        let gate = locked();
        let address = |n: usize| {
            Some(IpAddr::from(std::net::Ipv4Addr::from_bits(
                u32::try_from(n).unwrap(),
            )))
        };
        for n in 0..ADDRESSES_MAX {
            let _ = gate.enter("guess", address(n));
        }
        let denied = (0..=WRONG_MAX).map(|_| gate.enter("guess", address(ADDRESSES_MAX)));
        assert_eq!(denied.last(), Some(Err(Denied::TooMany)));
        let held = gate.guesses.lock().unwrap().len();
        assert!(held <= ADDRESSES_MAX + 1, "{held}");
    }

    #[test]
    fn a_page_of_another_site_is_told_apart() {
        let gate = locked();
        let is_own = |fields: &[_]| gate.is_of_this_site(&headers(fields));
        assert!(is_own(&[(HOST, "ops.example:9090")]), "no page at all");
        assert!(is_own(&[
            (HOST, "ops.example:9090"),
            (ORIGIN, "http://ops.example:9090")
        ]));
        assert!(is_own(&[
            (HOST, "ops.example"),
            (ORIGIN, "https://Ops.Example")
        ]));
        for other in [
            "http://ops.example",
            "http://ops.example:9091",
            "http://evil.example:9090",
            "null",
            "",
            "ops.example:9090",
            "http://ops.example:9090.evil.example",
            "http://evil.example/http://ops.example:9090",
        ] {
            assert!(
                !is_own(&[(HOST, "ops.example:9090"), (ORIGIN, other)]),
                "{other:?}"
            );
        }
        assert!(!is_own(&[]), "no host");
        let twice = [(HOST, "a"), (ORIGIN, "http://a"), (ORIGIN, "http://a")];
        assert!(!is_own(&twice), "two origins");
    }

    #[test]
    fn without_a_token_a_name_that_could_be_bound_anew_is_refused() {
        let gate = Gate::new(None, Clock::start());
        for (host, expected) in [
            ("127.0.0.1:9090", true),
            ("[::1]:9090", true),
            ("localhost:9090", true),
            ("localhost", true),
            ("rebound.example:9090", false),
            ("localhost.rebound.example", false),
            ("127.0.0.1.rebound.example", false),
            ("[rebound.example]", false),
            ("", false),
        ] {
            let own = format!("http://{host}");
            let fields = headers(&[(HOST, host), (ORIGIN, &own)]);
            assert_eq!(gate.is_of_this_site(&fields), expected, "{host}");
        }
    }
}
