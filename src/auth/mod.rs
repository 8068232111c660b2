//! Who somebody is, and whether they may come in: tokens, sessions, origins, addresses. No I/O.
#![forbid(unsafe_code)]
