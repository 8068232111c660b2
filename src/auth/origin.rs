//! Which pages may speak to the server: the rules for `Origin`. RFC 6454, RFC 6455 section 10.2.
//!
//! A browser lets any page open a WebSocket to any server and sends the cookies along; the `Origin`
//! it adds is what tells whose page it is. Programs write what they like, so the check protects
//! people with browsers and nobody else.

use std::net::Ipv6Addr;
use std::str::FromStr;

use ::http::StatusCode;

use crate::http::Refusal;

/// The origins that are allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OriginRules {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    /// `*`
    Any,
    /// `same-origin`
    Same,
    /// `null`: pages in a sandbox, from a file, after some redirects.
    Null,
    /// `https://app.example.com`
    Exact(Origin),
    /// `https://*.example.com`: all hosts below, not the one itself.
    Below(Origin),
}

/// Scheme, host and port, in lower case and with the scheme's default port written out as none.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Origin {
    scheme: Box<str>,
    host: Box<str>,
    port: Option<u16>,
}

/// By which name the request came to this server: that of TLS or of a trusted proxy counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Own<'a> {
    /// `http` or `https`.
    pub scheme: &'a str,
    /// The `Host` field, with its port if it has one.
    pub host: &'a str,
}

/// Why a request is refused for its origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// It names none, and must.
    #[error("a request for this path must name its Origin")]
    Missing,
    /// It names one that is not allowed.
    #[error("the page's origin is not allowed here")]
    NotAllowed,
}

impl From<OriginError> for Refusal {
    /// 403 `forbidden`.
    fn from(error: OriginError) -> Self {
        let reason = match error {
            OriginError::Missing => "no_origin",
            OriginError::NotAllowed => "origin",
        };
        Self::new(StatusCode::FORBIDDEN, "forbidden", error.to_string()).because(reason)
    }
}

/// A text that is no rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no origin: expected scheme://host[:port], scheme://*.host[:port], \
     \"same-origin\", \"null\" or \"*\""
)]
pub struct OriginRuleError(pub String);

/// What an answer to a page of another origin says: `Access-Control-Allow-Origin`, and whether the
/// page may use cookies (`Access-Control-Allow-Credentials`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllowedOrigin<'o> {
    /// The origin itself, or `*` where any may come.
    pub value: &'o str,
    /// Not where any may come: then a page never acts for the person before it.
    pub allows_credentials: bool,
}

impl OriginRules {
    /// Reads rules. Errors: the first text that is none.
    pub fn new(allowed: &[impl AsRef<str>]) -> Result<Self, OriginRuleError> {
        let rules = allowed.iter().map(|text| {
            let text = text.as_ref();
            Rule::parse(text).ok_or_else(|| OriginRuleError(text.to_owned()))
        });
        Ok(Self {
            rules: rules.collect::<Result<_, _>>()?,
        })
    }

    /// Checks the `Origin` of a request: one that is there must be allowed, always.
    ///
    /// Errors: [`OriginError::Missing`] if there is none and `is_required`;
    /// [`OriginError::NotAllowed`].
    pub fn check(
        &self,
        origin: Option<&str>,
        own: Own<'_>,
        is_required: bool,
    ) -> Result<(), OriginError> {
        match origin {
            None if is_required => Err(OriginError::Missing),
            None => Ok(()),
            Some(origin) if self.allows(origin, own) => Ok(()),
            Some(_) => Err(OriginError::NotAllowed),
        }
    }

    /// What an answer tells a page of `origin`, by the rules for CORS of the Fetch standard. `None`:
    /// nothing, and the browser keeps the answer from the page.
    pub fn cors<'o>(&self, origin: &'o str, own: Own<'_>) -> Option<AllowedOrigin<'o>> {
        let (any, named): (Vec<_>, Vec<_>) = self.rules.iter().partition(|r| **r == Rule::Any);
        if named.iter().any(|rule| rule.allows(origin, own)) {
            return Some(AllowedOrigin {
                value: origin,
                allows_credentials: true,
            });
        }
        (!any.is_empty()).then_some(AllowedOrigin {
            value: "*",
            allows_credentials: false,
        })
    }

    fn allows(&self, origin: &str, own: Own<'_>) -> bool {
        self.rules.iter().any(|rule| rule.allows(origin, own))
    }
}

