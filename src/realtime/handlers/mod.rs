//! The handlers that come with Campanile, one file per message type.

mod chat;
mod heartbeat;
mod ping;
mod presence;
mod typing;

pub use chat::Chat;
pub use heartbeat::Heartbeat;
pub use ping::Ping;
pub use presence::Presence;
pub use typing::Typing;

use super::Registry;

pub(super) fn register_all(registry: &mut Registry) {
    registry.register(Chat);
    registry.register(Typing);
    registry.register(Ping);
    registry.register(Heartbeat);
    registry.register(Presence);
}
