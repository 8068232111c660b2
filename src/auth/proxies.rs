//! Who is behind a proxy: `X-Forwarded-For` and `Forwarded`, read from the right.
//!
//! Each proxy appends the address it was called from, so the right end was written by our own and
//! the left end by anybody. The walk starts at the peer and goes left as long as it stands at a proxy
//! that is trusted; the first that is not one is the client. What cannot be read ends the walk where
//! it stands.
//!
//! ```text
//!  X-Forwarded-For: 1.1.1.1, 203.0.113.7, 10.0.0.2      peer 10.0.0.1, trusted 10.0.0.0/8
//!                   a lie    the client   a proxy   ◄── the walk
//! ```

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::presented::Presented;

/// The proxies whose word counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<IpNet>);

/// Who a request is from, and by which name it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// The client's address; IPv4 is IPv4, also where it came as IPv6.
    pub address: IpAddr,
    /// `http` or `https`, if a trusted proxy said so.
    pub scheme: Option<&'static str>,
    /// The host that the client asked for, if a trusted proxy said so.
    pub host: Option<Box<str>>,
}

/// A text that is no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no address and no network such as 10.0.0.0/8")]
pub struct NetworkError(pub String);

impl TrustedProxies {
    /// Reads addresses and networks. Errors: the first text that is none.
    pub fn new(networks: &[impl AsRef<str>]) -> Result<Self, NetworkError> {
        let read = |text: &str| {
            let address = text.parse::<IpAddr>().map(IpNet::from);
            address.or_else(|_| text.parse::<IpNet>())
        };
        let networks = networks.iter().map(|text| {
            let text = text.as_ref();
            read(text).map_err(|_| NetworkError(text.to_owned()))
        });
        Ok(Self(networks.collect::<Result<_, _>>()?))
    }

    /// Whether an address is a trusted proxy's.
    pub fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Who a request is from that came from `peer`.
    ///
    /// Header fields count only from a trusted proxy. A request with both kinds is believed where
    /// both say the same: one of them may have come from the client and through a proxy that knows
    /// only the other. If they differ, it is from the peer.
    pub fn client(&self, peer: IpAddr, request: &impl Presented) -> Client {
        let peer = peer.to_canonical();
        let direct = Client {
            address: peer,
            scheme: None,
            host: None,
        };
        if self.0.is_empty() || !self.trusts(peer) {
            return direct;
        }
        let plain = self.by_x_forwarded(peer, request);
        let standard = self.by_forwarded(peer, request);
        match (plain, standard) {
            (None, None) => self.said(direct, request),
            (Some(client), None) => self.said(client, request),
            (None, Some(client)) => client,
            (Some(plain), Some(standard)) if plain.address == standard.address => {
                let plain = self.said(plain, request);
                Client {
                    scheme: standard.scheme.or(plain.scheme),
                    host: standard.host.or(plain.host),
                    ..plain
                }
            }
            (Some(_), Some(_)) => direct,
        }
    }

    /// By `X-Forwarded-For`. `None`: there is none.
    fn by_x_forwarded(&self, peer: IpAddr, request: &impl Presented) -> Option<Client> {
        let elements = elements(request, "x-forwarded-for", plain);
        let nodes: Vec<_> = elements.iter().map(|element| node(element)).collect();
        if nodes.is_empty() {
            return None;
        }
        let (address, _) = self.walk(peer, &nodes);
        Some(Client {
            address,
            scheme: None,
            host: None,
        })
    }

    /// By `Forwarded`. `None`: there is none. RFC 7239 sections 4 and 5.
    fn by_forwarded(&self, peer: IpAddr, request: &impl Presented) -> Option<Client> {
        let elements: Vec<_> = elements(request, "forwarded", quoted)
            .iter()
            .map(|element| Forwarded::parse(element).unwrap_or_default())
            .collect();
        if elements.is_empty() {
            return None;
        }
        let nodes: Vec<_> = elements.iter().map(|element| element.node).collect();
        let (address, place) = self.walk(peer, &nodes);
        let said = place.map(|place| &elements[place]);
        Some(Client {
            address,
            scheme: said.and_then(|element| element.scheme),
            host: said.and_then(|element| element.host.clone()),
        })
    }

