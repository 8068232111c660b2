//! Whose a connection is known to be, and for how long: the notice before a token ends, its
//! replacement in band, and the looking again at sessions and revoked tokens.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::deliver::close_code;
use super::protocol::{Profile, Rejection, Timestamp, payload};
use super::state::State;
use super::{Ctx, HandlerError, Realtime};
use crate::auth::{AuthError, AuthOptions, Identity, Revocation, Verdict};
use crate::id::ConnectionId;
use crate::security::{self, Event, Kind};
use crate::shard::{Context, Socket};

/// Connections of one shard that are looked at in one second: who is late is looked at in the next.
const LOOKED_AT_MAX: usize = 8192;

/// Longest time after which a connection is looked at even if nothing is due, seconds: the entry of one
/// that has gone leaves the table then.
const LOOKED_AT_S_MAX: u64 = 3600;

/// When a connection is asked about again of which nothing was said, seconds, if its interval is no
/// shorter: too many were asked about at once, or the session server is away.
const ASKED_AGAIN_S: u64 = 30;

/// What is known of a connection's user, as long as it is not for ever.
#[derive(Debug)]
pub(super) struct Known {
    identity: Identity,
    /// When it was last asked whether this still holds, unix seconds.
    checked_s: u64,
    /// When it is looked at next, unix seconds: its entry in [`Watch`], if it has one.
    due_s: Option<u64>,
    /// The client was told that it ends.
    is_told: bool,
}

/// The connections that are looked at again, and when.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Unix seconds. An entry that does not agree with [`Known::due_s`] has no meaning any more.
    due: BinaryHeap<Reverse<(u64, ConnectionId)>>,
    /// The revocations that have been looked through.
    epoch: u64,
}

impl Known {
    pub(super) fn new(identity: Identity, now_s: u64) -> Self {
        Self {
            identity,
            checked_s: now_s,
            due_s: None,
            is_told: false,
        }
    }

    /// When a token ends, as frames have it.
    pub(super) fn expires_at(&self) -> Option<Timestamp> {
        let seconds = self.identity.expires_s?;
        Some(Timestamp::new(seconds.saturating_mul(1000)))
    }

    /// The end, unix seconds; a client may still refresh in the grace behind it.
    fn ends_s(&self, options: &AuthOptions) -> u64 {
        let expires = self.identity.expires_s.unwrap_or(u64::MAX);
        expires.saturating_add(options.expiry_grace.as_secs())
    }

    /// When the client is told that it ends, unix seconds.
    fn told_s(&self, options: &AuthOptions) -> u64 {
        let Some(expires) = self.identity.expires_s.filter(|_| !self.is_told) else {
            return u64::MAX;
        };
        expires.saturating_sub(options.expiry_notice.as_secs())
    }

    /// When it is asked again whether this holds, unix seconds.
    fn asked_s(&self, options: &AuthOptions) -> u64 {
        match options.revalidate_interval.as_secs() {
            0 => u64::MAX,
            interval => self.checked_s.saturating_add(interval),
        }
    }

    fn next_s(&self, options: &AuthOptions) -> u64 {
        let [end, told, asked] = [
            self.ends_s(options),
            self.told_s(options),
            self.asked_s(options),
        ];
        end.min(told).min(asked)
    }
}

impl State {
    /// Looks at a connection again when it is time, if its user is not known for ever.
    pub(super) fn watch(&mut self, socket: &mut Socket<'_, Realtime>) {
        if socket.data().known.is_none() {
            return;
        }
        let now_s = socket.context().now().unix_ms / 1000;
        let options = self.desk.gate.authenticator().options();
        let connection = socket.id();
        let authenticator = self.desk.gate.authenticator();
        let Some(known) = socket.data_mut().known.as_mut() else {
            return;
        };
        let next = match authenticator.is_revoked(&known.identity) {
            // Since it was let in, on another shard perhaps, and before this one knew the connection.
            true => now_s,
            false => known
                .next_s(&options)
                .min(now_s.saturating_add(LOOKED_AT_S_MAX)),
        };
        // An earlier entry is still there, and will find the later moment.
        if known.due_s.is_none_or(|due| next < due) {
            known.due_s = Some(next);
            self.desk.watch.due.push(Reverse((next, connection)));
        }
    }

    /// Once a second: looks at those whose time has come, and at all after a revocation.
    pub(super) fn look_again(&mut self, context: &mut Context<'_, Realtime>) {
        let now_s = context.now().unix_ms / 1000;
        let epoch = self.desk.gate.authenticator().revocation_epoch();
        let seen = std::mem::replace(&mut self.desk.watch.epoch, epoch);
        if seen != epoch {
            self.expel_revoked(context, seen);
        }
        for _ in 0..LOOKED_AT_MAX {
            let due = &mut self.desk.watch.due;
            if due.peek().is_none_or(|Reverse((due, _))| *due > now_s) {
                break;
            }
            if let Some(Reverse((due, connection))) = due.pop() {
                self.look_at(context, connection, (due, now_s));
            }
        }
    }

