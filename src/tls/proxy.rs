//! The header with which a proxy says whose connection it passes on, versions 1 and 2.
//!
//! Source: <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>, section 2.

use std::net::SocketAddr;

use ppp::{v1, v2};

/// Longest header of version 1, bytes, with its line end. Section 2.1.
const V1_BYTES_MAX: usize = 107;
/// The fixed part of version 2, bytes. Section 2.2.
const V2_FIXED_BYTES: usize = 16;
/// Longest header that is taken, bytes: of version 2, the fixed part and as much again as a receiver must
/// take (section 2.2: 536, the least that every path passes in one segment). Longer ones, of many or
/// long type-length-values, are refused.
pub const PROXY_BYTES_MAX: usize = V2_FIXED_BYTES + 536;

const _: () = assert!(V1_BYTES_MAX < PROXY_BYTES_MAX);

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whose connection it is. `None`: the proxy's own (a health check, `LOCAL`), or one whose address
    /// it does not know or that has none (`UNKNOWN`, a Unix socket).
    pub source: Option<SocketAddr>,
    /// Its length, bytes: what follows belongs to the connection.
    pub length: usize,
}

/// The first bytes of a connection are no header of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// Neither of version 1 nor of version 2.
    #[error("the connection does not begin with a PROXY protocol header")]
    Missing,
    /// Longer than [`PROXY_BYTES_MAX`], or 107 bytes in version 1.
    #[error("the PROXY protocol header is too long")]
    TooLong,
    /// It begins like one and is none.
    #[error("the PROXY protocol header is malformed")]
    Malformed,
    /// It speaks of something other than a stream, UDP for instance.
    #[error("the PROXY protocol header is not that of a stream")]
    NotAStream,
}

impl Header {
    /// Decodes the header at the front of `bytes`. `Ok(None)`: more bytes are needed.
    ///
    /// Type-length-values of version 2 are skipped.
    pub fn decode(bytes: &[u8]) -> Result<Option<Self>, ProxyError> {
        if begins_like(bytes, v2::PROTOCOL_PREFIX) {
            Self::decode_v2(bytes)
        } else if begins_like(bytes, b"PROXY ") {
            Self::decode_v1(bytes)
        } else {
            Err(ProxyError::Missing)
        }
    }

    fn decode_v1(bytes: &[u8]) -> Result<Option<Self>, ProxyError> {
        let window = &bytes[..bytes.len().min(V1_BYTES_MAX)];
        let Some(end) = memchr::memmem::find(window, b"\r\n") else {
            let is_cut_off = bytes.len() < V1_BYTES_MAX;
            return if is_cut_off {
                Ok(None)
            } else {
                Err(ProxyError::TooLong)
            };
        };
        let length = end + 2;
        let header = v1::Header::try_from(&bytes[..length]).map_err(|_| ProxyError::Malformed)?;
        let source = match header.addresses {
            v1::Addresses::Unknown => None,
            v1::Addresses::Tcp4(a) => Some((a.source_address, a.source_port).into()),
            v1::Addresses::Tcp6(a) => Some((a.source_address, a.source_port).into()),
        };
        Ok(Some(Self { source, length }))
    }

    fn decode_v2(bytes: &[u8]) -> Result<Option<Self>, ProxyError> {
        let Some(fixed) = bytes.get(..V2_FIXED_BYTES) else {
            return Ok(None);
        };
        let length = V2_FIXED_BYTES + usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
        if length > PROXY_BYTES_MAX {
            return Err(ProxyError::TooLong);
        }
        let Some(bytes) = bytes.get(..length) else {
            return Ok(None);
        };
        let header = v2::Header::try_from(bytes).map_err(|_| ProxyError::Malformed)?;
        let source = match (header.command, header.addresses) {
            (v2::Command::Local, _) => None,
            (v2::Command::Proxy, _) if header.protocol == v2::Protocol::Datagram => {
                return Err(ProxyError::NotAStream);
            }
            (v2::Command::Proxy, v2::Addresses::IPv4(a)) => {
                Some((a.source_address, a.source_port).into())
            }
            (v2::Command::Proxy, v2::Addresses::IPv6(a)) => {
                Some((a.source_address, a.source_port).into())
            }
            (v2::Command::Proxy, v2::Addresses::Unix(_) | v2::Addresses::Unspecified) => None,
        };
        Ok(Some(Self { source, length }))
    }
}

/// Whether `bytes` begin with `prefix`, as far as they go.
fn begins_like(bytes: &[u8], prefix: &[u8]) -> bool {
    bytes
        .iter()
        .zip(prefix)
        .all(|(byte, prefix)| byte == prefix)
}

#[cfg(test)]
mod tests {
    use ppp::v2::{Addresses, Builder, IPv4, IPv6, Protocol, Version};

    use super::*;

    fn version_2(command: v2::Command, addresses: impl Into<Addresses>) -> Vec<u8> {
        Builder::with_addresses(Version::Two | command, Protocol::Stream, addresses)
            .build()
            .unwrap()
    }

    fn four() -> IPv4 {
        IPv4::new([192, 0, 2, 7], [198, 51, 100, 1], 4711, 443)
    }