    /// Walks from the right to the first that is not trusted, and says where that stood.
    fn walk(&self, peer: IpAddr, nodes: &[Option<IpAddr>]) -> (IpAddr, Option<usize>) {
        let mut found = (peer, None);
        for (place, node) in nodes.iter().enumerate().rev() {
            let Some(address) = *node else { break };
            found = (address, Some(place));
            if !self.trusts(address) {
                break;
            }
        }
        found
    }

    /// Adds what `X-Forwarded-Proto` and `X-Forwarded-Host` say: the last of several, which the
    /// nearest proxy has written.
    fn said(&self, client: Client, request: &impl Presented) -> Client {
        let last = |name| elements(request, name, plain).pop();
        Client {
            scheme: last("x-forwarded-proto").and_then(|name| scheme(&name)),
            host: last("x-forwarded-host").and_then(|name| host(&name)),
            ..client
        }
    }
}

/// The elements of a list over all fields called `name`, each without the white space around it.
fn elements(
    request: &impl Presented,
    name: &'static str,
    split: fn(&str) -> Vec<&str>,
) -> Vec<String> {
    let mut elements = Vec::new();
    for value in request.values(name) {
        let text = String::from_utf8_lossy(value);
        elements.extend(split(&text).into_iter().map(|e| e.trim().to_owned()));
    }
    elements
}

/// The elements of a list that knows no quotes: one that a client sent must not hide those that
/// proxies append.
fn plain(text: &str) -> Vec<&str> {
    text.split(',').collect()
}

/// The elements of a list with quotes, in which a comma parts nothing.
fn quoted(text: &str) -> Vec<&str> {
    split(text, ',').collect()
}

/// The parts of a text between separators, of which those within quotes are none.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.split(move |c| {
        let was_escaped = is_escaped;
        is_escaped = is_quoted && c == '\\' && !was_escaped;
        if c == '"' && !was_escaped {
            is_quoted = !is_quoted;
        }
        c == separator && !is_quoted
    })
}

/// One element of `Forwarded`.
#[derive(Debug, Default)]
struct Forwarded {
    node: Option<IpAddr>,
    scheme: Option<&'static str>,
    host: Option<Box<str>>,
}

impl Forwarded {
    /// `None`: a pair that is none, or a name that stands twice.
    fn parse(element: &str) -> Option<Self> {
        let mut parsed = Self::default();
        let mut names = Vec::new();
        for pair in split(element, ';') {
            let (name, value) = pair.split_once('=')?;
            let name = name.trim().to_ascii_lowercase();
            let value = unquote(value.trim())?;
            match &name[..] {
                "for" => parsed.node = node(&value),
                "proto" => parsed.scheme = scheme(&value),
                "host" => parsed.host = host(&value),
                _ => {}
            }
            if names.contains(&name) {
                return None;
            }
            names.push(name);
        }
        Some(parsed)
    }
}

/// A value without the quotes and escapes that it may have. `None`: the quotes do not match.
fn unquote(value: &str) -> Option<String> {
    let Some(inner) = value.strip_prefix('"') else {
        return (!value.contains('"')).then(|| value.to_owned());
    };
    let inner = inner.strip_suffix('"')?;
    let mut plain = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => plain.push(chars.next()?),
            '"' => return None,
            c => plain.push(c),
        }
    }
    Some(plain)
}

/// An address with or without a port: `1.2.3.4`, `1.2.3.4:80`, `::1`, `[::1]`, `[::1]:80`. `None`:
/// `unknown`, an obfuscated name (RFC 7239 section 6.3), garbage.
fn node(text: &str) -> Option<IpAddr> {
    let bare = || text.parse::<IpAddr>().ok();
    let bracketed = || {
        text.strip_prefix('[')?
            .strip_suffix(']')?
            .parse::<IpAddr>()
            .ok()
    };
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    let address = bare().or_else(bracketed).or_else(with_port)?;
    Some(address.to_canonical())
}

