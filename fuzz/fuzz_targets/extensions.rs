#![no_main]
use campanile::ws::negotiate;

libfuzzer_sys::fuzz_target!(|fields: Vec<&[u8]>| {
    if let Ok(Some(negotiated)) = negotiate(fields) {
        let answer = negotiated.to_string();
        assert_eq!(negotiate([answer.as_bytes()]), Ok(Some(negotiated)));
    }
});
