//! Writing messages for connections: once for each profile that has somebody to read it.

use super::protocol::{Fields, Kind, Outbound, Profile, Recipient, Timestamp};
use super::session;
use crate::limits::SERVER_HEADER_BYTES_MAX;
use crate::shard::{Encode, Format, Message};

/// A scratch buffer larger than this is given back after use, bytes. A snapshot of a thousand
/// members and a message of the default size stay below it.
const SCRATCH_BYTES_MAX: usize = 256 * 1024;

/// Room for what stands beside the payload in a frame of its own, bytes: most are written without
/// growing it.
const ENVELOPE_BYTES: usize = 256;

/// Which subscribers of a room are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Audience {
    Everybody,
    /// Those who want to be told who is there.
    PresenceOnly,
}

/// A frame for one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Written {
    Text(String),
    Binary(Vec<u8>),
}

impl Written {
    pub(super) fn new(outbound: &Outbound<'_>, profile: Profile) -> Self {
        let mut out = Vec::with_capacity(outbound.payload_bytes() + ENVELOPE_BYTES);
        match outbound.write(profile, &mut out) {
            Kind::Text => Self::Text(String::from_utf8(out).expect("frames are written from text")),
            Kind::Binary => Self::Binary(out),
        }
    }

    /// What the frame can take of a connection's queue at most, bytes: with its header, or as part
    /// of an array.
    pub(super) fn frame_bytes_max(&self) -> usize {
        let payload = match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        };
        payload + SERVER_HEADER_BYTES_MAX
    }

    pub(super) fn as_message(&self) -> Message<'_> {
        match self {
            Self::Text(text) => Message::Text(text),
            Self::Binary(bytes) => Message::Binary(bytes),
        }
    }
}

/// The buffers that frames are written in, and the turn's time stamp.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// As many as are lent at a time: a payload may be written while another one is lent.
    payloads: Vec<Vec<u8>>,
    /// Empty.
    recipients: Vec<Recipient<'static>>,
    writings: Writings,
    stamp: Option<(u64, Timestamp)>,
    /// Frames written for rooms and for everybody, since the start.
    pub(super) encodings: u64,
}

/// One message as each profile has it, as far as it was asked for.
#[derive(Debug, Default)]
struct Writings {
    frames: [Vec<u8>; Profile::ALL.len()],
    kinds: [Option<Kind>; Profile::ALL.len()],
}

impl Scratch {
    /// A time as it stands in frames. That of this turn is made once.
    pub(super) fn timestamp(&mut self, unix_ms: u64) -> Timestamp {
        match self.stamp {
            Some((made_for, stamp)) if made_for == unix_ms => stamp,
            _ => {
                let stamp = Timestamp::new(unix_ms);
                self.stamp = Some((unix_ms, stamp));
                stamp
            }
        }
    }

    /// Takes an empty buffer; to be [given back](Scratch::give_payload).
    pub(super) fn take_buffer(&mut self) -> Vec<u8> {
        self.payloads.pop().unwrap_or_default()
    }

    /// Takes a buffer and writes a payload in it; to be [given back](Scratch::give_payload).
    pub(super) fn take_payload(&mut self, fill: impl FnOnce(Fields<'_>) -> Fields<'_>) -> Vec<u8> {
        let mut payload = self.take_buffer();
        Fields::write(&mut payload, fill);
        payload
    }

    pub(super) fn give_payload(&mut self, mut payload: Vec<u8>) {
        payload.clear();
        payload.shrink_to(SCRATCH_BYTES_MAX);
        self.payloads.push(payload);
    }

    /// Takes an empty list of a message's recipients; to be given back.
    pub(super) fn take_recipients<'a>(&mut self) -> Vec<Recipient<'a>> {
        std::mem::take(&mut self.recipients)
    }

    pub(super) fn give_recipients(&mut self, mut recipients: Vec<Recipient<'_>>) {
        recipients.clear();
        // Nobody is left in the list, which keeps its memory: collecting is done in place.
        let nobody = |_: Recipient<'_>| unreachable!("the list is empty");
        self.recipients = recipients.into_iter().map(nobody).collect();
    }

    /// A message that is written when a subscriber's format is met.
    pub(super) fn encoder<'s>(
        &'s mut self,
        outbound: &'s Outbound<'s>,
        audience: Audience,
    ) -> Encoder<'s> {
        self.writings.kinds = Default::default();
        Encoder {
            outbound,
            audience,
            scratch: self,
        }
    }

    /// Writes a message for one connection and lends it.
    pub(super) fn write(&mut self, outbound: &Outbound<'_>, profile: Profile) -> Message<'_> {
        let frame = &mut self.writings.frames[0];
        self.writings.kinds = Default::default();
        frame.clear();
        frame.shrink_to(SCRATCH_BYTES_MAX);
        let kind = outbound.write(profile, frame);
        lend(frame, kind)
    }
}

/// The text of a payload that [`Fields`] has written.
pub(super) fn text(payload: &[u8]) -> &str {
    simdutf8::basic::from_utf8(payload).expect("payloads are written from text")
}

fn lend(frame: &[u8], kind: Kind) -> Message<'_> {
    match kind {
        Kind::Text => Message::Text(text(frame)),
        Kind::Binary => Message::Binary(frame),
    }
}

/// Writes a message in each profile that is asked for, once.
pub(super) struct Encoder<'s> {
    outbound: &'s Outbound<'s>,
    audience: Audience,
    scratch: &'s mut Scratch,
}

impl Encode for Encoder<'_> {
    fn encode(&mut self, format: Format) -> Option<Message<'_>> {
        let (profile, presence) = session::profile(format);
        if self.audience == Audience::PresenceOnly && !presence {
            return None;
        }
        let place = profile as usize;
        let Scratch {
            writings,
            encodings,
            ..
        } = &mut *self.scratch;
        let frame = &mut writings.frames[place];
        let kind = *writings.kinds[place].get_or_insert_with(|| {
            *encodings += 1;
            frame.clear();
            frame.shrink_to(SCRATCH_BYTES_MAX);
            self.outbound.write(profile, frame)
        });
        Some(lend(frame, kind))
    }
}
