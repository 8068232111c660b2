//! Bytes in, messages and control frames out: one [`Decoder`] per connection.
//!
//! A frame that lies whole in the input is unmasked, validated and handed out where it lies: no
//! copy, no allocation. Only what is cut, by the input's end or by fragmentation, is kept, in a box
//! that lives until it is whole. Between messages a decoder is one null pointer.
#![forbid(unsafe_code)]

use super::close::{self, CloseCode};
use super::deflate::Inflater;
use super::error::Violation;
use super::frame::{Header, Role};
use super::mask::MaskingKey;
use super::message::{Gathering, Kind};
use super::opcode::Opcode;
use crate::limits::{CONTROL_PAYLOAD_BYTES_MAX, FRAME_HEADER_BYTES_MAX};

/// What a decoder accepts. Shared by all connections of one kind.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Which end we are: decides whether frames must come masked.
    pub role: Role,
    /// Longest message, bytes, counted twice: as it comes over the wire and inflated.
    pub message_bytes_max: usize,
    /// Most fragments of one message, at least 1; `None`: any number.
    pub fragments_max: Option<u32>,
}

impl Rules {
    /// The rules of a server that takes messages of so many bytes in any number of fragments.
    pub const fn server(message_bytes_max: usize) -> Self {
        Self {
            role: Role::Server,
            message_bytes_max,
            fragments_max: None,
        }
    }

    /// The rules of a client that takes messages of so many bytes in any number of fragments.
    pub const fn client(message_bytes_max: usize) -> Self {
        Self {
            role: Role::Client,
            message_bytes_max,
            fragments_max: None,
        }
    }
}

