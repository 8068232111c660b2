//! The way in: from a request to a session, or to a first message that says whose it is.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::StatusCode;

use super::identity::{Known, rejection};
use super::outlet::{Outlet, report_forbidden, why_closed};
use super::protocol::{
    Body, BuiltIn, Id, Inbound, Message, Outbound, Refused, Rejection, RequestId, payload, scan,
};
use super::rooms::Room;
use super::session::{self, Session};
use super::state::Desk;
use super::{Realtime, upgrade};
use crate::auth::addresses::Permit;
use crate::auth::{AuthError, Authenticator, Identity, Verdict, Visitor};
use crate::http::{Head, Refusal};
use crate::security::{self, Event, Kind};
use crate::shard::{self, Accept, Ask, Asked, Knock, Request, Upgrade};

/// A request that may come in, once it is known whose it is.
struct Entry {
    accept: Accept<Session>,
    /// It says which page it is from.
    has_origin: bool,
    now_s: u64,
}

impl Entry {
    /// Lets somebody in.
    ///
    /// Errors: 403 for who is known by a cookie, which a browser sends along for any page, without
    /// saying which page it is from.
    fn of(self, identity: Identity) -> Result<Accept<Session>, Refusal> {
        if identity.is_from_cookie() && !self.has_origin {
            let error = "a request with a cookie must name its Origin";
            let refusal = Refusal::new(StatusCode::FORBIDDEN, "forbidden", error);
            return Err(refusal.because("no_origin"));
        }
        Ok(known_as(self.accept, identity, self.now_s))
    }

    /// Lets a guest in, with the roles that it is believed to have.
    ///
    /// Errors: 400 for roles that are none.
    fn of_guest(
        mut self,
        authenticator: &Authenticator,
        head: &Head<'_>,
    ) -> Result<Accept<Session>, Refusal> {
        self.accept.data.roles = authenticator.guest_roles(head)?;
        Ok(self.accept)
    }
}

/// Makes a connection that of somebody who is known.
fn known_as(mut accept: Accept<Session>, identity: Identity, now_s: u64) -> Accept<Session> {
    accept.user = Some(identity.user.to_string());
    accept.data.roles = identity.roles.clone();
    // Who is believed is so for ever.
    if !identity.is_trusted() {
        accept.data.known = Some(Box::new(Known::new(identity, now_s)));
    }
    accept
}

impl Desk {
    /// Lets a request in, refuses it, or asks first whose it is.
    pub(super) fn admit(&self, request: &Request<'_>) -> Upgrade<Session> {
        let visitor = self.gate.visitor(
            request.remote_address(),
            request.is_secure(),
            request.head(),
        );
        self.try_admit(request, &visitor).unwrap_or_else(|refusal| {
            let (address, path, code) = (visitor.address, request.path(), refusal.code());
            verbose!(self.options, %address, path, code, "upgrade refused");
            report(visitor.address, &refusal);
            Upgrade::Refuse(refusal)
        })
    }

    fn try_admit(
        &self,
        request: &Request<'_>,
        visitor: &Visitor<'_>,
    ) -> Result<Upgrade<Session>, Refusal> {
        let (head, now) = (request.head(), request.now());
        let wanted = upgrade::read(head, &self.options)?;
        let permit = self.gate.enter(visitor.address, now)?;
        let has_origin = self.gate.check_origin(head, visitor, wanted.is_path_room)?;
        let now_s = now.unix_ms / 1000;
        let verdict = self.gate.authenticator().identify(head, now_s)?;
        let entry = Entry {
            accept: self.accept(
                wanted,
                permit,
                (request.remote_address(), visitor.address),
                now_s,
            ),
            has_origin,
            now_s,
        };
        Ok(match verdict {
            Verdict::Known(identity) => Upgrade::Accept(entry.of(identity)?),
            Verdict::Guest => Upgrade::Accept(entry.of_guest(self.gate.authenticator(), head)?),
            Verdict::FirstMessage => Upgrade::Ask(Ask {
                accept: entry.accept,
                timeout: self.first_message_timeout(),
            }),
            Verdict::Later(pending) => {
                let address = visitor.address;
                Upgrade::Defer(Box::pin(async move {
                    let identity = pending.await.map_err(Refusal::from);
                    identity
                        .and_then(|identity| entry.of(identity))
                        .inspect_err(|refusal| report(address, refusal))
                }))
            }
        })
    }

    fn first_message_timeout(&self) -> Duration {
        self.gate.authenticator().options().first_message_timeout
    }

    /// How a connection is set up, as a guest.
    fn accept(
        &self,
        wanted: upgrade::Wanted,
        permit: Option<Permit>,
        (peer, address): (SocketAddr, IpAddr),
        now_s: u64,
    ) -> Accept<Session> {
        let route = &self.options.routes[usize::from(wanted.route)];
        let mut session = Session {
            route: wanted.route,
            profile: wanted.profile,
            presence: wanted.presence,
            batch: wanted.batch,
            since_s: u32::try_from(now_s).unwrap_or(u32::MAX),
            ..Session::default()
        };
        if wanted.is_path_room {
            session.extra().path_room = wanted.room.as_deref().map(Room::new);
        }
        if permit.is_some() {
            session.extra().permit = permit;
        }
        // The port is that of the proxy's own connection: it says nothing of the client.
        let is_forwarded = address != peer.ip();
        Accept {
            remote_address: is_forwarded.then(|| SocketAddr::new(address, 0)),
            subprotocol: wanted.subprotocol.map(Into::into),
            message_bytes_max: route.message_bytes_max,
            format: session::format(wanted.profile, false),
            knocks: wanted.is_path_room,
            ..Accept::new(session)
        }
    }

