//! `Sec-WebSocket-Extensions`: its grammar, and the negotiation of permessage-deflate.
//!
//! RFC 6455 section 9.1; RFC 7692 sections 5 and 7.1. The answer always switches off context
//! takeover on both sides, whether the client asked for it or not: see [`deflate`](super::deflate).
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::fmt;

use super::deflate::WindowBits;

/// What was agreed on: the compression of one connection.
///
/// Displays as the value of the `Sec-WebSocket-Extensions` field of our answer. The answer never
/// limits the client's window: the one inflater has the largest anyway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// Largest window with which we may compress.
    pub server_window_bits: WindowBits,
    /// The client asked for that window, and so must hear of it. RFC 7692 section 7.1.2.1.
    pub window_bits_requested: bool,
}

impl fmt::Display for Negotiated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("permessage-deflate; server_no_context_takeover; client_no_context_takeover")?;
        if self.window_bits_requested {
            write!(
                f,
                "; server_max_window_bits={}",
                self.server_window_bits.as_u8()
            )?;
        }
        Ok(())
    }
}

/// A `Sec-WebSocket-Extensions` field breaks its grammar: the handshake fails. RFC 6455 section 9.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed Sec-WebSocket-Extensions field")]
pub struct MalformedExtensions;

/// Chooses the first acceptable offer of permessage-deflate among all `Sec-WebSocket-Extensions`
/// fields of a request, in order. `None`: there is none, answer without the field.
///
/// An offer is declined, and the next one looked at, for an unknown or repeated parameter, an
/// invalid value, or a server window of 2^8 bytes. Other extensions are passed over.
///
/// Errors: [`MalformedExtensions`], to be answered 400. Source: RFC 7692 sections 5.1 and 7.1.
pub fn negotiate<'h>(
    fields: impl IntoIterator<Item = &'h [u8]>,
) -> Result<Option<Negotiated>, MalformedExtensions> {
    let mut chosen = None;
    for field in fields {
        let mut cursor = Cursor { rest: field };
        loop {
            cursor.skip_white_space();
            // A list may have empty elements. RFC 9110 section 5.6.1.
            if !matches!(cursor.rest.first(), None | Some(b',')) {
                let offer = cursor.extension()?;
                chosen = chosen.or(offer);
            }
            if !cursor.eat(b',') {
                break;
            }
        }
        if !cursor.rest.is_empty() {
            return Err(MalformedExtensions);
        }
    }
    Ok(chosen)
}

/// One offer of permessage-deflate, parameter by parameter.
#[derive(Default)]
struct Offer {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<WindowBits>,
    client_max_window_bits: bool,
    declined: bool,
}

impl Offer {
    /// Takes a parameter in; whatever we do not accept declines the offer.
    fn parameter(&mut self, name: &str, value: Option<&str>) {
        let repeated = match name {
            "server_no_context_takeover" if value.is_none() => {
                std::mem::replace(&mut self.server_no_context_takeover, true)
            }
            "client_no_context_takeover" if value.is_none() => {
                std::mem::replace(&mut self.client_no_context_takeover, true)
            }
            "server_max_window_bits" => match value.and_then(window_bits).map(WindowBits::new) {
                Some(Some(bits)) => self.server_max_window_bits.replace(bits).is_some(),
                // No number, or 8.
                Some(None) | None => true,
            },
            "client_max_window_bits" => {
                let invalid = value.is_some_and(|value| window_bits(value).is_none());
                invalid || std::mem::replace(&mut self.client_max_window_bits, true)
            }
            _ => true,
        };
        self.declined |= repeated;
    }

    fn accept(self) -> Option<Negotiated> {
        (!self.declined).then(|| Negotiated {
            server_window_bits: self.server_max_window_bits.unwrap_or(WindowBits::MAX),
            window_bits_requested: self.server_max_window_bits.is_some(),
        })
    }
}

/// A decimal of 8 to 15 without leading zeros. RFC 7692 section 7.1.2.
fn window_bits(value: &str) -> Option<u8> {
    match value {
        "8" => Some(8),
        "9" => Some(9),
        "10" => Some(10),
        "11" => Some(11),
        "12" => Some(12),
        "13" => Some(13),
        "14" => Some(14),
        "15" => Some(15),
        _ => None,
    }
}

/// Reads the grammar of RFC 6455 section 9.1.
struct Cursor<'h> {
    rest: &'h [u8],
}

impl<'h> Cursor<'h> {
    /// `extension = token *( ";" token [ "=" ( token / quoted-string ) ] )`. An offer of
    /// permessage-deflate that we accept, or `None` for anything else.
    fn extension(&mut self) -> Result<Option<Negotiated>, MalformedExtensions> {
        let name = self.token()?;
        let mut offer = Offer::default();
        while self.eat(b';') {
            let parameter = self.token()?;
            let value = if self.eat(b'=') {
                Some(self.value()?)
            } else {
                None
            };
            offer.parameter(parameter, value.as_deref());
        }
        Ok(if name == "permessage-deflate" {
            offer.accept()
        } else {
            None
        })
    }

    fn skip_white_space(&mut self) {
        self.rest = self.rest.trim_ascii_start();
    }

    /// Takes one character and the white space on both its sides.
    fn eat(&mut self, wanted: u8) -> bool {
        self.skip_white_space();
        let Some((_, rest)) = self.rest.split_first().filter(|(byte, _)| **byte == wanted) else {
            return false;
        };
        self.rest = rest;
        self.skip_white_space();
        true
    }

