//! tokio-tungstenite, one thread: echo, and broadcast through a channel of tokio's.

use std::io;

use campanile_peers::{App, MESSAGE_BYTES_MAX, arguments, listen};
use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast::{self, Receiver, Sender};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_async_with_config};

/// Buffer of a connection for reading, bytes. The library's own choice is 128 KiB, which costs more
/// memory and, with many connections, cache misses.
const READ_BYTES: usize = 4096;
/// Messages that a subscriber may be behind before it is cut.
const BEHIND_MAX: usize = 16 << 10;

type Socket = WebSocketStream<TcpStream>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let (port, app) = arguments();
    let listener = TcpListener::from_std(listen(port)?)?;
    let everybody = Sender::new(BEHIND_MAX);
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BYTES)
        .max_message_size(Some(MESSAGE_BYTES_MAX));
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let everybody = everybody.clone();
        tokio::spawn(async move {
            let Ok(socket) = accept_async_with_config(stream, Some(config)).await else {
                return;
            };
            // Whoever has gone is no concern of the others.
            let _ended = match app {
                App::Echo => echo(socket).await,
                App::Broadcast => broadcast(socket, everybody).await,
            };
        });
    }
}

/// Answers all that has come in before it flushes, so that it sends once for all of them.
async fn echo(mut socket: Socket) -> Result<(), Error> {
    while let Some(message) = socket.next().await {
        let mut message = message?;
        loop {
            if message.is_text() || message.is_binary() {
                socket.feed(message).await?;
            }
            match socket.next().now_or_never() {
                Some(Some(following)) => message = following?,
                Some(None) => return Ok(()),
                None => break,
            }
        }
        socket.flush().await?;
    }
    Ok(())
}

async fn broadcast(mut socket: Socket, everybody: Sender<Message>) -> Result<(), Error> {
    let mut messages = everybody.subscribe();
    loop {
        tokio::select! {
            message = socket.next() => match message {
                Some(message) => {
                    let message = message?;
                    if message.is_text() || message.is_binary() {
                        // Fails without subscribers, and this is one.
                        let _subscribers = everybody.send(message);
                    }
                }
                None => return Ok(()),
            },
            message = messages.recv() => {
                deliver(&mut socket, message, &mut messages).await?;
            }
        }
    }
}

/// Sends `first` and all that has been published since, and flushes once.
async fn deliver(
    socket: &mut Socket,
    first: Result<Message, broadcast::error::RecvError>,
    messages: &mut Receiver<Message>,
) -> Result<(), Error> {
    let mut message = first.map_err(io::Error::other)?;
    loop {
        socket.feed(message).await?;
        match messages.try_recv() {
            Ok(following) => message = following,
            Err(broadcast::error::TryRecvError::Empty) => return socket.flush().await,
            Err(behind) => return Err(io::Error::other(behind).into()),
        }
    }
}
