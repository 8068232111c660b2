//! Who may join, and how a newcomer begins.

use super::Room;
use super::members::Link;
use super::room::RoomState;
use crate::id::UserId;
use crate::realtime::mail::{Admission, Join, Joined, Letter, Mail, Reason, Start};
use crate::realtime::options::{Create, Namespace};
use crate::realtime::outlet::Outlet;
use crate::realtime::protocol::{Body, Id, Outbound, Rejection, payload};
use crate::realtime::session::Session;
use crate::realtime::writing::{Written, text};
use crate::shard::Knock;

/// What a newcomer has missed.
enum Missed {
    /// It did not ask.
    NotAsked,
    /// All of it is here: this many messages after that offset.
    After(u64),
    /// It cannot be told in full.
    Lost,
}

/// Whether somebody may enter a room that is not there, which entering it would make.
pub(super) fn may_enter_new(namespace: &Namespace) -> Result<(), Rejection> {
    match (namespace.create, namespace.private) {
        (Create::ApiOnly, _) => Err(Rejection::NotFound),
        // Nobody is on its list, and it has no owner.
        (Create::OnDemand, true) => Err(Rejection::Forbidden),
        (Create::OnDemand, false) => Ok(()),
    }
}

impl RoomState {
    /// Lets a connection in, or not. It begins with what the room publishes after this.
    pub(super) fn join(&mut self, outlet: &mut Outlet<'_, '_>, room: &Room, join: Join) {
        let outcome = match self.may_enter(outlet, &join.asker.user) {
            Ok(()) => {
                let bounds = self.bounds(outlet);
                self.window.expire(outlet.unix_ms(), &bounds);
                let missed = self.missed(outlet, &join);
                self.enter(outlet, room, &join, &missed);
                Ok(self.admission(outlet, room, &join, &missed))
            }
            Err(rejection) => {
                // Who asks anew is judged anew: it may have been in the room until now.
                let (user, connection) = (&join.asker.user, join.asker.connection);
                self.leave(outlet, room, user, connection, None, false);
                Err(rejection)
            }
        };
        outlet.joined(Joined {
            room: join.room,
            asker: join.asker,
            number: join.number,
            is_vital: join.is_vital,
            presence: join.presence,
            outcome,
        });
    }

    /// Whether a handshake whose path names the room would be let in now, if it joined.
    pub(super) fn may_come_in(
        &self,
        outlet: &Outlet<'_, '_>,
        knock: &Knock<Session>,
    ) -> Result<(), Rejection> {
        // A guest has no name yet, so that no list can have it: as nobody.
        let user = knock.accept.user.as_deref().unwrap_or_default();
        self.may_enter(outlet, &user.into())
    }

    /// Whether a user may come in, or stay.
    pub(super) fn may_enter(
        &self,
        outlet: &Outlet<'_, '_>,
        user: &UserId,
    ) -> Result<(), Rejection> {
        let member = self.members.get(user);
        if self
            .banned
            .get(user)
            .is_some_and(|until| *until > outlet.second())
        {
            return Err(Rejection::Forbidden);
        }
        let is_listed = member.is_some_and(|member| member.is_listed) || self.meta.is_owner(user);
        let is_here = member.is_some_and(|member| member.is_present());
        // Who is here already may stay, and come by a further connection.
        if self.meta.is_private && !is_listed && !is_here {
            return Err(Rejection::Forbidden);
        }
        let members_max = self.members_max(outlet);
        if members_max > 0 && !is_here && self.crowd.present >= members_max {
            return Err(Rejection::RoomFull);
        }
        Ok(())
    }

    /// Most users in the room; 0: no limit.
    pub(super) fn members_max(&self, outlet: &Outlet<'_, '_>) -> usize {
        match self.meta.max_clients {
            0 => self.namespace(outlet).members_max as usize,
            own => own as usize,
        }
    }

    fn enter(&mut self, outlet: &mut Outlet<'_, '_>, room: &Room, join: &Join, missed: &Missed) {
        let link = Link {
            connection: join.asker.connection,
            number: join.number,
            profile: join.asker.profile,
            from: match missed {
                Missed::After(offset) => *offset,
                Missed::NotAsked | Missed::Lost => self.window.head(),
            },
        };
        let about = (&join.roles, join.info.as_deref());
        let user = &join.asker.user;
        let is_newcomer = self.arrive(outlet, room, user, link, about);
        if is_newcomer {
            self.remember_member(outlet, room, user);
        }
        if link.from < self.window.head() {
            self.receipts.expect();
        }
    }

