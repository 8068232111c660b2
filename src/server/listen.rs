//! Listening: the addresses, what is spoken on each, and one socket per address and shard.

use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use ipnet::IpNet;

use super::StartError;
use crate::ring;
use crate::tls::Acceptor;

/// Connections that may wait to be accepted, per listener; the kernel lowers it to
/// `net.core.somaxconn`.
const BACKLOG: i32 = 65_535;

/// What is spoken on an address, below HTTP and WebSocket. By default nothing: they are plain.
#[derive(Clone, Debug, Default)]
pub struct Listen {
    /// TLS, with these certificates. Keep a reference for [`Acceptor::reload`].
    pub tls: Option<Arc<Acceptor>>,
    /// The PROXY protocol (versions 1 and 2), before TLS if there is any, by proxies of these networks.
    /// Every connection must then begin with its header, and from elsewhere none is taken: whoever may
    /// connect may say that they are anybody.
    pub proxies: Option<Arc<[IpNet]>>,
}

/// Somebody who is no trusted proxy connects where only those may.
#[derive(Clone, Copy, Debug)]
pub(super) struct Untrusted;

impl Listen {
    /// The peer, if it is a proxy that announces whose connection it passes on.
    pub(super) fn proxy(&self, peer: SocketAddr) -> Result<Option<SocketAddr>, Untrusted> {
        let Some(proxies) = &self.proxies else {
            return Ok(None);
        };
        let address = peer.ip().to_canonical();
        let is_trusted = proxies.iter().any(|network| network.contains(&address));
        is_trusted.then_some(Some(peer)).ok_or(Untrusted)
    }
}

/// Everything that is listened on.
pub(super) struct Bound {
    /// For each shard one socket per address.
    pub(super) listeners: Vec<Vec<OwnedFd>>,
    /// The addresses, with the ports that port 0 became.
    pub(super) addresses: Vec<SocketAddr>,
    /// What is spoken on each.
    pub(super) listens: Arc<[Listen]>,
}

/// Listens on all `addresses`, for each shard.
pub(super) fn bind(addresses: &[(String, Listen)], shards: usize) -> Result<Bound, StartError> {
    let mut listeners: Vec<Vec<OwnedFd>> = (0..shards).map(|_| Vec::new()).collect();
    let mut bound = Vec::new();
    let mut listens = Vec::new();
    for (text, listen) in addresses {
        let refused = |error| StartError::Listen {
            address: text.clone(),
            error,
        };
        for address in text.to_socket_addrs().map_err(refused)? {
            // The first listener finds out which port a 0 became, and whether somebody else has it:
            // with SO_REUSEPORT another server of the same user would not be noticed.
            drop(ring::listen(address, BACKLOG, false).map_err(refused)?);
            let mut address = address;
            for (shard, listeners) in listeners.iter_mut().enumerate() {
                let listener = ring::listen(address, BACKLOG, true).map_err(refused)?;
                if shard == 0 {
                    address = ring::local_address(&listener).map_err(refused)?;
                }
                listeners.push(listener);
            }
            bound.push(address);
            listens.push(listen.clone());
        }
    }
    if bound.is_empty() {
        return Err(StartError::NoAddress);
    }
    Ok(Bound {
        listeners,
        addresses: bound,
        listens: listens.into(),
    })
}

/// Says in the log whether the kernel could encrypt, and who does.
pub(super) fn tell_kernel_tls() {
    match ring::has_kernel_tls() {
        Ok(true) => tracing::info!("kernel TLS is there and not used: records are made by rustls"),
        Ok(false) => tracing::info!("this kernel has no TLS: records are made by rustls"),
        Err(error) => tracing::warn!(%error, "whether this kernel has TLS is not known"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trusted_proxies_connect_where_the_proxy_protocol_is_spoken() {
        let networks = ["192.0.2.0/24", "2001:db8::/32"].map(|net| net.parse().unwrap());
        let listen = Listen {
            proxies: Some(networks.into()),
            ..Listen::default()
        };
        let proxy = |peer: &str| listen.proxy(peer.parse().unwrap());
        assert!(matches!(proxy("192.0.2.9:80"), Ok(Some(_))));
        assert!(matches!(proxy("[::ffff:192.0.2.9]:80"), Ok(Some(_))));
        assert!(matches!(proxy("[2001:db8::9]:80"), Ok(Some(_))));
        assert!(matches!(proxy("198.51.100.9:80"), Err(Untrusted)));
        let open = Listen::default();
        assert!(matches!(
            open.proxy("192.0.2.9:80".parse().unwrap()),
            Ok(None)
        ));
    }
}
