//! Who has no connection asks: the HTTP API, or a program that embeds the server.
//!
//! An [`Errand`] goes to a shard as [`Mail`] and is done there as if its author had sent a message: the
//! same handlers, the same powers, the same order in a room. In place of a connection the [`Asker`] has
//! an [`Outside`], which takes the one answer. If whoever was to answer is gone, the answer is `None`:
//! nobody waits for ever, though for how long is the asker's to say.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as Task, Poll, ready};

use serde_json::value::RawValue;
use tokio::sync::oneshot;

use super::mail::{Asker, Letter, Mail};
use super::options::{Roles, Standing, Who};
use super::post::{OwnedPost, Source};
use super::protocol::{
    Fields, Inbound, Members, MessageId, Profile, Rejection, TYPE_BYTES_MAX, scan,
};
use super::rooms::{ADMIN, Changes, Listing, Mark, Page, Question, Room, Spec};
use super::writing::text;
use super::{Ctx, Realtime};
use crate::id::{ConnectionId, UserId};
use crate::shard::Context;

/// What came of an errand: the text of a JSON object, or why not.
pub type Answer = Result<Box<str>, Rejection>;

/// Who asks, and with which roles.
#[derive(Clone, Debug)]
pub struct Asking {
    user: UserId,
    roles: Roles,
}

impl Asking {
    /// A user, who may do what its connections may.
    pub fn user(user: UserId, roles: Roles) -> Self {
        Self { user, roles }
    }

    /// The server's operator, who may do all.
    pub fn server() -> Self {
        Self {
            // No user can be called so.
            user: UserId::from(""),
            roles: Roles::from_list(ADMIN).expect("one role"),
        }
    }
}

/// Takes the one answer for somebody who has no connection.
#[derive(Debug)]
pub(super) struct Outside {
    roles: Roles,
    answer: Mutex<Option<oneshot::Sender<Answer>>>,
}

impl Outside {
    pub(super) fn roles(&self) -> &Roles {
        &self.roles
    }

    /// Answers; what follows the first answer is heard by nobody, as is any if nobody waits.
    pub(super) fn answer(&self, answer: Answer) {
        let mut sender = self.answer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = sender.take() {
            let _ = sender.send(answer);
        }
    }
}

/// The answer to an [`Errand`], to be awaited. `None`: whoever was to answer is gone.
#[derive(Debug)]
pub struct Answered(oneshot::Receiver<Answer>);

impl Future for Answered {
    type Output = Option<Answer>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Option<Answer>> {
        Poll::Ready(ready!(Pin::new(&mut self.0).poll(task)).ok())
    }
}

/// A question or a message of somebody who has no connection.
#[derive(Debug)]
pub struct Errand {
    kind: Kind,
    /// Who asks. Put in by [`mail`](Errand::mail).
    sender: Option<(UserId, Arc<Outside>)>,
}

enum Kind {
    Ask(Room, Box<Question>),
    List {
        prefix: Box<str>,
        after: Option<Box<str>>,
        limit: usize,
    },
    /// A user's message: what a connection would have sent.
    Say {
        room: Room,
        frame: Box<str>,
    },
    /// A message of the server itself.
    Post(Room, Box<OwnedPost>),
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ask(room, question) => write!(f, "Ask({room}, {question:?})"),
            Self::List { .. } => f.write_str("List"),
            Self::Say { room, .. } => write!(f, "Say({room})"),
            Self::Post(room, _) => write!(f, "Post({room})"),
        }
    }
}

impl Kind {
    /// As it is called in logs.
    fn name(&self) -> &'static str {
        match self {
            Self::Ask(..) | Self::List { .. } => "rpc",
            Self::Say { .. } => "",
            Self::Post(..) => "publish",
        }
    }
}

/// What a message to a room says.
#[derive(Clone, Copy, Debug)]
pub struct Said<'a> {
    /// `chat`, `publish`, or, from the server itself, any other type of 1 to 64 bytes.
    pub message_type: &'a str,
    /// Valid JSON: any value in a `publish`, else an object.
    pub data: &'a str,
    /// By which the message is known if it comes again: 1 to 128 bytes.
    pub client_message_id: Option<&'a str>,
}

/// Longest `client_message_id`, bytes.
const CLIENT_MESSAGE_ID_BYTES_MAX: usize = 128;

