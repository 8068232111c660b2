//! The one source of chance: what a seed decides, it decides again.

use std::ops::Range;

/// Random choices of one run.
#[derive(Clone, Debug)]
pub(super) struct Prng(fastrand::Rng);

impl Prng {
    pub(super) fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// `true` in `percent` of 100 cases.
    pub(super) fn chance(&mut self, percent: u32) -> bool {
        self.0.u32(..100) < percent
    }

    /// A number of the range, which is not empty.
    pub(super) fn number(&mut self, range: Range<usize>) -> usize {
        self.0.usize(range)
    }

    /// A size below `end`, mostly small: every power of two is as likely as the next.
    pub(super) fn size(&mut self, end: usize) -> usize {
        let bits = self.0.u32(..=end.max(1).ilog2());
        self.0.usize(..(2usize << bits).min(end.max(1)))
    }

    /// One of several.
    pub(super) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.0.usize(..choices.len())]
    }

    /// One of several, each as often as its weight says.
    pub(super) fn weighted<T: Copy>(&mut self, choices: &[(u32, T)]) -> T {
        let all: u32 = choices.iter().map(|&(weight, _)| weight).sum();
        let mut ticket = self.0.u32(..all);
        for &(weight, choice) in choices {
            if ticket < weight {
                return choice;
            }
            ticket -= weight;
        }
        unreachable!("the ticket is below the sum of the weights")
    }

    pub(super) fn shuffle<T>(&mut self, list: &mut [T]) {
        self.0.shuffle(list);
    }

    pub(super) fn seed(&mut self) -> u64 {
        self.0.u64(..)
    }

    pub(super) fn key(&mut self) -> [u8; 4] {
        self.0.u32(..).to_ne_bytes()
    }
}

/// Reads a seed: a decimal number, or the hexadecimal name of a commit, of which the first 16 digits
/// count. `None`: neither.
pub fn seed_from(text: &str) -> Option<u64> {
    let text = text.trim();
    text.parse().ok().or_else(|| {
        let digits = text.get(..text.len().min(16))?;
        let is_hex = text.len() >= 7 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hex.then(|| u64::from_str_radix(digits, 16).ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_number_or_a_commit() {
        assert_eq!(seed_from(" 42\n"), Some(42));
        assert_eq!(seed_from("1cc9a6a"), Some(0x1cc_9a6a));
        let commit = "b8176a2f00112233445566778899aabbccddeeff";
        assert_eq!(seed_from(commit), Some(0xb817_6a2f_0011_2233));
        assert_eq!(
            (seed_from(""), seed_from("beef"), seed_from("no hash")),
            (None, None, None)
        );
    }

    #[test]
    fn sizes_stay_below_their_end() {
        let mut prng = Prng::new(1);
        for end in [1, 2, 3, 1000, 65_536] {
            assert!((0..1000).all(|_| prng.size(end) < end));
        }
    }
}
