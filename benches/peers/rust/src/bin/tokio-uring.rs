//! tokio-uring with bare frames: echo.

use std::io;

use campanile_peers::frames::{Conversation, Next, READ_BYTES};
use campanile_peers::{App, arguments, listen};
use tokio_uring::buf::BoundedBuf as _;
use tokio_uring::net::{TcpListener, TcpStream};

fn main() -> io::Result<()> {
    let (port, app) = arguments();
    assert_eq!(app, App::Echo, "echo is all there is");
    tokio_uring::builder().entries(32768).start(async move {
        let listener = TcpListener::from_std(listen(port)?);
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio_uring::spawn(async move {
                // Whoever has gone is no concern of the others.
                let _ended = converse(stream).await;
            });
        }
    })
}

async fn converse(stream: TcpStream) -> io::Result<()> {
    let mut conversation = Conversation::default();
    let (mut input, mut output) = (Vec::with_capacity(READ_BYTES), Vec::new());
    loop {
        if input.len() == input.capacity() {
            input.reserve(READ_BYTES);
        }
        let filled = input.len();
        let (read, slice) = stream.read(input.slice(filled..)).await;
        input = slice.into_inner();
        if read? == 0 {
            return Ok(());
        }
        let next = conversation.answer(&mut input, &mut output);
        let next = next.map_err(|_| io::ErrorKind::InvalidData)?;
        if !output.is_empty() {
            let (written, buffer) = stream.write_all(output).await;
            written?;
            output = buffer;
            output.clear();
        }
        if next == Next::End {
            return Ok(());
        }
    }
}