    /// Closes the connections of whoever was revoked after an epoch: those of a user however it came in,
    /// and those with a token.
    fn expel_revoked(&mut self, context: &mut Context<'_, Realtime>, epoch: u64) {
        let revoked = self.desk.gate.authenticator().revoked_since(epoch);
        let mut connections: Vec<ConnectionId> = Vec::new();
        for revocation in &revoked {
            if let Revocation::User { user, .. } = revocation {
                connections.extend(context.connections_of(user));
            }
        }
        let is_of_token = |one: &Revocation| matches!(one, Revocation::Token { .. });
        if revoked.iter().any(is_of_token) {
            // Whoever has a token is in there.
            connections.extend(self.desk.watch.due.iter().map(|entry| entry.0.1));
        }
        for connection in connections {
            let socket = context.socket(connection);
            if socket.is_some_and(|socket| self.is_revoked(&socket)) {
                self.expel(context, connection, AuthError::Revoked);
            }
        }
    }

    /// Whether a connection's user was revoked, or the token by which it is known.
    pub(super) fn is_revoked(&self, socket: &Socket<'_, Realtime>) -> bool {
        let authenticator = self.desk.gate.authenticator();
        let session = socket.data();
        match &session.known {
            Some(known) => authenticator.is_revoked(&known.identity),
            None => authenticator.is_user_revoked(socket.user(), session.since_s.into()),
        }
    }

    fn look_at(
        &mut self,
        context: &mut Context<'_, Realtime>,
        connection: ConnectionId,
        (due_s, now_s): (u64, u64),
    ) {
        let authenticator = self.desk.gate.authenticator();
        let options = authenticator.options();
        let Some(mut socket) = context.socket(connection) else {
            return;
        };
        let session = socket.data_mut();
        let Some(known) = session
            .known
            .as_mut()
            .filter(|known| known.due_s == Some(due_s))
        else {
            return;
        };
        known.due_s = None;
        if known.ends_s(&options) <= now_s {
            return self.expel(context, connection, AuthError::Expired);
        }
        if authenticator.is_revoked(&known.identity) {
            return self.expel(context, connection, AuthError::Revoked);
        }
        let is_told = known.told_s(&options) <= now_s;
        known.is_told |= is_told;
        let at = known.expires_at();
        let is_asked = known.asked_s(&options) <= now_s;
        let asked = is_asked.then(|| authenticator.recheck(&known.identity, now_s));
        if let Some(asked) = &asked {
            known.checked_s = match asked {
                // Until the answer is there, if it comes.
                Ok(Verdict::Later(_)) | Err(AuthError::Unavailable) => {
                    let interval_s = options.revalidate_interval.as_secs();
                    now_s.saturating_sub(interval_s.saturating_sub(ASKED_AGAIN_S))
                }
                _ => now_s,
            };
        }
        let is_informed = session.profile != Profile::Message;
        self.watch(&mut socket);
        let mut ctx = Ctx::new(&mut socket, self, None, "authentication");
        if let Some(at) = at.filter(|_| is_told && is_informed) {
            let _ = ctx.send("authentication", |fields| payload::expiring(fields, &at));
        }
        match asked {
            None | Some(Ok(Verdict::Guest | Verdict::FirstMessage)) => {}
            Some(Ok(Verdict::Known(identity))) => ctx.renew(Ok(identity)),
            Some(Ok(Verdict::Later(pending))) => {
                let renew = |ctx: &mut Ctx<'_>, identity| {
                    ctx.renew(identity);
                    Ok(())
                };
                // The peer has not asked for this, and need not hear that it could not be done.
                let refused = move |ctx: &mut Ctx<'_>| renew(ctx, Err(AuthError::Unavailable));
                ctx.spawn_or_else(pending, renew, refused);
            }
            Some(Err(error)) => ctx.renew(Err(error)),
        }
    }

    /// Closes a connection whose user is not known any more.
    fn expel(
        &mut self,
        context: &mut Context<'_, Realtime>,
        connection: ConnectionId,
        error: AuthError,
    ) {
        if let Some(mut socket) = context.socket(connection) {
            Ctx::new(&mut socket, self, None, "authentication").expel(error);
        }
    }
}

