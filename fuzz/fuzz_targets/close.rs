#![no_main]
use campanile::ws::close;
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(decoded) = close::decode(&data[..data.len().min(125)]) {
        let mut out = Vec::new();
        close::payload_into(&mut out, decoded);
        assert_eq!(close::decode(&out), Ok(decoded));
    }
});