impl Rule {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "*" => return Some(Self::Any),
            "same-origin" => return Some(Self::Same),
            "null" => return Some(Self::Null),
            _ => {}
        }
        match text.split_once("://*.") {
            Some((scheme, rest)) => format!("{scheme}://{rest}").parse().ok().map(Self::Below),
            None => text.parse().ok().map(Self::Exact),
        }
    }

    fn allows(&self, origin: &str, own: Own<'_>) -> bool {
        let parsed = || origin.parse::<Origin>().ok();
        match self {
            Self::Any => true,
            Self::Null => origin == "null",
            Self::Same => {
                let own = format!("{}://{}", own.scheme, own.host).parse().ok();
                own.is_some() && parsed() == own
            }
            Self::Exact(allowed) => parsed().as_ref() == Some(allowed),
            Self::Below(parent) => parsed().is_some_and(|origin| origin.is_below(parent)),
        }
    }
}

impl Origin {
    fn is_below(&self, parent: &Self) -> bool {
        let label = self
            .host
            .strip_suffix(&*parent.host)
            .and_then(|rest| rest.strip_suffix('.'));
        (&self.scheme, self.port) == (&parent.scheme, parent.port)
            && label.is_some_and(|label| !label.is_empty() && !label.starts_with('.'))
    }
}

impl FromStr for Origin {
    type Err = ();

    /// `scheme://host[:port]` and nothing else: a path, a user or an escape is no part of an origin.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (scheme, authority) = text.split_once("://").ok_or(())?;
        let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        let (host, port) = host_and_port(authority).ok_or(())?;
        if !is_scheme {
            return Err(());
        }
        let scheme = scheme.to_ascii_lowercase();
        let default_port = match &scheme[..] {
            "http" | "ws" => Some(80),
            "https" | "wss" => Some(443),
            _ => None,
        };
        Ok(Self {
            scheme: scheme.into(),
            host: host.to_ascii_lowercase().into(),
            port: port.filter(|port| Some(*port) != default_port),
        })
    }
}

