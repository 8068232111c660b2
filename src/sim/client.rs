//! One pretend client: an opening handshake, good or bad, then commands and whatever comes back,
//! checked byte by byte with the codec in the client's role.

use std::collections::VecDeque;

use super::command::{Command, user_name};
use super::network::Link;
use super::oracle::SharedOracle;
use super::prng::Prng;
use super::settings::Settings;
use crate::ws::{
    Decoder, Deflater, Header, Incoming, Inflater, MaskingKey, Opcode, Rules, WindowBits,
    client_frame_into, handshake,
};

/// The key that all clients send: chance is for the masks.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// Longest message that a client takes, bytes.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Bytes that a client has to write before it thinks of nothing new.
const UNWRITTEN_BYTES_MAX: usize = 8 * 1024;

/// What a client is after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Intent {
    /// An upgrade in good order, by whoever.
    Upgrade,
    /// An upgrade that the application refuses.
    Refused,
    /// An upgrade that breaks a rule.
    Bad,
    /// Plain HTTP.
    Plain,
    /// A request head that never ends.
    Endless,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The answer to the request is awaited.
    Asked,
    Open,
    /// A close frame has come: nothing may follow.
    Closed,
    /// An HTTP answer that is no 101 has come.
    Answered,
    Over,
}

/// The codec's shared machinery on the clients' side.
#[derive(Debug)]
pub(super) struct Codec {
    inflater: Inflater,
    deflater: Deflater,
}

impl Codec {
    pub(super) fn new() -> Self {
        Self {
            inflater: Inflater::new(),
            deflater: Deflater::new(1),
        }
    }
}

/// One client, which is one connection: who comes back is a new client.
#[derive(Debug)]
pub(super) struct Client {
    number: usize,
    intent: Intent,
    phase: Phase,
    unwritten: VecDeque<u8>,
    /// No reading before this time.
    stalled_until_ms: u64,
    /// Bytes of the answer to the request.
    answer: Vec<u8>,
    decoder: Decoder,
    compression: bool,
    sequence: u64,
    /// Payloads of pings whose pongs are due.
    pings: VecDeque<Vec<u8>>,
    /// A close frame was sent, or the stream was ended: nothing more is said.
    silent: bool,
}

impl Client {
    pub(super) fn new(number: usize, prng: &mut Prng, settings: &Settings) -> Self {
        let intent = match prng.chance(settings.weights.bad_handshake) {
            false => Intent::Upgrade,
            true => prng.pick(&[Intent::Refused, Intent::Bad, Intent::Plain, Intent::Endless]),
        };
        let mut client = Self {
            number,
            intent,
            phase: Phase::Asked,
            unwritten: VecDeque::new(),
            stalled_until_ms: 0,
            answer: Vec::new(),
            decoder: Decoder::default(),
            compression: false,
            sequence: 0,
            pings: VecDeque::new(),
            silent: false,
        };
        let head = client.request(prng, settings);
        client.unwritten.extend(head.as_bytes());
        client
    }

