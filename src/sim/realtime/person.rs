//! One client: bytes of its own codec, a will of its own, and what it remembers of where it was.

use std::collections::{BTreeMap, VecDeque};

use super::frame::Profile;
use super::judge::Judge;
use super::settings::ROOMS;
use crate::sim::network::Link;
use crate::sim::prng::Prng;
use crate::testing::{Peer, Received};

/// Bytes that a client has on their way when it still thinks of something new. Few, so that what
/// one read brings to the server does not fill a room's history.
const UNREAD_BYTES_MAX: usize = 500;

/// Where a client was in a room: epoch and offset.
pub(super) type Known = BTreeMap<String, (String, u64)>;

/// One connection of a user.
pub(super) struct Person {
    pub(super) number: usize,
    pub(super) user: String,
    pub(super) profile: Profile,
    pub(super) known: Known,
    /// The room of its path or route.
    pub(super) own_room: Option<String>,
    peer: Peer,
    unwritten: VecDeque<u8>,
    stalled_until_ms: u64,
    /// It says nothing more.
    silent: bool,
    over: bool,
}

impl Person {
    /// A client that asks for an upgrade.
    pub(super) fn new(number: usize, user: String, known: Known, prng: &mut Prng) -> Self {
        let profile = prng.pick(&Profile::ALL);
        let room = prng.pick(&ROOMS);
        let path = match profile {
            Profile::V1 => "/v1/connect".to_owned(),
            Profile::Room => format!("/ws/{room}"),
            Profile::Message => "/api/v1/ws".to_owned(),
            Profile::Flat => "/ws".to_owned(),
        };
        Self::at(number, user, known, (&path, profile))
    }

    /// A client that asks for an upgrade of a path.
    pub(super) fn at(
        number: usize,
        user: String,
        known: Known,
        (path, profile): (&str, Profile),
    ) -> Self {
        let roles = if user == "user-0" { "&roles=admin" } else { "" };
        let head = format!(
            "GET {path}?user_id={user}{roles} HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        Self {
            number,
            user,
            profile,
            known,
            own_room: match profile {
                Profile::Room => path.strip_prefix("/ws/").map(String::from),
                Profile::Flat => Some("lobby".into()),
                Profile::V1 | Profile::Message => None,
            },
            peer: Peer::default(),
            unwritten: head.into_bytes().into(),
            stalled_until_ms: 0,
            silent: false,
            over: false,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// Whether it may say something now.
    pub(super) fn may_speak(&self, link: &Link) -> bool {
        let is_open = self.peer.is_upgraded() && !self.peer.is_gone && self.peer.closed.is_none();
        let on_their_way = self.unwritten.len() + link.unread_by_server();
        is_open && !self.silent && on_their_way < UNREAD_BYTES_MAX
    }

    pub(super) fn say(&mut self, text: &str) {
        self.peer.write_frame(1, text.as_bytes());
    }

    /// Stops reading for a while.
    pub(super) fn stall(&mut self, until_ms: u64) {
        self.stalled_until_ms = until_ms;
    }

    /// Ends the conversation with a close frame; one that was not let in, without.
    pub(super) fn leave(&mut self, link: &mut Link) {
        self.stalled_until_ms = 0;
        if self.peer.is_upgraded() && !self.peer.is_gone {
            self.silent = true;
            self.peer.close(&1000u16.to_be_bytes());
        } else {
            self.hang_up(link);
        }
    }

    /// Is gone without a word.
    pub(super) fn hang_up(&mut self, link: &mut Link) {
        self.silent = true;
        self.peer.vanish();
        self.unwritten.clear();
        link.client_ends();
    }

    /// Moves some bytes each way, and tells the judge what was read. `false`: nothing to move.
    pub(super) fn pump(
        &mut self,
        link: &mut Link,
        now_ms: u64,
        prng: &mut Prng,
        judge: &mut Judge,
    ) -> bool {
        let mut moved = false;
        for frame in std::mem::take(&mut self.peer.outgoing) {
            if !self.peer.is_gone {
                self.unwritten.extend(frame);
            }
        }
        if !self.unwritten.is_empty() {
            let bytes = match prng.chance(60) {
                true => self.unwritten.len(),
                false => prng.size(self.unwritten.len()) + 1,
            };
            let taken = link.client_writes(&self.unwritten.make_contiguous()[..bytes]);
            self.unwritten.drain(..taken);
            moved = taken > 0;
        }
        if now_ms >= self.stalled_until_ms && link.unread_by_client() > 0 {
            let bytes = match prng.chance(60) {
                true => usize::MAX,
                false => prng.size(link.unread_by_client()) + 1,
            };
            self.peer.receive(&link.client_reads(bytes));
            moved = true;
            while let Some(message) = self.peer.messages.pop_front() {
                let Received::Text(text) = message else {
                    panic!("client {} gets a binary message", self.number);
                };
                judge.hear(self.number, &text, &mut self.known);
            }
        }
        if link.is_over_for_client() && !self.over {
            self.over = true;
            self.unwritten.clear();
            link.client_ends();
            judge.gone(self.number);
            moved = true;
        }
        moved
    }

    pub(super) fn wake(&mut self) {
        self.stalled_until_ms = 0;
    }
}
