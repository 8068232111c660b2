//! A message on its way into a room's order, and as the room keeps it.

use smol_str::SmolStr;

use super::mail::Asker;
use super::options::Roles;
use super::protocol::{
    Body, Chat, Id, MessageId, Outbound, Position, Profile, Recipient, Rejection, TextName,
    Timestamp,
};
use super::rooms::Dated;
use super::writing::Written;
use crate::id::{ConnectionId, UserId};

/// A message for a room, borrowed from what its handler has at hand.
#[derive(Clone, Debug)]
pub(super) struct Post<'a> {
    pub(super) message_type: &'a str,
    pub(super) content: Content<'a>,
    pub(super) client_message_id: Option<&'a str>,
    pub(super) terms: Terms,
}

/// The same, on its own.
#[derive(Clone, Debug)]
pub(super) struct OwnedPost {
    message_type: SmolStr,
    content: OwnedContent,
    client_message_id: Option<Box<str>>,
    pub(super) terms: Terms,
}

/// Who posts, and what is to be done besides.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) source: Source,
    /// The connection that is not to hear of it.
    pub(super) exclude: Option<ConnectionId>,
    pub(super) answer: Answer,
}

/// Where a message comes from.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// A client's message, by its handler.
    Client {
        asker: Asker,
        roles: Roles,
        /// The same message has made the connection ask to join the room, and this is the question:
        /// if it was refused, the peer knows.
        asked: Option<u32>,
    },
    /// A handler at the room's home, in a user's name. It may do all.
    Handler { asker: Asker, user: UserId },
    /// The server itself, who may do all; and who is to be told what became of it.
    Server { asker: Option<Asker> },
}

/// What the peer is told once its message has its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Nothing.
    None,
    /// `ack`.
    Ack,
    /// `message-status` with `sent`, and further ones as the message is delivered and read.
    Status,
}

/// What a message says.
#[derive(Clone, Copy, Debug)]
pub(super) enum Content<'a> {
    /// The text of a JSON object.
    Object(&'a str),
    /// The text of a JSON object, of which a member is what people read.
    Chat(&'a str, TextName),
    /// The text of a JSON object, and bytes that mean nothing to us.
    Binary(&'a str, &'a [u8]),
}

#[derive(Clone, Debug)]
enum OwnedContent {
    Object(Box<str>),
    Chat(Box<str>, TextName),
    Binary(Box<str>, Box<[u8]>),
}

impl Terms {
    pub(super) fn user(&self) -> Option<&UserId> {
        match &self.source {
            Source::Client { asker, .. } => Some(&asker.user),
            Source::Handler { user, .. } => Some(user),
            Source::Server { .. } => None,
        }
    }

    pub(super) fn asker(&self) -> Option<&Asker> {
        self.source.asker()
    }
}

impl Source {
    /// Who is told what became of the message.
    pub(super) fn asker(&self) -> Option<&Asker> {
        match self {
            Self::Client { asker, .. } | Self::Handler { asker, .. } => Some(asker),
            Self::Server { asker } => asker.as_ref(),
        }
    }
}

impl<'a> Content<'a> {
    pub(super) fn body(self, recipients: &'a [Recipient<'a>]) -> Body<'a> {
        match self {
            Self::Object(object) => Body::Object(object),
            Self::Chat(object, text) => Body::Chat {
                object,
                text,
                recipients,
            },
            Self::Binary(object, bytes) => Body::Binary { object, bytes },
        }
    }

    fn to_owned(self) -> OwnedContent {
        match self {
            Self::Object(object) => OwnedContent::Object(object.into()),
            Self::Chat(object, text) => OwnedContent::Chat(object.into(), text),
            Self::Binary(object, bytes) => OwnedContent::Binary(object.into(), bytes.into()),
        }
    }

    /// Memory that it takes, bytes.
    fn len(self) -> usize {
        match self {
            Self::Object(object) | Self::Chat(object, _) => object.len(),
            Self::Binary(object, bytes) => object.len() + bytes.len(),
        }
    }

    /// As the store keeps it: which kind it is, and its bytes. [`from_stored`](Content::from_stored)
    /// is the inverse.
    fn to_stored(self) -> (u32, Vec<u8>) {
        let kind = match self {
            Self::Object(_) => 0,
            Self::Binary(..) => 1,
            Self::Chat(_, TextName::Content) => 2,
            Self::Chat(_, TextName::Text) => 3,
            Self::Chat(_, TextName::Message) => 4,
            Self::Chat(_, TextName::Whole) => 5,
        };
        match self {
            Self::Object(object) | Self::Chat(object, _) => (kind, object.as_bytes().to_vec()),
            // The object's length comes first: it is less than 4 GiB, as every message is.
            Self::Binary(object, bytes) => {
                let length = u32::try_from(object.len()).unwrap_or(u32::MAX);
                (
                    kind,
                    [&length.to_be_bytes()[..], object.as_bytes(), bytes].concat(),
                )
            }
        }
    }

    /// What was stored with a kind. `None`: nothing that we have stored.
    fn from_stored(kind: u32, stored: &'a [u8]) -> Option<Self> {
        let name = match kind {
            0 => None,
            1 => {
                let (length, rest) = stored.split_first_chunk()?;
                let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
                let (object, bytes) = rest.split_at_checked(length)?;
                return Some(Self::Binary(
                    simdutf8::basic::from_utf8(object).ok()?,
                    bytes,
                ));
            }
            2 => Some(TextName::Content),
            3 => Some(TextName::Text),
            4 => Some(TextName::Message),
            5 => Some(TextName::Whole),
            _ => return None,
        };
        let object = simdutf8::basic::from_utf8(stored).ok()?;
        Some(name.map_or(Self::Object(object), |name| Self::Chat(object, name)))
    }
}

