//! Who calls: a user by token, session or trust, a guest, or a program with a key of the server's.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts, Request, State as Extract};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::error::ApiError;
use super::state::State;
use crate::auth::addresses::network;
use crate::auth::keys::{Scope, ServerKey};
use crate::auth::{AuthError, Identity, Verdict, Visitor, bearer};
use crate::id::UserId;
use crate::realtime::{Asking, Roles};
use crate::security::{self, Event, Kind};
use crate::tls::IsSecure;

/// Who calls, as an extractor: found once for each request.
///
/// A key of the server's API counts first, then whatever says who a user is before an upgrade:
/// `Authorization`, a cookie, `?token=` where that is allowed, `?user_id=` and `X-User-Id` in trust
/// mode. A request of a page whose origin is not allowed is refused, and so is one that would change
/// something by a cookie and names no origin.
#[derive(Clone, Debug)]
pub enum Caller {
    /// A user.
    User(Identity),
    /// Nobody is known, and guests are let in: they may look at what everybody may see.
    Guest,
    /// A program of the operator's.
    Server(ServerKey),
    /// Whoever has reached a listener of development mode, without credentials: may do all.
    Development,
}

impl Caller {
    /// The caller, if it is somebody. Errors: 401 to a guest.
    pub fn known(&self) -> Result<&Self, ApiError> {
        match self {
            Self::Guest => Err(ApiError::unauthorized()),
            Self::User(_) | Self::Server(_) | Self::Development => Ok(self),
        }
    }

    /// Whether it speaks for the server.
    pub fn is_server(&self) -> bool {
        matches!(self, Self::Server(_) | Self::Development)
    }

    /// As which the application is asked: a user with its own powers, or a key for `scope` with all.
    ///
    /// Errors: 403 to a key that is not for this.
    pub fn asking(&self, scope: Scope) -> Result<Asking, ApiError> {
        match self {
            Self::User(identity) => Ok(Asking::user(identity.user.clone(), identity.roles.clone())),
            Self::Guest => {
                // A name that no other guest has at this moment, and nobody is told.
                let name = format!("guest-{:012x}", fastrand::u64(..1 << 48));
                Ok(Asking::user(UserId::from(name), Roles::default()))
            }
            Self::Server(_) | Self::Development => self.server(scope),
        }
    }

    /// The server itself. Errors: 401 to a guest, 403 to a user and to a key that is not for this.
    pub fn server(&self, scope: Scope) -> Result<Asking, ApiError> {
        match self {
            Self::Server(key) if !key.allows(scope) => {
                let error = "this key is not for this";
                Err(ApiError::forbidden(error).detail("scope", scope_name(scope)))
            }
            _ => self.any_server(),
        }
    }

    /// The server itself, by whichever key. Errors: as [`server`](Self::server).
    pub fn any_server(&self) -> Result<Asking, ApiError> {
        match self {
            Self::Server(_) | Self::Development => Ok(Asking::server()),
            Self::Guest => Err(ApiError::unauthorized()),
            Self::User(_) => Err(ApiError::forbidden("this takes a key of the server API")),
        }
    }

    /// A name for tables, which no two callers share.
    pub(super) fn name(&self) -> String {
        match self {
            Self::User(identity) => format!("user {}", identity.user),
            Self::Guest => "guest".to_owned(),
            Self::Server(key) => format!("key {}", key.name),
            Self::Development => "development".to_owned(),
        }
    }
}

fn scope_name(scope: Scope) -> &'static str {
    match scope {
        Scope::Publish => "publish",
        Scope::Users => "users",
        Scope::Rooms => "rooms",
        Scope::Admin => "admin",
    }
}

/// From where a request came, and by which name of the server.
pub(super) struct Arrival<'r>(Visitor<'r>);

impl<'r> Arrival<'r> {
    pub(super) fn of(state: &State, parts: &'r Parts) -> Self {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        // A router that is served otherwise need not know the peer.
        let nobody = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let peer = peer.map_or(nobody, |ConnectInfo(peer)| *peer);
        let is_secure = parts.extensions.get::<IsSecure>();
        let is_secure = is_secure.is_some_and(|IsSecure(is_secure)| *is_secure);
        Self(state.gate.visitor(peer, is_secure, parts))
    }