    /// Every cut of a header asks for more; with whatever follows, it is the same.
    fn assert_decodes(header: &[u8], source: Option<&str>) {
        for end in 0..header.len() {
            assert_eq!(Header::decode(&header[..end]), Ok(None), "{end} bytes");
        }
        let source = source.map(|source| source.parse().unwrap());
        let length = header.len();
        let followed = [header, b"GET / HTTP/1.1\r\n"].concat();
        for bytes in [header, &followed] {
            assert_eq!(Header::decode(bytes), Ok(Some(Header { source, length })));
        }
    }

    #[test]
    fn headers_of_both_versions_are_read_at_any_cut() {
        let v1 = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n";
        assert_decodes(v1, Some("192.0.2.7:4711"));
        let v1 = b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n";
        assert_decodes(v1, Some("[2001:db8::7]:4711"));
        assert_decodes(b"PROXY UNKNOWN\r\n", None);
        assert_decodes(
            &version_2(v2::Command::Proxy, four()),
            Some("192.0.2.7:4711"),
        );
        let six: [u16; 8] = [0x2001, 0xdb8, 0, 0, 0, 0, 0, 7];
        let v2 = version_2(v2::Command::Proxy, IPv6::new(six, six, 4711, 443));
        assert_decodes(&v2, Some("[2001:db8::7]:4711"));
        assert_decodes(&version_2(v2::Command::Local, four()), None);
    }

    #[test]
    fn type_length_values_are_skipped_up_to_a_bound() {
        let with = |bytes: usize| {
            Builder::with_addresses(Version::Two | v2::Command::Proxy, Protocol::Stream, four())
                .write_tlv(v2::Type::NoOp, &vec![7; bytes])
                .and_then(Builder::build)
                .unwrap()
        };
        let longest = 536 - 12 - 3;
        assert_eq!(with(longest).len(), PROXY_BYTES_MAX);
        assert_decodes(&with(longest), Some("192.0.2.7:4711"));
        let long = with(longest + 1);
        assert_eq!(Header::decode(&long[..16]), Err(ProxyError::TooLong));
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let long = [&b"PROXY UNKNOWN "[..], &[b'x'; 107]].concat();
        let datagram = {
            let mut header = version_2(v2::Command::Proxy, four());
            header[13] = 0x12;
            header
        };
        let mut short = version_2(v2::Command::Proxy, four());
        short[15] = 4;
        let cases: [(&[u8], ProxyError); 7] = [
            (b"GET / HTTP/1.1\r\n\r\n", ProxyError::Missing),
            (b"PROXYTCP4", ProxyError::Missing),
            (b"\x16\x03\x01", ProxyError::Missing),
            (
                b"PROXY TCP4 300.0.2.7 198.51.100.1 4711 443\r\n",
                ProxyError::Malformed,
            ),
            (&long, ProxyError::TooLong),
            (&datagram, ProxyError::NotAStream),
            (&short, ProxyError::Malformed),
        ];
        for (bytes, error) in cases {
            assert_eq!(Header::decode(bytes), Err(error), "{bytes:?}");
        }
    }

    #[test]
    fn a_header_that_is_nearly_one_is_malformed() {
        for line in [
            "PROXY TCP4 192.0.2.7 198.51.100.1 65536 443",
            "PROXY TCP4 192.0.2.7 198.51.100.1 -1 443",
            "PROXY TCP4 192.0.2.7 198.51.100.1 4711",
            "PROXY TCP4 192.0.2.7 198.51.100.1 4711 443 1",
            "PROXY TCP4  192.0.2.7 198.51.100.1 4711 443",
            "PROXY TCP4 192.0.2.7\n198.51.100.1 4711 443",
            "PROXY TCP4 2001:db8::7 2001:db8::1 4711 443",
            "PROXY TCP6 192.0.2.7 198.51.100.1 4711 443",
            "PROXY TCP6 fe80::1%1 2001:db8::1 4711 443",
            "PROXY UDP4 192.0.2.7 198.51.100.1 4711 443",
            "PROXY tcp4 192.0.2.7 198.51.100.1 4711 443",
            "PROXY TCP4 \u{661}92.0.2.7 198.51.100.1 4711 443",
            "PROXY ",
        ] {
            let found = Header::decode(format!("{line}\r\n").as_bytes());
            assert_eq!(found, Err(ProxyError::Malformed), "{line}");
        }
        let good = version_2(v2::Command::Proxy, four());
        for (place, byte) in [(12, 0x11), (12, 0x31), (12, 0x22), (13, 0x41), (13, 0x13)] {
            let mut header = good.clone();
            header[place] = byte;
            let found = Header::decode(&header);
            assert_eq!(found, Err(ProxyError::Malformed), "{place} {byte:x}");
        }
    }

    #[test]
    fn a_family_without_addresses_says_nobody() {
        // UNSPEC with and without bytes to be skipped, and a Unix socket. Section 2.2.
        for (family, length) in [(0x00, 0_u16), (0x00, 12), (0x31, 216), (0x31, 230)] {
            let mut header = [v2::PROTOCOL_PREFIX, &[0x21, family]].concat();
            header.extend(length.to_be_bytes());
            header.extend(vec![7; length.into()]);
            assert_decodes(&header, None);
        }
    }
}