fn scheme(text: &str) -> Option<&'static str> {
    let is = |schemes: [&str; 2]| schemes.iter().any(|s| text.eq_ignore_ascii_case(s));
    if is(["https", "wss"]) {
        Some("https")
    } else if is(["http", "ws"]) {
        Some("http")
    } else {
        None
    }
}

/// A host with or without a port. What has other characters is none.
fn host(text: &str) -> Option<Box<str>> {
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:[]".contains(&byte);
    let is_short = (1..=255).contains(&text.len());
    (is_short && text.bytes().all(is_host)).then(|| text.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Header fields and nothing else.
    struct Fields(Vec<(&'static str, Vec<u8>)>);

    impl Presented for Fields {
        fn values<'a>(&'a self, name: &'static str) -> impl Iterator<Item = &'a [u8]> {
            let own = self.0.iter().filter(move |(field, _)| *field == name);
            own.map(|(_, value)| &value[..])
        }

        fn query_string(&self) -> Option<&str> {
            None
        }
    }

    fn fields(list: &[(&'static str, &str)]) -> Fields {
        Fields(
            list.iter()
                .map(|(n, v)| (*n, v.as_bytes().into()))
                .collect(),
        )
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn proxies() -> TrustedProxies {
        TrustedProxies::new(&["10.0.0.0/8", "127.0.0.1", "fd00::/8"]).unwrap()
    }

    fn client(peer: &str, list: &[(&'static str, &str)]) -> Client {
        proxies().client(ip(peer), &fields(list))
    }

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        let lies = [
            ("x-forwarded-for", "1.1.1.1"),
            ("forwarded", "for=1.1.1.1;proto=https;host=evil"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil"),
        ];
        let found = client("203.0.113.7", &lies);
        let direct = Client {
            address: ip("203.0.113.7"),
            scheme: None,
            host: None,
        };
        assert_eq!(found, direct);
        assert_eq!(
            TrustedProxies::default()
                .client(ip("10.0.0.1"), &fields(&lies))
                .address,
            ip("10.0.0.1")
        );
    }

    #[test]
    fn the_walk_is_from_the_right_and_ends_at_the_first_who_is_not_trusted() {
        for (list, expected) in [
            ("1.1.1.1", "1.1.1.1"),
            ("6.6.6.6, 203.0.113.7", "203.0.113.7"),
            ("6.6.6.6, 203.0.113.7, 10.0.0.2", "203.0.113.7"),
            ("10.0.0.3, 10.0.0.2", "10.0.0.3"),
            ("203.0.113.7:4711, 10.0.0.2:80", "203.0.113.7"),
            ("[2001:db8::1]:4711", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
            ("::ffff:203.0.113.7", "203.0.113.7"),
            ("203.0.113.7, unknown", "10.0.0.1"),
            ("203.0.113.7, garbage, 10.0.0.2", "10.0.0.2"),
            ("203.0.113.7,, 10.0.0.2", "10.0.0.2"),
            ("203.0.113.7, 10.0.0.2,", "10.0.0.1"),
            ("", "10.0.0.1"),
            ("1.2.3.4.5", "10.0.0.1"),
            ("[::1", "10.0.0.1"),
        ] {
            let found = client("10.0.0.1", &[("x-forwarded-for", list)]);
            assert_eq!(found.address, ip(expected), "{list}");
        }
        let two = [
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-for", "203.0.113.7"),
        ];
        assert_eq!(client("fd00::1", &two).address, ip("203.0.113.7"));
        assert_eq!(client("::ffff:10.0.0.1", &two).address, ip("203.0.113.7"));
    }

    #[test]
    fn forwarded_is_read_as_its_standard_says() {
        let said = |address: &str, scheme, host: Option<&str>| Client {
            address: ip(address),
            scheme,
            host: host.map(Into::into),
        };
        for (list, expected) in [
            ("for=203.0.113.7", said("203.0.113.7", None, None)),
            (
                "For=\"[2001:db8:cafe::17]:4711\";Proto=HTTPS;host=\"a.example:8443\"",
                said("2001:db8:cafe::17", Some("https"), Some("a.example:8443")),
            ),
            (
                "for=6.6.6.6;proto=http, for=203.0.113.7;proto=https;by=x, for=10.0.0.2;proto=http",
                said("203.0.113.7", Some("https"), None),
            ),
            ("for=203.0.113.7, for=unknown", said("10.0.0.1", None, None)),
            (
                "for=203.0.113.7, for=\"_hidden\"",
                said("10.0.0.1", None, None),
            ),
            ("for=203.0.113.7, proto=https", said("10.0.0.1", None, None)),
            ("for=203.0.113.7;for=6.6.6.6", said("10.0.0.1", None, None)),
            ("for=\"203.0.113.7", said("10.0.0.1", None, None)),
            (
                "for=203.0.113.7;x=\"a,b;for=6.6.6.6\\\"\"",
                said("203.0.113.7", None, None),
            ),
            (
                "for=203.0.113.7;host=a/b;proto=gopher",
                said("203.0.113.7", None, None),
            ),
            ("nonsense", said("10.0.0.1", None, None)),
        ] {
            assert_eq!(
                client("10.0.0.1", &[("forwarded", list)]),
                expected,
                "{list}"
            );
        }
    }

    #[test]
    fn two_kinds_of_field_must_agree() {
        let plain = ("x-forwarded-for", "203.0.113.7");
        let agreed = [plain, ("forwarded", "for=203.0.113.7;proto=https")];
        let found = client("10.0.0.1", &agreed);
        assert_eq!(
            (found.address, found.scheme),
            (ip("203.0.113.7"), Some("https"))
        );
        let lie = [plain, ("forwarded", "for=6.6.6.6;proto=https;host=evil")];
        let found = client("10.0.0.1", &lie);
        assert_eq!(
            (found.address, found.scheme, found.host),
            (ip("10.0.0.1"), None, None)
        );
    }

    #[test]
    fn the_nearest_proxy_says_scheme_and_host() {
        let found = client(
            "10.0.0.1",
            &[
                ("x-forwarded-for", "203.0.113.7"),
                ("x-forwarded-proto", "http, https"),
                ("x-forwarded-host", "evil, a.example"),
            ],
        );
        assert_eq!(
            (found.scheme, found.host.as_deref()),
            (Some("https"), Some("a.example"))
        );
        let only_scheme = client("10.0.0.1", &[("x-forwarded-proto", "wss")]);
        assert_eq!(
            (only_scheme.address, only_scheme.scheme),
            (ip("10.0.0.1"), Some("https"))
        );
        let odd = client(
            "10.0.0.1",
            &[("x-forwarded-host", "a b"), ("x-forwarded-proto", "x")],
        );
        assert_eq!((odd.scheme, odd.host), (None, None));
    }

    #[test]
    fn a_network_is_an_address_with_or_without_a_prefix() {
        for text in ["", "10.0.0.0/33", "10.0.0", "proxy.example", "::/129"] {
            assert_eq!(TrustedProxies::new(&[text]), Err(NetworkError(text.into())));
        }
        let all = TrustedProxies::new(&["0.0.0.0/0", "::/0"]).unwrap();
        assert!(all.trusts(ip("1.1.1.1")) && all.trusts(ip("2001:db8::1")));
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange(
            plain in prop::collection::vec(any::<u8>(), 0..80),
            standard in prop::collection::vec(any::<u8>(), 0..80),
        ) {
            let fields = Fields(vec![("x-forwarded-for", plain), ("forwarded", standard)]);
            proxies().client(ip("10.0.0.1"), &fields);
        }

        #[test]
        fn what_stands_left_of_the_client_changes_nothing(lie in "[ -~]{0,40}") {
            let list = format!("{lie}, 203.0.113.7, 10.0.0.2");
            let found = client("10.0.0.1", &[("x-forwarded-for", &list)]);
            prop_assert_eq!(found.address, ip("203.0.113.7"));
        }
    }
}
