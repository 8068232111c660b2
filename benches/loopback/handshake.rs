//! Opening handshakes by ordinary blocking sockets, many at a time.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
/// The example of RFC 6455 section 1.3.
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Handshakes that the server has before it while we go on.
pub(crate) const AT_ONCE: usize = 128;
/// The first local port, and how many there are from one source address.
const PORTS: (usize, usize) = (10_000, 50_000);
/// Source addresses 127.0.1.1, 127.0.1.2, and so on.
const SOURCES: usize = 250;
/// Addresses and ports that are taken already, in order: a port may be used again after 12 million.
static SOURCES_USED: AtomicUsize = AtomicUsize::new(0);
/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// The next source. The kernel would search for a free port, the longer the more are taken.
fn next_source() -> io::Result<SocketAddr> {
    let used = SOURCES_USED.fetch_add(1, Ordering::Relaxed);
    let port = u16::try_from(PORTS.0 + used % PORTS.1).map_err(io::Error::other)?;
    let host = u8::try_from(1 + used / PORTS.1 % SOURCES).map_err(io::Error::other)?;
    Ok((Ipv4Addr::new(127, 0, 1, host), port).into())
}

/// Connects and sends the request; the answer is not awaited.
fn ask(server: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    while let Err(error) = socket.bind(&next_source()?.into()) {
        // Somebody else may have that port on all addresses.
        if error.kind() != io::ErrorKind::AddrInUse {
            return Err(error);
        }
    }
    socket.set_tcp_nodelay(true)?;
    // Closed with a reset: a hundred thousand ports in TIME_WAIT would be in the next one's way.
    socket.set_linger(Some(Duration::ZERO))?;
    socket.set_read_timeout(Some(ANSWER_WITHIN))?;
    socket.connect(&server.into())?;
    let mut stream = TcpStream::from(socket);
    stream.write_all(REQUEST)?;
    Ok(stream)
}

/// Reads the 101, up to the empty line that ends it.
fn answer(stream: &mut TcpStream) -> io::Result<()> {
    let mut head = [0; 1024];
    let mut length = 0;
    while !head[..length].ends_with(b"\r\n\r\n") {
        match stream.read(&mut head[length..]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => length += count,
            // A read with a timeout is not restarted when the rings of this thread have work for it.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let head = String::from_utf8_lossy(&head[..length]);
    if head.starts_with("HTTP/1.1 101 ") && head.contains(ACCEPT) {
        return Ok(());
    }
    Err(io::Error::other(format!("not a 101: {head}")))
}

/// Opens `count` connections and hands each to `take`, in order. While the server answers one batch
/// the next is on its way, so that it is never without work.
pub(crate) fn open(
    server: SocketAddr,
    count: usize,
    mut take: impl FnMut(TcpStream) -> io::Result<()>,
) -> io::Result<()> {
    let mut asked = Vec::new();
    let mut answered = 0;
    while answered < count {
        let before = asked.len();
        let next = answered + before;
        for _ in next..count.min(next + AT_ONCE) {
            asked.push(ask(server)?);
        }
        for mut stream in asked.drain(..before) {
            answer(&mut stream)?;
            take(stream)?;
            answered += 1;
        }
    }
    Ok(())
}