impl Errand {
    fn new(kind: Kind) -> Self {
        Self { kind, sender: None }
    }

    fn ask(room: &str, question: Question) -> Result<Self, Rejection> {
        let room = Room::named(room)?;
        Ok(Self::new(Kind::Ask(room, Box::new(question))))
    }

    /// What `room.get` tells. Errors, here and below: [`Rejection::InvalidMember`] about what cannot be.
    pub fn room(room: &str) -> Result<Self, Rejection> {
        Self::ask(room, Question::Get)
    }

    /// A page of the users in a room, by name, after one of them: `{count, members, next_cursor}`.
    pub fn members(room: &str, after: Option<&str>, limit: usize) -> Result<Self, Rejection> {
        let cursor = after.map(Into::into);
        Self::ask(room, Question::Members { cursor, limit })
    }

    /// A page of a room's messages: the newest before `before`, or the oldest after `after`, each an
    /// offset or a message's identifier: `{messages, next_cursor}`, where the cursor is an offset.
    pub fn history(
        room: &str,
        before: Option<&str>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Self, Rejection> {
        let page = Page {
            before: before.map(|mark| as_mark(mark, "before")).transpose()?,
            after: after.map(|mark| as_mark(mark, "after")).transpose()?,
            limit,
        };
        Self::ask(room, Question::History(page))
    }

    /// Makes a room, with its access list if there is one.
    pub fn create(room: &str, changes: Changes, members: Vec<UserId>) -> Result<Self, Rejection> {
        let spec = Spec { changes, members };
        spec.check()?;
        Self::ask(room, Question::Create(Box::new(spec)))
    }

    /// Changes a room.
    pub fn update(room: &str, changes: Changes) -> Result<Self, Rejection> {
        changes.check()?;
        Self::ask(room, Question::Update(Box::new(changes)))
    }

    /// Ends a room.
    pub fn close(room: &str) -> Result<Self, Rejection> {
        Self::ask(room, Question::Close)
    }

    /// Puts a user on a room's access list.
    pub fn add_member(room: &str, user: UserId) -> Result<Self, Rejection> {
        Self::ask(room, Question::AddMember(user))
    }

    /// Takes a user from a room's access list, and out of the room.
    pub fn remove_member(room: &str, user: UserId) -> Result<Self, Rejection> {
        Self::ask(room, Question::RemoveMember(user))
    }

    /// What has become of a message: for its author, and for who may do all in the room.
    pub fn message_status(room: &str, message: MessageId) -> Result<Self, Rejection> {
        Self::ask(room, Question::Status(message))
    }

    /// A page of the rooms that the asker may see, by name, after one of them: `{rooms, next_cursor}`.
    pub fn rooms(prefix: &str, after: Option<&str>, limit: usize) -> Self {
        Self::new(Kind::List {
            prefix: prefix.into(),
            after: after.map(Into::into),
            limit,
        })
    }

    /// A user's message to a room, who need not be there if it could be:
    /// `{topic, message_id}`, and `epoch` and `offset` in a room with history.
    ///
    /// A handler of one's own for these types must answer, by [`Ctx::reply`] or an error: if it does not,
    /// the answer is `None`.
    ///
    /// Errors: [`Rejection::InvalidMember`] about a type other than `chat` and `publish`, too.
    pub fn say(room: &str, said: Said<'_>) -> Result<Self, Rejection> {
        let room = Room::named(room)?;
        let id = checked_id(said.client_message_id)?;
        let mut frame = Vec::new();
        match said.message_type {
            "chat" => {
                let members = members(said.data)?;
                Fields::write(&mut frame, |fields| {
                    let fields = fields.str("type", "chat").number("id", 0);
                    fields.str("room_id", room.name()).object("data", |fields| {
                        fields
                            .members(members)
                            .optional_str("client_message_id", id)
                    })
                });
            }
            "publish" => {
                let data = any_json(said.data)?;
                Fields::write(&mut frame, |fields| {
                    let fields = fields.str("type", "publish").number("id", 0);
                    fields.object("data", |fields| {
                        let fields = fields.str("room_id", room.name());
                        fields
                            .optional_str("client_message_id", id)
                            .raw("data", data)
                    })
                });
            }
            _ => return Err(Rejection::InvalidMember("type".into())),
        }
        let frame = text(&frame).into();
        Ok(Self::new(Kind::Say { room, frame }))
    }

    /// A message of the server itself, to all in a room but one connection. Answered as
    /// [`say`](Errand::say) is.
    pub fn publish(
        room: &str,
        said: Said<'_>,
        exclude: Option<ConnectionId>,
    ) -> Result<Self, Rejection> {
        let room = Room::named(room)?;
        let id = checked_id(said.client_message_id)?;
        if !is_type(said.message_type) {
            return Err(Rejection::InvalidMember("type".into()));
        }
        let mut post = match said.message_type {
            "publish" => {
                let mut object = Vec::new();
                let content = super::protocol::Content::Json(any_json(said.data)?.into());
                Fields::write(&mut object, |fields| {
                    super::protocol::payload::publish(fields, room.name(), None, &content)
                });
                OwnedPost::from_server("publish", text(&object))
            }
            "chat" => {
                members(said.data)?;
                OwnedPost::chat_from_server(said.data)?
            }
            other => {
                members(said.data)?;
                OwnedPost::from_server(other, said.data)
            }
        };
        post.name_it(id);
        post.terms.exclude = exclude;
        Ok(Self::new(Kind::Post(room, Box::new(post))))
    }

    /// The name whose home it is to be mailed to; `None`: any shard.
    pub fn home(&self) -> Option<&str> {
        match &self.kind {
            Kind::Ask(room, _) | Kind::Say { room, .. } | Kind::Post(room, _) => Some(room.name()),
            Kind::List { .. } => None,
        }
    }

    /// The errand as mail to its [home](Errand::home), and its answer.
    pub fn mail(mut self, asking: Asking) -> (Mail, Answered) {
        let (sender, answered) = oneshot::channel();
        let outside = Outside {
            roles: asking.roles,
            answer: Mutex::new(Some(sender)),
        };
        self.sender = Some((asking.user, Arc::new(outside)));
        (Mail(Letter::Outside(Box::new(self))), Answered(answered))
    }
}

/// The value if it is one that a message may be known by.
fn checked_id(id: Option<&str>) -> Result<Option<&str>, Rejection> {
    match id {
        Some(id) if !(1..=CLIENT_MESSAGE_ID_BYTES_MAX).contains(&id.len()) => {
            Err(Rejection::InvalidMember("client_message_id".into()))
        }
        id => Ok(id),
    }
}

/// The members of a payload, which is an object. Errors: about `data`, if it is another value.
pub(super) fn members(data: &str) -> Result<Members<'_>, Rejection> {
    Members::parse(data).map_err(|rejection| match rejection {
        Rejection::NotAnObject => Rejection::InvalidMember("data".into()),
        other => other,
    })
}

