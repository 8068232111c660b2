//! Rules of where the server listens.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::{Contradiction, contradiction};
use crate::config::load::element_key;
use crate::config::{AuthMode, Config, ProxyProtocol};

/// Whether only this machine reaches the address.
pub(in crate::config) fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// The first address for clients that is not loopback.
pub(super) fn public_address(config: &Config) -> Option<SocketAddr> {
    let addresses = config.server.listen.iter().chain(&config.tls.listen);
    addresses.copied().find(|address| !is_loopback(*address))
}

pub(super) fn rules(config: &Config, found: &mut Vec<Contradiction>) {
    every_address_once(config, found);
    somebody_is_asked(config, found);
    tls(config, found);
    admin(config, found);
    proxies(config, found);
}

/// The options that hold addresses to listen on.
fn listeners(config: &Config) -> [(&'static str, &[SocketAddr]); 3] {
    [
        ("server.listen", &config.server.listen),
        ("tls.listen", &config.tls.listen),
        ("server.admin_listen", &config.server.admin_listen),
    ]
}

fn every_address_once(config: &Config, found: &mut Vec<Contradiction>) {
    let mut seen = BTreeMap::new();
    for (option, addresses) in listeners(config) {
        for address in addresses {
            // Port 0 asks the kernel for any free port, so two of them are two listeners.
            if address.port() == 0 {
                continue;
            }
            match seen.insert(*address, option) {
                Some(other) if other == option => {
                    found.push(contradiction(&[option], format!("{address} stands twice")));
                }
                Some(other) => {
                    let message = format!("{address} stands in {other}, too");
                    found.push(contradiction(&[option, other], message));
                }
                None => {}
            }
        }
    }
}

fn somebody_is_asked(config: &Config, found: &mut Vec<Contradiction>) {
    let nobody_is_asked = config.auth_mode() == AuthMode::Optional
        && !config.auth.allow_guests
        && !config.has_authenticator();
    let Some(address) = public_address(config).filter(|_| nobody_is_asked) else {
        return;
    };
    let option = if config.server.listen.contains(&address) {
        "server.listen"
    } else {
        "tls.listen"
    };
    let message = format!(
        "{address} is not loopback and nobody who connects is asked who they are; set auth.jwt.secret \
         (or another key), auth.jwt.jwks_url or auth.session_url; or say auth.allow_guests = true to let \
         guests in, or auth.mode = \"trust\" to believe ?user_id=; or listen on 127.0.0.1"
    );
    let options = [
        option,
        "auth.mode",
        "auth.allow_guests",
        "auth.session_url",
        "auth.jwt.secret",
        "auth.jwt.secret_file",
        "auth.jwt.public_key",
        "auth.jwt.jwks_url",
    ];
    found.push(contradiction(&options, message));
}

fn tls(config: &Config, found: &mut Vec<Contradiction>) {
    if !config.tls.listen.is_empty() && config.certificate.is_empty() {
        let message = "TLS needs a certificate: add [[tls.certificate]] with certificate and key";
        found.push(contradiction(&["tls.listen"], message.into()));
    }
    for (index, pair) in config.certificate.iter().enumerate() {
        for (key, path) in [("certificate", &pair.certificate), ("key", &pair.key)] {
            if path.is_empty() {
                let option = element_key("tls.certificate", index, key);
                found.push(contradiction(&[&option], "a file is wanted".into()));
            }
        }
    }
}

fn admin(config: &Config, found: &mut Vec<Contradiction>) {
    let mut addresses = config.server.admin_listen.iter();
    let public = addresses.find(|address| !is_loopback(**address));
    if let (Some(address), true) = (public, config.admin.token.is_empty()) {
        let message = format!(
            "{address} is not loopback, and whoever reaches it could do everything: set admin.token, or \
             listen on 127.0.0.1"
        );
        found.push(contradiction(
            &["server.admin_listen", "admin.token"],
            message,
        ));
    }
}

fn proxies(config: &Config, found: &mut Vec<Contradiction>) {
    let server = &config.server;
    if server.proxy_protocol != ProxyProtocol::Off && server.trusted_proxies.is_empty() {
        let message = "anybody could claim any address: name the proxies in server.trusted_proxies";
        let options = ["server.proxy_protocol", "server.trusted_proxies"];
        found.push(contradiction(&options, message.into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(change: impl FnOnce(&mut Config)) -> Vec<String> {
        let mut config = Config::default();
        change(&mut config);
        let problems = config.validate().err().unwrap_or_default();
        problems.iter().map(ToString::to_string).collect()
    }

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn no_two_listeners_share_an_address() {
        let found = said(|config| {
            config.server.listen = addresses(&["127.0.0.1:1", "127.0.0.1:0", "127.0.0.1:0"]);
            config.server.admin_listen = addresses(&["127.0.0.1:1", "127.0.0.1:0"]);
        });
        let expected =
            "configuration: server.admin_listen: 127.0.0.1:1 stands in server.listen, too";
        assert_eq!(found, [expected]);
    }

    #[test]
    fn a_public_admin_listener_needs_a_token() {
        let public = |config: &mut Config| config.server.admin_listen = addresses(&["0.0.0.0:9"]);
        let found = said(public);
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("0.0.0.0:9 is not loopback") && found[0].contains("admin.token"));
        let found = said(|config| {
            public(config);
            config.admin.token = "0123456789abcdef".into();
        });
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn tls_needs_certificates_and_each_both_its_files() {
        let listen = |config: &mut Config| config.tls.listen = addresses(&["127.0.0.1:8443"]);
        assert!(said(listen)[0].starts_with("configuration: tls.listen: TLS needs a certificate"));
        let found = said(|config| {
            listen(config);
            config.certificate = vec![crate::config::Certificate {
                certificate: "cert.pem".into(),
                ..Default::default()
            }];
        });
        assert_eq!(
            found,
            ["configuration: tls.certificate[0].key: a file is wanted"]
        );
    }

    #[test]
    fn the_proxy_protocol_is_taken_from_named_proxies_only() {
        let on = |config: &mut Config| config.server.proxy_protocol = ProxyProtocol::V1V2;
        assert!(said(on)[0].starts_with("configuration: server.proxy_protocol: anybody could"));
        let found = said(|config| {
            on(config);
            config.server.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
        });
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn an_address_for_tls_that_is_public_asks_who_connects_too() {
        let found = said(|config| {
            config.tls.listen = addresses(&["0.0.0.0:443"]);
            config.certificate = vec![crate::config::Certificate {
                certificate: "cert.pem".into(),
                key: "key.pem".into(),
            }];
        });
        assert!(found[0].starts_with("configuration: tls.listen: 0.0.0.0:443 is not loopback"));
        assert_eq!(found.len(), 1, "{found:?}");
    }
}
