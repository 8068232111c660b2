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

use super::tls_stream::TlsStream;
use crate::tls::{IsSecure, Passage};

/// Time for a request head, also between the requests of one connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

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
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
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
