#![no_main]
use campanile::ws::{Decoder, Inflater, Rules};

libfuzzer_sys::fuzz_target!(|chunks: Vec<Vec<u8>>| {
    let (mut decoder, mut inflater) = (Decoder::default(), Inflater::new());
    for mut chunk in chunks {
        let mut input = &mut chunk[..];
        while let Ok(Some(_)) = decoder.next(&mut input, &Rules::server(4096), Some(&mut inflater))
        {
        }
    }
});
