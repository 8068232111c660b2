//! A message in no profile's shape, and its writing in each.
//!
//! The rules are the rows of the table in `profile`; nothing here asks which profile it is.
//!
//! What the server owns is written by the server alone. In a frame that comes from a user, and in
//! every chat, a payload's members under the server's names are left out; in the server's own words
//! they stand where the frame's envelope says nothing itself (the `user_id` of a welcome).

use super::fields::Fields;
use super::message::Members;
use super::profile::{Layout, Names, Placement};
use super::write::{write_number, write_string};
use super::{BINARY_VERSION, Member, MessageId, Profile, RequestId, Timestamp};

/// Longest object of a [`Body::Binary`], bytes: with it, every envelope fits the 16 bits of its
/// length. Inbound envelopes are held to it as well.
pub const BINARY_ENVELOPE_BYTES_MAX: usize = 32 * 1024;

/// A message to be sent, in no profile's shape.
///
/// Made once and written once for each profile that has takers: [`write`](Outbound::write).
#[derive(Clone, Copy, Debug)]
pub struct Outbound<'a> {
    /// The type as it goes on the wire.
    pub message_type: &'a str,
    /// The request that it answers, or its own identifier.
    pub id: Option<Id<'a>>,
    /// The room that it is in.
    pub room: Option<&'a str>,
    /// The user that it comes from; none for the server's own words.
    pub user: Option<&'a str>,
    /// When the server took it.
    pub at: Timestamp,
    /// Its place in the room's history, if the room has one.
    pub position: Option<Position<'a>>,
    /// What it says.
    pub body: Body<'a>,
}

/// The `id` of a frame.
#[derive(Clone, Copy, Debug)]
pub enum Id<'a> {
    /// A reply echoes the request's.
    Request(RequestId<'a>),
    /// A push has its own.
    Message(MessageId),
}

/// The place of a message in its room's history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position<'a> {
    /// The number of the message, from 1 on.
    pub offset: u64,
    /// Of which history, where the receiver cannot know: offsets of two epochs do not compare.
    pub epoch: Option<&'a str>,
}

/// What a message says. Objects are texts that have been validated as JSON objects, as
/// [`Fields::write`], [`Message`](super::Message) and [`Members::parse`] give them.
#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    /// An object.
    Object(&'a str),
    /// A chat's object less the members that the server owns, as [`Chat`](super::Chat) has it.
    Chat {
        /// The object.
        object: &'a str,
        /// Which of its members is the text.
        text: TextName,
        /// Its readers and how far it has come to each: for profiles that list them. May be empty.
        recipients: &'a [Recipient<'a>],
    },
    /// Bytes, which go behind the envelope in a binary message.
    Binary {
        /// The object besides, often `{}`: at most [`BINARY_ENVELOPE_BYTES_MAX`].
        object: &'a str,
        /// The bytes.
        bytes: &'a [u8],
    },
}

/// Which member of a chat's payload is its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TextName {
    /// `content`.
    Content,
    /// `text`.
    Text,
    /// `message`, a string.
    Message,
    /// None of them: the text is the JSON of the whole payload.
    Whole,
}

impl TextName {
    /// The member's name, if it is a member.
    pub const fn as_str(self) -> Option<&'static str> {
        match self {
            Self::Content => Some(CONTENT),
            Self::Text => Some("text"),
            Self::Message => Some("message"),
            Self::Whole => None,
        }
    }
}

/// What a chat's text is called in the profiles that have one name for it.
const CONTENT: &str = "content";

/// A reader of a chat.
#[derive(Clone, Copy, Debug)]
pub struct Recipient<'a> {
    /// Who.
    pub user: &'a str,
    /// How far the message has come to the reader.
    pub status: Status,
    /// Since when.
    pub updated_at: Timestamp,
}

/// How far a chat has come. It only ever goes forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// The server has it.
    Sent,
    /// The reader's client has it.
    Delivered,
    /// The reader has seen it.
    Read,
}

