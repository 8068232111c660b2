//! Connections whose first messages have to say whose they are ([`Upgrade::Ask`]): the 101 is written,
//! the connection is not open.
//!
//! It stays on the shard that accepted it and in its HTTP phase, read on demand, until the application
//! accepts it; then it goes home like any other, with what it sent behind that message. So it has no
//! user, no subscription, no keepalive and no entry in any map, only a deadline.

use ::http::StatusCode;

use super::Shard;
use super::app::{Accept, App, Ask, Message, Upgrade};
use super::codes;
use super::connection::{Connection, Opening, Phase};
use super::context::Asked;
use super::core::Core;
use super::handshake::switching_protocols;
use super::mail::Handshake;
use super::outbox::Outbox;
use crate::http::Refusal;
use crate::id::Slot;
use crate::limits::CLOSE_REASON_BYTES_MAX;
use crate::ws::{self, CloseCode, Incoming, Opcode, Role, Rules};

/// Messages and control frames in which a connection has to say whose it is.
const ASKED_FRAMES_MAX: u8 = 16;

/// What a frame of a connection that is asked leads to.
enum Reply<A: App> {
    /// The next one may tell more.
    GoOn,
    /// The application has decided, or will.
    Decided(Upgrade<A::Data>),
    /// The peer closes, or breaks the rules.
    Close(Option<CloseCode>, String),
}

impl<A: App> Shard<A> {
    /// Writes the 101 and waits for the messages that say whose the connection is.
    pub(super) fn ask(
        &mut self,
        slot: Slot,
        ask: Ask<A::Data>,
        mut handshake: Handshake,
        mut early: Vec<u8>,
        outbox: &mut impl Outbox<A>,
    ) {
        let Ask { accept, timeout } = ask;
        let response = match switching_protocols(&handshake, &accept) {
            Ok(response) => response,
            Err(bad) => return self.refuse_header(slot, &bad),
        };
        let core = &mut self.core;
        let message_bytes_max = core.message_bytes_max(&accept);
        let Some(connection) = core.connections.get_mut(slot.0) else {
            return;
        };
        connection.phase = Phase::Asked;
        connection.data = accept.data;
        connection.message_bytes_max = message_bytes_max;
        if let Some(address) = accept.remote_address {
            connection.peer = address.into();
        }
        handshake.is_answered = true;
        connection.keep_opening(Opening {
            handshake,
            ..Opening::default()
        });
        core.queue_first(slot, |out| response.write(out));
        core.phase_ends(slot, timeout);
        self.asked_received(slot, &mut early, outbox);
    }

    /// Lets the application have what a connection says that is asked whose it is.
    pub(super) fn asked_received(
        &mut self,
        slot: Slot,
        bytes: &mut [u8],
        outbox: &mut impl Outbox<A>,
    ) {
        let mut rest = bytes;
        let reply = self.read_asked(slot, &mut rest);
        let opening = self
            .core
            .connection_mut(slot)
            .and_then(Connection::take_opening);
        let Some(opening) = opening else { return };
        match reply {
            Reply::GoOn => {
                if let Some(connection) = self.core.connection_mut(slot) {
                    connection.keep_opening(opening);
                }
                self.core.receive(slot, outbox);
            }
            Reply::Decided(Upgrade::Accept(accept)) => {
                self.place(slot, accept, opening.handshake, rest.to_vec(), outbox);
            }
            Reply::Decided(Upgrade::Defer(answer)) => {
                self.defer(slot, answer, opening.handshake, rest.to_vec(), outbox);
            }
            Reply::Decided(Upgrade::Refuse(refusal)) => self.refuse(slot, &refusal),
            Reply::Decided(Upgrade::Ask(ask)) => {
                // Asked once more, with other data: deadline and count go on.
                if let Some(connection) = self.core.connection_mut(slot) {
                    connection.data = ask.accept.data;
                    connection.keep_opening(opening);
                }
                self.core.receive(slot, outbox);
            }
            Reply::Close(code, reason) => self.core.turn_away(slot, code, &reason),
        }
    }

    /// Decodes frames until the application has decided or there are no more; `bytes` moves on.
    fn read_asked(&mut self, slot: Slot, bytes: &mut &mut [u8]) -> Reply<A> {
        let Self {
            app,
            core,
            inflater,
            ..
        } = self;
        let fragments_max = core.options().fragments_max;
        let Some(connection) = core.connection_mut(slot) else {
            return Reply::GoOn;
        };
        let is_compressed = connection
            .opening()
            .is_some_and(|o| o.handshake.deflate.is_some());
        let rules = Rules {
            role: Role::Server,
            message_bytes_max: connection.message_bytes_max as usize,
            fragments_max,
        };
        let mut decoder = std::mem::take(&mut connection.decoder);
        core.held.partial -= decoder.held_bytes() as u64;
        loop {
            let inflater = is_compressed.then_some(&mut *inflater);
            let incoming = match decoder.next(bytes, &rules, inflater) {
                Ok(Some(incoming)) => incoming,
                Ok(None) => break,
                Err(violation) => {
                    core.counters.violations += 1;
                    return Reply::Close(Some(violation.close_code()), violation.to_string());
                }
            };
            if !core.takes_frame(slot) {
                return Reply::Close(Some(codes::BAD_REQUEST), "too much before a token".into());
            }
            match hear(app, core, slot, incoming) {
                Reply::GoOn => {}
                decided => return decided,
            }
        }
        core.held.partial += decoder.held_bytes() as u64;
        if let Some(connection) = core.connection_mut(slot) {
            connection.decoder = decoder;
        }
        Reply::GoOn
    }

