//! One binary message: `u8 version`, `u8 flags`, `u16 n` (big end first), `n` bytes of envelope, which
//! is JSON, and the payload's bytes.

use super::message::BuiltIn;
use super::outbound::{BINARY_ENVELOPE_BYTES_MAX, BINARY_HEADER_BYTES};
use super::{BINARY_VERSION, Inbound, Message, Profile, Refused, Rejection, scan};

/// Reads one binary message; its envelope by the rules of `profile`, as [`scan`] has them.
///
/// Errors: a [`Rejection`] of code `invalid_message`, or `invalid_json` for the envelope's text;
/// [`Rejection::PayloadTooLarge`] for an envelope of more than [`BINARY_ENVELOPE_BYTES_MAX`].
pub fn scan_binary(bytes: &[u8], profile: Profile) -> Result<Message<'_>, Refused<'_>> {
    let (header, rest) = bytes
        .split_first_chunk::<BINARY_HEADER_BYTES>()
        .ok_or(Rejection::BinaryTooShort)?;
    let [version, flags, high, low] = *header;
    if version != BINARY_VERSION {
        return Err(Rejection::BinaryVersion(version).into());
    }
    if flags != 0 {
        return Err(Rejection::BinaryFlags(flags).into());
    }
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > BINARY_ENVELOPE_BYTES_MAX {
        let limit_bytes = BINARY_ENVELOPE_BYTES_MAX as u64;
        return Err(Rejection::PayloadTooLarge { limit_bytes }.into());
    }
    let (envelope, payload) = rest
        .split_at_checked(length)
        .ok_or(Rejection::BinaryTooShort)?;
    let envelope = simdutf8::basic::from_utf8(envelope).map_err(|_| Rejection::BinaryNotText)?;
    if !envelope.trim_start().starts_with('{') {
        return Err(Rejection::NotAnObject.into());
    }
    let Inbound::One(mut message) = scan(envelope, profile)? else {
        return Err(Rejection::NotAnObject.into());
    };
    match message.built_in() {
        Some(BuiltIn::Publish | BuiltIn::Rpc) => {
            message.binary = Some(payload);
            Ok(message)
        }
        _ => Err(Refused {
            rejection: Rejection::BinaryType,
            id: message.id(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Content;
    use super::*;

    fn framed(envelope: &[u8], payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(envelope.len()).unwrap().to_be_bytes();
        [&[1, 0, length[0], length[1]], envelope, payload].concat()
    }

    fn refusal(bytes: &[u8]) -> Rejection {
        scan_binary(bytes, Profile::Flat).unwrap_err().rejection
    }

    #[test]
    fn req_1_2_a_binary_message_is_an_envelope_and_its_bytes() {
        let envelope = br#"{"type":"publish","id":4,"data":{"topic":"prices","event":"tick"}}"#;
        for profile in Profile::ALL {
            let bytes = framed(envelope, b"\x00\xff");
            let message = scan_binary(&bytes, profile).unwrap();
            assert_eq!(message.built_in(), Some(BuiltIn::Publish));
            assert_eq!(message.id().unwrap().as_json(), "4");
            assert_eq!(message.room().unwrap().unwrap(), "prices");
            assert_eq!(message.binary(), Some(&b"\x00\xff"[..]));
            let publish = message.publish().unwrap();
            assert_eq!(publish.event.as_deref(), Some("tick"));
            assert_eq!(publish.content, Content::Binary(b"\x00\xff"));
        }
        let bytes = framed(br#"{"type":"rpc","method":"sum"}"#, b"");
        let message = scan_binary(&bytes, Profile::V1).unwrap();
        assert_eq!(message.method().unwrap().unwrap(), "sum");
        assert_eq!(message.binary(), Some(&b""[..]));
    }

    #[test]
    fn a_malformed_binary_message_is_refused_for_what_is_wrong_with_it() {
        for short in [&b""[..], &[1], &[1, 0, 0], &[1, 0, 0, 1], &[1, 0, 128, 0]] {
            assert_eq!(refusal(short), Rejection::BinaryTooShort, "{short:?}");
        }
        assert_eq!(refusal(&[2, 0, 0, 0]), Rejection::BinaryVersion(2));
        assert_eq!(refusal(&[1, 4, 0, 0]), Rejection::BinaryFlags(4));
        assert_eq!(refusal(&framed(b"\xff", b"")), Rejection::BinaryNotText);
        for other in ["", " ", "hi", r#"[{"type":"publish"}]"#] {
            assert_eq!(
                refusal(&framed(other.as_bytes(), b"")),
                Rejection::NotAnObject
            );
        }
        assert_eq!(refusal(&framed(b"{}", b"")), Rejection::TypeMissing);
        let chat = framed(br#"{"type":"chat","id":"7"}"#, b"");
        let refused = scan_binary(&chat, Profile::V1).unwrap_err();
        assert_eq!(refused.rejection, Rejection::BinaryType);
        assert_eq!(refused.id.unwrap().as_json(), "\"7\"");
        assert!(matches!(
            refusal(&framed(b"{\"type\":", b"")),
            Rejection::InvalidJson { offset: 8 }
        ));
        let limit_bytes = BINARY_ENVELOPE_BYTES_MAX as u64;
        let long = vec![b' '; BINARY_ENVELOPE_BYTES_MAX + 1];
        assert_eq!(
            refusal(&framed(&long, b"")),
            Rejection::PayloadTooLarge { limit_bytes }
        );
    }

    #[test]
    fn a_binary_message_has_no_second_content() {
        let bytes = framed(
            br#"{"type":"publish","data":{"topic":"prices","data":1}}"#,
            b"x",
        );
        let message = scan_binary(&bytes, Profile::V1).unwrap();
        assert_eq!(
            message.publish().unwrap_err(),
            Rejection::RepeatedMember("data".into())
        );
    }
}