    fn token(&mut self) -> Result<&'h str, MalformedExtensions> {
        let count = self.rest.iter().take_while(|byte| is_token(**byte)).count();
        let (token, rest) = self.rest.split_at(count);
        self.rest = rest;
        match std::str::from_utf8(token) {
            Ok(token) if !token.is_empty() => Ok(token),
            _ => Err(MalformedExtensions),
        }
    }

    /// A token, or a quoted string whose content is a token.
    fn value(&mut self) -> Result<Cow<'h, str>, MalformedExtensions> {
        let Some(mut rest) = self.rest.strip_prefix(b"\"") else {
            return self.token().map(Cow::Borrowed);
        };
        let mut value = String::new();
        loop {
            let byte = match rest {
                [b'\\', escaped, after @ ..] => {
                    rest = after;
                    *escaped
                }
                [b'"', after @ ..] if !value.is_empty() => {
                    self.rest = after;
                    return Ok(Cow::Owned(value));
                }
                [byte, after @ ..] => {
                    rest = after;
                    *byte
                }
                [] => return Err(MalformedExtensions),
            };
            if !is_token(byte) {
                return Err(MalformedExtensions);
            }
            value.push(char::from(byte));
        }
    }
}

/// RFC 9110 section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ANSWER: &str =
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

    fn answer(fields: &[&str]) -> Result<Option<String>, MalformedExtensions> {
        let negotiated = negotiate(fields.iter().map(|field| field.as_bytes()))?;
        Ok(negotiated.map(|negotiated| negotiated.to_string()))
    }

    #[test]
    fn context_takeover_is_switched_off_whatever_was_offered() {
        for offer in [
            "permessage-deflate",
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate; client_max_window_bits=8",
            "permessage-deflate;client_max_window_bits=\"1\\0\"",
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
            "  permessage-deflate ;\tclient_no_context_takeover ",
            "x-webkit-deflate-frame, permessage-deflate",
            "other; a=\"b\"; c=d, , permessage-deflate",
        ] {
            assert_eq!(answer(&[offer]), Ok(Some(ANSWER.to_owned())), "{offer}");
        }
    }

    #[test]
    fn a_requested_window_is_granted_and_confirmed() {
        for bits in 9..=15 {
            let plain = format!("permessage-deflate; server_max_window_bits={bits}");
            let quoted = format!("permessage-deflate; server_max_window_bits=\"{bits}\"");
            let expected = format!("{ANSWER}; server_max_window_bits={bits}");
            assert_eq!(answer(&[&plain]), Ok(Some(expected.clone())));
            assert_eq!(answer(&[&quoted]), Ok(Some(expected)));
            let negotiated = negotiate([plain.as_bytes()]).unwrap().unwrap();
            assert_eq!(negotiated.server_window_bits.as_u8(), bits);
        }
    }

    #[test]
    fn an_offer_that_cannot_be_met_is_declined() {
        for parameter in [
            "server_max_window_bits=8",
            "server_max_window_bits=7",
            "server_max_window_bits=16",
            "server_max_window_bits=09",
            "server_max_window_bits=+9",
            "server_max_window_bits=x",
            "server_max_window_bits",
            "client_max_window_bits=7",
            "client_max_window_bits=16",
            "client_max_window_bits=08",
            "server_no_context_takeover=1",
            "client_no_context_takeover=true",
            "server_no_context_takeover; server_no_context_takeover",
            "client_no_context_takeover; client_no_context_takeover",
            "server_max_window_bits=10; server_max_window_bits=10",
            "client_max_window_bits; client_max_window_bits=10",
            "unknown",
            "Server_no_context_takeover",
        ] {
            let offer = format!("permessage-deflate; {parameter}");
            assert_eq!(answer(&[&offer]), Ok(None), "{offer}");
            let then = format!("{offer}, permessage-deflate; server_max_window_bits=11");
            let expected = Ok(Some(format!("{ANSWER}; server_max_window_bits=11")));
            assert_eq!(answer(&[&then]), expected, "{then}");
        }
    }

    #[test]
    fn the_first_acceptable_offer_wins_in_one_field_or_in_several() {
        let expected = Ok(Some(format!("{ANSWER}; server_max_window_bits=10")));
        let (first, second) = (
            "permessage-deflate; server_max_window_bits=10",
            "permessage-deflate; server_max_window_bits=12",
        );
        assert_eq!(answer(&[&format!("{first}, {second}")]), expected);
        assert_eq!(answer(&[first, second]), expected);
        assert_eq!(answer(&["permessage-deflate; unknown", first]), expected);
    }

    #[test]
    fn without_an_offer_there_is_no_answer() {
        for fields in [
            &[][..],
            &[""],
            &["x-webkit-deflate-frame"],
            &["permessage-bzip2", ","],
        ] {
            assert_eq!(answer(fields), Ok(None), "{fields:?}");
        }
    }

    #[test]
    fn a_field_outside_the_grammar_fails_the_handshake() {
        for field in [
            ";",
            "permessage-deflate;",
            "permessage-deflate; =1",
            "permessage-deflate; a=",
            "permessage-deflate; a=\"\"",
            "permessage-deflate; a=\"b",
            "permessage-deflate; a=\"b c\"",
            "permessage-deflate; a=\"b\\",
            "permessage-deflate a",
            "permessage-deflate, a b",
            "perméssage",
            "(",
        ] {
            assert_eq!(answer(&[field]), Err(MalformedExtensions), "{field}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_get_a_verdict(field in "[a-c;=,\" \\\\]{0,30}") {
            // Reads to the end or says that it could not.
            let with_offer = format!("permessage-deflate, {field}");
            match answer(&[&field]) {
                Ok(first) => prop_assert_eq!((first, answer(&[&with_offer])), (None, Ok(Some(ANSWER.to_owned())))),
                Err(malformed) => prop_assert_eq!(answer(&[&with_offer]), Err(malformed)),
            }
        }
    }
}
