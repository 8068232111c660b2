//! Whom the load talks to, and from which addresses.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;

/// A `ws://` or `wss://` URL, in which `{user}` and `{room}` stand for a connection's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    text: String,
    /// `wss`: over TLS.
    pub(crate) is_secure: bool,
    /// Host and port as they were written: the `Host` header.
    pub(crate) authority: String,
    /// Path and query.
    pub(crate) target: String,
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").unwrap_or_default();
        let is_secure = match scheme {
            "ws" => false,
            "wss" => true,
            _ => return Err("only ws:// and wss:// are spoken".to_owned()),
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let is_header = |part: &str| part.bytes().all(|byte| byte.is_ascii_graphic());
        if authority.is_empty() || !is_header(rest) || rest.contains(['#', '@']) {
            return Err("not of the form ws[s]://host:port/path?query".to_owned());
        }
        let slash = if target.starts_with('/') { "" } else { "/" };
        Ok(Self {
            text: text.to_owned(),
            is_secure,
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
    /// Host and port, if one is written.
    fn host_and_port(&self) -> (&str, Option<u16>) {
        let port = |(host, port): (_, &str)| Some((host, Some(port.parse().ok()?)));
        let parts = self.authority.rsplit_once(':').and_then(port);
        parts.unwrap_or((&self.authority, None))
    }

    /// The name or address of the server, as certificates have it.
    pub(crate) fn host(&self) -> &str {
        let (host, _) = self.host_and_port();
        host.trim_start_matches('[').trim_end_matches(']')
    }

    /// The server's address, IPv4 if it has one.
    pub(crate) fn resolve(&self) -> Result<SocketAddr, String> {
        let (_, port) = self.host_and_port();
        let port = port.unwrap_or(if self.is_secure { 443 } else { 80 });
        let found = (self.host(), port).to_socket_addrs();
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
        for wrong in ["http://a/", "ws:///x", "ws://a/ b", "ws://a/#x", "a"] {
            assert!(url(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_port_may_be_left_out() {
        let url = Url::from_str("ws://127.0.0.1/").unwrap();
        assert_eq!(url.resolve().unwrap(), "127.0.0.1:80".parse().unwrap());
        let url = Url::from_str("wss://[::1]/").unwrap();
        assert_eq!((url.host(), url.is_secure), ("::1", true));
        assert_eq!(url.resolve().unwrap(), "[::1]:443".parse().unwrap());
        let url = Url::from_str("wss://a.test:8443/").unwrap();
        assert_eq!(url.host(), "a.test");
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