    pub(super) fn visitor(&self) -> &Visitor<'r> {
        &self.0
    }

    /// The client's address; `None` where the router is served without it.
    pub(super) fn address(&self) -> Option<IpAddr> {
        Some(self.0.address).filter(|address| !address.is_unspecified())
    }

    /// Whether the client is on this machine, as far as is known, and means it by name: the name alone
    /// anybody can write.
    fn is_of_this_machine(&self) -> bool {
        self.names_loopback() && self.address().is_none_or(|address| address.is_loopback())
    }

    /// Whether the client has named this machine by a name that no other machine can take: what a page
    /// that has its own name lead here (DNS rebinding) does not do.
    fn names_loopback(&self) -> bool {
        let host = match self.0.host.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
            _ => &self.0.host,
        };
        let address = host.trim_start_matches('[').trim_end_matches(']');
        let address: Option<IpAddr> = address.parse().ok();
        host.eq_ignore_ascii_case("localhost") || address.is_some_and(|it| it.is_loopback())
    }
}

/// Fields by which a proxy says that a request is not its own.
const PASSED_ON: [&str; 4] = ["forwarded", "x-forwarded-for", "x-real-ip", "via"];

/// Whether a proxy has passed a request on, or the client says so: then its peer on this machine is not
/// who asks, whatever has become of the address that the proxy told.
fn is_passed_on(parts: &Parts) -> bool {
    PASSED_ON
        .iter()
        .any(|name| parts.headers.contains_key(*name))
}

/// Lets through who may do an operator's work.
pub(super) async fn operators_only(
    Extract(state): Extract<State>,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    let caller = Caller::from_request_parts(&mut parts, &state).await;
    match caller.and_then(|caller| caller.server(Scope::Admin)) {
        Ok(_) => next.run(Request::from_parts(parts, body)).await,
        Err(error) => error.into_response(),
    }
}

impl FromRequestParts<State> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, ApiError> {
        if let Some(caller) = parts.extensions.get::<Self>() {
            return Ok(caller.clone());
        }
        let arrival = Arrival::of(state, parts);
        let caller = identify(state, parts, &arrival).await;
        let known = match &caller {
            Ok(Self::Guest) | Err(_) => None,
            Ok(caller) => Some(caller.name()),
        };
        let (address, path) = (arrival.0.address, parts.uri.path().to_owned());
        let counted = known.clone().unwrap_or_else(|| stranger(address));
        let taken = state.rates.take(&counted, state.clock.now().monotonic_ms);
        let told = |kind, reason: &str| report(kind, reason, address, known.as_deref(), &path);
        taken.map_err(|wait_ms| {
            told(Kind::Limit, "requests");
            ApiError::rate_limited(wait_ms)
        })?;
        let caller = caller.inspect_err(|error| told(Kind::Refused, error.reason()))?;
        check_origin(state, parts, &arrival, &caller)
            .inspect_err(|_| told(Kind::Refused, "origin"))?;
        parts.extensions.insert(caller.clone());
        Ok(caller)
    }
}

/// As whom somebody is counted whom nobody knows, and who may guess at keys and tokens.
fn stranger(address: IpAddr) -> String {
    format!("address {}", network(address))
}

/// Tells the log of what concerns the server's safety.
fn report(kind: Kind, reason: &str, address: IpAddr, caller: Option<&str>, path: &str) {
    security::report(Event {
        kind,
        reason,
        address: Some(address),
        user: caller,
        detail: path,
    });
}

/// The layer that tells of those who are known and ask for what they may not.
pub(super) async fn watch(
    Extract(state): Extract<State>,
    caller: Caller,
    request: Request,
    next: Next,
) -> Response {
    let (parts, body) = request.into_parts();
    let address = Arrival::of(&state, &parts).0.address;
    let path = parts.uri.path().to_owned();
    let response = next.run(Request::from_parts(parts, body)).await;
    if response.status() == StatusCode::FORBIDDEN {
        report(
            Kind::Forbidden,
            "not_allowed",
            address,
            Some(&caller.name()),
            &path,
        );
    }
    response
}

