//! Close frames: codes and reasons. RFC 6455 sections 5.5.1 and 7.4.
#![forbid(unsafe_code)]

use std::fmt;

use super::error::Violation;
use crate::limits::CLOSE_REASON_BYTES_MAX;

/// Why a connection closed: 1000 to 1015 as registered with IANA, 3000 to 4999 for applications.
///
/// Three of them never travel: [`NO_STATUS`], [`ABNORMAL`] and [`TLS_HANDSHAKE`] tell the local
/// side what happened. See [`CloseCode::is_sendable`].
///
/// [`NO_STATUS`]: Self::NO_STATUS
/// [`ABNORMAL`]: Self::ABNORMAL
/// [`TLS_HANDSHAKE`]: Self::TLS_HANDSHAKE
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CloseCode(u16);

impl CloseCode {
    /// The purpose of the connection is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// The server goes down, or the browser left the page.
    pub const GOING_AWAY: Self = Self(1001);
    /// The peer broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// Text or binary was sent where the other was wanted.
    pub const UNSUPPORTED_DATA: Self = Self(1003);
    /// Local only: the peer's close frame had no code.
    pub const NO_STATUS: Self = Self(1005);
    /// Local only: the connection ended without a close frame.
    pub const ABNORMAL: Self = Self(1006);
    /// The payload is not what it claims to be: text that is not UTF-8, or no DEFLATE data.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// A rule of the server was broken for which no other code fits.
    pub const POLICY_VIOLATION: Self = Self(1008);
    /// The message is too big to process.
    pub const MESSAGE_TOO_BIG: Self = Self(1009);
    /// The client misses an extension that the server did not negotiate.
    pub const MANDATORY_EXTENSION: Self = Self(1010);
    /// The server met a condition that it cannot handle.
    pub const INTERNAL_ERROR: Self = Self(1011);
    /// The server restarts: come back in a while.
    pub const SERVICE_RESTART: Self = Self(1012);
    /// The server is overloaded: try later, or elsewhere.
    pub const TRY_AGAIN_LATER: Self = Self(1013);
    /// A gateway had a bad answer from its own upstream.
    pub const BAD_GATEWAY: Self = Self(1014);
    /// Local only: TLS could not be established.
    pub const TLS_HANDSHAKE: Self = Self(1015);

    /// A code from its number: `1000..=1015` but 1004, which has no meaning, or `3000..=4999`.
    pub const fn new(code: u16) -> Option<Self> {
        match code {
            1000..=1003 | 1005..=1015 | 3000..=4999 => Some(Self(code)),
            _ => None,
        }
    }

    /// The number.
    pub const fn as_u16(self) -> u16 {
        self.0
    }

    /// Whether the code may stand in a close frame. RFC 6455 sections 7.4.1 and 7.4.2.
    pub const fn is_sendable(self) -> bool {
        !matches!(self, Self::NO_STATUS | Self::ABNORMAL | Self::TLS_HANDSHAKE)
    }
}

impl fmt::Debug for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CloseCode({})", self.0)
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Decodes the unmasked payload of a close frame. `None`: the peer gave no code.
///
/// Errors: [`Violation::ClosePayloadOneByte`], [`Violation::CloseCodeInvalid`] (both close 1002),
/// [`Violation::CloseReasonNotUtf8`] (closes 1007).
pub fn decode(payload: &[u8]) -> Result<Option<(CloseCode, &str)>, Violation> {
    match payload {
        [] => Ok(None),
        [_] => Err(Violation::ClosePayloadOneByte),
        [high, low, reason @ ..] => {
            let number = u16::from_be_bytes([*high, *low]);
            let code = CloseCode::new(number)
                .filter(|code| code.is_sendable())
                .ok_or(Violation::CloseCodeInvalid { code: number })?;
            let reason =
                simdutf8::basic::from_utf8(reason).map_err(|_| Violation::CloseReasonNotUtf8)?;
            Ok(Some((code, reason)))
        }
    }
}

/// Appends the payload of a close frame to `out`: nothing, or a code and a reason.
///
/// A reason of more than [`CLOSE_REASON_BYTES_MAX`] bytes is cut at a character's border.
/// Panics if the code is not [sendable](CloseCode::is_sendable).
pub fn payload_into(out: &mut Vec<u8>, close: Option<(CloseCode, &str)>) {
    let Some((code, reason)) = close else { return };
    assert!(code.is_sendable(), "{code:?} may not stand in a frame");
    out.extend_from_slice(&code.as_u16().to_be_bytes());
    let reason = &reason[..reason.floor_char_boundary(CLOSE_REASON_BYTES_MAX)];
    out.extend_from_slice(reason.as_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::limits::CONTROL_PAYLOAD_BYTES_MAX;

    /// RFC 6455 sections 7.4.1 and 7.4.2 and the IANA registry, number by number.
    #[test]
    fn exactly_the_registered_and_the_application_codes_are_valid_on_the_wire() {
        for code in 0..=u16::MAX {
            let valid = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
            let bytes = code.to_be_bytes();
            let expected = if valid {
                Ok(Some((CloseCode(code), "")))
            } else {
                Err(Violation::CloseCodeInvalid { code })
            };
            assert_eq!(decode(&bytes), expected);
        }
    }

    #[test]
    fn an_empty_close_payload_has_no_code() {
        assert_eq!(decode(&[]), Ok(None));
        let mut out = Vec::new();
        payload_into(&mut out, None);
        assert!(out.is_empty());
    }

    #[test]
    fn a_one_byte_close_payload_is_a_protocol_error() {
        assert_eq!(decode(&[3]), Err(Violation::ClosePayloadOneByte));
    }

    #[test]
    fn a_close_reason_must_be_utf_8() {
        assert_eq!(
            decode(&[0x03, 0xE8, 0xCE]),
            Err(Violation::CloseReasonNotUtf8)
        );
    }

    #[test]
    fn a_long_reason_is_cut_before_the_character_that_does_not_fit() {
        let mut out = Vec::new();
        let reason = "x".repeat(122) + "é";
        payload_into(&mut out, Some((CloseCode::GOING_AWAY, &reason)));
        assert_eq!(
            decode(&out),
            Ok(Some((CloseCode::GOING_AWAY, &*"x".repeat(122))))
        );
    }

    #[test]
    #[should_panic(expected = "may not stand in a frame")]
    fn a_local_code_is_never_encoded() {
        payload_into(&mut Vec::new(), Some((CloseCode::ABNORMAL, "")));
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(code in 3000u16..5000, reason in ".{0,200}") {
            let mut out = Vec::new();
            let code = CloseCode::new(code).unwrap();
            payload_into(&mut out, Some((code, &reason)));
            prop_assert!(out.len() <= CONTROL_PAYLOAD_BYTES_MAX);
            let (decoded, cut) = decode(&out).unwrap().unwrap();
            prop_assert_eq!(decoded, code);
            prop_assert!(reason.starts_with(cut));
            prop_assert!(cut.len() == reason.len() || cut.len() > CLOSE_REASON_BYTES_MAX - 4);
        }
    }
}
