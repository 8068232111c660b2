//! From an accepted socket to an open connection: request head, the application's answer, the move
//! to the user's home shard, limits, and the 101.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use ::http::StatusCode;

use super::app::{Accept, Request, Upgrade};
use super::codes;
use super::connection::{Connection, Opening, Phase};
use super::context::Socket;
use super::core::{Core, EVERYBODY};
use super::event::Descriptor;
use super::mail::{Arrival, Handshake, Mail, ServiceRequest};
use super::options::OnUserLimit;
use super::outbox::Outbox;
use super::{App, Shard};
use crate::http::{self, BadRequest, Head, Refusal, SwitchingProtocols};
use crate::id::{ConnectionId, Slot, UserId};
use crate::limits::USER_ID_BYTES_MAX;
use crate::metrics::{Part, Pressure};
use crate::security::{self, Event, Kind};
use crate::time::{Now, Timestamp};
use crate::ws::{self, CloseCode};

/// What a request head turns out to be.
enum Asked {
    /// More bytes are needed.
    More,
    /// A plain HTTP request.
    Plain,
    /// Nothing that is answered with more than a refusal.
    Refused(Refusal),
    /// Accepted; the head was so many bytes long.
    Accepted(Box<(Handshake, usize)>),
}

impl<A: App> Shard<A> {
    pub(super) fn accepted(
        &mut self,
        descriptor: Descriptor,
        peer: SocketAddr,
        outbox: &mut impl Outbox<A>,
    ) {
        self.core.counters.accepted += 1;
        if self.core.shutting_down {
            return outbox.discard(descriptor);
        }
        let Some(slot) = self.adopt(descriptor, peer, Phase::Head, outbox) else {
            return;
        };
        let accepted_ms = millisecond(self.core.now);
        if let Some(connection) = self.core.connection_mut(slot) {
            connection.written_s = accepted_ms;
        }
        let timeout = self.core.options().handshake_timeout;
        self.core.phase_ends(slot, timeout);
        self.core.receive(slot, outbox);
    }

    fn adopt(
        &mut self,
        descriptor: Descriptor,
        peer: SocketAddr,
        phase: Phase,
        outbox: &mut impl Outbox<A>,
    ) -> Option<Slot> {
        let Ok(key) = self.core.connections.insert(Connection::new(peer, phase)) else {
            // The driver stops accepting before this; a connection may still come from elsewhere.
            self.core.counters.refused += 1;
            outbox.discard(descriptor);
            return None;
        };
        let slot = Slot(key.index);
        outbox.adopt(slot, descriptor);
        Some(slot)
    }

    pub(super) fn head_received(&mut self, slot: Slot, bytes: &[u8], outbox: &mut impl Outbox<A>) {
        self.read_request(slot, bytes, outbox);
        self.core.lap(Part::Handshake);
    }

    fn read_request(&mut self, slot: Slot, bytes: &[u8], outbox: &mut impl Outbox<A>) {
        let Some(connection) = self.core.connection_mut(slot) else {
            return;
        };
        let peer = connection.peer.into();
        let mut gathered = connection.take_opening().map(|opening| opening.bytes);
        self.core.held.held -= gathered.as_ref().map_or(0, Vec::len) as u64;
        let bytes = match &mut gathered {
            Some(gathered) => {
                gathered.extend_from_slice(bytes);
                &gathered[..]
            }
            None => bytes,
        };
        let mut answer = None;
        let is_secure = outbox.is_secure(slot);
        match self.read_head(bytes, (peer, is_secure), &mut answer) {
            Asked::More => {
                let opening = Opening {
                    bytes: bytes.to_vec(),
                    ..Opening::default()
                };
                self.core.keep_opening(slot, opening);
                self.core.receive(slot, outbox);
            }
            Asked::Plain => self.hand_over(slot, peer, bytes.to_vec(), outbox),
            Asked::Refused(refusal) => self.refuse(slot, &refusal),
            Asked::Accepted(accepted) => {
                let (handshake, head_bytes) = *accepted;
                let early = bytes[head_bytes..].to_vec();
                match answer {
                    Some(Upgrade::Accept(accept)) => {
                        self.place(slot, accept, handshake, early, outbox);
                    }
                    Some(Upgrade::Defer(answer)) => {
                        self.defer(slot, answer, handshake, early, outbox);
                    }
                    Some(Upgrade::Refuse(refusal)) => self.refuse(slot, &refusal),
                    Some(Upgrade::Ask(ask)) => self.ask(slot, ask, handshake, early, outbox),
                    None => {}
                }
            }
        }
    }

