//! Codes: short enough to be said on the telephone, and found without telling anything by the time
//! that it takes.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher as _;

use subtle::ConstantTimeEq as _;

use super::PairingId;

/// The characters of codes: digits and capital letters without those that are taken for each other
/// (0 and O, 1, I and L).
pub const ALPHABET: &[u8; 31] = b"23456789ABCDEFGHJKMNPQRSTUVWXYZ";
/// Fewest characters of a code.
const LENGTH_MIN: usize = 4;
/// Most characters of a code.
const LENGTH_MAX: usize = 16;
/// Random bytes from here on are not used: it is the largest multiple of 31 in a byte, below which
/// every character is as likely as every other.
const BYTE_END: u8 = 248;

const _: () = assert!((BYTE_END as usize).is_multiple_of(ALPHABET.len()));

/// A code. Zeros fill it up, so that any two compare in the same time.
///
/// `Debug` does not show it: it is a secret as long as its pairing waits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Code([u8; LENGTH_MAX]);

impl Code {
    /// What is no code, and compared with where there is none.
    const NONE: Self = Self([0; LENGTH_MAX]);

    /// Takes as many characters from `random` as a code has, and the bytes that it used. `None`: there
    /// were not enough.
    pub(super) fn draw(length: usize, random: &mut impl Iterator<Item = u8>) -> Option<Self> {
        let mut code = Self::NONE;
        for place in &mut code.0[..clamp(length)] {
            let byte = random.find(|&byte| byte < BYTE_END)?;
            *place = ALPHABET[usize::from(byte) % ALPHABET.len()];
        }
        Some(code)
    }

    /// Reads a code as a person types it: lower case counts as upper case, blanks and hyphens between
    /// the characters as nothing. `None`: no code looks like this.
    pub fn parse(text: &str) -> Option<Self> {
        let mut code = Self::NONE;
        let mut length = 0;
        // Longer texts are none, however many blanks they have.
        if text.len() > 4 * LENGTH_MAX {
            return None;
        }
        for byte in text.bytes().filter(|byte| !matches!(byte, b' ' | b'-')) {
            let byte = byte.to_ascii_uppercase();
            if !ALPHABET.contains(&byte) {
                return None;
            }
            *code.0.get_mut(length)? = byte;
            length += 1;
        }
        (length >= LENGTH_MIN).then_some(code)
    }

    /// The characters.
    pub fn as_str(&self) -> &str {
        let length = self.0.iter().position(|&byte| byte == 0);
        let characters = &self.0[..length.unwrap_or(LENGTH_MAX)];
        std::str::from_utf8(characters).expect("the alphabet is ASCII")
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Code(…)")
    }
}

fn clamp(length: usize) -> usize {
    length.clamp(LENGTH_MIN, LENGTH_MAX)
}

/// How many codes of a length there are.
pub(super) fn space(length: usize) -> u128 {
    (0..clamp(length)).fold(1, |space, _| space * ALPHABET.len() as u128)
}

/// The codes that are in use, and whose they are.
///
/// They lie under a keyed hash (SipHash of std, with a random key for each process), so that which
/// places a search looks at says nothing about the codes near the one that was tried; and what is found
/// there, or nothing, is compared in constant time.
#[derive(Debug, Default)]
pub(super) struct Codes {
    key: RandomState,
    by_digest: HashMap<u64, (Code, PairingId)>,
}

impl Codes {
    /// Whether the code can be given out: it is in nobody's use.
    pub(super) fn is_free(&self, code: &Code) -> bool {
        // Another code under the same digest counts as used: one in 2^64, and there are many others.
        !self.by_digest.contains_key(&self.digest(code))
    }

    pub(super) fn insert(&mut self, code: Code, id: PairingId) {
        self.by_digest.insert(self.digest(&code), (code, id));
    }

    /// Makes a code of this pairing free.
    pub(super) fn remove(&mut self, code: &Code, id: PairingId) {
        let digest = self.digest(code);
        if self.by_digest.get(&digest).is_some_and(|&(_, of)| of == id) {
            self.by_digest.remove(&digest);
        }
    }

    /// Whose code it is. Takes the same steps whether it is one, and for what is no code at all.
    pub(super) fn find(&self, code: Option<Code>) -> Option<PairingId> {
        let code = code.unwrap_or(Code::NONE);
        let found = self.by_digest.get(&self.digest(&code));
        let known = found.map_or(Code([b'?'; LENGTH_MAX]), |&(known, _)| known);
        let is_same = bool::from(known.0.ct_eq(&code.0));
        found.filter(|_| is_same).map(|&(_, id)| id)
    }

    fn digest(&self, code: &Code) -> u64 {
        self.key.hash_one(code.0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn code(text: &str) -> Code {
        Code::parse(text).unwrap()
    }

    #[test]
    fn codes_have_only_characters_that_nobody_confuses() {
        for byte in b"01OIL" {
            assert!(!ALPHABET.contains(byte));
        }
        let mut seen = BTreeMap::new();
        let mut random = (0..=255).cycle();
        for length in 0..20 {
            let code = Code::draw(length, &mut random).unwrap();
            assert_eq!(code.as_str().len(), length.clamp(4, 16));
            assert_eq!(Code::parse(code.as_str()), Some(code));
        }
        for byte in (0..=255).filter(|&byte| byte < BYTE_END) {
            let code = Code::draw(4, &mut std::iter::repeat(byte)).unwrap();
            *seen.entry(code.as_str().to_owned()).or_insert(0) += 1;
        }
        let counts: Vec<_> = seen.into_values().collect();
        assert_eq!(counts, [8; 31], "each character is as likely as the others");
        assert_eq!(Code::draw(4, &mut [255; 100].into_iter()), None);
    }

    #[test]
    fn a_code_is_read_as_people_type_it() {
        for text in ["K7Q2ZP", "k7q2zp", " K7Q-2zp ", "K 7 Q 2 Z P"] {
            assert_eq!(code(text), code("K7Q2ZP"), "{text}");
        }
        let long = "A".repeat(17);
        let blanks = format!("K7Q2ZP{}", " ".repeat(64));
        for text in ["", "K7Q", "K7Q2Z0", "K7Q2Zß", "K7Q2\0\0", &long, &blanks] {
            assert_eq!(Code::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_code_is_not_shown_in_logs() {
        assert_eq!(format!("{:?}", code("K7Q2ZP")), "Code(…)");
    }

    #[test]
    fn codes_are_found_until_they_are_removed() {
        let mut codes = Codes::default();
        let (one, two) = (PairingId::from_u128(1), PairingId::from_u128(2));
        codes.insert(code("AAAA"), one);
        assert!(!codes.is_free(&code("AAAA")) && codes.is_free(&code("AAAAA")));
        assert_eq!(codes.find(Some(code("AAAA"))), Some(one));
        assert_eq!(codes.find(Some(code("AAAAA"))), None);
        assert_eq!(codes.find(None), None);
        codes.remove(&code("AAAA"), two);
        assert_eq!(codes.find(Some(code("AAAA"))), Some(one), "not its code");
        codes.remove(&code("AAAA"), one);
        assert_eq!(codes.find(Some(code("AAAA"))), None);
        assert_eq!(space(6), 887_503_681);
    }
}
