//! A request of any bytes is looked through for who sent it, and from where, without a panic.
#![no_main]

use campanile::auth::proxies::TrustedProxies;
use campanile::auth::{AuthOptions, Authenticator, KeyOptions, Material, Source, TokenOptions};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(Some(head)) = campanile::http::parse(bytes) else {
        return;
    };
    let key = KeyOptions {
        id: None,
        algorithms: Vec::new(),
        material: Material::Secret(vec![7; 32]),
    };
    let options = AuthOptions {
        sources: vec![Source::Header, Source::Subprotocol, Source::Cookie, Source::Query],
        token: TokenOptions {
            keys: vec![key],
            ..TokenOptions::default()
        },
        ..AuthOptions::default()
    };
    let auth = Authenticator::new(options, None).expect("the options are sound");
    assert!(auth.identify(&head, 1_795_227_149).is_err());
    let _ = Authenticator::trusting().identify(&head, 1_795_227_149);
    let proxies = TrustedProxies::new(&["10.0.0.0/8"]).expect("a network");
    proxies.client([10, 0, 0, 1].into(), &head);
});
