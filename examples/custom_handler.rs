//! A message type of one's own: `{"type":"custom_message","content":"hello"}` goes to everybody in
//! the room, and its sender is told how many characters it had.
//!
//! ```text
//! cargo run --release --example custom_handler -- --listen 127.0.0.1:8080 --shards 2
//! ```

use std::error::Error;

use campanile::Server;
use campanile::realtime::protocol::{Message, Rejection};
use campanile::realtime::{Ctx, Exclude, Handler, HandlerError, Realtime, RealtimeOptions};

struct CustomMessage;

impl Handler for CustomMessage {
    fn message_type(&self) -> &str {
        "custom_message"
    }

    fn validate(&self, message: &Message<'_>) -> Result<(), Rejection> {
        match message.str("content")? {
            Some(content) if !content.is_empty() => Ok(()),
            Some(_) => Err(Rejection::InvalidMember("content".into())),
            None => Err(Rejection::MissingMember("content".into())),
        }
    }

    fn handle(&mut self, ctx: &mut Ctx<'_>, message: &Message<'_>) -> Result<(), HandlerError> {
        let content = message.str("content")?.unwrap_or_default();
        let room = ctx.room(message)?;
        ctx.publish(&room, "custom_message", Exclude::Sender, |frame| {
            frame.str("content", &content)
        });
        let characters = content.chars().count() as u64;
        ctx.reply("custom_message", |frame| {
            frame.number("characters", characters)
        });
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let (mut listen, mut shards) = ("127.0.0.1:8080".to_owned(), 0);
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or("an option needs a value")?;
        match &name[..] {
            "--listen" => listen = value,
            "--shards" => shards = value.parse()?,
            _ => return Err(format!("unknown option {name}").into()),
        }
    }

    let app = |_shard| Realtime::new(RealtimeOptions::default()).with(CustomMessage);
    let server = Server::new(app).listen(listen).shards(shards).start()?;
    println!("listening on {:?}", server.addresses());
    server.stop_on_signals();
    server.wait();
    Ok(())
}
