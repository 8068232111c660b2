//! One plain HTTP connection: a socket that a shard has read the first bytes of, and a router.

use std::io::Cursor;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::patient::Patient;
use super::tls_stream::TlsStream;
use crate::limits::REQUEST_HEAD_BYTES_MAX;
use crate::tls::{IsSecure, Passage};

/// Time for a request head, also between the requests of one connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Time in which a peer takes something of its answer. One that takes nothing for so long is gone.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// Answers the requests of one connection with `router`, until its peer or the server ends.
///
/// `bytes` were read from the socket already, and have passed what is in front of it. Handlers find the
/// peer as `ConnectInfo<SocketAddr>`, and whether it speaks TLS as [`IsSecure`].
pub(super) async fn serve(
    socket: OwnedFd,
    passage: Option<Box<Passage>>,
    peer: SocketAddr,
    bytes: Vec<u8>,
    router: Router,
    stopped: watch::Receiver<bool>,
) {
    let stream = std::net::TcpStream::from(socket);
    let stream = stream
        .set_nonblocking(true)
        .and_then(|()| TcpStream::from_std(stream));
    match stream {
        Ok(stream) => serve_stream(stream, peer, (bytes, passage), router, stopped).await,
        Err(error) => tracing::warn!(%peer, %error, "an HTTP connection was lost"),
    }
}

/// Answers the requests of one connection, as [`serve`].
pub(super) async fn serve_stream(
    stream: TcpStream,
    peer: SocketAddr,
    (bytes, passage): (Vec<u8>, Option<Box<Passage>>),
    router: Router,
    stopped: watch::Receiver<bool>,
) {
    let router = router.layer(Extension(ConnectInfo(peer)));
    let served = match passage.map(|passage| *passage) {
        Some(Passage::Tls(session)) => {
            let router = router.layer(Extension(IsSecure(true)));
            let stream = TlsStream::new(stream, Box::new(session), bytes);
            serve_on(stream, router, stopped).await
        }
        Some(Passage::Proxy { .. } | Passage::Plain) | None => {
            let router = router.layer(Extension(IsSecure(false)));
            let (reader, writer) = stream.into_split();
            let stream = tokio::io::join(Cursor::new(bytes).chain(reader), writer);
            serve_on(stream, router, stopped).await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%peer, %error, "an HTTP connection ended early");
    }
}

async fn serve_on(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), hyper::Error> {
    let stream = Patient::new(stream, SEND_TIMEOUT);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        // As much as the shards take of a first head; hyper would take 25 times as much of each later one.
        .max_buf_size(REQUEST_HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        // A handler may take the connection for a protocol of its own: the dashboard does.
        .with_upgrades();
    tokio::pin!(connection);
    let stopping = async {
        // An error says that the service is gone: that is a stop as well.
        let _ = stopped.wait_for(|stopped| *stopped).await;
    };
    tokio::select! {
        // In this order: a request that has been read is answered, also if we stop at this moment.
        biased;
        served = connection.as_mut() => served,
        () = stopping => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::timeout;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    /// A peer that never read held one of a few thousand places for ever, and with those of one machine
    /// nobody else was served.
    #[tokio::test(start_paused = true)]
    async fn a_peer_that_never_takes_its_answer_does_not_hold_its_place() {
        let router = Router::new().route("/", get(async || "x".repeat(1 << 20)));
        let (_stop, stopped) = watch::channel(false);
        for pipelined in [1, 100] {
            let (mut peer, stream) = duplex(16 * 1024);
            let requests = "GET / HTTP/1.1\r\nhost: h\r\n\r\n".repeat(pipelined);
            peer.write_all(requests.as_bytes()).await.unwrap();
            let served = timeout(HOUR, serve_on(stream, router.clone(), stopped.clone()));
            let ended = served.await.expect("it ends by itself");
            assert!(ended.is_err(), "{ended:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_reads_slowly_gets_all_of_it() {
        let router = Router::new().route("/", get(async || "x".repeat(4096)));
        let (_stop, stopped) = watch::channel(false);
        let (mut peer, stream) = duplex(512);
        let request = b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n";
        peer.write_all(request).await.unwrap();
        let read = async {
            let mut answer = Vec::new();
            while peer.read_buf(&mut answer).await.unwrap() > 0 {
                tokio::time::sleep(SEND_TIMEOUT - Duration::from_secs(1)).await;
            }
            answer
        };
        let (served, answer) = tokio::join!(serve_on(stream, router, stopped), read);
        served.unwrap();
        assert!(answer.ends_with(&[b'x'; 4096]));
    }

    /// The shards held a first head to 16 KiB, and hyper every later one to 400 KiB, for each connection.
    #[tokio::test(start_paused = true)]
    async fn a_later_head_may_be_no_longer_than_the_first() {
        let router = Router::new().route("/", get(async || "yes"));
        let (_stop, stopped) = watch::channel(false);
        let (mut peer, stream) = duplex(1024);
        let ask = async {
            let first = b"GET / HTTP/1.1\r\nhost: h\r\n\r\n";
            peer.write_all(first).await.unwrap();
            let mut answer = [0; 1024];
            let read = peer.read(&mut answer).await.unwrap();
            assert!(answer[..read].starts_with(b"HTTP/1.1 200"));
            let endless = format!("GET / HTTP/1.1\r\nx: {}", "x".repeat(1 << 20));
            let mut taken = 0;
            // Until it is refused, and the stream ends.
            while let Ok(Ok(bytes @ 1..)) =
                timeout(HOUR, peer.write(&endless.as_bytes()[taken..])).await
            {
                taken += bytes;
            }
            taken
        };
        let (_, taken) = tokio::join!(serve_on(stream, router, stopped), ask);
        assert!(taken <= REQUEST_HEAD_BYTES_MAX + 1024, "{taken} bytes");
    }
}