    /// Hears a message of a connection that has to say whose it is.
    pub(super) fn hear(
        &mut self,
        asked: &mut Asked<'_, Realtime>,
        message: shard::Message<'_>,
    ) -> Option<Upgrade<Session>> {
        let shard::Message::Text(text) = message else {
            self.tell(asked, None, &Rejection::Unauthorized);
            return None;
        };
        match scan(text, asked.data().profile) {
            Ok(Inbound::One(message)) if is_authentication(&message) => match message.token() {
                Ok(Some(token)) => return Some(self.identify(asked, &token)),
                Ok(None) => {
                    let rejection = Rejection::MissingMember("token".into());
                    self.tell(asked, message.id(), &rejection);
                }
                Err(rejection) => self.tell(asked, message.id(), &rejection),
            },
            Ok(Inbound::One(message)) => self.tell(asked, message.id(), &Rejection::Unauthorized),
            Ok(Inbound::Batch(_)) => self.tell(asked, None, &Rejection::Unauthorized),
            Err(Refused { rejection, id }) => self.tell(asked, id, &rejection),
        }
        None
    }

    /// Whose a connection is by its first token.
    fn identify(&mut self, asked: &mut Asked<'_, Realtime>, token: &str) -> Upgrade<Session> {
        let now_s = asked.context().now().unix_ms / 1000;
        let verdict = match self.gate.authenticator().verify(token, now_s) {
            Ok(verdict) => verdict,
            Err(error) => return Upgrade::Refuse(error.into()),
        };
        // Its profile stays behind, for what is said if it is refused.
        let profile = asked.data().profile;
        let session = std::mem::take(asked.data_mut());
        asked.data_mut().profile = profile;
        let route = &self.options.routes[usize::from(session.route)];
        let accept = Accept {
            message_bytes_max: route.message_bytes_max,
            format: session::format(profile, false),
            ..Accept::new(session)
        };
        match verdict {
            Verdict::Known(identity) => Upgrade::Accept(known_as(accept, identity, now_s)),
            Verdict::Later(pending) => Upgrade::Defer(Box::pin(async move {
                Ok(known_as(accept, pending.await?, now_s))
            })),
            // A token is somebody's or nobody's.
            Verdict::Guest | Verdict::FirstMessage => Upgrade::Refuse(AuthError::Malformed.into()),
        }
    }

    /// Tells a connection that is not let in why, before it is closed.
    pub(super) fn turn_away(&mut self, asked: &mut Asked<'_, Realtime>, refusal: &Refusal) {
        report(asked.remote_address().ip(), refusal);
        let rejection = match (refusal.status().as_u16(), refusal.code()) {
            (_, "token_expired") => Rejection::TokenExpired,
            (401, _) => Rejection::Unauthorized,
            (403, _) => Rejection::Forbidden,
            (408, _) => Rejection::Timeout,
            (503, _) => rejection(AuthError::Unavailable),
            _ => Rejection::Handler(refusal.text().to_owned().into()),
        };
        self.tell(asked, None, &rejection);
    }

    fn tell(
        &mut self,
        asked: &mut Asked<'_, Realtime>,
        id: Option<RequestId<'_>>,
        rejection: &Rejection,
    ) {
        let at = self.scratch.timestamp(asked.context().now().unix_ms);
        let object = self
            .scratch
            .take_payload(|fields| payload::error(fields, rejection, None, &at));
        let outbound = Outbound {
            message_type: "error",
            id: id.map(Id::Request),
            room: None,
            user: None,
            at,
            position: None,
            body: Body::Object(super::writing::text(&object)),
        };
        let profile = asked.data().profile;
        asked.send(self.scratch.write(&outbound, profile));
        self.scratch.give_payload(object);
    }
}

impl Outlet<'_, '_> {
    /// Answers a handshake whose path names a room, at the room's home.
    pub(super) fn answer_knock(
        &mut self,
        room: &Room,
        knock: Knock<Session>,
        outcome: Result<(), Rejection>,
    ) {
        let Err(rejection) = outcome else {
            return self.context.admit(knock);
        };
        let refusal = refusal_of(&rejection);
        let (address, user) = (knock.remote_address().ip(), knock.accept.user.as_deref());
        let code = refusal.code();
        verbose!(self.desk.options, %address, user, %room, code, "upgrade refused");
        if rejection == Rejection::Forbidden {
            report_forbidden(Some(address), user, refusal.text());
        }
        self.context.refuse(knock, refusal);
    }
}

/// Why the room of a path cannot be entered, as HTTP says it.
fn refusal_of(rejection: &Rejection) -> Refusal {
    let code = rejection.code();
    let status = StatusCode::from_u16(code.http_status()).expect("codes have HTTP twins");
    let (_, error) = why_closed(rejection);
    let refusal = Refusal::new(status, code.as_str(), error);
    let Rejection::Unavailable { retry_after_ms } = rejection else {
        return refusal;
    };
    let seconds = retry_after_ms.div_ceil(1000).max(1).to_string();
    refusal
        .header("retry-after", &seconds)
        .expect("a number is a plain header field")
}

fn is_authentication(message: &Message<'_>) -> bool {
    message.message_type() == BuiltIn::Authentication.as_str()
}

/// Tells the security log of a refusal, if it is one that concerns it.
fn report(address: IpAddr, refusal: &Refusal) {
    let kind = match (refusal.status().as_u16(), refusal.reason()) {
        (401, "revoked") => Kind::Revoked,
        (401 | 403, _) => Kind::Refused,
        (429, _) | (503, "handshakes") => Kind::Limit,
        // Who came too late with its first message.
        (408, _) => Kind::Refused,
        _ => return,
    };
    security::report(Event {
        kind,
        reason: refusal.reason(),
        address: Some(address),
        user: None,
        detail: refusal.text(),
    });
}
