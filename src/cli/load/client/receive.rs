//! What comes from the server: out of TLS, cut into frames, and put together to messages.

use campanile::id::Slot;
use campanile::ws::{Opcode, close};

use super::super::fault::Fault;
use super::super::frames::{self, Incoming, Unfit};
use super::super::message;
use super::{Core, Mode, Phase};

impl Core {
    pub(super) fn receive<M: Mode>(
        &mut self,
        mode: &mut M,
        slot: Slot,
        bytes: &[u8],
    ) -> Result<(), Fault> {
        let client = &mut self.clients[slot.index()];
        let Some(session) = &mut client.tls else {
            return self.receive_plain(mode, slot, bytes);
        };
        let mut plaintext = std::mem::take(&mut self.plaintext);
        plaintext.clear();
        let read = session.read(bytes, &mut plaintext);
        let phase = client.phase;
        if let Err(error) = read {
            let client = self.share.client(slot);
            return Err(match phase {
                Phase::Opening => Fault::Handshake {
                    client,
                    what: error.to_string(),
                },
                _ => Fault::Socket { client, error },
            });
        }
        self.answer_records(slot)?;
        if !plaintext.is_empty() {
            self.receive_plain(mode, slot, &plaintext)?;
        }
        self.plaintext = plaintext;
        Ok(())
    }

    /// Sends what TLS itself has to say: the handshake's second flight, new keys.
    pub(super) fn answer_records(&mut self, slot: Slot) -> Result<(), Fault> {
        let session = &self.clients[slot.index()].tls;
        if session
            .as_ref()
            .is_some_and(|session| session.has_records())
        {
            self.queue(slot, |_| {})?;
        }
        Ok(())
    }

    fn receive_plain<M: Mode>(
        &mut self,
        mode: &mut M,
        slot: Slot,
        bytes: &[u8],
    ) -> Result<(), Fault> {
        let client = &mut self.clients[slot.index()];
        if client.phase == Phase::Opening {
            return self.answer(mode, slot, bytes);
        }
        let mut bytes = bytes;
        let mut partial = std::mem::take(&mut client.partial);
        if !partial.is_empty() {
            if !self.gather(slot, &mut partial, &mut bytes)? {
                self.clients[slot.index()].partial = partial;
                return Ok(());
            }
            let rest = self.frames(mode, slot, &partial)?;
            debug_assert!(rest.is_empty(), "it was gathered to its end");
            partial.clear();
        }
        let rest = self.frames(mode, slot, bytes)?;
        if rest.is_empty() {
            self.recycle(partial);
        } else {
            if partial.capacity() == 0 {
                partial = self.spare.pop().unwrap_or_default();
            }
            partial.extend_from_slice(rest);
            self.clients[slot.index()].partial = partial;
        }
        Ok(())
    }

    /// Moves the rest of the frame that has begun from `bytes` to `partial`. Whether it is whole.
    fn gather(&self, slot: Slot, partial: &mut Vec<u8>, bytes: &mut &[u8]) -> Result<bool, Fault> {
        loop {
            let wanted = frames::wanted(partial);
            let wanted = usize::try_from(wanted)
                .ok()
                .filter(|&wanted| wanted <= self.message_bytes_max + 10)
                .ok_or_else(|| Fault::TooBig {
                    client: self.share.client(slot),
                    bytes: wanted,
                })?;
            let missing = wanted - partial.len();
            if missing == 0 {
                return Ok(true);
            }
            if bytes.is_empty() {
                return Ok(false);
            }
            let (now, later) = bytes.split_at(missing.min(bytes.len()));
            if partial.capacity() < wanted {
                partial.reserve_exact(missing);
            }
            partial.extend_from_slice(now);
            *bytes = later;
        }
    }

