#![no_main]
use campanile::ws::{Deflater, Inflater, WindowBits};

libfuzzer_sys::fuzz_target!(|input: (u8, &[u8])| {
    let (bits, payload, mut out) = (WindowBits::new(9 + input.0 % 7), input.1, Vec::new());
    Deflater::new(u32::from(input.0 >> 5)).compress(payload, bits.expect("9 to 15"), &mut out);
    assert_eq!(Inflater::new().inflate(&out, payload.len()), Ok(payload));
});
