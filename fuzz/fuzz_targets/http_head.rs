//! No bytes make the parser of request heads panic, and what it accepts can be answered.
#![no_main]

use campanile::http::{Refusal, SwitchingProtocols, check, parse};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut out = Vec::new();
    match parse(bytes).and_then(|head| head.map(|head| check(&head).map(|_| head)).transpose()) {
        Ok(None) => return,
        Ok(Some(head)) => {
            assert!(head.length() <= bytes.len());
            let _ = head.query_param("profile");
            SwitchingProtocols::new("accept", None, None)
                .expect("valid")
                .write(&mut out);
        }
        Err(bad) => Refusal::from(bad).write(&mut out, "request", "now"),
    }
    let mut fields = [httparse::EMPTY_HEADER; 16];
    let answer = httparse::Response::new(&mut fields).parse(&out);
    assert!(answer.is_ok_and(|status| status.is_complete()));
});
