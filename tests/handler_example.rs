//! The tests of `examples/custom_handler.rs`, as the author of a handler would write and run them.

#[path = "../examples/custom_handler.rs"]
#[expect(dead_code, reason = "an example has a main, and this is none")]
mod custom_handler;
