//! The `campanile` binary.

fn main() {}
