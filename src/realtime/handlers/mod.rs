//! The handlers that come with Campanile, one file per message type.

mod announcement;
mod authentication;
pub(super) mod chat;
mod heartbeat;
mod message_status;
mod methods;
mod notification;
mod ping;
mod presence;
mod publish;
mod rpc;
mod subscribe;
mod typing;
mod unsubscribe;

pub use announcement::Announcement;
pub use authentication::Authentication;
pub use chat::Chat;
pub use heartbeat::Heartbeat;
pub use message_status::MessageStatus;
pub use notification::{Notification, RequestNotification};
pub use ping::Ping;
pub use presence::Presence;
pub use publish::Publish;
pub use rpc::{Method, Params, Rpc};
pub use subscribe::Subscribe;
pub use typing::Typing;
pub use unsubscribe::Unsubscribe;

use super::Registry;

pub(super) fn register_all(registry: &mut Registry) {
    registry.register(Chat::default());
    registry.register(Typing);
    registry.register(Ping);
    registry.register(Heartbeat);
    registry.register(Presence);
    registry.register(Subscribe);
    registry.register(Unsubscribe);
    registry.register(Publish);
    registry.register(Rpc::default());
    registry.register(MessageStatus);
    registry.register(Announcement);
    registry.register(Notification);
    registry.register(RequestNotification);
    registry.register(Authentication);
}