/// Whether a message type can be called so.
pub(super) fn is_type(name: &str) -> bool {
    (1..=TYPE_BYTES_MAX).contains(&name.len()) && !name.contains(char::is_control)
}

/// Any JSON value, checked to its end as what comes over a WebSocket is.
fn any_json(data: &str) -> Result<&str, Rejection> {
    // Strictly, and with its Unicode: as the member of an object.
    Members::parse(&format!("{{\"data\":{data}}}"))?;
    let value: &RawValue =
        serde_json::from_str(data).map_err(|_| Rejection::InvalidMember("data".into()))?;
    Ok(value.get())
}

/// A message's offset, or its identifier.
fn as_mark(text: &str, name: &'static str) -> Result<Mark, Rejection> {
    if let Ok(offset) = text.parse() {
        return Ok(Mark::Offset(offset));
    }
    let id = MessageId::parse(text).ok_or(Rejection::InvalidMember(name.into()))?;
    Ok(Mark::Message(id))
}

impl Realtime {
    /// Does what somebody asks who has no connection.
    pub(super) fn run_errand(&mut self, context: &mut Context<'_, Self>, errand: Errand) {
        let Errand { kind, sender } = errand;
        let Some((user, outside)) = sender else {
            return debug_assert!(false, "an errand is mailed with its sender");
        };
        let asker = Asker {
            connection: ConnectionId::nobody(context.shard()),
            user,
            profile: Profile::V1,
            id: None,
            message_type: kind.name().into(),
            address: None,
            outside: Some(outside),
        };
        if let Err(rejection) = self.begin(context, &asker, kind) {
            self.state.outlet(context).refuse(&asker, &rejection);
        }
    }

