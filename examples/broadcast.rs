//! Sends every message to everybody, the sender included, through a topic.
//!
//! `cargo run --release --example broadcast -- --listen 127.0.0.1:9002 --shards 1`, and
//! `--certificate FILE --key FILE` for TLS.

use campanile::{App, Message, Server, Socket, StartError};

struct Broadcast;

impl App for Broadcast {
    type Data = ();
    type Mail = ();

    fn open(&mut self, socket: &mut Socket<'_, Self>) {
        let _ = socket.subscribe("everybody");
    }

    fn message(&mut self, socket: &mut Socket<'_, Self>, message: Message<'_>) {
        socket.context().publish("everybody", message, None);
    }
}

fn main() -> Result<(), StartError> {
    let (address, shards, spoken) = listen::parse();
    let options = arguments::generous();
    Server::new(|_shard| Broadcast)
        .listen_with(address, spoken)
        .shards(shards)
        .options(options)
        .run()
}

#[path = "support/arguments.rs"]
#[expect(dead_code, reason = "for examples without TLS")]
mod arguments;

#[path = "support/listen.rs"]
mod listen;
