//! The JSON grammar, walked over a text without building a tree. RFC 8259.
//!
//! Ours, because no library at hand does it in one pass. The iterators of sonic-rs 0.5.10 let
//! `"\uZZZZ"`, lone surrogates and trailing text through and recurse once per level: 100,000
//! brackets overflow the stack. `serde_json` 1.0.154 lets lone surrogates through in what it skips.
//!
//! It costs what typed parsing costs. Medians of `cargo bench --bench json`, a flat chat of 65 B,
//! 256 B and 4 KiB, rustc 1.95 without `target-cpu`, on two busy cores of a shared Xeon (spread up
//! to a third): ours 105, 121, 380 ns; typed sonic-rs 89, 118, 399; its iterator 172, 215, 362;
//! typed `serde_json` 86, 119, 475. A lazy `get` takes 42 and validates nothing behind its hit.
//!
//! Strings are searched in words and then in chunks that the compiler turns into vector code.

use std::borrow::Cow;

/// Most levels of arrays and objects in what is let in, the outermost counted.
///
/// `serde_json` reads 127, and it is not alone in having a limit. What is let in goes out again deeper
/// than it came, in an answer to `room.history` by five levels and from a handler by as many as it
/// likes, and nobody's message may make a page of history that others cannot read.
pub const JSON_DEPTH_MAX: u32 = 100;

/// Most levels that are walked at all.
const LEVELS_MAX: u32 = 127;

/// The depth at which a text begins that comes from outside, so that levels are left for what it is
/// wrapped in.
pub(super) const OUTERMOST: u32 = LEVELS_MAX - JSON_DEPTH_MAX;

/// Where a text stopped being JSON, a byte offset, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Invalid {
    pub(super) offset: usize,
    pub(super) kind: InvalidKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InvalidKind {
    Syntax,
    TooDeep,
}

/// A string as it stands in the text, without its quotes; its escapes are valid.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawString<'a> {
    pub(super) inner: &'a str,
    pub(super) escaped: bool,
}

impl<'a> RawString<'a> {
    /// The string itself.
    pub(super) fn decode(self) -> Cow<'a, str> {
        if self.escaped {
            Cow::Owned(unescape(self.inner))
        } else {
            Cow::Borrowed(self.inner)
        }
    }

    /// Whether the string, decoded, is `other`.
    pub(super) fn is(self, other: &str) -> bool {
        if self.escaped {
            spells(self.inner, other)
        } else {
            self.inner == other
        }
    }
}

