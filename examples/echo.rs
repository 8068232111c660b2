//! Sends every message back. For conformance suites and load generators: messages of 64 MiB, any
//! number of fragments, compression, no limit per user.
//!
//! `cargo run --release --example echo -- --listen 127.0.0.1:9001 --shards 1`, and
//! `--certificate FILE --key FILE` for TLS.

use campanile::{App, Message, Server, Socket, StartError};

struct Echo;

impl App for Echo {
    type Data = ();
    type Mail = ();

    fn message(&mut self, socket: &mut Socket<'_, Self>, message: Message<'_>) {
        let _ = socket.send(message);
    }
}

fn main() -> Result<(), StartError> {
    let (address, shards, spoken) = listen::parse();
    Server::new(|_shard| Echo)
        .listen_with(address, spoken)
        .shards(shards)
        .options(arguments::generous())
        .run()
}

#[path = "support/arguments.rs"]
#[expect(dead_code, reason = "for examples without TLS")]
mod arguments;

#[path = "support/listen.rs"]
mod listen;
