//! Options that name places in a network.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::kind::{Kind, Raw};

/// Most addresses in one list.
const ADDRESSES_MAX: usize = 64;
/// Most networks in one list.
const NETWORKS_MAX: usize = 256;
/// Longest URL, bytes.
const URL_BYTES_MAX: usize = 2048;

/// A list of at least so many `ip:port` addresses. Names are not looked up: what is listened on must be
/// plain to see.
pub(super) struct Addresses(pub(super) usize);

impl Kind for Addresses {
    type Value = Vec<SocketAddr>;

    fn read(&self, raw: &Raw) -> Option<Vec<SocketAddr>> {
        raw.texts()?
            .into_iter()
            .map(|text| text.parse().ok())
            .collect()
    }

    fn admits(&self, value: &Vec<SocketAddr>) -> bool {
        (self.0..=ADDRESSES_MAX).contains(&value.len())
    }

    fn expected(&self) -> String {
        let least = self.0;
        format!("{least}..={ADDRESSES_MAX} addresses such as \"127.0.0.1:8080\" or \"[::1]:8080\"")
    }

    fn write(&self, value: &Vec<SocketAddr>) -> String {
        list(value)
    }
}

/// A list of networks (CIDR); an address alone is a network of one.
pub(super) struct Networks;

impl Kind for Networks {
    type Value = Vec<IpNet>;

    fn read(&self, raw: &Raw) -> Option<Vec<IpNet>> {
        let network = |text: &str| {
            let address = || text.parse::<IpAddr>().map(IpNet::from);
            text.parse().or_else(|_| address()).ok()
        };
        raw.texts()?.into_iter().map(network).collect()
    }

    fn admits(&self, value: &Vec<IpNet>) -> bool {
        value.len() <= NETWORKS_MAX
    }

    fn expected(&self) -> String {
        format!("0..={NETWORKS_MAX} networks such as \"10.0.0.0/8\", \"fd00::/8\" or \"192.0.2.1\"")
    }

    fn write(&self, value: &Vec<IpNet>) -> String {
        list(value)
    }
}

fn list<T: ToString>(items: &[T]) -> String {
    let words: Vec<String> = items.iter().map(T::to_string).collect();
    toml::Value::from(words).to_string()
}

/// An `http://` or `https://` URL, or none: "". User names and passwords do not belong into it, since a
/// URL is shown in logs.
pub(super) struct Url;

impl Kind for Url {
    type Value = String;

    fn read(&self, raw: &Raw) -> Option<String> {
        raw.text().map(String::from)
    }

    fn admits(&self, value: &String) -> bool {
        if value.is_empty() {
            return true;
        }
        value.len() <= URL_BYTES_MAX
            && value.parse::<http::Uri>().is_ok_and(|uri| {
                let has_host = uri.host().is_some_and(|host| !host.is_empty());
                let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
                has_host && is_http && !uri.authority().is_some_and(|a| a.as_str().contains('@'))
            })
    }

    fn expected(&self) -> String {
        "URL such as \"https://example.com/path\", without user and password".into()
    }

    fn write(&self, value: &String) -> String {
        toml::Value::String(value.clone()).to_string()
    }

    fn refusal(&self, found: &Raw) -> String {
        match found.text() {
            // There may be a password in it.
            Some(text) if text.contains('@') => format!("expected a {}", self.expected()),
            _ => format!("expected a {}, found {found}", self.expected()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_listed_with_and_without_a_length() {
        let read = |text: &str| Networks.take(&Raw::Words(text.into()));
        let networks = read("10.0.0.0/8, fd00::/8,192.0.2.1").unwrap();
        assert_eq!(
            Networks.write(&networks),
            r#"["10.0.0.0/8", "fd00::/8", "192.0.2.1/32"]"#
        );
        assert_eq!(read("").unwrap(), []);
        for wrong in ["10.0.0.0/33", "localhost", "10.0.0.0/8,", "10.0.0.1:80"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_url_has_a_scheme_and_a_host_and_no_password() {
        for (text, good) in [
            ("", true),
            ("https://example.com", true),
            ("http://127.0.0.1:3000/api/auth/get-session?x=1", true),
            ("http://[::1]:3000/", true),
            ("ftp://example.com", false),
            ("example.com/keys", false),
            ("/keys", false),
            ("https://", false),
            ("https://exa mple.com", false),
            ("https://me:hush@example.com", false),
        ] {
            let taken = Url.take(&Raw::Text(text.into()));
            assert_eq!(taken.is_ok(), good, "{text}");
            assert!(!taken.err().unwrap_or_default().contains("hush"));
        }
    }
}
