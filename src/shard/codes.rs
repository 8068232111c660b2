//! Close codes of the core beyond RFC 6455: 44xx, do not come back with the same input; 45xx, come
//! back with back-off. `docs/PROTOCOL.md` lists them all.

use crate::ws::CloseCode;

/// 4409: replaced by a newer connection of the same user.
pub const REPLACED: CloseCode = code(4409);
/// 4504: nothing was heard of the peer.
pub const NO_PONG: CloseCode = code(4504);
/// 4508: the peer takes what is sent to it too slowly.
pub const TOO_SLOW: CloseCode = code(4508);

const fn code(number: u16) -> CloseCode {
    match CloseCode::new(number) {
        Some(code) => code,
        None => panic!("4000 to 4999 are for applications"),
    }
}
