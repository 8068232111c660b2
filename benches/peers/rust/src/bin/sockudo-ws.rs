//! sockudo-ws on tokio, one thread: echo, and broadcast through its own topics.

use std::io;
use std::sync::Arc;

use bytes::{Buf as _, BytesMut};
use campanile_peers::{App, MESSAGE_BYTES_MAX, arguments, listen};
use futures_util::{SinkExt as _, StreamExt as _};
use sockudo_ws::handshake::{build_response, generate_accept_key, parse_request};
use sockudo_ws::pubsub::PubSub;
use sockudo_ws::{Config, Error, Message, Result, Role, WebSocketStream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

const TOPIC: &str = "everybody";
const HEAD_BYTES: usize = 4096;
/// Messages that are taken from a subscriber's channel before they are flushed.
const DELIVERED_AT_ONCE_MAX: usize = 1024;

type Socket = WebSocketStream<TcpStream>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let (port, app) = arguments();
    // Else the first connection calibrates it.
    sockudo_ws::init_clock();
    let listener = TcpListener::from_std(listen(port)?)?;
    let topics = Arc::new(PubSub::new());
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let topics = Arc::clone(&topics);
        tokio::spawn(async move {
            let Ok(socket) = accept(stream).await else {
                return;
            };
            // Whoever has gone is no concern of the others.
            let _ended = match app {
                App::Echo => echo(socket).await,
                App::Broadcast => broadcast(socket, &topics).await,
            };
        });
    }
}

async fn accept(mut stream: TcpStream) -> Result<Socket> {
    let mut head = BytesMut::with_capacity(HEAD_BYTES);
    let bytes = loop {
        if stream.read_buf(&mut head).await? == 0 {
            return Err(Error::ConnectionClosed);
        }
        if let Some((request, bytes)) = parse_request(&head)? {
            let response = build_response(&generate_accept_key(request.key), None, None);
            stream.write_all(&response).await?;
            break bytes;
        }
    };
    head.advance(bytes);
    let config = Config::builder()
        .max_payload_length(MESSAGE_BYTES_MAX)
        .build();
    Ok(Socket::from_raw_with_leftover(
        stream,
        Role::Server,
        config,
        (!head.is_empty()).then(|| head.freeze()),
    ))
}

/// What is fed is sent when the socket has nothing more to read.
async fn echo(mut socket: Socket) -> Result<()> {
    while let Some(message) = socket.next().await {
        let message = message?;
        if message.is_text() || message.is_binary() {
            socket.feed(message).await?;
        }
    }
    Ok(())
}

async fn broadcast(mut socket: Socket, topics: &PubSub) -> Result<()> {
    let (sender, mut messages) = mpsc::unbounded_channel();
    let subscriber = topics.create_subscriber(sender);
    topics.subscribe(subscriber, TOPIC);
    let ended = converse(&mut socket, &mut messages, topics).await;
    topics.remove_subscriber(subscriber);
    ended
}

async fn converse(
    socket: &mut Socket,
    messages: &mut mpsc::UnboundedReceiver<Message>,
    topics: &PubSub,
) -> Result<()> {
    let mut batch = Vec::new();
    loop {
        tokio::select! {
            message = socket.next() => match message {
                Some(message) => {
                    let message = message?;
                    if message.is_text() || message.is_binary() {
                        topics.publish(TOPIC, message);
                    }
                }
                None => return Ok(()),
            },
            _count = messages.recv_many(&mut batch, DELIVERED_AT_ONCE_MAX) => {
                for message in batch.drain(..) {
                    socket.feed(message).await?;
                }
                socket.flush().await?;
            }
        }
    }
}