    /// Parses a request head and, if it is an upgrade in good order, asks the application.
    fn read_head(
        &mut self,
        bytes: &[u8],
        (remote_address, is_secure): (SocketAddr, bool),
        answer: &mut Option<Upgrade<A::Data>>,
    ) -> Asked {
        let head = match http::parse(bytes) {
            Ok(Some(head)) => head,
            Ok(None) => return Asked::More,
            Err(bad) => return Asked::Refused(bad.into()),
        };
        if !head.is_upgrade() {
            return Asked::Plain;
        }
        match self.check_upgrade(&head) {
            Ok(_) if self.core.shared.pressure() == Pressure::Hard => {
                self.core.counters.refused_memory += 1;
                Asked::Refused(unavailable("the server is short of memory"))
            }
            Ok(handshake) => {
                let head_bytes = head.length();
                *answer = Some(self.app.upgrade(&Request {
                    head,
                    remote_address,
                    now: self.core.now,
                    is_secure,
                }));
                Asked::Accepted(Box::new((handshake, head_bytes)))
            }
            Err(bad) => Asked::Refused(bad.into()),
        }
    }

    fn check_upgrade(&self, head: &Head<'_>) -> Result<Handshake, BadRequest> {
        let upgrade = http::check(head)?;
        let deflate = match self.core.options().compression {
            Some(_) => ws::negotiate(head.headers("sec-websocket-extensions"))
                .map_err(|_| BadRequest::InvalidHeader("sec-websocket-extensions"))?,
            None => None,
        };
        Ok(Handshake {
            accept: ws::handshake::accept_key(upgrade.key.as_bytes()),
            deflate,
            is_answered: false,
        })
    }

    /// Gives a plain HTTP request to the service thread.
    fn hand_over(
        &mut self,
        slot: Slot,
        peer: SocketAddr,
        bytes: Vec<u8>,
        outbox: &mut impl Outbox<A>,
    ) {
        let descriptor = outbox.release(slot);
        self.core.remove(slot);
        self.core.counters.http_requests += 1;
        let request = ServiceRequest::Http {
            descriptor,
            peer,
            bytes,
        };
        if let Err(ServiceRequest::Http { descriptor, .. }) = outbox.service(request) {
            self.core.counters.service_busy += 1;
            outbox.discard(descriptor);
        }
    }

    pub(super) fn defer(
        &mut self,
        slot: Slot,
        answer: super::Deferred<A::Data>,
        handshake: Handshake,
        early: Vec<u8>,
        outbox: &mut impl Outbox<A>,
    ) {
        if self.core.connection(slot).is_none() {
            return;
        }
        let id = self.core.id(slot);
        self.core.await_answer(slot, handshake, early);
        let work = Box::pin(async move { Mail::Answer(id, Box::new(answer.await)) });
        if outbox.service(ServiceRequest::Spawn(work)).is_err() {
            self.core.counters.service_busy += 1;
            self.refuse(slot, &unavailable("the server is busy"));
        }
    }