/// A place in a text that is walked as JSON.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    pub(super) fn offset(&self) -> usize {
        self.at
    }

    pub(super) fn since(&self, start: usize) -> &'a str {
        &self.text[start..self.at]
    }

    pub(super) fn syntax(&self) -> Invalid {
        Invalid {
            offset: self.at,
            kind: InvalidKind::Syntax,
        }
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// The next byte that is not white space, not consumed.
    #[inline]
    pub(super) fn peek(&mut self) -> Option<u8> {
        loop {
            match self.byte() {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.at += 1,
                byte => return byte,
            }
        }
    }

    /// Consumes `wanted` after white space, if it is next.
    #[inline]
    pub(super) fn take(&mut self, wanted: u8) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    #[inline]
    pub(super) fn expect(&mut self, wanted: u8) -> Result<(), Invalid> {
        if self.take(wanted) {
            Ok(())
        } else {
            Err(self.syntax())
        }
    }

    /// Nothing but white space may be left.
    pub(super) fn end(&mut self) -> Result<(), Invalid> {
        if self.peek().is_none() {
            Ok(())
        } else {
            Err(self.syntax())
        }
    }

    /// A member's name and the colon after it.
    #[inline]
    pub(super) fn key(&mut self) -> Result<RawString<'a>, Invalid> {
        if self.peek() != Some(b'"') {
            return Err(self.syntax());
        }
        let key = self.string()?;
        self.expect(b':')?;
        Ok(key)
    }

    /// One whole value, `depth` levels down already, as it stands in the text.
    ///
    /// Iterative: the kinds of the open levels are bits, set for an object.
    pub(super) fn value(&mut self, depth: u32) -> Result<&'a str, Invalid> {
        const { assert!(LEVELS_MAX <= u128::BITS) };
        self.peek();
        let start = self.at;
        let mut objects: u128 = 0;
        let mut level = 0;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.string()?;
                }
                Some(b'-' | b'0'..=b'9') => self.number()?,
                Some(open @ (b'{' | b'[')) => {
                    if depth + level >= LEVELS_MAX {
                        return Err(Invalid {
                            offset: self.at,
                            kind: InvalidKind::TooDeep,
                        });
                    }
                    self.at += 1;
                    let is_object = open == b'{';
                    if !self.take(if is_object { b'}' } else { b']' }) {
                        objects = objects << 1 | u128::from(is_object);
                        level += 1;
                        if is_object {
                            self.key()?;
                        }
                        continue;
                    }
                }
                Some(b't') => self.literal("true")?,
                Some(b'f') => self.literal("false")?,
                Some(b'n') => self.literal("null")?,
                _ => return Err(self.syntax()),
            }
            // A value has ended: close what ends with it, or go on to its next sibling.
            loop {
                if level == 0 {
                    return Ok(self.since(start));
                }
                let in_object = objects & 1 == 1;
                if self.take(b',') {
                    if in_object {
                        self.key()?;
                    }
                    break;
                }
                self.expect(if in_object { b'}' } else { b']' })?;
                objects >>= 1;
                level -= 1;
            }
        }
    }

    /// A string. The cursor stands on its first quote.
    #[inline]
    pub(super) fn string(&mut self) -> Result<RawString<'a>, Invalid> {
        self.at += 1;
        let start = self.at;
        let mut escaped = false;
        loop {
            self.at = plain_end(self.text.as_bytes(), self.at);
            match self.byte() {
                Some(b'"') => {
                    let inner = self.since(start);
                    self.at += 1;
                    return Ok(RawString { inner, escaped });
                }
                Some(b'\\') => {
                    self.escape()?;
                    escaped = true;
                }
                _ => return Err(self.syntax()),
            }
        }
    }

    fn escape(&mut self) -> Result<(), Invalid> {
        let length = match self.text.as_bytes().get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
            Some(b'u') => match code_unit(self.text, self.at) {
                Some(0xD800..=0xDBFF) => match code_unit(self.text, self.at + 6) {
                    Some(0xDC00..=0xDFFF) => 12,
                    _ => return Err(self.syntax()),
                },
                Some(0xDC00..=0xDFFF) | None => return Err(self.syntax()),
                Some(_) => 6,
            },
            _ => return Err(self.syntax()),
        };
        self.at += length;
        Ok(())
    }

    fn number(&mut self) -> Result<(), Invalid> {
        self.at += usize::from(self.byte() == Some(b'-'));
        if self.byte() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.byte() {
            self.at += 1;
            self.at += usize::from(matches!(self.byte(), Some(b'+' | b'-')));
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Invalid> {
        let start = self.at;
        while self.byte().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at > start {
            Ok(())
        } else {
            Err(self.syntax())
        }
    }

    fn literal(&mut self, literal: &str) -> Result<(), Invalid> {
        if !self.text.as_bytes()[self.at..].starts_with(literal.as_bytes()) {
            return Err(self.syntax());
        }
        self.at += literal.len();
        Ok(())
    }
}

/// Whether a byte ends a run of plain string characters: a quote, a backslash, a control character.
fn is_special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// The offset of the first special byte of `bytes` from `from` on, or their length.
#[inline]
pub(super) fn plain_end(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    // Names and short values end within two words.
    for _ in 0..2 {
        let Some(word) = bytes[at..].first_chunk() else {
            break;
        };
        let special = special_bytes(u64::from_le_bytes(*word));
        if special != 0 {
            return at + special.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    while let Some(chunk) = bytes[at..].first_chunk::<32>() {
        if chunk
            .iter()
            .fold(false, |any, &byte| any | is_special(byte))
        {
            break;
        }
        at += 32;
    }
    while let Some(word) = bytes[at..].first_chunk() {
        let special = special_bytes(u64::from_le_bytes(*word));
        if special != 0 {
            return at + special.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    bytes[at..]
        .iter()
        .position(|&byte| is_special(byte))
        .map_or(bytes.len(), |more| at + more)
}

/// The high bit of every special byte of a word. Borrows can mark a byte too many, but only above
/// one that is special: the lowest mark is always right.
#[inline]
fn special_bytes(word: u64) -> u64 {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGHS: u64 = ONES << 7;
    let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word;
    let quote = word ^ (ONES * b'"' as u64);
    let backslash = word ^ (ONES * b'\\' as u64);
    (below(word, 0x20) | below(quote, 1) | below(backslash, 1)) & HIGHS
}

/// The code unit of the `\uXXXX` at `at`, if there is one.
fn code_unit(text: &str, at: usize) -> Option<u16> {
    let escape = text.as_bytes().get(at..at + 6)?;
    let digits = escape.strip_prefix(b"\\u")?;
    digits.iter().try_fold(0, |unit, &digit| {
        let digit = char::from(digit).to_digit(16)?;
        Some(unit << 4 | u16::try_from(digit).ok()?)
    })
}

/// Decodes the inner text of a string whose escapes are valid.
fn unescape(inner: &str) -> String {
    let mut decoded = String::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
        decoded.push_str(&rest[..at]);
        let (character, length) = escaped_character(rest, at);
        decoded.push(character);
        rest = &rest[at + length..];
    }
    decoded.push_str(rest);
    decoded
}

/// Whether the inner text of a string whose escapes are valid means `wanted`. Allocates nothing.
fn spells(inner: &str, mut wanted: &str) -> bool {
    let mut rest = inner;
    while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
        let (character, length) = escaped_character(rest, at);
        let Some(more) = wanted.strip_prefix(&rest[..at]) else {
            return false;
        };
        let Some(more) = more.strip_prefix(character) else {
            return false;
        };
        wanted = more;
        rest = &rest[at + length..];
    }
    rest == wanted
}

/// The character and the length of the valid escape at `at`.
fn escaped_character(text: &str, at: usize) -> (char, usize) {
    match text.as_bytes().get(at + 1) {
        Some(b'b') => ('\u{8}', 2),
        Some(b'f') => ('\u{c}', 2),
        Some(b'n') => ('\n', 2),
        Some(b'r') => ('\r', 2),
        Some(b't') => ('\t', 2),
        Some(b'u') => unicode_escape(text, at),
        Some(&byte) => (char::from(byte), 2),
        None => unreachable!("escapes were validated"),
    }
}

/// The character and the length of the valid `\uXXXX`, or pair of them, at `at`.
fn unicode_escape(text: &str, at: usize) -> (char, usize) {
    let units = [code_unit(text, at), code_unit(text, at + 6)];
    let decoded = char::decode_utf16(units.into_iter().map_while(|unit| unit)).next();
    let character = decoded
        .and_then(Result::ok)
        .expect("escapes were validated");
    (character, 6 * character.len_utf16())
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    fn validate(text: &str) -> Result<&str, Invalid> {
        let mut cursor = Cursor::new(text);
        let value = cursor.value(OUTERMOST)?;
        cursor.end()?;
        Ok(value)
    }

    fn fault(text: &str) -> Option<InvalidKind> {
        validate(text).err().map(|invalid| invalid.kind)
    }

    /// Whether another parser takes the text. `None`: it has a number beyond a double, which passes
    /// here (PROTOCOL 8.12) and not there.
    pub(crate) fn reference(text: &str) -> Option<bool> {
        match serde_json::from_str::<serde_json::Value>(text) {
            Ok(_) => Some(true),
            Err(error) if error.to_string().starts_with("number out of range") => None,
            Err(_) => Some(false),
        }
    }

    /// JSON, near-JSON and text of JSON's characters.
    pub(crate) fn texts() -> impl Strategy<Value = String> {
        let string = r#""([ -!#-\[\]-~é😀]|\\["\\/bfnrt]|\\u00[0-9a-f]{2}|\\ud83d\\ude00){0,40}""#;
        let leaf = prop_oneof![
            Just("null".to_owned()),
            Just("true".to_owned()),
            "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,5})?([eE][+-]?[0-9]{1,2})?",
            string,
        ];
        let json = leaf.prop_recursive(4, 24, 5, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5)
                    .prop_map(|values| format!("[{}]", values.join(" ,\n"))),
                proptest::collection::vec((string, inner), 0..5).prop_map(|members| {
                    let members: Vec<_> = members
                        .iter()
                        .map(|(key, value)| format!("{key}:{value}"))
                        .collect();
                    format!("{{{}}}", members.join(","))
                }),
            ]
        });
        let replacements = prop::sample::select(
            "{}[]:,\"\\ud8dceE+-.0123tfn \t\u{1}\u{7f}é"
                .chars()
                .collect::<Vec<_>>(),
        );
        let near = (json.clone(), any::<prop::sample::Index>(), replacements).prop_map(
            |(json, index, replacement)| {
                let mut characters: Vec<char> = json.chars().collect();
                let at = index.index(characters.len());
                characters[at] = replacement;
                characters.into_iter().collect()
            },
        );
        prop_oneof![
            json,
            near,
            r#"[\[\]{}:,"\\ud8Dc0-9.eE+ truefalsn\x00-\x20-]{0,40}"#
        ]
    }

    #[test]
    fn what_the_grammar_allows_is_valid() {
        let valid = [
            "0",
            "-0",
            "-0.0e-0",
            "1e400",
            "123456789012345678901234567890",
            "\"\"",
            r#""\"\\\/\b\f\n\r\té""#,
            r#""\ud83d\uDE00""#,
            "\"\u{7f}\u{2028}\"",
            " [ ] ",
            "{\t}",
            "[[],{},[{}]]",
            r#"{"":{"":""},"":1}"#,
            "\r\n true",
        ];
        for text in valid {
            assert_eq!(validate(text), Ok(text.trim()), "{text}");
        }
    }

    #[test]
    fn what_the_grammar_forbids_is_found_where_it_stands() {
        let invalid = [
            ("", 0),
            (" ", 1),
            ("01", 1),
            ("1e", 2),
            ("1.", 2),
            (".5", 0),
            ("+1", 0),
            ("-", 1),
            ("1.e1", 2),
            ("NaN", 0),
            ("nul", 0),
            ("truely", 4),
            ("tru", 0),
            ("[1,]", 3),
            ("[1 2]", 3),
            ("[1", 2),
            ("[}", 1),
            ("]", 0),
            (r#"{"a":1,}"#, 7),
            (r#"{"a" 1}"#, 5),
            (r#"{"a":}"#, 5),
            ("{1:2}", 1),
            ("{,}", 1),
            (r#"{"a":1]"#, 6),
            ("{} {}", 3),
            ("\u{feff}{}", 0),
            ("\"", 1),
            ("\"\n\"", 1),
            ("\"\0\"", 1),
            (r#""\x""#, 1),
            (r#""\u12g4""#, 1),
            (r#""\u12"#, 1),
            (r#""\u+123""#, 1),
            (r#""\""#, 3),
            ("'a'", 0),
            ("/**/1", 0),
        ];
        for (text, offset) in invalid {
            let expected = Invalid {
                offset,
                kind: InvalidKind::Syntax,
            };
            assert_eq!(validate(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn a_lone_surrogate_escape_is_no_text() {
        for text in [
            r#""\ud800""#,
            r#""\udc00""#,
            r#""\ud800\ud800""#,
            r#""\ud800\u0041""#,
            r#""\ud800x""#,
            r#""\udc00\ud800""#,
            r#"{"\ud800":1}"#,
            r#"["aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\ud8000000"]"#,
        ] {
            assert!(validate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn every_level_up_to_the_limit_is_taken_and_no_further() {
        let limit = JSON_DEPTH_MAX as usize;
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let nested = |levels: usize| {
                format!("{}1{}", open.repeat(levels), close.repeat(levels)).replace("[1]", "[]")
            };
            assert!(validate(&nested(limit)).is_ok());
            assert_eq!(fault(&nested(limit + 1)), Some(InvalidKind::TooDeep));
            assert_eq!(reference(&nested(limit)), Some(true));
        }
    }

    #[test]
    fn a_hundred_thousand_levels_end_at_the_limit() {
        for open in ["[", "{\"a\":", "[{\"a\":"] {
            assert_eq!(fault(&open.repeat(100_000)), Some(InvalidKind::TooDeep));
        }
    }

    #[test]
    fn a_special_byte_is_found_at_every_place_and_after_every_neighbour() {
        for special in [0, 0x1f, b'"', b'\\'] {
            for length in 0..100 {
                for neighbour in [b'a', b' ', 0x21, 0x23, 0x5b, 0x5d, 0x7f, 0x80, 0xff] {
                    let mut bytes = vec![neighbour; length];
                    assert_eq!(plain_end(&bytes, 0), length);
                    bytes.extend([special, special, neighbour]);
                    assert_eq!(
                        plain_end(&bytes, 0),
                        length,
                        "{special:#x} after {neighbour:#x}"
                    );
                    assert_eq!(plain_end(&bytes, length + 2), length + 3);
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn what_is_valid_here_is_valid_elsewhere_and_the_reverse(text in texts()) {
            if let Some(expected) = reference(&text) {
                prop_assert_eq!(validate(&text).is_ok(), expected, "{}", text);
            }
        }

        #[test]
        fn strings_decode_as_they_do_elsewhere(text in texts()) {
            if let Ok(expected) = serde_json::from_str::<String>(&text) {
                let raw = Cursor::new(text.trim()).string().unwrap();
                prop_assert_eq!(raw.decode(), expected.as_str());
                prop_assert!(raw.is(&expected));
            }
        }
    }
}
