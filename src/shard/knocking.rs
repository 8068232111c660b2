//! Handshakes that knock ([`Accept::knocks`]): the application has accepted them, and has a last word
//! before their 101, for which it may have to ask another shard. So a refusal can still be an HTTP status.
//!
//! ```text
//!   accepted ─► App::knocked ─► (mail to whoever decides) ─► Context::admit ─► home, limits, 101
//!                                                            Context::refuse ─► status, body
//! ```
//!
//! The connection waits as one does whose answer comes from the service thread, and until the same
//! deadline. An answer that finds it gone or out of time is dropped.

use std::net::SocketAddr;

use super::Shard;
use super::app::{Accept, App};
use super::context::Context;
use super::core::Staged;
use super::mail::{Handshake, Mail};
use crate::http::Refusal;
use crate::id::{ConnectionId, Slot};

/// A handshake that is accepted and not answered yet, for the application to keep and to mail about.
///
/// It is answered by [`Context::admit`] or [`Context::refuse`], on whatever shard. If it is dropped the
/// answer is 503 when the handshake's time is over.
#[derive(Debug)]
pub struct Knock<D> {
    connection: ConnectionId,
    peer: SocketAddr,
    /// How the connection is to be set up.
    pub accept: Accept<D>,
}

impl<D> Knock<D> {
    /// The client's address: [`Accept::remote_address`] if that is known, else the TCP peer's.
    pub fn remote_address(&self) -> SocketAddr {
        self.accept.remote_address.unwrap_or(self.peer)
    }
}

impl<A: App> Shard<A> {
    /// Hands an accepted handshake to the application, and waits for its word.
    pub(super) fn knock(
        &mut self,
        slot: Slot,
        mut accept: Accept<A::Data>,
        handshake: Handshake,
        early: Vec<u8>,
    ) {
        let core = &mut self.core;
        let Some(connection) = core.connection(slot) else {
            return;
        };
        let peer = connection.peer.into();
        core.await_answer(slot, handshake, early);
        // It knocks once, unless the application says so again.
        accept.knocks = false;
        let knock = Knock {
            connection: core.id(slot),
            peer,
            accept,
        };
        self.app.knocked(&mut Context { core }, knock);
    }
}

impl<A: App> Context<'_, A> {
    /// Lets a handshake go on that has knocked: to its user's home, where the limits are looked at.
    pub fn admit(&mut self, knock: Knock<A::Data>) {
        self.answer(knock.connection, Ok(knock.accept));
    }

    /// Refuses a handshake that has knocked.
    pub fn refuse(&mut self, knock: Knock<A::Data>, refusal: Refusal) {
        self.answer(knock.connection, Err(refusal));
    }

    fn answer(&mut self, connection: ConnectionId, answer: Result<Accept<A::Data>, Refusal>) {
        let mail = Mail::Answer(connection, Box::new(answer));
        let shard = connection.shard();
        self.core.staged.push(Staged::Mail(shard, mail));
    }
}