impl OwnedContent {
    fn borrow(&self) -> Content<'_> {
        match self {
            Self::Object(object) => Content::Object(object),
            Self::Chat(object, text) => Content::Chat(object, *text),
            Self::Binary(object, bytes) => Content::Binary(object, bytes),
        }
    }
}

impl Post<'_> {
    pub(super) fn to_owned(&self) -> OwnedPost {
        OwnedPost {
            message_type: self.message_type.into(),
            content: self.content.to_owned(),
            client_message_id: self.client_message_id.map(Into::into),
            terms: self.terms.clone(),
        }
    }
}

impl OwnedPost {
    /// A message of the server itself. `payload` is the text of a JSON object.
    pub(super) fn from_server(message_type: &str, payload: &str) -> Self {
        Self {
            message_type: message_type.into(),
            content: OwnedContent::Object(payload.into()),
            client_message_id: None,
            terms: Terms {
                source: Source::Server { asker: None },
                exclude: None,
                answer: Answer::None,
            },
        }
    }

    /// A chat of the server itself. `payload` is to be the text of a JSON object.
    ///
    /// Errors: those of [`Chat::parse`].
    pub(super) fn chat_from_server(payload: &str) -> Result<Self, Rejection> {
        let chat = Chat::parse(payload)?;
        super::handlers::chat::text(&chat)?;
        let content = OwnedContent::Chat(chat.object.as_ref().into(), chat.text);
        Ok(Self {
            content,
            ..Self::from_server("chat", "")
        })
    }

    /// Gives the message the name by which it is known if it comes again.
    pub(super) fn name_it(&mut self, client_message_id: Option<&str>) {
        self.client_message_id = client_message_id.map(Into::into);
    }

    pub(super) fn borrow(&self) -> Post<'_> {
        Post {
            message_type: &self.message_type,
            content: self.content.borrow(),
            client_message_id: self.client_message_id.as_deref(),
            terms: self.terms.clone(),
        }
    }
}

/// A message that has its identifier and time: borrowed from its [`Post`], or from its [`Record`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamped<'a> {
    pub(super) id: MessageId,
    pub(super) unix_ms: u64,
    /// Who says it; `None`: the server.
    pub(super) user: Option<&'a UserId>,
    /// Whether its author is told when it is delivered and read.
    pub(super) is_tracked: bool,
    message_type: &'a str,
    content: Content<'a>,
    pub(super) client_message_id: Option<&'a str>,
}

impl<'a> Stamped<'a> {
    pub(super) fn new(post: &'a Post<'_>, id: MessageId, unix_ms: u64) -> Self {
        Self {
            id,
            unix_ms,
            user: post.terms.user(),
            is_tracked: post.terms.answer == Answer::Status,
            message_type: post.message_type,
            content: post.content,
            client_message_id: post.client_message_id,
        }
    }