/// One thing that the peer said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// A text message, whole, unmasked, inflated.
    Text(&'a str),
    /// A binary message, whole, unmasked, inflated.
    Binary(&'a [u8]),
    /// A ping, to be answered by a pong with the same payload of at most 125 bytes.
    Ping(&'a [u8]),
    /// A pong, with a payload of at most 125 bytes.
    Pong(&'a [u8]),
    /// The peer closes. `None`: without a code. Nothing after it has a meaning. RFC 6455 section 5.5.1.
    Close(Option<(CloseCode, &'a str)>),
}

/// Decodes what one peer sends.
///
/// After a [`Violation`] a decoder is spent: close the connection and drop it.
#[derive(Debug, Default)]
pub struct Decoder {
    partial: Option<Box<Partial>>,
}

const _: () = assert!(size_of::<Decoder>() <= 16);
const _: () = assert!(size_of::<Partial>() <= 288);

/// All that is kept of something incomplete. Not empty, except while what it completed is borrowed.
#[derive(Debug)]
struct Partial {
    /// The frame whose payload has not all come.
    frame: Option<Frame>,
    /// The message whose fragments have not all come.
    message: Option<Gathering>,
    /// A cut header: its first `header_count` bytes. Not while `frame` is some.
    header: [u8; FRAME_HEADER_BYTES_MAX],
    header_count: u8,
    /// Payload of a cut control frame, unmasked: its first `control_count` bytes.
    control: [u8; CONTROL_PAYLOAD_BYTES_MAX],
    control_count: u8,
}

/// A frame under way.
#[derive(Clone, Copy, Debug)]
struct Frame {
    fin: bool,
    opcode: Opcode,
    /// Moved on to the next byte of the payload.
    key: Option<MaskingKey>,
    /// Bytes of payload still to come.
    remaining_bytes: usize,
}

/// Something whole: where its payload lies.
enum Ready<'i> {
    ControlInInput(Opcode, &'i [u8]),
    MessageInInput {
        kind: Kind,
        compressed: bool,
        payload: &'i [u8],
    },
    ControlInPartial(Opcode),
    MessageInPartial,
}

impl Decoder {
    /// Takes one message or control frame off the front of `input`, moving `input` on.
    ///
    /// `Ok(None)`: all input is consumed and more is needed. Call in a loop until then: the memory
    /// of a message that came in pieces is given back by the call after the one that returns it.
    ///
    /// `inflater`: the shard's, if this connection negotiated permessage-deflate; else `None`, and a
    /// compressed message is a violation. What is returned may lie in `input`, in the decoder or in
    /// the inflater. `input` is left partly unmasked and has no further use.
    ///
    /// Errors: any [`Violation`].
    pub fn next<'a, 'i: 'a>(
        &'a mut self,
        input: &mut &'i mut [u8],
        rules: &Rules,
        mut inflater: Option<&'a mut Inflater>,
    ) -> Result<Option<Incoming<'a>>, Violation> {
        if self.partial.as_deref().is_some_and(Partial::is_empty) {
            self.partial = None;
        }
        if let Some(inflater) = &mut inflater {
            inflater.release();
        }
        if input.is_empty() {
            return Ok(None);
        }
        let Some(ready) = self.advance(input, rules, inflater.is_some())? else {
            return Ok(None);
        };
        let incoming = match ready {
            Ready::ControlInInput(opcode, payload) => control(opcode, payload)?,
            Ready::MessageInInput {
                kind,
                compressed,
                payload,
            } => message(kind, compressed, payload, rules, inflater)?,
            Ready::ControlInPartial(opcode) => control(opcode, self.held().control())?,
            Ready::MessageInPartial => {
                let held = self
                    .held()
                    .message
                    .as_ref()
                    .expect("a message was gathered");
                message(held.kind, held.compressed, &held.bytes, rules, inflater)?
            }
        };
        Ok(Some(incoming))
    }

    /// Whether the peer is inside a frame or a message. False on an idle connection.
    pub fn is_mid_message(&self) -> bool {
        self.partial
            .as_deref()
            .is_some_and(|partial| !partial.is_empty())
    }

    /// Bytes of memory that are held for what is incomplete. Zero on an idle connection.
    pub fn held_bytes(&self) -> usize {
        self.partial.as_deref().map_or(0, |partial| {
            let message = partial
                .message
                .as_ref()
                .map_or(0, |message| message.bytes.capacity());
            size_of::<Partial>() + message
        })
    }

    fn held(&self) -> &Partial {
        self.partial
            .as_deref()
            .expect("something was completed in the partial")
    }

    fn advance<'i>(
        &mut self,
        input: &mut &'i mut [u8],
        rules: &Rules,
        compression: bool,
    ) -> Result<Option<Ready<'i>>, Violation> {
        loop {
            if let Some(partial) = &mut self.partial
                && let Some(frame) = partial.frame
            {
                match partial.take_payload(frame, input, rules)? {
                    Payload::Cut => return Ok(None),
                    Payload::Whole(ready) => return Ok(Some(ready)),
                    Payload::Fragment => {}
                }
            }
            let Some(header) = self.take_header(input, rules.role, compression)? else {
                return Ok(None);
            };
            if let Some(ready) = self.begin(header, input, rules)? {
                return Ok(Some(ready));
            }
        }
    }

    /// Takes a header off the input, or off the cut header and the input. `None`: the input ended.
    fn take_header(
        &mut self,
        input: &mut &mut [u8],
        role: Role,
        compression: bool,
    ) -> Result<Option<Header>, Violation> {
        if let Some(partial) = &mut self.partial
            && partial.header_count > 0
        {
            return partial.complete_header(input, role, compression);
        }
        if let Some((header, size)) = Header::decode(input, role, compression)? {
            take_front(input, size);
            return Ok(Some(header));
        }
        if !input.is_empty() {
            self.partial_mut()
                .complete_header(input, role, compression)?;
        }
        Ok(None)
    }

    /// Begins a frame: hands it out if it is whole in the input and is all of its message, else
    /// leaves it in the partial for [`Partial::take_payload`].
    fn begin<'i>(
        &mut self,
        header: Header,
        input: &mut &'i mut [u8],
        rules: &Rules,
    ) -> Result<Option<Ready<'i>>, Violation> {
        let gathering = self
            .partial
            .as_mut()
            .and_then(|partial| partial.message.as_mut());
        let new = match (header.opcode, gathering.is_some()) {
            (Opcode::Close | Opcode::Ping | Opcode::Pong, _) => {
                return Ok(self.begin_control(header, input));
            }
            (Opcode::Continuation, false) => return Err(Violation::ContinuationOfNothing),
            (opcode @ (Opcode::Text | Opcode::Binary), true) => {
                return Err(Violation::MessageInsideMessage { opcode });
            }
            (Opcode::Continuation, true) => None,
            (Opcode::Text, false) => Some(Kind::Text),
            (Opcode::Binary, false) => Some(Kind::Binary),
        };
        let gathered_bytes = gathering.as_ref().map_or(0, |message| message.bytes.len());
        let fragments = gathering.as_ref().map_or(0, |message| message.fragments);
        let payload_bytes = check_limits(&header, gathered_bytes, fragments, rules)?;

        if let Some(kind) = new
            && header.fin
            && let Some(payload) = take_front_whole(input, payload_bytes)
        {
            let payload = unmask(payload, header.key);
            return Ok(Some(Ready::MessageInInput {
                kind,
                compressed: header.rsv1,
                payload,
            }));
        }
        let partial = self.partial_mut();
        if let Some(kind) = new {
            partial.message = Some(Gathering::new(kind, header.rsv1));
        }
        let message = partial.message.as_mut().expect("begun now or before");
        message.fragments = message.fragments.saturating_add(1);
        partial.frame = Some(Frame::new(header, payload_bytes));
        Ok(None)
    }

    fn begin_control<'i>(&mut self, header: Header, input: &mut &'i mut [u8]) -> Option<Ready<'i>> {
        let payload_bytes =
            usize::try_from(header.payload_bytes).expect("at most 125 was checked by decode");
        if let Some(payload) = take_front_whole(input, payload_bytes) {
            return Some(Ready::ControlInInput(
                header.opcode,
                unmask(payload, header.key),
            ));
        }
        let partial = self.partial_mut();
        partial.control_count = 0;
        partial.frame = Some(Frame::new(header, payload_bytes));
        None
    }

    fn partial_mut(&mut self) -> &mut Partial {
        self.partial.get_or_insert_with(|| Box::new(Partial::new()))
    }
}

