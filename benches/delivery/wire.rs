//! HTTP/1.1 on a kept-alive connection, as little of it as a publisher and a receiver need: whole messages with a
//! `content-length`. Written by hand so that the load costs few cycles of the cores that it shares with the server.

use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Room that is kept free for a read: a whole message of the bench and its head.
const READ_BYTES: usize = 8 << 10;

pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// Bytes at the front of the buffer that belong to the message returned last.
    consumed: usize,
}

/// A request or an answer.
pub struct Message<'a> {
    pub start_line: &'a [u8],
    pub body: &'a [u8],
}

impl Message<'_> {
    /// Of an answer.
    pub fn has_status(&self, status: &str) -> bool {
        self.start_line.get(9..12) == Some(status.as_bytes())
    }
}

impl Connection {
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        Self::new(TcpStream::connect(address).await?)
    }

    pub fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(READ_BYTES), consumed: 0 })
    }

    pub async fn send(&mut self, message: &[u8]) -> io::Result<()> {
        self.stream.write_all(message).await
    }

    /// Sends a request and waits for its answer.
    pub async fn ask(&mut self, request: &[u8]) -> io::Result<Message<'_>> {
        self.send(request).await?;
        self.receive().await?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// The next message; none when the peer closed between two.
    pub async fn receive(&mut self) -> io::Result<Option<Message<'_>>> {
        self.buffer.drain(..self.consumed);
        self.consumed = 0;
        let head = loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at + 4;
            }
            if self.read().await? == 0 {
                return if self.buffer.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        };
        let whole = head + content_length(&self.buffer[..head])?;
        while self.buffer.len() < whole {
            if self.read().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        self.consumed = whole;
        let line = find(&self.buffer, b"\r\n").unwrap_or(head);
        Ok(Some(Message { start_line: &self.buffer[..line], body: &self.buffer[head..whole] }))
    }

    async fn read(&mut self) -> io::Result<usize> {
        self.buffer.reserve(READ_BYTES);
        self.stream.read_buf(&mut self.buffer).await
    }
}

fn content_length(head: &[u8]) -> io::Result<usize> {
    let value = head.split(|byte| *byte == b'\n').find_map(|line| {
        let (name, value) = line.split_at_checked(15)?;
        name.eq_ignore_ascii_case(b"content-length:").then_some(value)
    });
    let length = value.and_then(|value| std::str::from_utf8(value).ok()?.trim().parse().ok());
    length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a message without a content-length"))
}

/// Where `needle` begins.
pub fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|window| window == needle)
}

/// What stands between `before` and the next double quote.
pub fn quoted_after<'a>(bytes: &'a [u8], before: &[u8]) -> Option<&'a str> {
    let rest = &bytes[find(bytes, before)? + before.len()..];
    std::str::from_utf8(&rest[..rest.iter().position(|byte| *byte == b'"')?]).ok()
}