    /// The answer to the opening handshake, and perhaps what follows it at once.
    fn answer<M: Mode>(&mut self, mode: &mut M, slot: Slot, bytes: &[u8]) -> Result<(), Fault> {
        let user = self.share.client(slot);
        let mut head = std::mem::take(&mut self.clients[slot.index()].partial);
        let gathered = if head.is_empty() {
            bytes
        } else {
            head.extend_from_slice(bytes);
            &head
        };
        let checked = self.shared.handshakes.check(gathered, user);
        let checked = checked.map_err(|what| Fault::Handshake { client: user, what })?;
        let Some(length) = checked else {
            if head.is_empty() {
                head.extend_from_slice(bytes);
            }
            self.clients[slot.index()].partial = head;
            return Ok(());
        };
        let client = &mut self.clients[slot.index()];
        client.phase = Phase::Open;
        let session = client.tls.as_ref();
        self.resumed += u64::from(session.is_some_and(|session| session.is_resumed()));
        self.waiting -= 1;
        self.open += 1;
        self.opened_us = self.now_us;
        mode.opened(self, slot)?;
        if length < gathered.len() {
            self.receive_plain(mode, slot, &gathered[length..])?;
        }
        Ok(())
    }

    /// Handles whole frames; returns what follows them.
    fn frames<'b, M: Mode>(
        &mut self,
        mode: &mut M,
        slot: Slot,
        mut bytes: &'b [u8],
    ) -> Result<&'b [u8], Fault> {
        const WHOLE_TEXT: u8 = 0x81;
        loop {
            // Nearly all are whole texts, and short.
            if let [WHOLE_TEXT, length @ 0..=125, rest @ ..] = bytes
                && self.fragments.is_empty()
            {
                let Some((text, rest)) = rest.split_at_checked(usize::from(*length)) else {
                    return Ok(bytes);
                };
                mode.text(self, slot, text)?;
                bytes = rest;
                continue;
            }
            if let [WHOLE_TEXT, 126, a, b, rest @ ..] = bytes
                && self.fragments.is_empty()
                && let length @ 126.. = u16::from_be_bytes([*a, *b])
            {
                let Some((text, rest)) = rest.split_at_checked(usize::from(length)) else {
                    return Ok(bytes);
                };
                mode.text(self, slot, text)?;
                bytes = rest;
                continue;
            }
            let decoded = frames::header(bytes, self.message_bytes_max);
            let Some((header, header_bytes, frame_bytes)) =
                decoded.map_err(|unfit| self.unfit(slot, unfit))?
            else {
                return Ok(bytes);
            };
            let Some((frame, rest)) = bytes.split_at_checked(frame_bytes) else {
                return Ok(bytes);
            };
            self.frame(mode, slot, header, &frame[header_bytes..])?;
            bytes = rest;
        }
    }

    fn unfit(&self, slot: Slot, unfit: Unfit) -> Fault {
        let client = self.share.client(slot);
        match unfit {
            Unfit::Violation(violation) => Fault::Frame { client, violation },
            Unfit::TooBig(bytes) => Fault::TooBig { client, bytes },
        }
    }

    fn frame<M: Mode>(
        &mut self,
        mode: &mut M,
        slot: Slot,
        header: campanile::ws::Header,
        payload: &[u8],
    ) -> Result<(), Fault> {
        let mut fragments = std::mem::take(&mut self.fragments);
        let incoming = fragments
            .take(slot, header, payload, self.message_bytes_max)
            .map_err(|unfit| self.unfit(slot, unfit))?;
        let client = self.share.client(slot);
        let result = match incoming {
            Incoming::Text(text) => mode.text(self, slot, text),
            Incoming::Binary => Err(Fault::Corrupt {
                client,
                what: "it is binary".to_owned(),
            }),
            Incoming::Ping(payload) => self.queue(slot, |out| {
                message::frame_into(out, Opcode::Pong, payload);
            }),
            Incoming::Close(payload) => Err(Fault::Closed {
                client,
                close: close_text(payload),
            }),
            Incoming::Nothing => Ok(()),
        };
        self.fragments = fragments;
        result
    }
}

/// A close frame's code and reason, for people.
fn close_text(payload: &[u8]) -> String {
    match close::decode(payload) {
        Ok(Some((code, reason))) => format!("{code} {reason}"),
        Ok(None) => "without a code".to_owned(),
        Err(violation) => format!("with a damaged code: {violation:?}"),
    }
}