/// The announced length of a data frame as a size, once it has met every limit.
fn check_limits(
    header: &Header,
    gathered_bytes: usize,
    fragments: u32,
    rules: &Rules,
) -> Result<usize, Violation> {
    let room = rules.message_bytes_max.saturating_sub(gathered_bytes);
    let payload_bytes = usize::try_from(header.payload_bytes)
        .ok()
        .filter(|bytes| *bytes <= room)
        .ok_or(Violation::MessageTooBig {
            bytes: header.payload_bytes.saturating_add(gathered_bytes as u64),
            bytes_max: rules.message_bytes_max,
        })?;
    match rules.fragments_max {
        Some(fragments_max) if fragments >= fragments_max => {
            Err(Violation::TooManyFragments { fragments_max })
        }
        _ => Ok(payload_bytes),
    }
}

/// How far a frame's payload got.
enum Payload {
    Cut,
    Fragment,
    Whole(Ready<'static>),
}

impl Partial {
    const fn new() -> Self {
        Self {
            frame: None,
            message: None,
            header: [0; FRAME_HEADER_BYTES_MAX],
            header_count: 0,
            control: [0; CONTROL_PAYLOAD_BYTES_MAX],
            control_count: 0,
        }
    }

    /// Nothing is under way; what was completed here has been handed out.
    fn is_empty(&self) -> bool {
        self.frame.is_none()
            && self.header_count == 0
            && self.message.as_ref().is_none_or(|message| message.complete)
    }

    fn control(&self) -> &[u8] {
        &self.control[..usize::from(self.control_count)]
    }

    /// Adds input to the cut header. `None`: it is still cut and the input consumed.
    fn complete_header(
        &mut self,
        input: &mut &mut [u8],
        role: Role,
        compression: bool,
    ) -> Result<Option<Header>, Violation> {
        let held = usize::from(self.header_count);
        let added = input.len().min(FRAME_HEADER_BYTES_MAX - held);
        self.header[held..held + added].copy_from_slice(&input[..added]);
        let decoded = Header::decode(&self.header[..held + added], role, compression)?;
        let (header, size) = match decoded {
            Some((header, size)) => (Some(header), size),
            None => (None, held + added),
        };
        take_front(input, size - held);
        self.header_count = match header {
            Some(_) => 0,
            None => u8::try_from(size).expect("a header has at most 14 bytes"),
        };
        Ok(header)
    }

