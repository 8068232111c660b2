//! Masking and unmasking, which are the same thing. RFC 6455 section 5.3.
//!
//! Eight bytes at a time through safe code that the compiler turns into vector instructions.
#![forbid(unsafe_code)]

/// A masking key. Byte `i` of a payload is combined with byte `i % 4` of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct MaskingKey(pub [u8; 4]);

impl MaskingKey {
    /// Masks or unmasks `payload` in place. Its first byte meets the first byte of the key.
    pub fn apply(self, payload: &mut [u8]) {
        let [a, b, c, d] = self.0;
        let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
        let (chunks, rest) = payload.as_chunks_mut::<8>();
        for chunk in chunks {
            *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
        }
        for (byte, key) in rest.iter_mut().zip(wide.to_ne_bytes()) {
            *byte ^= key;
        }
    }

    /// The key as it stands after `bytes` bytes of a payload: for the piece that comes next.
    #[must_use]
    pub fn after(self, bytes: usize) -> Self {
        let mut key = self.0;
        key.rotate_left(bytes % 4);
        Self(key)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plainly(payload: &[u8], key: MaskingKey) -> Vec<u8> {
        payload
            .iter()
            .enumerate()
            .map(|(i, byte)| byte ^ key.0[i % 4])
            .collect()
    }

    /// RFC 6455 section 5.7: "A single-frame masked text message".
    #[test]
    fn the_example_of_the_rfc_unmasks_to_hello() {
        let mut payload = [0x7f, 0x9f, 0x4d, 0x51, 0x58];
        MaskingKey([0x37, 0xfa, 0x21, 0x3d]).apply(&mut payload);
        assert_eq!(&payload, b"Hello");
    }

    #[test]
    fn every_length_at_every_alignment_agrees_with_the_definition() {
        let key = MaskingKey([0x01, 0x20, 0x84, 0xFF]);
        let source: Vec<u8> = (0..=255).collect();
        for start in 0..32 {
            for end in start..=160 {
                let mut bytes = source.clone();
                key.apply(&mut bytes[start..end]);
                assert_eq!(&bytes[start..end], plainly(&source[start..end], key));
                assert_eq!(&bytes[..start], &source[..start]);
                assert_eq!(&bytes[end..], &source[end..]);
            }
        }
    }

    proptest! {
        #[test]
        fn pieces_with_the_key_moved_on_equal_the_whole(
            payload in proptest::collection::vec(any::<u8>(), 0..300), key: [u8; 4], cut: prop::sample::Index,
        ) {
            let key = MaskingKey(key);
            let cut = cut.index(payload.len() + 1);
            let mut pieces = payload.clone();
            let (first, second) = pieces.split_at_mut(cut);
            key.apply(first);
            key.after(first.len()).apply(second);
            prop_assert_eq!(pieces, plainly(&payload, key));
        }
    }
}
