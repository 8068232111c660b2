//! A message type of one's own: `{"type":"custom_message","content":"hello"}` goes to everybody in
//! the room, and its sender is told how many characters it had.
//!
//! `cargo run --release --example custom_handler -- --listen 127.0.0.1:9001 --shards 1`

use campanile::realtime::protocol::{Message, Rejection};
use campanile::realtime::{Ctx, Exclude, Handler, HandlerError, Realtime, RealtimeOptions};
use campanile::{Server, StartError};

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

fn main() -> Result<(), StartError> {
    let (listen, shards) = arguments::parse();
    Server::new(|_shard| Realtime::new(RealtimeOptions::default()).with(CustomMessage))
        .listen(listen)
        .shards(shards)
        .run()
}

#[path = "support/arguments.rs"]
#[expect(dead_code, reason = "the other examples set options, too")]
mod arguments;
