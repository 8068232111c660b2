//! What the peers have in common: the command line, the listener, and for runtimes without a WebSocket
//! library a small codec.

pub mod frames;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use socket2::{Domain, Socket, Type};

/// Largest message, bytes.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// How many may wait to be accepted; the kernel has a limit of its own.
const BACKLOG: i32 = 4096;

/// What the server does with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum App {
    /// Sends it back.
    Echo,
    /// Sends it to everybody, the sender included.
    Broadcast,
}

/// Reads `--port N --app echo|broadcast`.
///
/// Panics, with what was expected, if it is wrong.
pub fn arguments() -> (u16, App) {
    let (mut port, mut app) = (9001, App::Echo);
    let mut words = std::env::args().skip(1);
    while let Some(name) = words.next() {
        let value = words.next().expect("a value after each option");
        match (&name[..], &value[..]) {
            ("--port", value) => port = value.parse().expect("--port takes a number"),
            ("--app", "echo") => app = App::Echo,
            ("--app", "broadcast") => app = App::Broadcast,
            _ => panic!("--port N --app echo|broadcast are the options, not {name} {value}"),
        }
    }
    (port, app)
}

/// Listens on loopback, without blocking.
///
/// Errors: the system's, above all that the port is taken.
pub fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}