impl Ctx<'_> {
    /// Takes in what a token of the connection's own says: whose it is, or why it says nothing.
    ///
    /// Errors: [`Rejection::Forbidden`] for a token of somebody else.
    pub(super) fn refresh(
        &mut self,
        identity: Result<Identity, AuthError>,
    ) -> Result<(), HandlerError> {
        let identity = match identity {
            Ok(identity) if identity.user != *self.user() => {
                return Err(Rejection::Forbidden.into());
            }
            Ok(identity) => identity,
            Err(AuthError::Unavailable) => {
                return Err(Rejection::Unavailable {
                    retry_after_ms: 5000,
                }
                .into());
            }
            Err(error) => {
                self.expel(error);
                return Ok(());
            }
        };
        let user = identity.user.clone();
        let expires_at = self.know(identity);
        self.reply("authentication", |fields| {
            payload::authenticated(fields, &user, expires_at)
        });
        Ok(())
    }

    /// Takes in what was found when it was looked again.
    fn renew(&mut self, identity: Result<Identity, AuthError>) {
        match identity {
            Ok(identity) if identity.user == *self.user() => {
                self.know(identity);
            }
            Ok(_) => self.expel(AuthError::SessionRefused),
            // Whoever cannot be asked has not said no: it is asked again soon.
            Err(AuthError::Unavailable) => {}
            // In the grace for a refresh, at whose end it is closed.
            Err(AuthError::Expired) => {}
            Err(error) => self.expel(error),
        }
    }

    /// From here on the connection's user is known by this.
    fn know(&mut self, identity: Identity) -> Option<Timestamp> {
        let now_s = self.now().unix_ms / 1000;
        let connection = self.connection();
        let (state, context) = self.parts();
        let mut socket = context.socket(connection)?;
        let session = socket.data_mut();
        session.roles = identity.roles.clone();
        let mut known = Known::new(identity, now_s);
        if let Some(before) = &session.known {
            known.due_s = before.due_s;
            known.is_told = before.is_told && before.expires_at() == known.expires_at();
        }
        let expires_at = known.expires_at();
        session.known = Some(Box::new(known));
        state.watch(&mut socket);
        expires_at
    }

    pub(super) fn expel(&mut self, error: AuthError) {
        let connection = self.connection();
        let address = self
            .core()
            .socket(connection)
            .map(|s| s.remote_address().ip());
        security::report(Event {
            kind: match error {
                AuthError::Revoked => Kind::Revoked,
                _ => Kind::Expired,
            },
            reason: error.reason(),
            address,
            user: Some(self.user()),
            detail: "the connection is closed",
        });
        self.fail(rejection(error).into());
        self.close(close_code(4401), &error.to_string());
    }
}

/// What the peer is told of an identity that is not accepted.
pub(super) fn rejection(error: AuthError) -> Rejection {
    match error {
        AuthError::Expired => Rejection::TokenExpired,
        AuthError::Unavailable => Rejection::Unavailable {
            retry_after_ms: 5000,
        },
        _ => Rejection::Unauthorized,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use serde_json::json;

    use crate::auth::{
        AuthOptions, Authenticator, Gate, GateOptions, KeyOptions, Material, Revocation,
    };
    use crate::testing::TestServer;

    const SECRET: &[u8] = b"a secret of 32 bytes for tests..";

    /// A connection is let in on the shard that accepts it, and watched on the one where it is at home. One
    /// that was on its way when its token was revoked came there after all had been looked at.
    #[test]
    fn who_was_revoked_on_the_way_home_is_closed() {
        let mut options = AuthOptions::default();
        options.token.keys = vec![KeyOptions {
            id: None,
            algorithms: Vec::new(),
            material: Material::Secret(SECRET.into()),
        }];
        let authenticator = Authenticator::new(options, None).unwrap();
        let gate = Arc::new(Gate::new(authenticator, &GateOptions::default()).unwrap());
        let of_shards = Arc::clone(&gate);
        let server = TestServer::builder()
            .unix_ms(0)
            .adapt(move |app| app.with_gate(Arc::clone(&of_shards)))
            .start();
        let claims = json!({"sub": "ann", "exp": 100_000, "jti": "7"});
        let signer = jsonwebtoken::EncodingKey::from_secret(SECRET);
        let token = jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &signer);
        let field = format!("Bearer {}", token.unwrap());
        let ann = server.connect_to("/ws", &[("authorization", &field)]);
        let ann = ann.unwrap();
        let epoch = {
            let authenticator = gate.authenticator();
            authenticator.revoke(Revocation::Token { id: "7".into() }, 0);
            authenticator.revocation_epoch()
        };
        server.ask(server.home("ann"), move |app, context| {
            let watch = &mut app.state.desk.watch;
            // The shard has looked; then the connection comes.
            watch.epoch = epoch;
            let connection = watch.due.peek().unwrap().0.1;
            app.state.watch(&mut context.socket(connection).unwrap());
        });
        server.advance(Duration::from_secs(2));
        assert_eq!(ann.closed().unwrap().0, 4401);
    }
}
