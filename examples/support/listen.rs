//! `--certificate FILE` and `--key FILE`, besides what all examples take: TLS on the port that is
//! listened on.

use std::sync::Arc;

use campanile::server::Listen;
use campanile::tls::{Acceptor, CertificateFiles, TlsOptions};

use super::arguments;

/// Address, shards, and what is spoken on the address.
///
/// Panics, with what was expected, if the command line or the files are wrong.
pub(crate) fn parse() -> (String, usize, Listen) {
    let (mut chain, mut key) = (None, None);
    let (listen, shards) = arguments::parse_with(|name, value| {
        match name {
            "--certificate" => chain = Some(value.into()),
            "--key" => key = Some(value.into()),
            _ => return false,
        }
        true
    });
    let tls = chain.zip(key).map(|(chain, key)| {
        let options = TlsOptions {
            certificates: vec![CertificateFiles { chain, key }],
            ..TlsOptions::default()
        };
        Arc::new(Acceptor::from_options(&options).expect("a certificate and its key"))
    });
    let spoken = Listen {
        tls,
        ..Listen::default()
    };
    (listen, shards, spoken)
}