impl Status {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Read => "read",
        }
    }

    /// The status of that name, in upper or lower case.
    pub fn from_name(name: &str) -> Option<Self> {
        let all = [Self::Sent, Self::Delivered, Self::Read];
        all.into_iter()
            .find(|status| status.as_str().eq_ignore_ascii_case(name))
    }
}

/// The kind of WebSocket message that a frame goes as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Text.
    Text,
    /// Binary.
    Binary,
}

/// Most bytes before the JSON of a binary message's envelope.
pub(super) const BINARY_HEADER_BYTES: usize = 4;

impl<'a> Outbound<'a> {
    /// Appends the frame as `profile` has it, and says what kind of message it is. Allocates
    /// nothing while `out` has room.
    ///
    /// Panics if a binary body's object is longer than [`BINARY_ENVELOPE_BYTES_MAX`], or the names
    /// beside it longer than the server ever lets in.
    pub fn write(&self, profile: Profile, out: &mut Vec<u8>) -> Kind {
        let placement = profile.placement();
        let Body::Binary { bytes, .. } = self.body else {
            self.write_json(placement, out);
            return Kind::Text;
        };
        let start = out.len();
        out.extend_from_slice(&[BINARY_VERSION, 0, 0, 0]);
        self.write_json(placement, out);
        let length = out.len() - start - BINARY_HEADER_BYTES;
        let length = u16::try_from(length).expect("what is in an envelope is bounded");
        out[start + 2..start + BINARY_HEADER_BYTES].copy_from_slice(&length.to_be_bytes());
        out.extend_from_slice(bytes);
        Kind::Binary
    }

    fn write_json(&self, placement: &'static Placement, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"type\":");
        write_string(out, self.message_type);
        if let Some(Id::Request(id)) = self.id {
            out.extend_from_slice(b",\"id\":");
            out.extend_from_slice(id.as_json().as_bytes());
        }
        let names = self.names(placement);
        match placement.layout {
            Layout::Beside(name) => {
                self.own_members(placement, names, out);
                begin_member(out, name);
                out.extend_from_slice(self.object().as_bytes());
            }
            Layout::Within(name) => {
                begin_member(out, name);
                out.push(b'{');
                self.own_members(placement, names, out);
                self.payload_members(placement, out);
                out.push(b'}');
            }
            Layout::TopLevel => {
                self.own_members(placement, names, out);
                self.payload_members(placement, out);
            }
        }
        out.push(b'}');
    }

    fn names(&self, placement: &'static Placement) -> &'static Names {
        match self.body {
            Body::Chat { .. } => &placement.chat_names,
            Body::Object(_) | Body::Binary { .. } => &placement.names,
        }
    }

    /// Bytes of the payload as it was given. In the frame it takes about as many.
    pub fn payload_bytes(&self) -> usize {
        let bytes = match self.body {
            Body::Object(_) | Body::Chat { .. } => &[],
            Body::Binary { bytes, .. } => bytes,
        };
        self.object().len() + bytes.len()
    }

    fn object(&self) -> &'a str {
        match self.body {
            Body::Object(object) | Body::Chat { object, .. } | Body::Binary { object, .. } => {
                object
            }
        }
    }

    /// Whether the payload is a peer's words rather than the server's.
    fn is_relayed(&self) -> bool {
        self.user.is_some() || matches!(self.body, Body::Chat { .. })
    }

    /// The identifier that stands among the server's own members. A request's stands before them.
    fn own_id(&self, placement: &Placement) -> Option<MessageId> {
        // Within the payload, `message_id` in the server's own words is the message that they are
        // about, and what carries them needs no name.
        let is_due = self.is_relayed() || !matches!(placement.layout, Layout::Within(_));
        match self.id {
            Some(Id::Message(id)) if is_due => Some(id),
            _ => None,
        }
    }

