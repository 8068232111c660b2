//! Close codes of the core beyond RFC 6455: 44xx, do not come back with the same input; 45xx, come
//! back with back-off. `docs/PROTOCOL.md` lists them all.

use crate::ws::CloseCode;

/// 4400: what the peer sent makes no sense here.
pub const BAD_REQUEST: CloseCode = code(4400);
/// 4401: nobody knows whose the connection is, or no more.
pub const UNAUTHORIZED: CloseCode = code(4401);
/// 4403: whose it is is known, and not welcome.
pub const FORBIDDEN: CloseCode = code(4403);
/// 4408: nobody said in time whose the connection is.
pub const AUTHENTICATION_TIMEOUT: CloseCode = code(4408);
/// 4409: replaced by a newer connection of the same user.
pub const REPLACED: CloseCode = code(4409);
/// 4429: the user or the address has too many connections.
pub const CONNECTION_LIMIT: CloseCode = code(4429);
/// 4500: the server's own fault.
pub const INTERNAL: CloseCode = code(4500);
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
