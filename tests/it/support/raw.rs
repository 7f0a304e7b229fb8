//! Clients that no library would make: they write bytes and answer nothing.

use super::wait::{PATIENCE, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Sends a whole request, reading the answer while it writes; answers the status.
pub async fn status_of(port: u16, head: &str, body: Vec<u8>) -> u16 {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("the server listens");
    let (mut reader, mut writer) = stream.into_split();
    let bytes = [head.as_bytes(), &body].concat();
    // The server may stop reading before the end, as it should: what counts is its answer.
    let writing = tokio::spawn(async move { writer.write_all(&bytes).await.map(|()| writer) });
    let mut answer = Vec::new();
    within(PATIENCE, "an answer to a raw request", async {
        let mut buffer = [0; 4096];
        while answer.len() < "HTTP/1.1 200".len() {
            match reader.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(n) => answer.extend_from_slice(&buffer[..n]),
            }
        }
    })
    .await;
    writing.abort();
    let text = String::from_utf8_lossy(&answer).into_owned();
    let status = text.split(' ').nth(1).and_then(|word| word.parse().ok());
    status.unwrap_or_else(|| panic!("no status in the answer {text:?}"))
}

/// A socket that reads its frames and never answers a ping.
pub struct DeafSocket {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl DeafSocket {
    pub async fn open(port: u16, token: &str) -> DeafSocket {
        DeafSocket::open_at(port, "/ws", token).await
    }

    pub async fn open_at(port: u16, path: &str, token: &str) -> DeafSocket {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("the server listens");
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.expect("the server reads the handshake");
        let mut socket = DeafSocket { stream, buffer: Vec::new() };
        let end = loop {
            if let Some(at) = socket.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            socket.more().await;
        };
        let head = String::from_utf8_lossy(&socket.buffer[..end]).into_owned();
        assert!(head.starts_with("HTTP/1.1 101"), "the handshake was refused: {head}");
        socket.buffer.drain(..end);
        socket
    }

    /// Reads so many messages, e.g. the welcome and what comes right after it.
    pub async fn expect_messages(&mut self, count: usize) {
        within(PATIENCE, &format!("{count} messages to a socket that answers no ping"), async {
            let mut read = 0;
            while read < count {
                read += usize::from(self.frame().await.0 == 1);
            }
        })
        .await;
    }

    /// Reads frames until the close frame, and answers its code.
    pub async fn expect_close(&mut self) -> u16 {
        within(PATIENCE, "a close frame on a socket that answers no ping", async {
            loop {
                let (opcode, payload) = self.frame().await;
                if opcode == 8 {
                    return u16::from_be_bytes([payload[0], payload[1]]);
                }
            }
        })
        .await
    }

    /// One unmasked, unfragmented frame: opcode and payload.
    async fn frame(&mut self) -> (u8, Vec<u8>) {
        self.at_least(2).await;
        let opcode = self.buffer[0] & 0x0f;
        let (head, len) = match self.buffer[1] & 0x7f {
            126 => {
                self.at_least(4).await;
                (4, usize::from(u16::from_be_bytes([self.buffer[2], self.buffer[3]])))
            }
            127 => {
                self.at_least(10).await;
                let bytes: [u8; 8] = self.buffer[2..10].try_into().expect("eight bytes are eight bytes");
                (10, u64::from_be_bytes(bytes) as usize)
            }
            short => (2, usize::from(short)),
        };
        self.at_least(head + len).await;
        let payload = self.buffer[head..head + len].to_vec();
        self.buffer.drain(..head + len);
        (opcode, payload)
    }

    async fn at_least(&mut self, bytes: usize) {
        while self.buffer.len() < bytes {
            self.more().await;
        }
    }

    async fn more(&mut self) {
        let mut chunk = [0; 4096];
        let read = self.stream.read(&mut chunk).await.expect("the connection stands");
        assert!(read > 0, "the server hung up without a close frame");
        self.buffer.extend_from_slice(&chunk[..read]);
    }
}
