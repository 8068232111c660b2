//! TLS as bytes in and bytes out (rustls): no I/O.
#![forbid(unsafe_code)]
