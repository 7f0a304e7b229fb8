//! A client of server-sent events that speaks raw HTTP/1.1, so that it reads when a test wants it to.

use super::wait::{PATIENCE, within};
use serde_json::Value;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// A request in the making.
pub struct Listening {
    port: u16,
    head: String,
    receive_buffer: Option<u32>,
}

pub struct EventStream {
    stream: TcpStream,
    /// As it came, chunked.
    raw: Vec<u8>,
    text: String,
    ended: bool,
    pub head: String,
}

/// One message or comment.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Block {
    pub id: Option<String>,
    pub data: Option<String>,
    pub retry: Option<u64>,
    pub comments: usize,
}

impl Block {
    pub fn json(&self) -> Value {
        let data = self.data.as_deref().unwrap_or_else(|| panic!("a message has data: {self:?}"));
        serde_json::from_str(data).unwrap_or_else(|e| panic!("a message is JSON ({e}): {data}"))
    }
}

impl Listening {
    pub fn new(port: u16, path: &str) -> Listening {
        let head = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: text/event-stream\r\n");
        Listening { port, head, receive_buffer: None }
    }

    pub fn header(mut self, name: &str, value: &str) -> Listening {
        self.head.push_str(&format!("{name}: {value}\r\n"));
        self
    }

    pub fn bearer(self, token: &str) -> Listening {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub fn small_receive_buffer(mut self) -> Listening {
        self.receive_buffer = Some(4096);
        self
    }

    pub async fn open(self) -> EventStream {
        self.try_open().await.unwrap_or_else(|head| panic!("the stream was refused: {head}"))
    }

    /// The head of a refusal.
    pub async fn try_open(self) -> Result<EventStream, String> {
        within(PATIENCE, "the answer to a listener", async {
            let tcp = TcpSocket::new_v4().expect("a socket can be made");
            if let Some(bytes) = self.receive_buffer {
                tcp.set_recv_buffer_size(bytes).expect("a receive buffer can be small");
            }
            let mut stream = tcp.connect(([127, 0, 0, 1], self.port).into()).await.expect("the server listens");
            stream.write_all(format!("{}\r\n", self.head).as_bytes()).await.expect("the server reads the request");
            let (raw, text, head) = (Vec::new(), String::new(), String::new());
            let mut stream = EventStream { stream, raw, text, ended: false, head };
            let end = loop {
                if let Some(at) = stream.raw.windows(4).position(|w| w == b"\r\n\r\n") {
                    break at + 4;
                }
                assert!(stream.more().await, "the server hung up within the head");
            };
            stream.head = String::from_utf8_lossy(&stream.raw[..end]).to_ascii_lowercase();
            stream.raw.drain(..end);
            if stream.head.starts_with("http/1.1 200") { Ok(stream) } else { Err(stream.head) }
        })
        .await
    }
}

impl EventStream {
    /// The next message's JSON, which must be of this type.
    pub async fn expect(&mut self, word: &str) -> Value {
        let block = self.message().await;
        let json = block.json();
        assert_eq!(json["type"], word, "expected {word}, got {block:?}");
        json
    }

    /// The next message; comments and presence are passed over.
    pub async fn message(&mut self) -> Block {
        self.message_within(PATIENCE).await
    }

    pub async fn message_within(&mut self, limit: Duration) -> Block {
        within(limit, "a message of the stream", async {
            loop {
                let block = self.next().await.unwrap_or_else(|| panic!("the stream ended"));
                let told = |data: &String| !data.contains(r#""type":"agent.presence."#);
                if block.data.as_ref().is_some_and(told) {
                    return block;
                }
            }
        })
        .await
    }

    /// Waits for this many comments.
    pub async fn expect_comments(&mut self, count: usize) {
        within(PATIENCE, "comments of the stream", async {
            let mut seen = 0;
            while seen < count {
                seen += self.next().await.unwrap_or_else(|| panic!("the stream ended")).comments;
            }
        })
        .await;
    }

    /// The stream must end here.
    pub async fn expect_end(&mut self) {
        let next = within(PATIENCE, "the end of the stream", self.next()).await;
        assert_eq!(next, None, "nothing comes after the end");
    }

    async fn next(&mut self) -> Option<Block> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (read(block), rest.to_owned());
                self.text = rest;
                return Some(block);
            }
            while let Some(chunk) = self.chunk() {
                self.ended |= chunk.is_empty();
                self.text.push_str(&chunk);
            }
            if !self.text.contains("\n\n") && (self.ended || !self.more().await) {
                assert!(self.ended, "the server hung up without ending the stream");
                return None;
            }
        }
    }

    /// A whole chunk of what has come.
    fn chunk(&mut self) -> Option<String> {
        let line = self.raw.windows(2).position(|w| w == b"\r\n")?;
        let size = std::str::from_utf8(&self.raw[..line]).expect("a chunk's size is text");
        let size = usize::from_str_radix(size, 16).expect("a chunk's size is a number");
        let (start, end) = (line + 2, line + 2 + size);
        if self.raw.len() < end + 2 {
            return None;
        }
        let chunk = String::from_utf8(self.raw[start..end].to_vec()).expect("a write is whole messages");
        self.raw.drain(..end + 2);
        Some(chunk)
    }

    async fn more(&mut self) -> bool {
        let mut bytes = [0; 16 * 1024];
        let read = self.stream.read(&mut bytes).await.unwrap_or(0);
        self.raw.extend_from_slice(&bytes[..read]);
        read > 0
    }
}

/// As a browser reads it.
fn read(block: &str) -> Block {
    let mut read = Block::default();
    for line in block.lines() {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "" => read.comments += 1,
            "id" => read.id = Some(value.to_owned()),
            "retry" => read.retry = value.parse().ok(),
            "data" => match &mut read.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                none => *none = Some(value.to_owned()),
            },
            other => panic!("a line that is none of ours: {other}"),
        }
    }
    read
}
