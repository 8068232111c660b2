//! SHA-256, from the library that signs and verifies.

use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use jsonwebtoken::jwk::ThumbprintHash;

/// The SHA-256 of `bytes`.
pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = (DEFAULT_PROVIDER.key_utils.compute_digest)(bytes, ThumbprintHash::SHA256);
    let digest = digest.expect("hashing cannot fail");
    digest.try_into().expect("SHA-256 has 32 bytes")
}

/// The first `N` bytes, at most 32, of the SHA-256 of `bytes`.
pub(super) fn fingerprint<const N: usize>(bytes: &[u8]) -> [u8; N] {
    const { assert!(N <= 32) }
    let mut front = [0; N];
    front.copy_from_slice(&sha256(bytes)[..N]);
    front
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 180-4, the example "abc".
    #[test]
    fn it_is_sha_256() {
        assert_eq!(sha256(b"abc")[..4], [0xba, 0x78, 0x16, 0xbf]);
        assert_eq!(fingerprint::<2>(b"abc"), [0xba, 0x78]);
    }
}