    /// Takes what the input has of the payload of `self.frame`, which is `frame`.
    fn take_payload(
        &mut self,
        mut frame: Frame,
        input: &mut &mut [u8],
        rules: &Rules,
    ) -> Result<Payload, Violation> {
        let piece = take_front(input, frame.remaining_bytes.min(input.len()));
        let piece = unmask(piece, frame.key);
        if frame.opcode.is_control() {
            let start = usize::from(self.control_count);
            self.control[start..start + piece.len()].copy_from_slice(piece);
            self.control_count += u8::try_from(piece.len()).expect("at most 125 bytes");
        } else {
            let message = self
                .message
                .as_mut()
                .expect("a data frame belongs to a message");
            let bytes_max = if frame.fin {
                message.bytes.len() + frame.remaining_bytes
            } else {
                rules.message_bytes_max
            };
            message.push(piece, bytes_max)?;
        }
        frame.remaining_bytes -= piece.len();
        if frame.remaining_bytes > 0 {
            frame.key = frame.key.map(|key| key.after(piece.len()));
            self.frame = Some(frame);
            return Ok(Payload::Cut);
        }
        self.frame = None;
        if frame.opcode.is_control() {
            return Ok(Payload::Whole(Ready::ControlInPartial(frame.opcode)));
        }
        if !frame.fin {
            return Ok(Payload::Fragment);
        }
        self.message
            .as_mut()
            .expect("a data frame belongs to a message")
            .finish()?;
        Ok(Payload::Whole(Ready::MessageInPartial))
    }
}

impl Frame {
    const fn new(header: Header, payload_bytes: usize) -> Self {
        Self {
            fin: header.fin,
            opcode: header.opcode,
            key: header.key,
            remaining_bytes: payload_bytes,
        }
    }
}

/// Interprets the whole payload of a control frame.
fn control(opcode: Opcode, payload: &[u8]) -> Result<Incoming<'_>, Violation> {
    match opcode {
        Opcode::Close => close::decode(payload).map(Incoming::Close),
        Opcode::Ping => Ok(Incoming::Ping(payload)),
        Opcode::Pong => Ok(Incoming::Pong(payload)),
        Opcode::Continuation | Opcode::Text | Opcode::Binary => {
            unreachable!("{opcode:?} is no control frame")
        }
    }
}

/// Interprets the whole payload of a message.
///
/// Text that was gathered has been validated piece by piece and is validated again here: at some
/// 10 GB/s that is cheaper than a proof for `from_utf8_unchecked`.
#[inline]
fn message<'a>(
    kind: Kind,
    compressed: bool,
    payload: &'a [u8],
    rules: &Rules,
    inflater: Option<&'a mut Inflater>,
) -> Result<Incoming<'a>, Violation> {
    let payload = match (compressed, inflater) {
        (false, _) => payload,
        (true, Some(inflater)) => inflater.inflate(payload, rules.message_bytes_max)?,
        // The inflater was there for the first fragment and is missing for the last.
        (true, None) => return Err(Violation::ReservedBits { bits: 0b100 }),
    };
    match kind {
        Kind::Binary => Ok(Incoming::Binary(payload)),
        Kind::Text => simdutf8::basic::from_utf8(payload)
            .map(Incoming::Text)
            .map_err(|_| Violation::TextNotUtf8),
    }
}

fn unmask(payload: &mut [u8], key: Option<MaskingKey>) -> &mut [u8] {
    if let Some(key) = key {
        key.apply(payload);
    }
    payload
}

/// Splits `count` bytes off the front of `input`, which has them.
fn take_front<'i>(input: &mut &'i mut [u8], count: usize) -> &'i mut [u8] {
    input
        .split_off_mut(..count)
        .expect("the input is as long as that")
}

/// Splits `count` bytes off the front of `input`, if it has them.
fn take_front_whole<'i>(input: &mut &'i mut [u8], count: usize) -> Option<&'i mut [u8]> {
    input.split_off_mut(..count)
}