    /// How the connection begins in the room.
    fn admission(
        &self,
        outlet: &mut Outlet<'_, '_>,
        room: &Room,
        join: &Join,
        missed: &Missed,
    ) -> Admission {
        let replay = match missed {
            Missed::After(offset) => self.replay(room, *offset, join),
            Missed::NotAsked | Missed::Lost => Vec::new(),
        };
        let recovered = match missed {
            Missed::NotAsked => None,
            Missed::After(_) => Some(true),
            Missed::Lost => Some(false),
        };
        let tail = self.snapshot(outlet, room, join);
        let replayed = replay.len();
        let mut frames = Vec::new();
        let mut without_replay = Vec::new();
        if join.is_answered {
            frames.push(self.subscribed(outlet, room, join, recovered, replayed));
            let recovered = recovered.map(|recovered| recovered && replayed == 0);
            without_replay.push(self.subscribed(outlet, room, join, recovered, 0));
        }
        frames.extend(replay);
        if let Some(frame) = tail {
            frames.push(frame.clone());
            without_replay.push(frame);
        }
        Admission {
            frames,
            without_replay,
            recovered,
            replayed,
        }
    }

    fn missed(&self, outlet: &Outlet<'_, '_>, join: &Join) -> Missed {
        let after = match &join.start {
            Start::Now => return Missed::NotAsked,
            Start::After { epoch, offset } => {
                if !self.has_history(outlet) || **epoch != *self.epoch {
                    return Missed::Lost;
                }
                *offset
            }
            Start::Undelivered => {
                let member = self.members.get(&join.asker.user);
                let Some(member) = member.filter(|member| member.is_listed) else {
                    return Missed::NotAsked;
                };
                // What the window does not hold any more is lost to this client, which has no
                // means to ask for it; `room.history` has it where the room is persistent.
                let first = self.window.oldest().unwrap_or(self.window.head() + 1);
                member.marks.delivered().max(first.saturating_sub(1))
            }
        };
        match self.window.since(after) {
            Some(_) => Missed::After(after),
            None => Missed::Lost,
        }
    }

    /// The messages after an offset, all of which the window has, as frames.
    fn replay(&self, room: &Room, offset: u64, join: &Join) -> Vec<Written> {
        let Some(missed) = self.window.since(offset) else {
            return Vec::new();
        };
        // What it knows is the user's own, too, unless the client says itself what that is.
        let knows_own = join.start == Start::Undelivered;
        let missed = missed
            .filter(|(_, record)| !knows_own || record.user.as_ref() != Some(&join.asker.user));
        missed
            .map(|(offset, record)| record.written(room.name(), offset, join.asker.profile))
            .collect()
    }

    /// The answer to `subscribe`.
    fn subscribed(
        &self,
        outlet: &mut Outlet<'_, '_>,
        room: &Room,
        join: &Join,
        recovered: Option<bool>,
        replayed: usize,
    ) -> Written {
        let at = outlet.timestamp();
        let has_history = self.has_history(outlet);
        let subscribed = payload::Subscribed {
            topic: room.name(),
            head: has_history.then_some((&*self.epoch, self.window.head())),
            recovered,
            replayed: recovered.map(|_| replayed as u64),
            members: Some(self.crowd.present as u64),
        };
        let object = outlet
            .desk
            .scratch
            .take_payload(|fields| payload::subscribed(fields, &subscribed));
        let outbound = Outbound {
            message_type: "subscribed",
            id: join.asker.id.as_ref().map(|id| Id::Request(id.as_id())),
            room: None,
            user: None,
            at,
            position: None,
            body: Body::Object(text(&object)),
        };
        let written = Written::new(&outbound, join.asker.profile);
        outlet.desk.scratch.give_payload(object);
        written
    }

    /// Takes a user out of the room, whatever connections there are.
    pub(super) fn expel(
        &mut self,
        outlet: &mut Outlet<'_, '_>,
        room: &Room,
        user: &UserId,
        reason: Reason,
    ) {
        let Some(seat) = self.members.get(user) else {
            return;
        };
        for link in seat.links.clone() {
            let Link {
                connection, number, ..
            } = link;
            let shard = connection.shard();
            // At once, so that what the room hears of it does not come twice.
            if shard == outlet.context.shard() {
                outlet.expelled(connection, room, number, reason);
                continue;
            }
            let letter = Letter::Expelled {
                connection,
                room: room.clone(),
                number,
                reason,
            };
            outlet
                .context
                .mail_in_order(shard, room.name(), Mail(letter));
        }
        self.remove(outlet, room, user);
        self.forget_member(outlet, room, user);
    }
}
