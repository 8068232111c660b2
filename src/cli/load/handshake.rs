//! The client's side of the opening handshake: the socket, the request, and what the answer must say.
//! RFC 6455 section 4.1.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{IntoRawFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use campanile::ws::handshake::accept_key;
use socket2::{Domain, Protocol, Socket, Type};

use super::target::{Sources, Url};
use super::tls::Tls;

/// Keys that connections take in turn: random, but not one for each of a million.
const KEYS: usize = 64;
/// Largest head of an answer, bytes.
pub(crate) const HEAD_BYTES_MAX: usize = 16 * 1024;
const FIELDS_MAX: usize = 64;

/// Everything that the handshakes of a run have in common.
#[derive(Debug)]
pub(crate) struct Handshakes {
    server: SocketAddr,
    /// For `wss`.
    pub(crate) tls: Option<Tls>,
    sources: Option<Sources>,
    /// Sources that were used, over all threads.
    used: AtomicU64,
    target: String,
    /// The rest of the request, up to the key.
    fields: String,
    subprotocol: Option<String>,
    keys: Vec<(String, String)>,
}

impl Handshakes {
    /// A URL with TLS goes with `tls`, one without with none.
    ///
    /// Errors: the host's name has no address, or `sources` are given for a server elsewhere.
    pub(crate) fn new(
        url: &Url,
        tls: Option<Tls>,
        sources: Option<Sources>,
        headers: &[(String, String)],
        subprotocol: Option<&str>,
    ) -> Result<Self, String> {
        let server = url.resolve()?;
        let is_near = server.is_ipv4() && server.ip().is_loopback();
        if sources.is_some() && !is_near {
            return Err(format!(
                "--sources are for a server on 127.0.0.0/8, not {server}"
            ));
        }
        let mut fields = format!(
            " HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\n",
            url.authority
        );
        if let Some(name) = subprotocol {
            fields += &format!("Sec-WebSocket-Protocol: {name}\r\n");
        }
        for (name, value) in headers {
            fields += &format!("{name}: {value}\r\n");
        }
        let keys = std::iter::repeat_with(|| {
            let key = STANDARD.encode(fastrand::u128(..).to_ne_bytes());
            let accept = accept_key(key.as_bytes());
            (key, accept)
        });
        let sources = is_near.then(|| sources.unwrap_or_default());
        // Several loads at once seldom begin at the same port.
        let start = sources.map_or(0, |_| fastrand::u64(..50_000));
        Ok(Self {
            server,
            tls,
            sources,
            used: AtomicU64::new(start),
            target: url.target.clone(),
            fields,
            subprotocol: subprotocol.map(str::to_owned),
            keys: keys.take(KEYS).collect(),
        })
    }