    /// The answer to a handshake that waits for one has come.
    pub(super) fn answered(
        &mut self,
        id: ConnectionId,
        answer: Result<Accept<A::Data>, Refusal>,
        outbox: &mut impl Outbox<A>,
    ) {
        let slot = self
            .core
            .resolve(id)
            .filter(|&slot| self.core.in_phase(slot, Phase::Deferred));
        let Some(slot) = slot else { return };
        let opening = self
            .core
            .connection_mut(slot)
            .and_then(Connection::take_opening);
        let Some(opening) = opening else { return };
        self.core.held.held -= opening.bytes.len() as u64;
        if opening.handshake.is_answered
            && let Some(connection) = self.core.connection_mut(slot)
        {
            connection.phase = Phase::Asked;
        }
        match answer {
            Ok(accept) => self.place(slot, accept, opening.handshake, opening.bytes, outbox),
            Err(refusal) => self.refuse(slot, &refusal),
        }
    }

    /// Brings an accepted connection to its user's home shard, unless it knocks before.
    pub(super) fn place(
        &mut self,
        slot: Slot,
        accept: Accept<A::Data>,
        handshake: Handshake,
        early: Vec<u8>,
        outbox: &mut impl Outbox<A>,
    ) {
        let Some(connection) = self.core.connection(slot) else {
            return;
        };
        if connection.marks.blocked {
            // It was asked whose it is and does not even take the answers.
            return self.core.cut(slot, CloseCode::ABNORMAL, "takes nothing");
        }
        let peer = connection.peer.into();
        let user = accept.user.as_deref();
        if user.is_some_and(|user| user.is_empty() || user.len() > USER_ID_BYTES_MAX) {
            tracing::error!("the application accepted a user without a usable identifier");
            return self.refuse(slot, &internal("no usable user identifier"));
        }
        if accept.knocks && !handshake.is_answered {
            return self.knock(slot, accept, handshake, early);
        }
        let home = user.map_or(self.core.shard, |user| {
            self.core.shared.placement.home(user)
        });
        if home == self.core.shard {
            return self.admit(slot, accept, handshake, early, outbox);
        }
        let accepted_ms = connection.written_s;
        let descriptor = outbox.release(slot);
        let unsent = self.core.take_unsent(slot);
        self.core.remove(slot);
        self.core.counters.moved += 1;
        let arrival = Arrival {
            descriptor,
            peer,
            accepted_ms,
            accept,
            handshake,
            early,
            unsent,
        };
        outbox.mail(home, Mail::Arrival(Box::new(arrival)));
    }

    /// A connection has come home from the shard that accepted it.
    pub(super) fn arrived(&mut self, arrival: Arrival<A::Data>, outbox: &mut impl Outbox<A>) {
        let Arrival {
            descriptor,
            peer,
            accepted_ms,
            accept,
            handshake,
            early,
            unsent,
        } = arrival;
        let phase = match handshake.is_answered {
            true => Phase::Asked,
            false => Phase::Head,
        };
        if let Some(slot) = self.adopt(descriptor, peer, phase, outbox) {
            if let Some(connection) = self.core.connection_mut(slot) {
                connection.written_s = accepted_ms;
            }
            if !unsent.is_empty() {
                self.core
                    .queue_first(slot, |out| out.extend_from_slice(&unsent));
            }
            self.admit(slot, accept, handshake, early, outbox);
        }
    }

