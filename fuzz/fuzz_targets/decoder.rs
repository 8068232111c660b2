#![no_main]
use campanile::ws::{Decoder, Inflater, Rules};
libfuzzer_sys::fuzz_target!(|chunks: Vec<Vec<u8>>| {
    let (mut decoder, mut zip, rules) = (Decoder::default(), Inflater::new(), Rules::server(4096));
    for mut chunk in chunks {
        let mut input = &mut chunk[..];
        while let Ok(Some(_)) = decoder.next(&mut input, &rules, Some(&mut zip)) {}
    }
});
