//! A TLS session over a socket, as hyper wants to read and write.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::tls::Session;

/// What is read from the socket at once, bytes: a full record is read in two.
const READ_BYTES: usize = 8 * 1024;
/// While so many bytes of records wait for the socket, nothing more is taken in.
const WAITING_BYTES_MAX: usize = 128 * 1024;
/// Plaintext that is encrypted at once, bytes: four records.
const WRITE_BYTES_MAX: usize = 64 * 1024;

/// A stream of plaintext over a stream of records.
#[derive(Debug)]
pub(super) struct TlsStream<S> {
    stream: S,
    session: Box<Session>,
    /// Plaintext that is not read yet: from `read` on.
    plaintext: Vec<u8>,
    read: usize,
    /// Records that are not written yet: from `written` on.
    records: Vec<u8>,
    written: usize,
    is_ended: bool,
    is_closed: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream<S> {
    /// Goes on with a session whose handshake is done, and of which `plaintext` was read already.
    pub(super) fn new(stream: S, session: Box<Session>, plaintext: Vec<u8>) -> Self {
        Self {
            stream,
            session,
            plaintext,
            read: 0,
            records: Vec::new(),
            written: 0,
            is_ended: false,
            is_closed: false,
        }
    }

    /// Writes what waits, to the last byte.
    fn poll_records(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.session.take_pending(&mut self.records);
        while self.written < self.records.len() {
            let rest = &self.records[self.written..];
            match ready!(Pin::new(&mut self.stream).poll_write(context, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.written += written,
            }
        }
        // Kept-alive connections are many, and mostly silent.
        (self.records, self.written) = (Vec::new(), 0);
        Poll::Ready(Ok(()))
    }

    /// Reads more plaintext. Ready without any: there will be no more.
    fn poll_plaintext(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.read == self.plaintext.len() && !self.is_ended {
            (self.plaintext, self.read) = (Vec::new(), 0);
            if self.session.is_peer_closed() {
                self.is_ended = true;
                break;
            }
            // Tickets and the like go out meanwhile; the peer may wait for them.
            let _ = self.poll_records(context)?;
            let mut bytes = [0; READ_BYTES];
            let mut buffer = ReadBuf::new(&mut bytes);
            let read = Pin::new(&mut self.stream).poll_read(context, &mut buffer);
            if read.is_pending() {
                self.session.rest();
            }
            ready!(read)?;
            // Without a `close_notify`, too: HTTP tells by itself what is cut off.
            self.is_ended = buffer.filled().is_empty();
            let read = self.session.read(buffer.filled_mut(), &mut self.plaintext);
            if read.is_err() {
                // An alert, as far as the socket takes it now.
                let _ = self.poll_records(context)?;
            }
            read.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write_pieces(
        &mut self,
        context: &mut Context<'_>,
        pieces: &[&[u8]],
    ) -> Poll<io::Result<usize>> {
        if self.records.len() - self.written >= WAITING_BYTES_MAX {
            ready!(self.poll_records(context))?;
        }
        self.session
            .write(pieces, &mut self.records)
            .map_err(|error| io::Error::new(io::ErrorKind::BrokenPipe, error))?;
        // What the socket does not take now is for `poll_flush`.
        let _ = self.poll_records(context)?;
        Poll::Ready(Ok(pieces.iter().map(|piece| piece.len()).sum()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_plaintext(context))?;
        let rest = &self.plaintext[self.read..];
        let length = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..length]);
        self.read += length;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let bytes = &bytes[..bytes.len().min(WRITE_BYTES_MAX)];
        self.poll_write_pieces(context, &[bytes])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut room = WRITE_BYTES_MAX;
        let mut pieces = Vec::with_capacity(slices.len());
        for slice in slices {
            let length = slice.len().min(room);
            room -= length;
            pieces.push(&slice[..length]);
        }
        self.poll_write_pieces(context, &pieces)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_records(context))?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !std::mem::replace(&mut this.is_closed, true) {
            this.session.close_notify(&mut this.records);
        }
        ready!(this.poll_records(context))?;
        Pin::new(&mut this.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls_pki_types::ServerName;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio_rustls::TlsConnector;
    use tokio_rustls::client::TlsStream as Client;

    use super::*;
    use crate::tls::tests::{Folder, acceptor, client_config};

    /// Both ends of a stream whose pipe holds so many bytes. The handshake is done by reading.
    async fn pair(pipe: usize) -> (Client<DuplexStream>, TlsStream<DuplexStream>) {
        let folder = Folder::new();
        let files = folder.certificate("a", &["a.test"]);
        let session = Box::new(acceptor(std::slice::from_ref(&files)).accept());
        let config = client_config(&[&files.chain], &[&rustls::version::TLS13]);
        let (near, far) = duplex(pipe);
        let mut server = TlsStream::new(far, session, Vec::new());
        let host = ServerName::try_from("a.test").unwrap();
        let connect = async {
            let connector = TlsConnector::from(Arc::new(config));
            let mut client = connector.connect(host, near).await.unwrap();
            client.write_all(b"!").await.unwrap();
            client.flush().await.unwrap();
            client
        };
        let (client, first) = tokio::join!(connect, server.read_u8());
        assert_eq!(first.unwrap(), b'!');
        (client, server)
    }

    fn run(work: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(work);
    }

    #[test]
    fn bytes_pass_both_ways_through_pipes_of_any_size() {
        run(async {
            for (pipe, bytes) in [(1, 5_000), (100, 100_000), (70_000, 300_000)] {
                let (client, server) = pair(pipe).await;
                let (mut client_reader, mut client_writer) = tokio::io::split(client);
                let (mut server_reader, mut server_writer) = tokio::io::split(server);
                let sent: Vec<u8> = (0..bytes).map(|n| u32::to_le_bytes(n)[1]).collect();
                let ask = async {
                    client_writer.write_all(&sent).await.unwrap();
                    client_writer.shutdown().await.unwrap();
                };
                let echo = async {
                    tokio::io::copy(&mut server_reader, &mut server_writer)
                        .await
                        .unwrap();
                    server_writer.shutdown().await.unwrap();
                };
                let hear = async {
                    let mut heard = Vec::new();
                    // To the farewell: an end without it would be an error.
                    client_reader.read_to_end(&mut heard).await.unwrap();
                    heard
                };
                let ((), (), heard) = tokio::join!(ask, echo, hear);
                assert!(heard == sent, "pipe of {pipe} bytes");
            }
        });
    }

    #[test]
    fn what_was_read_before_comes_first_and_pieces_go_out_as_one() {
        run(async {
            let (mut client, mut server) = pair(70_000).await;
            (server.plaintext, server.read) = (b"GET /".to_vec(), 0);
            client.write_all(b" HTTP/1.1").await.unwrap();
            let mut heard = [0; 14];
            server.read_exact(&mut heard).await.unwrap();
            assert_eq!(&heard, b"GET / HTTP/1.1");
            let pieces = [IoSlice::new(b"200 "), IoSlice::new(b"OK")];
            assert_eq!(server.write_vectored(&pieces).await.unwrap(), 6);
            server.flush().await.unwrap();
            let mut heard = [0; 6];
            client.read_exact(&mut heard).await.unwrap();
            assert_eq!(&heard, b"200 OK");
            // An end without a farewell is an end, as HTTP can tell for itself.
            drop(client);
            assert_eq!(server.read(&mut [0]).await.unwrap(), 0);
        });
    }
}