    /// Checks the limits, writes the 101 and opens the connection. On the user's home shard.
    fn admit(
        &mut self,
        slot: Slot,
        accept: Accept<A::Data>,
        handshake: Handshake,
        mut early: Vec<u8>,
        outbox: &mut impl Outbox<A>,
    ) {
        let response = switching_protocols(&handshake, &accept);
        let response = match response {
            Ok(response) => response,
            Err(bad) => return self.refuse_header(slot, &bad),
        };
        if self.core.shutting_down {
            return self.refuse(slot, &unavailable("the server is shutting down"));
        }
        let message_bytes_max = self.core.message_bytes_max(&accept);
        let user: UserId = match accept.user {
            Some(user) => user.into(),
            None => self.core.guest_id(),
        };
        if let Err(refusal) = self.make_room(&user, outbox) {
            self.report_limit(slot, accept.remote_address, (&user, &refusal));
            return self.refuse(slot, &refusal);
        }
        let core = &mut self.core;
        let second = core.now.seconds();
        let Some(connection) = core.connections.get_mut(slot.0) else {
            return;
        };
        let took_ms = millisecond(core.now).wrapping_sub(connection.written_s);
        core.times.handshake(u64::from(took_ms));
        connection.phase = Phase::Open;
        connection.user = Some(user.clone());
        connection.data = accept.data;
        connection.message_bytes_max = message_bytes_max;
        if let Some(address) = accept.remote_address {
            connection.peer = address.into();
        }
        connection.window_bits = handshake.deflate.map(|deflate| deflate.server_window_bits);
        connection.format = accept.format;
        (connection.heard_s, connection.moment_s) = (second, second);
        core.users.attach(&user, slot, &mut core.connections);
        core.open += 1;
        core.counters.opened += 1;
        outbox.promote(slot);
        if !handshake.is_answered {
            core.queue_first(slot, |out| response.write(out));
        }
        core.enlist(slot, EVERYBODY, accept.format);
        core.schedule(slot);
        self.app.open(&mut Socket {
            core: &mut self.core,
            slot,
        });
        if !early.is_empty() && self.core.in_phase(slot, Phase::Open) {
            self.frames_received(slot, &mut early);
        }
    }

    /// Tells the security log of a user who has too many connections. The application tells it of those
    /// that it had asked.
    fn report_limit(
        &self,
        slot: Slot,
        forwarded: Option<SocketAddr>,
        (user, refusal): (&str, &Refusal),
    ) {
        let Some(connection) = self.core.connection(slot) else {
            return;
        };
        if refusal.status() != StatusCode::TOO_MANY_REQUESTS || connection.is_answered() {
            return;
        }
        let peer = SocketAddr::from(connection.peer);
        security::report(Event {
            kind: Kind::Limit,
            reason: refusal.reason(),
            address: Some(forwarded.unwrap_or(peer).ip()),
            user: Some(user),
            detail: refusal.text(),
        });
    }

    /// Counts the newcomer in, or says why not.
    fn make_room(&mut self, user: &str, outbox: &mut impl Outbox<A>) -> Result<(), Refusal> {
        let options = self.core.options();
        let (connections_max, policy) = (options.connections_max, options.on_user_limit);
        let per_user_max = options.connections_per_user_max;
        if per_user_max > 0 && self.core.user_connection_count(user) >= per_user_max {
            match policy {
                OnUserLimit::Reject => {
                    return Err(connection_limit(per_user_max));
                }
                OnUserLimit::EvictOldest => {
                    let oldest = self.core.users.find(user, &self.core.connections);
                    if let Some(oldest) = oldest {
                        self.core.counters.evicted += 1;
                        self.core.begin_close(
                            oldest,
                            codes::REPLACED,
                            "replaced by a newer connection",
                        );
                        // The application hears of it, and the user's list is one shorter, first.
                        self.settle_staged(outbox);
                    }
                }
            }
        }
        let before = self.core.shared.connections.fetch_add(1, Ordering::Relaxed);
        if connections_max > 0 && before >= connections_max {
            self.core.shared.connections.fetch_sub(1, Ordering::Relaxed);
            return Err(unavailable("the server is full"));
        }
        Ok(())
    }

    /// Answers a plain request to a port that speaks TLS.
    pub(super) fn not_tls(&mut self, slot: Slot) {
        let Some(connection) = self.core.connection_mut(slot) else {
            return;
        };
        connection.marks.receiving = false;
        if connection.phase == Phase::Head {
            let error = "this port speaks TLS: use https:// or wss://";
            let refusal = Refusal::new(StatusCode::BAD_REQUEST, "tls_required", error);
            self.refuse(slot, &refusal);
        }
    }

    pub(super) fn refuse_header(&mut self, slot: Slot, bad: &http::InvalidHeader) {
        tracing::error!(%bad, "the application's header fields cannot be written");
        self.refuse(slot, &internal("bad response header"));
    }