    fn begin(
        &mut self,
        context: &mut Context<'_, Self>,
        asker: &Asker,
        kind: Kind,
    ) -> Result<(), Rejection> {
        let roles = asker.outside.as_ref().map(|outside| outside.roles.clone());
        let roles = roles.unwrap_or_default();
        match kind {
            Kind::Ask(room, question) => {
                if matches!(*question, Question::Create(_)) {
                    self.may_create(&roles)?;
                }
                let letter = Letter::Ask {
                    room,
                    asker: asker.clone(),
                    roles,
                    question,
                };
                self.state.deliver(context, letter);
            }
            Kind::List {
                prefix,
                after,
                limit,
            } => {
                let listing =
                    Listing::new((asker.clone(), roles), &prefix, after.as_deref(), limit);
                self.state.outlet(context).list(listing);
            }
            Kind::Say { frame, .. } => return self.say(context, asker, &frame),
            Kind::Post(room, mut post) => {
                let asker = Some(asker.clone());
                post.terms.source = Source::Server { asker };
                self.state.deliver(context, Letter::Post { room, post });
            }
        }
        Ok(())
    }

    fn may_create(&self, roles: &Roles) -> Result<(), Rejection> {
        let standing = Standing {
            is_member: false,
            is_owner: false,
            roles,
        };
        let allowed = &self.state.desk.options.may_create_rooms;
        let is_allowed = roles.contains(ADMIN) || Who::any_allows(allowed, standing);
        is_allowed.then_some(()).ok_or(Rejection::Forbidden)
    }

    /// Handles a user's message as that of a connection.
    fn say(
        &mut self,
        context: &mut Context<'_, Self>,
        asker: &Asker,
        frame: &str,
    ) -> Result<(), Rejection> {
        let message = match scan(frame, Profile::V1) {
            Ok(Inbound::One(message)) => message,
            Ok(Inbound::Batch(_)) => return Err(Rejection::Internal),
            Err(refused) => return Err(refused.rejection),
        };
        let asker = Asker {
            message_type: message.message_type().into(),
            ..asker.clone()
        };
        let Self { registry, state } = self;
        let mut ctx = Ctx::outside(context, state, &asker);
        if let Err(error) = registry.handle(&mut ctx, &message) {
            ctx.fail(error);
        }
        Ok(())
    }
}

impl Asker {
    /// Whether it is the server's operator who asks, and no user.
    pub(super) fn is_server(&self) -> bool {
        self.outside.is_some() && self.user.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(message_type: &'static str, data: &'static str) -> Said<'static> {
        Said {
            message_type,
            data,
            client_message_id: None,
        }
    }

    #[test]
    fn what_cannot_be_said_is_refused_before_it_is_mailed() {
        let long = "x".repeat(CLIENT_MESSAGE_ID_BYTES_MAX + 1);
        let named = Said {
            client_message_id: Some(&long),
            ..said("chat", "{}")
        };
        let member = |name: &'static str| Some(Rejection::InvalidMember(name.into()));
        assert_eq!(Errand::say("r", named).err(), member("client_message_id"));
        assert_eq!(Errand::say("r", said("dice", "{}")).err(), member("type"));
        assert_eq!(
            Errand::publish("r", said("", "{}"), None).err(),
            member("type")
        );
        assert_eq!(Errand::say("", said("chat", "{}")).err(), member("room_id"));
        assert!(Errand::say("r", said("chat", "[]")).is_err());
        assert!(Errand::say("r", said("publish", "[]")).is_ok());
        assert!(Errand::say("r", said("publish", r#""\ud800""#)).is_err());
        assert!(Errand::publish("r", said("publish", "1}"), None).is_err());
        assert!(Errand::publish("r", said("publish", r#"1,"x":2"#), None).is_err());
        assert!(Errand::publish("r", said("dice", "7"), None).is_err());
    }

    #[test]
    fn an_answer_that_nobody_can_give_any_more_is_none() {
        let (mail, mut answered) = Errand::rooms("", None, 1).mail(Asking::server());
        let task = &mut Task::from_waker(std::task::Waker::noop());
        assert!(Pin::new(&mut answered).poll(task).is_pending());
        drop(mail);
        assert!(matches!(
            Pin::new(&mut answered).poll(task),
            Poll::Ready(None)
        ));
    }
}