/// Host and port of `host`, `host:port`, `[v6]` or `[v6]:port`. RFC 3986 section 3.2.2, without
/// escapes, as a browser writes it.
fn host_and_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (address, after) = rest.split_once(']')?;
            address.parse::<Ipv6Addr>().ok()?;
            let port = match after {
                "" => None,
                after => Some(after.strip_prefix(':')?),
            };
            (&authority[..address.len() + 2], port)
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let is_host = host.starts_with('[') || (!host.is_empty() && host.bytes().all(is_name));
    let port = match port {
        None => None,
        // `parse` would take a sign.
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => Some(port.parse().ok()?),
        Some(_) => return None,
    };
    is_host.then_some((host, port))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rules(allowed: &[&str]) -> OriginRules {
        OriginRules::new(allowed).unwrap()
    }

    fn own(url: &str) -> Own<'_> {
        let (scheme, host) = url.split_once("://").unwrap();
        Own { scheme, host }
    }

    #[test]
    fn same_origin_means_scheme_host_and_port() {
        let rules = rules(&["same-origin"]);
        for (origin, by, is_allowed) in [
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080", true),
            ("http://Example.com", "http://example.com", true),
            ("http://example.com", "http://example.com:80", true),
            ("https://example.com:443", "https://example.com", true),
            ("https://example.com", "http://example.com", false),
            ("http://example.com", "https://example.com", false),
            ("https://example.com", "https://example.com:80", false),
            ("http://example.com:8081", "http://example.com:8080", false),
            ("http://example.com.evil.org", "http://example.com", false),
            ("http://evil-example.com", "http://example.com", false),
            ("http://example.com", "http://", false),
            ("http://", "http://", false),
            ("null", "http://null", false),
            ("http://[::1]:8080", "http://[::1]:8080", true),
            ("http://[::2]:8080", "http://[::1]:8080", false),
            ("http://a@example.com", "http://a@example.com", false),
            ("http://example.com/", "http://example.com/", false),
        ] {
            let found = rules.check(Some(origin), own(by), false);
            let expected = match is_allowed {
                true => Ok(()),
                false => Err(OriginError::NotAllowed),
            };
            assert_eq!(found, expected, "{origin} {by}");
        }
    }

    #[test]
    fn a_star_stands_for_the_hosts_below() {
        let rules = rules(&["https://*.example.com:8443"]);
        for (origin, is_allowed) in [
            ("https://app.example.com:8443", true),
            ("HTTPS://a.b.Example.com:8443", true),
            ("https://example.com:8443", false),
            ("https://.example.com:8443", false),
            ("https://appexample.com:8443", false),
            ("http://app.example.com:8443", false),
            ("https://app.example.com", false),
            ("https://evil.org/.example.com:8443", false),
            ("https://evil.org@x.example.com:8443", false),
            ("https://evil.org:1.example.com:8443", false),
            ("https://éé.example.com:8443", false),
            ("https://app.example.com:+8443", false),
            ("https://app.example.com:8443:8443", false),
            ("null", false),
            ("", false),
        ] {
            let found = rules.check(Some(origin), own("http://h"), false);
            assert_eq!(found.is_ok(), is_allowed, "{origin}");
        }
    }

    #[test]
    fn what_is_listed_is_allowed_and_nothing_like_it() {
        let rules = rules(&[
            "https://example.com",
            "app://desktop",
            "http://[2001:db8::1]",
        ]);
        for (origin, is_allowed) in [
            ("https://EXAMPLE.com", true),
            ("https://example.com:443", true),
            ("app://desktop", true),
            ("http://[2001:db8::1]:80", true),
            ("https://a.example.com", false),
            ("http://example.com", false),
            ("https://example.com:8443", false),
            ("https://example.com.", false),
            ("null", false),
        ] {
            let found = rules.check(Some(origin), own("http://h"), true);
            assert_eq!(found.is_ok(), is_allowed, "{origin}");
        }
        for text in [
            "",
            "example.com",
            "https://",
            "https://a b",
            "https://a/b",
            "https://*",
            "1://a",
        ] {
            assert_eq!(OriginRules::new(&[text]), Err(OriginRuleError(text.into())));
        }
    }

    #[test]
    fn null_and_every_origin_must_be_listed() {
        let strict = rules(&["same-origin", "https://a"]);
        let host = own("http://h");
        assert_eq!(
            strict.check(Some("null"), host, false),
            Err(OriginError::NotAllowed)
        );
        assert_eq!(rules(&["null"]).check(Some("null"), host, true), Ok(()));
        assert_eq!(
            rules(&["null"]).check(Some("http://h"), host, true),
            Err(OriginError::NotAllowed)
        );
        for origin in ["null", "http://evil", "", "garbage\u{1}"] {
            assert_eq!(
                rules(&["*"]).check(Some(origin), host, true),
                Ok(()),
                "{origin}"
            );
            assert_eq!(
                rules(&[]).check(Some(origin), host, true),
                Err(OriginError::NotAllowed)
            );
        }
    }

    #[test]
    fn a_missing_origin_is_refused_where_one_is_required() {
        let rules = rules(&["*"]);
        assert_eq!(
            rules.check(None, own("http://h"), true),
            Err(OriginError::Missing)
        );
        assert_eq!(rules.check(None, own("http://h"), false), Ok(()));
        let refusal = Refusal::from(OriginError::Missing);
        assert_eq!(
            (refusal.status().as_u16(), refusal.code()),
            (403, "forbidden")
        );
    }

    #[test]
    fn a_page_that_comes_by_the_star_gets_no_cookies() {
        let named = |value| {
            Some(AllowedOrigin {
                value,
                allows_credentials: true,
            })
        };
        let host = own("https://h");
        let both = rules(&["*", "https://a"]);
        assert_eq!(both.cors("https://a", host), named("https://a"));
        let any = Some(AllowedOrigin {
            value: "*",
            allows_credentials: false,
        });
        assert_eq!(both.cors("https://b", host), any);
        let one = rules(&["same-origin"]);
        assert_eq!(one.cors("https://h", host), named("https://h"));
        assert_eq!(one.cors("http://h", host), None);
    }

    proptest! {
        #[test]
        fn no_origin_is_too_strange_to_be_looked_at(origin in ".*", host in ".*") {
            let own = Own { scheme: "https", host: &host };
            let rules = rules(&["same-origin", "https://*.example.com", "https://x"]);
            let allowed = rules.check(Some(&origin), own, true).is_ok();
            prop_assert_eq!(allowed, rules.cors(&origin, own).is_some());
        }

        #[test]
        fn a_host_below_is_a_host(label in ".{0,12}") {
            let origin = format!("https://{label}.example.com");
            let allowed = rules(&["https://*.example.com"])
                .check(Some(&origin), own("http://h"), true)
                .is_ok();
            if allowed {
                prop_assert!(!label.contains(['/', '@', ':', '#', '?', '\\']));
            }
        }
    }
}