    /// Answers a handshake with an HTTP status, or with a close frame if it has its 101, and ends it.
    pub(super) fn refuse(&mut self, slot: Slot, refusal: &Refusal) {
        if self
            .core
            .connection(slot)
            .is_some_and(Connection::is_answered)
        {
            return self.refuse_asked(slot, refusal);
        }
        let core = &mut self.core;
        core.counters.refused += 1;
        core.refusals.count(refusal.code());
        let request_id = uuid::Builder::from_unix_timestamp_millis(
            core.now.unix_ms,
            &core.random.u128(..).to_le_bytes()[..10]
                .try_into()
                .expect("ten bytes"),
        );
        let request_id = request_id.into_uuid().to_string();
        let timestamp = Timestamp::new(core.now.unix_ms);
        let Some(connection) = core.connection_mut(slot) else {
            return;
        };
        connection.phase = Phase::Refused;
        let (peer, held) = (connection.peer, connection.held_bytes());
        connection.held = None;
        core.held.held -= held as u64;
        tracing::debug!(peer = %SocketAddr::from(peer), %request_id, ?refusal, "refused");
        core.queue_last(slot, |out| {
            refusal.write(out, &request_id, timestamp.as_str())
        });
        let timeout = core.options().close_timeout;
        core.phase_ends(slot, timeout);
    }

    /// A handshake or a close has taken too long.
    pub(super) fn phase_ended(&mut self, slot: Slot) {
        let Some(connection) = self.core.connection(slot) else {
            return;
        };
        let silent = connection.held.is_none();
        match connection.phase {
            Phase::Head if silent => self.core.cut(slot, CloseCode::ABNORMAL, "no request"),
            Phase::Head => self.refuse(slot, &BadRequest::Timeout.into()),
            Phase::Asked => self.refuse(slot, &unnamed()),
            Phase::Deferred => {
                self.refuse(slot, &unavailable("no answer in time"));
            }
            Phase::Refused | Phase::Closing => {
                self.core.cut(slot, CloseCode::ABNORMAL, "close timed out");
            }
            Phase::Open | Phase::Released => {}
        }
    }
}

impl<A: App> Core<A> {
    /// Keeps a handshake until its answer is there.
    pub(super) fn await_answer(&mut self, slot: Slot, handshake: Handshake, early: Vec<u8>) {
        if let Some(connection) = self.connection_mut(slot) {
            connection.phase = Phase::Deferred;
            let opening = Opening {
                bytes: early,
                handshake,
                frames: 0,
            };
            self.keep_opening(slot, opening);
        }
    }
}

pub(super) fn switching_protocols<D>(
    handshake: &Handshake,
    accept: &Accept<D>,
) -> Result<SwitchingProtocols, http::InvalidHeader> {
    let deflate = handshake.deflate.map(|deflate| deflate.to_string());
    let subprotocol = accept.subprotocol.as_deref();
    let response = SwitchingProtocols::new(&handshake.accept, subprotocol, deflate.as_deref())?;
    let fields = &accept.headers;
    fields.iter().try_fold(response, |response, (name, value)| {
        response.header(name, value)
    })
}

/// A time as a connection's record keeps it until it is open: milliseconds modulo 2^32, 49 days.
fn millisecond(now: Now) -> u32 {
    u32::try_from(now.monotonic_ms & u64::from(u32::MAX)).expect("32 bits")
}

fn unavailable(error: &'static str) -> Refusal {
    let refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", error);
    refusal
        .header("retry-after", "1")
        .expect("a plain header field")
}

/// The deadline of a connection that was asked whose it is.
fn unnamed() -> Refusal {
    let error = "nobody said in time whose the connection is";
    Refusal::new(StatusCode::REQUEST_TIMEOUT, "timeout", error)
}

fn internal(error: &'static str) -> Refusal {
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", error)
}

fn connection_limit(limit: u32) -> Refusal {
    let error = "the user has too many connections";
    Refusal::new(StatusCode::TOO_MANY_REQUESTS, "connection_limit", error)
        .because("user_connections")
        .detail("limit", limit)
}