    /// The message as it goes out in `room`. `at` is its time.
    pub(super) fn outbound(
        self,
        room: &'a str,
        at: Timestamp,
        position: Option<Position<'a>>,
        recipients: &'a [Recipient<'a>],
    ) -> Outbound<'a> {
        Outbound {
            message_type: self.message_type,
            id: Some(Id::Message(self.id)),
            room: Some(room),
            user: self.user.map(|user| &**user),
            at,
            position,
            body: self.content.body(recipients),
        }
    }

    /// The message as the room keeps it.
    pub(super) fn to_record(self) -> Record {
        Record {
            id: self.id,
            unix_ms: self.unix_ms,
            user: self.user.cloned(),
            is_tracked: self.is_tracked,
            message_type: self.message_type.into(),
            content: self.content.to_owned(),
            client_message_id: self.client_message_id.map(Into::into),
        }
    }
}

/// A message of a room, as the room keeps it.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) id: MessageId,
    pub(super) unix_ms: u64,
    /// Who said it; `None`: the server.
    pub(super) user: Option<UserId>,
    /// Whether its author is told when it is delivered and read.
    pub(super) is_tracked: bool,
    message_type: SmolStr,
    content: OwnedContent,
    pub(super) client_message_id: Option<Box<str>>,
}

/// Marks a tracked message in the store, beside its [kind](Content::kind).
const TRACKED: u32 = 1 << 8;

impl Record {
    pub(super) fn stamped(&self) -> Stamped<'_> {
        Stamped {
            id: self.id,
            unix_ms: self.unix_ms,
            user: self.user.as_ref(),
            is_tracked: self.is_tracked,
            message_type: &self.message_type,
            content: self.content.borrow(),
            client_message_id: self.client_message_id.as_deref(),
        }
    }

    fn outbound<'a>(&'a self, room: &'a str, position: Option<Position<'a>>) -> Outbound<'a> {
        let at = Timestamp::new(self.unix_ms);
        self.stamped().outbound(room, at, position, &[])
    }

    /// Writes the message as a subscriber of a profile gets it who missed it.
    pub(super) fn written(&self, room: &str, offset: u64, profile: Profile) -> Written {
        let position = Position {
            offset,
            epoch: None,
        };
        Written::new(&self.outbound(room, Some(position)), profile)
    }

    /// The message with another payload in place of its own.
    pub(super) fn outbound_as<'a>(
        &'a self,
        room: &'a str,
        position: Option<Position<'a>>,
        object: &'a str,
    ) -> Outbound<'a> {
        Outbound {
            body: Body::Object(object),
            ..self.outbound(room, position)
        }
    }

    /// Its object and its bytes, if it is binary.
    pub(super) fn binary(&self) -> Option<(&str, &[u8])> {
        match &self.content {
            OwnedContent::Binary(object, bytes) => Some((object, bytes)),
            _ => None,
        }
    }

    pub(super) fn message_type(&self) -> &str {
        &self.message_type
    }

    /// Flags and body, as the store keeps them.
    pub(super) fn to_stored(&self) -> (u32, Vec<u8>) {
        let (kind, body) = self.content.borrow().to_stored();
        (kind | if self.is_tracked { TRACKED } else { 0 }, body)
    }

    /// `None`: nothing that we have stored.
    pub(super) fn from_stored(stored: crate::store::Record) -> Option<Self> {
        let content = Content::from_stored(stored.flags & !TRACKED, &stored.body)?;
        Some(Self {
            id: MessageId::from_u128(stored.id),
            unix_ms: stored.unix_ms,
            user: (!stored.user.is_empty()).then(|| stored.user.as_str().into()),
            is_tracked: stored.flags & TRACKED != 0,
            message_type: stored.message_type.as_str().into(),
            content: content.to_owned(),
            client_message_id: stored.client_message_id.map(Into::into),
        })
    }
}

impl Dated for Record {
    fn unix_ms(&self) -> u64 {
        self.unix_ms
    }

    fn bytes(&self) -> usize {
        let client_message_id = self.client_message_id.as_ref();
        self.content.borrow().len() + client_message_id.map_or(0, |id| id.len())
    }
}
