//! Saying something: to the peer, to rooms, to users, to everybody.

use super::{Ctx, Exclude};
use crate::id::UserId;
use crate::realtime::mail::{Letter, Push};
use crate::realtime::post::{Answer, Content, Post, Source, Terms};
use crate::realtime::protocol::{Body, Fields, Id, Outbound, payload};
use crate::realtime::rooms::{Question, Room};
use crate::realtime::writing::text;
use crate::shard::{Dropped, Sent};

impl Ctx<'_> {
    /// [`Exclude::Sender`], unless the option `echo_to_sender` is on.
    pub fn exclude_sender(&self) -> Exclude {
        if self.state.desk.options.echo_to_sender {
            Exclude::None
        } else {
            Exclude::Sender
        }
    }

    /// Answers the message: a frame to its connection, with the request's `id` and `timestamp`.
    pub fn reply(&mut self, message_type: &str, fill: impl FnOnce(Fields<'_>) -> Fields<'_>) {
        if let Some(outside) = self.outside.clone() {
            return self
                .outlet()
                .with_payload(fill, |_, object| outside.answer(Ok(object.into())));
        }
        let id = self.id.map(Id::Request);
        // A peer that does not read its answers has been told enough; it is counted.
        let _ = self.tell(message_type, id, fill);
    }

    /// Sends a frame to the message's connection that is no answer: with an `id` of its own.
    pub fn send(
        &mut self,
        message_type: &str,
        fill: impl FnOnce(Fields<'_>) -> Fields<'_>,
    ) -> Sent {
        let id = Some(Id::Message(self.message_id()));
        self.tell(message_type, id, fill)
    }

    fn tell(
        &mut self,
        message_type: &str,
        id: Option<Id<'_>>,
        fill: impl FnOnce(Fields<'_>) -> Fields<'_>,
    ) -> Sent {
        let at = self.timestamp();
        let scratch = &mut self.state.desk.scratch;
        let object = scratch.take_payload(fill);
        let outbound = Outbound {
            message_type,
            id,
            room: None,
            user: None,
            at,
            position: None,
            body: Body::Object(text(&object)),
        };
        let sent = match self.context.socket(self.connection) {
            Some(mut socket) => socket.send(scratch.write(&outbound, self.profile)),
            None => Sent::Dropped(Dropped::Closed),
        };
        scratch.give_payload(object);
        sent
    }

    /// Sends a message to all connections of a user, this shard's or another's.
    pub fn send_to_user(
        &mut self,
        user: &str,
        message_type: &str,
        fill: impl FnOnce(Fields<'_>) -> Fields<'_>,
    ) {
        let push = self.push(message_type, fill);
        self.outlet().tell_user(&UserId::from(user), push);
    }

    /// Sends a notification to all connections of a user.
    pub fn notify(&mut self, user: &str, title: &str, body: &str) {
        let (id, at) = (self.message_id(), self.timestamp());
        self.send_to_user(user, "notification", |fields| {
            payload::notification(fields, id, title, body, &at)
        });
    }

    /// Publishes a message to a room: it gets its place in the room's one order, and is kept for
    /// those who come later as the room's namespace says. Messages of one connection arrive in the
    /// order in which they were sent.
    pub fn publish(
        &mut self,
        room: &Room,
        message_type: &str,
        exclude: Exclude,
        fill: impl FnOnce(Fields<'_>) -> Fields<'_>,
    ) {
        let object = self.state.desk.scratch.take_payload(fill);
        let content = Content::Object(text(&object));
        self.post(room, message_type, content, (exclude, Answer::None, None));
        self.state.desk.scratch.give_payload(object);
    }

    /// Tells a room something that is told now and never again, such as who types: it has no place
    /// in the room's order and no `id`.
    pub fn publish_ephemeral(
        &mut self,
        room: &Room,
        message_type: &str,
        exclude: Exclude,
        fill: impl FnOnce(Fields<'_>) -> Fields<'_>,
    ) {
        let mut push = self.push(message_type, fill);
        push.id = None;
        let letter = Letter::Ephemeral {
            room: room.clone(),
            exclude: (exclude == Exclude::Sender).then_some(self.connection),
            push: Box::new(push),
        };
        self.state.deliver(&mut self.context, letter);
    }

    /// Sends a message to every open connection of the server, whatever its rooms.
    pub fn broadcast(
        &mut self,
        message_type: &str,
        exclude: Exclude,
        fill: impl FnOnce(Fields<'_>) -> Fields<'_>,
    ) {
        let push = self.push(message_type, fill);
        let exclude = (exclude == Exclude::Sender).then_some(self.connection);
        self.outlet().broadcast(exclude, &push);
    }

    /// Has the room's home give a message its place.
    pub(in crate::realtime) fn post(
        &mut self,
        room: &Room,
        message_type: &str,
        content: Content<'_>,
        (exclude, answer, client_message_id): (Exclude, Answer, Option<&str>),
    ) {
        let asked = self.asked.as_ref().filter(|(asked, _)| asked == room);
        let asked = asked.map(|(_, number)| *number);
        let source = Source::Client {
            asker: self.asker(),
            roles: self.roles(),
            asked,
        };
        let post = Post {
            message_type,
            content,
            client_message_id,
            terms: Terms {
                source,
                exclude: (exclude == Exclude::Sender).then_some(self.connection),
                answer,
            },
        };
        self.state.post(&mut self.context, room, &post);
    }

    pub(in crate::realtime) fn typing(&mut self, room: &Room, is_typing: bool) {
        let letter = Letter::Typing {
            room: room.clone(),
            user: self.user.clone(),
            connection: self.connection,
            is_typing,
        };
        self.state.deliver(&mut self.context, letter);
    }

    /// Asks a room's home, which answers the message's connection.
    pub(in crate::realtime) fn ask_room(&mut self, room: Room, question: Question) {
        let letter = Letter::Ask {
            room,
            asker: self.asker(),
            roles: self.roles(),
            question: Box::new(question),
        };
        self.deliver(letter);
    }

    pub(in crate::realtime) fn deliver(&mut self, letter: Letter) {
        self.state.deliver(&mut self.context, letter);
    }

    /// Takes an empty buffer; to be given back, by [`give_buffer`](Ctx::give_buffer).
    pub(in crate::realtime) fn take_buffer(&mut self) -> Vec<u8> {
        self.state.desk.scratch.take_buffer()
    }

    pub(in crate::realtime) fn give_buffer(&mut self, buffer: Vec<u8>) {
        self.state.desk.scratch.give_payload(buffer);
    }

    fn push(&mut self, message_type: &str, fill: impl FnOnce(Fields<'_>) -> Fields<'_>) -> Push {
        let id = self.message_id();
        let scratch = &mut self.state.desk.scratch;
        let object = scratch.take_payload(fill);
        let push = Push {
            message_type: message_type.into(),
            id: Some(id),
            user: Some(self.user.clone()),
            payload: text(&object).into(),
        };
        scratch.give_payload(object);
        push
    }
}
