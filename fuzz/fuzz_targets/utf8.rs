#![no_main]
use campanile::ws::utf8::Utf8Stream;

libfuzzer_sys::fuzz_target!(|chunks: Vec<&[u8]>| {
    let mut stream = Utf8Stream::default();
    let valid = chunks.iter().all(|chunk| stream.push(chunk).is_ok()) && stream.is_complete();
    assert_eq!(valid, std::str::from_utf8(&chunks.concat()).is_ok());
});