async fn identify(
    state: &State,
    parts: &Parts,
    arrival: &Arrival<'_>,
) -> Result<Caller, AuthError> {
    let shown = bearer(parts)?;
    if let Some(key) = shown.and_then(|shown| state.keys.load().find(shown)) {
        return Ok(Caller::Server(key));
    }
    let is_developer =
        state.options.development && arrival.is_of_this_machine() && !is_passed_on(parts);
    let verdict = match state.gate.authenticator().identify(parts, state.now_s()) {
        // What was shown must be valid wherever there is something to hold it against.
        Ok(Verdict::Guest) if shown.is_some() => Err(AuthError::UnknownKey),
        Err(AuthError::Missing) | Ok(Verdict::Guest | Verdict::FirstMessage) if is_developer => {
            return Ok(Caller::Development);
        }
        verdict => verdict,
    };
    match verdict? {
        Verdict::Known(identity) => Ok(Caller::User(identity)),
        Verdict::Later(pending) => Ok(Caller::User(pending.await?)),
        Verdict::Guest => Ok(Caller::Guest),
        // There is no first message here.
        Verdict::FirstMessage => Err(AuthError::Missing),
    }
}

/// A page of another origin may do nothing here; what would change something by a cookie, which a
/// browser sends along for any page, must say which page it is from.
fn check_origin(
    state: &State,
    parts: &Parts,
    arrival: &Arrival<'_>,
    caller: &Caller,
) -> Result<(), ApiError> {
    let changes = !matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS);
    let by_cookie = matches!(caller, Caller::User(identity) if identity.is_from_cookie());
    let has_origin = state.gate.check_page(parts, arrival.visitor())?;
    if changes && by_cookie && !has_origin {
        return Err(ApiError::forbidden(
            "a request with a cookie must name its Origin",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival(host: &str) -> Arrival<'_> {
        Arrival(Visitor {
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            scheme: "http",
            host: host.into(),
        })
    }

    #[test]
    fn the_name_of_this_machine_is_not_enough_from_another() {
        for (address, expected) in [
            ("127.0.0.1", true),
            ("::1", true),
            ("0.0.0.0", true),
            ("192.0.2.1", false),
            ("10.0.0.1", false),
        ] {
            let mut arrival = arrival("localhost:8080");
            arrival.0.address = address.parse().unwrap();
            assert_eq!(arrival.is_of_this_machine(), expected, "{address}");
        }
        assert!(!arrival("rebound.example").is_of_this_machine());
    }

    /// Each address had an allowance of its own, and one client has 2^64 of them.
    #[test]
    fn strangers_of_one_ipv6_network_are_counted_together() {
        let of = |address: &str| stranger(address.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }

    #[test]
    fn only_names_of_this_machine_are_loopback() {
        for host in [
            "localhost",
            "LocalHost:8080",
            "127.0.0.1:8080",
            "127.9.9.9",
            "[::1]:80",
            "[::1]",
        ] {
            assert!(arrival(host).names_loopback(), "{host}");
        }
        for host in [
            "",
            "localhost.evil.example",
            "evil.example:8080",
            "10.0.0.1",
            "[::2]:80",
            "127.0.0.1.nip.io",
        ] {
            assert!(!arrival(host).names_loopback(), "{host}");
        }
    }

    #[test]
    fn a_key_is_for_its_scopes_and_a_guest_for_nothing() {
        let key = Caller::Server(ServerKey {
            name: "billing".into(),
            scopes: [Scope::Rooms].into(),
        });
        assert!(key.server(Scope::Rooms).is_ok() && key.asking(Scope::Rooms).is_ok());
        assert!(key.server(Scope::Publish).is_err() && key.asking(Scope::Publish).is_err());
        assert!(key.any_server().is_ok() && key.known().is_ok());
        assert!(Caller::Guest.known().is_err() && Caller::Guest.any_server().is_err());
        assert!(Caller::Guest.asking(Scope::Rooms).is_ok(), "it may look");
        assert!(Caller::Development.server(Scope::Admin).is_ok());
    }
}