    fn request(&self, prng: &mut Prng, settings: &Settings) -> String {
        let mut target = format!("/ws?client={}", self.number);
        if prng.chance(80) {
            target += &format!("&user={}", user_name(prng.number(0..settings.users)));
        }
        if self.intent == Intent::Refused {
            let modes = [
                "refuse",
                "defer-refuse",
                "defer-never",
                "knock-refuse",
                "knock-never",
            ];
            target += &format!("&mode={}", prng.pick(&modes));
        } else if prng.chance(30) {
            target += &format!("&mode={}", prng.pick(&["defer", "knock", "defer-knock"]));
        }
        let extensions = prng.pick(&[
            "",
            "",
            "sec-websocket-extensions: permessage-deflate\r\n",
            "sec-websocket-extensions: permessage-deflate; server_max_window_bits=9\r\n",
        ]);
        let version = if self.intent == Intent::Bad { 12 } else { 13 };
        match self.intent {
            Intent::Plain => format!("GET /{} HTTP/1.1\r\nhost: here\r\n\r\n", self.number),
            Intent::Endless => format!("GET {target} HTTP/1.1\r\nhost: here\r\nx: "),
            Intent::Upgrade | Intent::Refused | Intent::Bad => format!(
                "GET {target} HTTP/1.1\r\nhost: here\r\nupgrade: websocket\r\n\
                 connection: Upgrade\r\nsec-websocket-version: {version}\r\n{extensions}\
                 sec-websocket-key: {KEY}\r\n\r\n"
            ),
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Stops reading for a while.
    pub(super) fn stall(&mut self, until_ms: u64) {
        self.stalled_until_ms = until_ms;
    }

    pub(super) fn wake(&mut self) {
        self.stalled_until_ms = 0;
    }

    /// Moves some bytes each way. `false` if there was nothing to move.
    pub(super) fn pump(
        &mut self,
        link: &mut Link,
        now_ms: u64,
        prng: &mut Prng,
        codec: &mut Codec,
        oracle: &SharedOracle,
    ) -> bool {
        let mut moved = false;
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
            let mut bytes = link.client_reads(bytes);
            self.read(&mut bytes, prng, codec, oracle);
            moved = true;
        }
        if link.is_over_for_client() && self.phase != Phase::Over {
            self.over(link);
            moved = true;
        }
        moved
    }

    /// The server's stream has ended.
    fn over(&mut self, link: &mut Link) {
        self.phase = Phase::Over;
        self.unwritten.clear();
        link.client_ends();
    }

    fn read(
        &mut self,
        bytes: &mut [u8],
        prng: &mut Prng,
        codec: &mut Codec,
        oracle: &SharedOracle,
    ) {
        match self.phase {
            Phase::Asked | Phase::Answered => {
                self.answer.extend_from_slice(bytes);
                if let Some(mut frames) = self.read_answer() {
                    self.read_frames(&mut frames, prng, codec, oracle);
                }
            }
            Phase::Open => self.read_frames(bytes, prng, codec, oracle),
            Phase::Closed => panic!("client {} gets bytes after the close frame", self.number),
            Phase::Over => panic!("client {} gets bytes after the end", self.number),
        }
    }

    /// Reads the answer to the request; what follows a 101.
    fn read_answer(&mut self) -> Option<Vec<u8>> {
        let end = self
            .answer
            .windows(4)
            .position(|four| four == b"\r\n\r\n")?
            + 4;
        let head = std::str::from_utf8(&self.answer[..end]).expect("a response head is text");
        let status = head.get(9..12).expect("a status line");
        let (number, intent) = (self.number, self.intent);
        if status == "101" {
            assert_eq!(intent, Intent::Upgrade, "client {number} is accepted");
            assert!(head.contains(&handshake::accept_key(KEY.as_bytes())));
            self.compression = head.contains("permessage-deflate");
            self.phase = Phase::Open;
            return Some(self.answer.split_off(end));
        }
        self.phase = Phase::Answered;
        let expected: &[&str] = match intent {
            Intent::Upgrade => &["408", "429", "503"],
            Intent::Refused => &["403", "408", "503"],
            Intent::Bad => &["408", "426"],
            Intent::Plain => &["200", "408"],
            Intent::Endless => &["408"],
        };
        assert!(
            expected.contains(&status),
            "client {number}, {intent:?}, is answered {status}"
        );
        let length = head
            .split("content-length: ")
            .nth(1)
            .and_then(|rest| rest.lines().next());
        let length: usize = length
            .and_then(|n| n.parse().ok())
            .expect("a content length");
        assert!(
            self.answer.len() - end <= length,
            "client {number} gets more than the answer"
        );
        None
    }

    fn read_frames(
        &mut self,
        mut bytes: &mut [u8],
        prng: &mut Prng,
        codec: &mut Codec,
        oracle: &SharedOracle,
    ) {
        let rules = Rules::client(MESSAGE_BYTES_MAX);
        let mut decoder = std::mem::take(&mut self.decoder);
        loop {
            let inflater = self.compression.then_some(&mut codec.inflater);
            let incoming = decoder
                .next(&mut bytes, &rules, inflater)
                .unwrap_or_else(|violation| {
                    panic!(
                        "client {} cannot decode its stream: {violation}",
                        self.number
                    )
                });
            match incoming {
                None => break,
                Some(Incoming::Text(text)) => {
                    oracle
                        .borrow_mut()
                        .received(self.number, Opcode::Text, text.as_bytes());
                }
                Some(Incoming::Binary(payload)) => {
                    oracle
                        .borrow_mut()
                        .received(self.number, Opcode::Binary, payload);
                }
                Some(Incoming::Ping(payload)) => {
                    if !self.silent {
                        self.frame(Opcode::Pong, true, false, payload, prng);
                    }
                }
                Some(Incoming::Pong(payload)) => {
                    let due = self.pings.pop_front();
                    assert_eq!(due.as_deref(), Some(payload), "client {}", self.number);
                }
                Some(Incoming::Close(close)) => {
                    oracle
                        .borrow_mut()
                        .close_seen(self.number, close.map(|(code, _)| code));
                    self.phase = Phase::Closed;
                    assert!(
                        bytes.is_empty(),
                        "bytes after the close frame of {}",
                        self.number
                    );
                    return self.say_close(close.is_some(), prng);
                }
            }
        }
        self.decoder = decoder;
    }

    fn frame(&mut self, opcode: Opcode, fin: bool, rsv1: bool, payload: &[u8], prng: &mut Prng) {
        let header = Header {
            fin,
            rsv1,
            opcode,
            key: Some(MaskingKey(prng.key())),
            payload_bytes: 0,
        };
        let mut bytes = Vec::new();
        client_frame_into(&mut bytes, header, payload);
        self.unwritten.extend(bytes);
    }

    /// Does something, if it is in a position to.
    pub(super) fn act(
        &mut self,
        prng: &mut Prng,
        settings: &Settings,
        clients: usize,
        codec: &mut Codec,
    ) {
        // An eager client talks before it has the answer: the request promises that it may.
        let eager = self.phase == Phase::Asked && self.intent == Intent::Upgrade;
        let may_speak = self.phase == Phase::Open || (eager && prng.chance(10));
        if !may_speak || self.silent || self.unwritten.len() > UNWRITTEN_BYTES_MAX {
            return;
        }
        match prng.number(0..20) {
            0 => self.ping(prng),
            1 if prng.chance(20) => self.say_close(prng.chance(70), prng),
            2 if prng.chance(settings.weights.violation) => self.break_a_rule(prng),
            3 if prng.chance(20) => self.frame(Opcode::Pong, true, false, b"unasked!", prng),
            _ => {
                let command = Command::draw(prng, settings, clients);
                self.say(&command, prng, settings, codec);
            }
        }
    }

    fn ping(&mut self, prng: &mut Prng) {
        let payload: Vec<u8> = (0..prng.number(0..126)).map(|_| b'p').collect();
        self.frame(Opcode::Ping, true, false, &payload, prng);
        self.pings.push_back(payload);
    }

    /// Ends the conversation with a close frame.
    pub(super) fn say_close(&mut self, with_code: bool, prng: &mut Prng) {
        if !self.silent {
            self.silent = true;
            let payload: &[u8] = if with_code { b"\x03\xe8bye" } else { b"" };
            self.frame(Opcode::Close, true, false, payload, prng);
        }
    }

    fn break_a_rule(&mut self, prng: &mut Prng) {
        self.silent = true;
        match prng.number(0..3) {
            0 => self.frame(Opcode::Text, true, false, b"\xff", prng),
            1 => self.frame(Opcode::Continuation, true, false, b"", prng),
            // Not masked.
            _ => self.unwritten.extend(b"\x81\x01a"),
        }
    }

    /// Sends a command as a message, whole or in fragments with control frames between them.
    fn say(&mut self, command: &Command, prng: &mut Prng, settings: &Settings, codec: &mut Codec) {
        self.sequence += 1;
        let filler = "fill me up, ß, ☃. ".repeat(prng.size(60));
        let message = command.encode(self.sequence, &filler).into_bytes();
        let opcode = if prng.chance(70) {
            Opcode::Text
        } else {
            Opcode::Binary
        };
        let compress = self.compression && prng.chance(60);
        let mut payload = Vec::new();
        if compress {
            codec
                .deflater
                .compress(&message, WindowBits::MAX, &mut payload);
        } else {
            payload = message;
        }
        let mut fragments = match prng.chance(70) {
            true => 1,
            false => prng.number(1..5),
        };
        if let Some(max) = settings.options.fragments_max {
            fragments = fragments.min(max as usize);
        }
        let mut rest = &payload[..];
        for fragment in 0..fragments {
            let last = fragment + 1 == fragments;
            let bytes = if last {
                rest.len()
            } else {
                prng.number(0..rest.len() + 1)
            };
            let (piece, after) = rest.split_at(bytes);
            rest = after;
            let first = fragment == 0;
            let opcode = if first { opcode } else { Opcode::Continuation };
            self.frame(opcode, last, compress && first, piece, prng);
            if !last && prng.chance(30) {
                self.ping(prng);
            }
        }
    }

    /// Ends the stream, with or without a word.
    pub(super) fn hang_up(&mut self, link: &mut Link) {
        self.silent = true;
        self.unwritten.clear();
        link.client_ends();
    }

    /// Says goodbye in a world that heals: by a close frame if it may, else by ending the stream.
    pub(super) fn leave(&mut self, link: &mut Link, prng: &mut Prng) {
        match self.phase {
            Phase::Open if !self.silent => self.say_close(true, prng),
            Phase::Over | Phase::Closed => {}
            Phase::Asked | Phase::Open | Phase::Answered => self.hang_up(link),
        }
    }
}