    fn own_members(&self, placement: &Placement, names: &Names, out: &mut Vec<u8>) {
        if let Some(id) = self.own_id(placement) {
            begin_member(out, names.id);
            write_id(out, id);
        }
        if let Some(room) = self.room {
            begin_member(out, names.room);
            write_string(out, room);
        }
        if let Some(user) = self.user {
            begin_member(out, names.user);
            if placement.numeric_users && is_number(user) {
                out.extend_from_slice(user.as_bytes());
            } else {
                write_string(out, user);
            }
        }
        if let Some(position) = self.position.filter(|_| placement.position) {
            begin_member(out, "offset");
            write_number(out, position.offset);
            if let Some(epoch) = position.epoch {
                begin_member(out, "epoch");
                write_string(out, epoch);
            }
        }
        begin_member(out, names.time);
        write_string(out, self.at.as_str());
        if let (Some(name), Body::Chat { recipients, .. }) = (names.recipients, self.body)
            && !recipients.is_empty()
        {
            begin_member(out, name);
            self.write_recipients(recipients, out);
        }
    }

    fn write_recipients(&self, recipients: &[Recipient<'_>], out: &mut Vec<u8>) {
        out.push(b'[');
        for (index, recipient) in recipients.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            Fields::write(out, |fields| {
                let fields = match self.id {
                    Some(Id::Message(id)) => fields.message_id("message_id", id),
                    _ => fields,
                };
                fields
                    .str("recipient_id", recipient.user)
                    .str("status", recipient.status.as_str())
                    .time("updated_at", &recipient.updated_at)
            });
        }
        out.push(b']');
    }

    /// The payload's members where the server's own stand beside them.
    fn payload_members(&self, placement: &'static Placement, out: &mut Vec<u8>) {
        let object = self.object();
        let text = match self.body {
            Body::Chat { text, .. } if placement.content => text,
            _ => TextName::Content,
        };
        let Some(text) = text.as_str() else {
            begin_member(out, CONTENT);
            write_string(out, object);
            return;
        };
        // A payload's own `content` beside another text is null: it makes way.
        let is_renamed = text != CONTENT;
        let mut is_text_written = false;
        for member in Members::new(object, false) {
            let is_text = is_renamed && member.is(text);
            let makes_way = is_text || is_renamed && member.is(CONTENT);
            if is_text && !is_text_written {
                is_text_written = true;
                write_member(out, member.renamed(CONTENT));
            } else if !makes_way && !self.is_owned(member, placement) {
                write_member(out, member);
            }
        }
    }

    /// Whether a payload's member has a name under which the server writes in this place, or might
    /// be taken to have written.
    fn is_owned(&self, member: Member<'_>, placement: &'static Placement) -> bool {
        let names = self.names(placement);
        let is_top_level = placement.layout == Layout::TopLevel;
        let has_id = match placement.layout {
            Layout::TopLevel => self.id.is_some(),
            _ => self.own_id(placement).is_some(),
        };
        let is_relayed = self.is_relayed();
        (has_id || is_relayed) && member.is(names.id)
            || (self.room.is_some() || is_relayed) && member.is(names.room)
            || (self.user.is_some() || is_relayed) && member.is(names.user)
            || member.is(names.time)
            || is_top_level && member.is("type")
            || is_top_level && is_relayed && (member.is("offset") || member.is("epoch"))
            || names.recipients.is_some_and(|name| member.is(name))
    }
}

/// Appends a name and the comma before it, unless the object has just begun.
fn begin_member(out: &mut Vec<u8>, name: &str) {
    // No value ends with an opening brace, so this one is the object's own.
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
    // Our own names need no escapes, and a member's stands as it stood.
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn write_member(out: &mut Vec<u8>, member: Member<'_>) {
    begin_member(out, member.raw_name());
    out.extend_from_slice(member.raw().as_bytes());
}

fn write_id(out: &mut Vec<u8>, id: MessageId) {
    out.push(b'"');
    id.write(out);
    out.push(b'"');
}

/// Whether a user identifier is a decimal number as a program would print it, and no larger than
/// every JSON parser holds exactly: 2^53 - 1. RFC 8259 section 6.
fn is_number(user: &str) -> bool {
    const EXACT_MAX: u64 = (1 << 53) - 1;
    let is_canonical = user == "0" || matches!(user.as_bytes(), [b'1'..=b'9', ..]);
    let is_decimal = user.bytes().all(|byte| byte.is_ascii_digit());
    is_canonical && is_decimal && user.parse().is_ok_and(|number: u64| number <= EXACT_MAX)
}
