//! Who is connected, and word to them, for those who ask from other threads: by
//! `handle.ask(shard, |app, context| app.connections_of(context, "ann"))`.

use std::net::SocketAddr;

use super::Realtime;
use super::external::{is_type, members};
use super::mail::Push;
use super::options::Roles;
use super::protocol::{MessageId, Profile, Rejection};
use super::rooms::Room;
use crate::id::{ConnectionId, Slot, UserId};
use crate::shard::Context;

/// Most connections that are looked at for one page of users: some tenths of a millisecond.
const LOOKED_AT_MAX: usize = 4096;

/// One open connection.
#[derive(Clone, Debug)]
pub struct ConnectionView {
    /// Its identifier.
    pub id: ConnectionId,
    /// The address of its TCP peer.
    pub remote_address: SocketAddr,
    /// How its frames are laid out.
    pub profile: Profile,
    /// Its roles.
    pub roles: Roles,
    /// The rooms that it is in or has asked to join.
    pub rooms: Vec<Room>,
    /// Bytes that wait for its peer, besides rooms.
    pub buffered_bytes: usize,
}

/// One user who is connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserView {
    /// Its identifier.
    pub user: UserId,
    /// Its open connections.
    pub connections: u32,
}

/// Some of the users of one shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsersPage {
    /// In no order that means anything.
    pub users: Vec<UserView>,
    /// Where the next page begins; `None`: this was the last.
    pub next: Option<u32>,
    /// There is one more, who stands where the next page begins.
    pub has_more: bool,
}

impl Realtime {
    /// The open connections of a user who is at home on this shard, the oldest first.
    pub fn connections_of(
        &self,
        context: &mut Context<'_, Self>,
        user: &str,
    ) -> Vec<ConnectionView> {
        let connections = context.connections_of(user);
        let views = connections.into_iter().filter_map(|id| {
            let socket = context.socket(id)?;
            let session = socket.data();
            Some(ConnectionView {
                id,
                remote_address: socket.remote_address(),
                profile: session.profile,
                roles: session.roles.clone(),
                rooms: session.rooms.iter().map(|it| it.room.clone()).collect(),
                buffered_bytes: socket.buffered_amount(),
            })
        });
        views.collect()
    }

    /// At most `limit` of the users who are at home on this shard and whose identifiers begin with
    /// `prefix`, from `from` on: 0 at first, then what the page before says. Whoever is connected by one
    /// connection all the time stands on one page. At most 4,096 connections are looked at: a page may hold
    /// nobody and still not be the last.
    pub fn users(
        &self,
        context: &mut Context<'_, Self>,
        prefix: &str,
        from: u32,
        limit: usize,
    ) -> UsersPage {
        let mut page = UsersPage::default();
        let mut open = context.connections_from(Slot(from));
        let looked_at: Vec<_> = open.by_ref().take(LOOKED_AT_MAX).collect();
        page.next = open.next().map(|id| id.slot().0);
        drop(open);
        for id in looked_at {
            if !context.is_oldest(id) {
                continue;
            }
            let socket = context.socket(id);
            let user = socket.expect("it was open a moment ago").user().clone();
            if !user.starts_with(prefix) {
                continue;
            }
            if page.users.len() == limit {
                page.next = Some(id.slot().0);
                page.has_more = true;
                break;
            }
            let connections = context.user_connection_count(&user);
            page.users.push(UserView { user, connections });
        }
        page
    }

    /// Sends a message to all connections of a user who is at home on this shard. `payload` is the text
    /// of a JSON object. Gives the message's identifier, and to how many connections it was sent.
    ///
    /// Errors: a payload that is no JSON to its end; [`Rejection::InvalidMember`] about `data` or `type`.
    pub fn send_to_user(
        &mut self,
        context: &mut Context<'_, Self>,
        user: &str,
        message_type: &str,
        payload: &str,
    ) -> Result<(MessageId, usize), Rejection> {
        let mut push = checked(message_type, payload)?;
        let mut outlet = self.state.outlet(context);
        let id = outlet.message_id();
        push.id = Some(id);
        Ok((id, outlet.tell_user_here(user, &push)))
    }

    /// Sends a message to each connection of this shard that has one of `roles`. Gives how many.
    ///
    /// Errors: as [`send_to_user`](Self::send_to_user).
    pub fn broadcast_to(
        &mut self,
        context: &mut Context<'_, Self>,
        roles: &Roles,
        message_type: &str,
        payload: &str,
    ) -> Result<usize, Rejection> {
        let push = checked(message_type, payload)?;
        let mut connections: Vec<ConnectionId> = context.connections_from(Slot(0)).collect();
        connections.retain(|&id| {
            let socket = context.socket(id);
            socket.is_some_and(|socket| {
                let own = &socket.data().roles;
                roles.iter().any(|role| own.contains(role))
            })
        });
        Ok(self.state.outlet(context).tell_each(&connections, &push))
    }

    /// The room of this shard whose memory holds a message.
    pub fn room_of(&self, message: MessageId) -> Option<Room> {
        self.state.rooms.room_of(message)
    }
}

fn checked(message_type: &str, payload: &str) -> Result<Push, Rejection> {
    members(payload)?;
    if !is_type(message_type) {
        return Err(Rejection::InvalidMember("type".into()));
    }
    Ok(Push::from_server(message_type, payload))
}
