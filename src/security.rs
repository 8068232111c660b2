//! What concerns the safety of the server, told to a log of its own.
#![forbid(unsafe_code)]
