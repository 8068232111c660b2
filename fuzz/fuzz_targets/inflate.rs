#![no_main]
use campanile::ws::Inflater;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut inflater = Inflater::new();
    assert!(inflater.inflate(data, 4096).map_or(0, <[u8]>::len) <= 4096);
});
