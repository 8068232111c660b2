//! `--listen ADDR` and `--shards N`, a log as `RUST_LOG` says, and options that get in nobody's way.

use campanile::shard::Options;
use tracing_subscriber::EnvFilter;

/// Reads the command line, and starts the log: of errors, and of what `RUST_LOG` adds.
///
/// Panics, with what was expected, if it is wrong.
pub(crate) fn parse() -> (String, usize) {
    parse_with(|_, _| false)
}

/// The same, with options of the example's own: `other` gets name and value, and whether it knows
/// them is what it returns.
pub(crate) fn parse_with(mut other: impl FnMut(&str, &str) -> bool) -> (String, usize) {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let (mut listen, mut shards) = ("127.0.0.1:9001".to_owned(), 0);
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().expect("a value after each option");
        match name.as_str() {
            "--listen" => listen = value,
            "--shards" => shards = value.parse().expect("--shards takes a number"),
            name if other(name, &value) => {}
            name => panic!("--listen ADDR and --shards N are the options, not {name}"),
        }
    }
    (listen, shards)
}

/// Messages of 64 MiB, room for a few of them, and no limit per user.
pub(crate) fn generous() -> Options {
    const MESSAGE_BYTES_MAX: usize = 64 << 20;
    Options {
        message_bytes_max: MESSAGE_BYTES_MAX,
        queue_bytes_max: 4 * MESSAGE_BYTES_MAX,
        topic_window_bytes: 4 * MESSAGE_BYTES_MAX as u64,
        connections_per_user_max: 0,
        ..Options::default()
    }
}
