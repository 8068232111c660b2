#![no_main]
use campanile::ws::{Header, Role};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(Some((header, size))) = Header::decode(data, Role::Server, true) {
        assert_eq!(&*header.encode(), &data[..size]);
    }
});