    /// Begins to connect. The socket is blocking from here on, whether it is connected or not.
    pub(crate) fn connect(&self) -> io::Result<RawFd> {
        let kind = Type::STREAM.nonblocking();
        let domain = Domain::for_address(self.server);
        let socket = Socket::new(domain, kind, Some(Protocol::TCP))?;
        self.bind(&socket)?;
        socket.set_tcp_nodelay(true)?;
        // Closed with a reset: a hundred thousand ports in TIME_WAIT would be in the next one's way.
        socket.set_linger(Some(Duration::ZERO))?;
        match socket.connect(&self.server.into()) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return Err(error),
            _ => socket.set_nonblocking(false)?,
        }
        Ok(socket.into_raw_fd())
    }

    /// Gives the socket an address of its own. The kernel would search for a free port, the longer
    /// the more are taken.
    fn bind(&self, socket: &Socket) -> io::Result<()> {
        let Some(sources) = self.sources else {
            return Ok(());
        };
        for _ in 0..sources.len() {
            let number = self.used.fetch_add(1, Ordering::Relaxed);
            match socket.bind(&sources.nth(number).into()) {
                // Another load may have it.
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                result => return result,
            }
        }
        Err(io::ErrorKind::AddrInUse.into())
    }

    /// Appends the request of the `user`-th connection.
    pub(crate) fn request_into(&self, out: &mut Vec<u8>, user: u32, room: u32) {
        out.extend_from_slice(b"GET ");
        if self.target.contains('{') {
            let target = self.target.replace("{user}", &user.to_string());
            out.extend_from_slice(target.replace("{room}", &room.to_string()).as_bytes());
        } else {
            out.extend_from_slice(self.target.as_bytes());
        }
        out.extend_from_slice(self.fields.as_bytes());
        out.extend_from_slice(b"Sec-WebSocket-Key: ");
        out.extend_from_slice(self.keys[user as usize % KEYS].0.as_bytes());
        out.extend_from_slice(b"\r\n\r\n");
    }

    /// Checks the answer to the `user`-th connection. `None`: its head is not whole. Else its size.
    pub(crate) fn check(&self, bytes: &[u8], user: u32) -> Result<Option<usize>, String> {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut response = httparse::Response::new(&mut fields);
        let status = response.parse(bytes);
        let httparse::Status::Complete(length) = status.map_err(|error| error.to_string())? else {
            if bytes.len() > HEAD_BYTES_MAX {
                return Err("the answer's head has no end".to_owned());
            }
            return Ok(None);
        };
        if response.code != Some(101) {
            let text = String::from_utf8_lossy(bytes);
            let line = text.lines().next().unwrap_or_default();
            let body = text.get(length..).unwrap_or_default();
            return Err(format!(
                "{line}: {}",
                body.chars().take(300).collect::<String>()
            ));
        }
        let (_, accept) = &self.keys[user as usize % KEYS];
        let mut wanted = ["Upgrade", "Connection", "Sec-WebSocket-Accept"].to_vec();
        for field in response.headers.iter() {
            let value = String::from_utf8_lossy(field.value);
            let is = |name: &str| field.name.eq_ignore_ascii_case(name);
            let has = |token: &str| {
                let mut tokens = value.split(',');
                tokens.any(|part| part.trim().eq_ignore_ascii_case(token))
            };
            let is_right = match () {
                () if is("Upgrade") => has("websocket"),
                () if is("Connection") => has("Upgrade"),
                () if is("Sec-WebSocket-Accept") => value.trim() == accept,
                () if is("Sec-WebSocket-Protocol") => {
                    self.subprotocol.as_deref() == Some(value.trim())
                }
                // None was offered.
                () if is("Sec-WebSocket-Extensions") => value.trim().is_empty(),
                () => true,
            };
            if !is_right {
                return Err(format!("{}: {value} is not what was asked for", field.name));
            }
            wanted.retain(|name| !is(name));
        }
        match wanted.first() {
            Some(name) => Err(format!("the answer has no {name}")),
            None => Ok(Some(length)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use super::*;

    fn handshakes(subprotocol: Option<&str>) -> Handshakes {
        let url = Url::from_str("ws://127.0.0.1:9/ws/{room}?user={user}").unwrap();
        let headers = [("X-Who".to_owned(), "me".to_owned())];
        Handshakes::new(&url, None, None, &headers, subprotocol).unwrap()
    }

    fn answer(handshakes: &Handshakes, more: &str) -> Vec<u8> {
        let accept = &handshakes.keys[3].1;
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: WebSocket\r\nConnection: keep-alive, \
             upgrade\r\nSec-WebSocket-Accept: {accept}\r\n{more}\r\n"
        )
        .into_bytes()
    }

    #[test]
    fn the_request_names_user_and_room() {
        let mut out = Vec::new();
        handshakes(Some("chat")).request_into(&mut out, 3, 17);
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.starts_with("GET /ws/17?user=3 HTTP/1.1\r\nHost: 127.0.0.1:9\r\n"),
            "{text}"
        );
        assert!(text.contains("\r\nX-Who: me\r\n"), "{text}");
        assert!(
            text.contains("\r\nSec-WebSocket-Protocol: chat\r\n"),
            "{text}"
        );
        assert!(text.ends_with("\r\n\r\n"), "{text}");
    }

    #[test]
    fn a_101_is_taken_when_it_is_whole() {
        let handshakes = handshakes(None);
        let whole = answer(&handshakes, "");
        for length in 0..whole.len() {
            assert_eq!(handshakes.check(&whole[..length], 3), Ok(None), "{length}");
        }
        let with_frame = [&whole[..], b"\x81\x00"].concat();
        assert_eq!(handshakes.check(&with_frame, 3), Ok(Some(whole.len())));
    }

    #[test]
    fn an_answer_that_was_not_asked_for_is_refused() {
        let plain = handshakes(None);
        let accept = answer(&plain, "");
        assert!(
            plain.check(&accept, 4).is_err(),
            "the answer to another key"
        );
        for more in [
            "Sec-WebSocket-Extensions: permessage-deflate\r\n",
            "Sec-WebSocket-Protocol: chat\r\n",
        ] {
            assert!(plain.check(&answer(&plain, more), 3).is_err(), "{more}");
        }
        let error = plain.check(b"HTTP/1.1 429 Too Many Requests\r\n\r\nno", 3);
        assert_eq!(error, Err("HTTP/1.1 429 Too Many Requests: no".to_owned()));
        let nothing = plain.check(b"HTTP/1.1 101 Sure\r\n\r\n", 3);
        assert_eq!(nothing, Err("the answer has no Upgrade".to_owned()));
        let offered = handshakes(Some("chat"));
        let confirmed = answer(&offered, "Sec-WebSocket-Protocol: chat\r\n");
        assert_eq!(offered.check(&confirmed, 3), Ok(Some(confirmed.len())));
    }

    #[test]
    fn a_head_without_end_is_refused() {
        let endless = [
            b"HTTP/1.1 101 Sure\r\nA: ".to_vec(),
            vec![b'x'; HEAD_BYTES_MAX],
        ]
        .concat();
        assert!(handshakes(None).check(&endless, 0).is_err());
    }
}
