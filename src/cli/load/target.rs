//! Whom the load talks to, and from which addresses.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;

/// A `ws://` URL, in which `{user}` and `{room}` stand for a connection's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    text: String,
    /// Host and port as they were written: the `Host` header.
    pub(crate) authority: String,
    /// Path and query.
    pub(crate) target: String,
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rest = text
            .strip_prefix("ws://")
            .ok_or("only ws:// is spoken, no TLS")?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let is_header = |part: &str| part.bytes().all(|byte| byte.is_ascii_graphic());
        if authority.is_empty() || !is_header(rest) || rest.contains(['#', '@']) {
            return Err("not of the form ws://host:port/path?query".to_owned());
        }
        let slash = if target.starts_with('/') { "" } else { "/" };
        Ok(Self {
            text: text.to_owned(),
            authority: authority.to_owned(),
            target: format!("{slash}{target}"),
        })
    }
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl Url {
    /// The server's address, IPv4 if it has one.
    pub(crate) fn resolve(&self) -> Result<SocketAddr, String> {
        let has_port = self
            .authority
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let found = if has_port {
            self.authority.to_socket_addrs()
        } else {
            (self.authority.as_str(), 80).to_socket_addrs()
        };
        let addresses: Vec<_> = found
            .map_err(|error| format!("{}: {error}", self.authority))?
            .collect();
        let v4 = addresses.iter().find(|address| address.is_ipv4());
        v4.or(addresses.first())
            .copied()
            .ok_or_else(|| format!("{} has no address", self.authority))
    }
}

/// The first local port, and how many there are from one source address.
const PORTS: (u64, u64) = (10_000, 50_000);

/// A range of source addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sources {
    first: Ipv4Addr,
    count: u32,
}

impl Default for Sources {
    fn default() -> Self {
        Self {
            first: Ipv4Addr::new(127, 0, 1, 1),
            count: 250,
        }
    }
}

impl FromStr for Sources {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let address = |text: &str| {
            text.parse::<Ipv4Addr>()
                .map_err(|_| format!("{text} is no IPv4 address"))
        };
        let (first, last) = (address(first)?, address(last)?);
        let count = u32::from(last)
            .checked_sub(u32::from(first))
            .ok_or("the last address comes before the first")?;
        Ok(Self {
            first,
            count: count.saturating_add(1),
        })
    }
}

impl Sources {
    /// Addresses and ports there are.
    pub(crate) fn len(self) -> u64 {
        u64::from(self.count) * PORTS.1
    }

    /// The `number`-th address and port, coming round at the end: all ports of one address first.
    pub(crate) fn nth(self, number: u64) -> SocketAddr {
        let number = number % self.len();
        let host = u32::from(self.first) + u32::try_from(number / PORTS.1).expect("below count");
        let port = u16::try_from(PORTS.0 + number % PORTS.1).expect("below 60,000");
        SocketAddr::new(IpAddr::V4(host.into()), port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_cut_into_authority_and_target() {
        let url = |text: &str| Url::from_str(text).map(|url| (url.authority, url.target));
        let cut = |authority: &str, target: &str| Ok((authority.to_owned(), target.to_owned()));
        assert_eq!(
            url("ws://[::1]:1/a?b={user}"),
            cut("[::1]:1", "/a?b={user}")
        );
        assert_eq!(url("ws://host"), cut("host", "/"));
        assert_eq!(url("ws://host?x"), cut("host", "/?x"));
        for wrong in [
            "wss://a/",
            "http://a/",
            "ws:///x",
            "ws://a/ b",
            "ws://a/#x",
            "a",
        ] {
            assert!(url(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_port_may_be_left_out() {
        let url = Url::from_str("ws://127.0.0.1/").unwrap();
        assert_eq!(url.resolve().unwrap(), "127.0.0.1:80".parse().unwrap());
    }

    #[test]
    fn sources_use_up_one_address_after_the_other() {
        let sources = Sources::from_str("127.0.2.9-127.0.2.10").unwrap();
        assert_eq!(sources.nth(0), "127.0.2.9:10000".parse().unwrap());
        assert_eq!(sources.nth(49_999), "127.0.2.9:59999".parse().unwrap());
        assert_eq!(sources.nth(50_000), "127.0.2.10:10000".parse().unwrap());
        assert_eq!(sources.nth(100_000), sources.nth(0));
        assert!(Sources::from_str("127.0.2.9-127.0.2.8").is_err());
        assert!(Sources::from_str("here").is_err());
    }
}