    /// Tells the application that a connection is refused that it had asked, and closes it.
    pub(super) fn refuse_asked(&mut self, slot: Slot, refusal: &Refusal) {
        let core = &mut self.core;
        core.counters.refused += 1;
        self.app.refused(&mut Asked { core, slot }, refusal);
        let (code, reason) = (close_code(refusal), refusal.text());
        self.core.turn_away(slot, Some(code), reason);
    }
}

/// Lets the application have one frame.
fn hear<A: App>(app: &mut A, core: &mut Core<A>, slot: Slot, incoming: Incoming<'_>) -> Reply<A> {
    let message = match incoming {
        Incoming::Text(text) => Message::Text(text),
        Incoming::Binary(bytes) => Message::Binary(bytes),
        Incoming::Ping(payload) => {
            core.send_control(slot, Opcode::Pong, payload);
            return Reply::GoOn;
        }
        Incoming::Pong(_) => return Reply::GoOn,
        Incoming::Close(close) => {
            let code = close.map(|(code, _)| code);
            return Reply::Close(code.filter(|code| code.is_sendable()), String::new());
        }
    };
    core.counters.messages_in += 1;
    core.counters.bytes_in += message.as_bytes().len() as u64;
    app.asked(&mut Asked { core, slot }, message)
        .map_or(Reply::GoOn, Reply::Decided)
}

impl<A: App> Core<A> {
    /// Counts one more frame of a connection that is asked. `false`: it was one too many.
    fn takes_frame(&mut self, slot: Slot) -> bool {
        let connection = self.connection_mut(slot);
        let Some(opening) = connection.and_then(Connection::opening_mut) else {
            return false;
        };
        opening.frames += 1;
        opening.frames <= ASKED_FRAMES_MAX
    }

    /// Largest message of a connection, bytes, as its record has it.
    pub(super) fn message_bytes_max(&self, accept: &Accept<A::Data>) -> u32 {
        let bytes = accept.message_bytes_max;
        u32::try_from(bytes.unwrap_or(self.options().message_bytes_max)).unwrap_or(u32::MAX)
    }

    /// What waits to be sent to a connection that is moving: nothing, unless it was asked whose it is
    /// and its 101 is of this very turn.
    pub(super) fn take_unsent(&mut self, slot: Slot) -> Vec<u8> {
        let queue = self.connection_mut(slot).and_then(|c| c.queue.take());
        let unsent =
            queue.map_or_else(Vec::new, |queue| [&queue.control[..], &queue.data].concat());
        self.held.queues -= unsent.len() as u64;
        unsent
    }

    /// Closes a connection that has its 101 and was never open: a close frame, then the end.
    pub(super) fn turn_away(&mut self, slot: Slot, code: Option<CloseCode>, reason: &str) {
        let Some(connection) = self.connections.get_mut(slot.0) else {
            return;
        };
        if connection.marks.blocked {
            // It has not even taken the answer to its handshake.
            return self.cut(slot, CloseCode::ABNORMAL, "takes nothing");
        }
        connection.phase = Phase::Refused;
        self.held.held -= connection.held_bytes() as u64;
        connection.held = None;
        let reason = &reason[..reason.floor_char_boundary(CLOSE_REASON_BYTES_MAX)];
        self.queue_last(slot, |out| {
            ws::close_frame_into(out, code.map(|code| (code, reason)));
        });
        let timeout = self.options().close_timeout;
        self.phase_ends(slot, timeout);
    }
}

/// The close code that says what the status of a refusal says.
fn close_code(refusal: &Refusal) -> CloseCode {
    match refusal.status() {
        StatusCode::UNAUTHORIZED => codes::UNAUTHORIZED,
        StatusCode::FORBIDDEN => codes::FORBIDDEN,
        StatusCode::TOO_MANY_REQUESTS => codes::CONNECTION_LIMIT,
        StatusCode::SERVICE_UNAVAILABLE => CloseCode::TRY_AGAIN_LATER,
        StatusCode::REQUEST_TIMEOUT => codes::AUTHENTICATION_TIMEOUT,
        status if status.is_client_error() => codes::BAD_REQUEST,
        _ => codes::INTERNAL,
    }
}
