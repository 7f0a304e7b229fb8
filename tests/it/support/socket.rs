//! A WebSocket client that reads in order and says what it expected.

use super::wait::{PATIENCE, within};
use futures_util::{SinkExt, StreamExt};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::{Error, Message};

/// A handshake in the making.
pub struct Connecting {
    port: u16,
    request: Request,
    receive_buffer: Option<u32>,
}

pub struct Socket {
    stream: WebSocketStream<TcpStream>,
    /// What the server echoed as `Sec-WebSocket-Protocol`.
    pub subprotocol: Option<String>,
}

/// One text frame, as it came.
#[derive(Debug, Clone)]
pub struct Frame {
    pub text: String,
    pub value: Value,
}

/// What came next on a socket.
#[derive(Debug)]
enum Next {
    Frame(Frame),
    Ping,
    Closed(u16),
}

impl Connecting {
    pub fn new(port: u16, path: &str) -> Connecting {
        let request = format!("ws://127.0.0.1:{port}{path}").into_client_request().expect("a path makes a request");
        Connecting { port, request, receive_buffer: None }
    }

    pub fn bearer(self, token: &str) -> Connecting {
        self.header("authorization", &format!("Bearer {token}"))
    }

    /// Offers `jackfield.v1` and the token, as a browser has to.
    pub fn subprotocol(self, token: &str) -> Connecting {
        self.header("sec-websocket-protocol", &format!("jackfield.v1, bearer.{token}"))
    }

    pub fn header(mut self, name: &'static str, value: &str) -> Connecting {
        self.request.headers_mut().insert(name, value.parse().expect("a header value"));
        self
    }

    /// Lets the kernel take little, so that a client that does not read is soon a slow one.
    pub fn small_receive_buffer(mut self) -> Connecting {
        self.receive_buffer = Some(4096);
        self
    }

    /// Upgraded; no frame is read yet.
    pub async fn open(self) -> Socket {
        self.try_open().await.unwrap_or_else(|status| panic!("the handshake was refused with {status}"))
    }

    /// The HTTP status of a refused handshake.
    pub async fn refused(self) -> u16 {
        match self.try_open().await {
            Ok(_) => panic!("the handshake was accepted"),
            Err(status) => status,
        }
    }

    /// Upgraded, or none where the server refuses or ends meanwhile.
    pub async fn attempt(self) -> Option<Socket> {
        let tcp = TcpStream::connect(("127.0.0.1", self.port)).await.ok()?;
        let opened = within(PATIENCE, "the answer to a handshake", tokio_tungstenite::client_async(self.request, tcp));
        let (stream, _) = opened.await.ok()?;
        Some(Socket { stream, subprotocol: None })
    }

    pub async fn try_open(self) -> Result<Socket, u16> {
        within(PATIENCE, "the answer to a handshake", async {
            let tcp = TcpSocket::new_v4().expect("a socket can be made");
            if let Some(bytes) = self.receive_buffer {
                tcp.set_recv_buffer_size(bytes).expect("a receive buffer can be small");
            }
            let tcp = tcp.connect(([127, 0, 0, 1], self.port).into()).await.expect("the server listens");
            match tokio_tungstenite::client_async(self.request, tcp).await {
                Ok((stream, answer)) => {
                    let subprotocol = answer.headers().get("sec-websocket-protocol");
                    let subprotocol = subprotocol.and_then(|v| v.to_str().ok()).map(str::to_owned);
                    Ok(Socket { stream, subprotocol })
                }
                Err(Error::Http(answer)) => Err(answer.status().as_u16()),
                Err(e) => panic!("the handshake broke: {e}"),
            }
        })
        .await
    }
}

impl Socket {
    /// The first frame.
    pub async fn expect_welcome(&mut self) -> Value {
        self.expect_control("welcome").await
    }

    /// The next event, which must be of this type; presence comes and goes unasked and is passed over.
    pub async fn expect_event(&mut self, event_type: &str) -> Value {
        self.expect_frame(event_type).await.value
    }

    /// The next event with the text as it came.
    pub async fn expect_frame(&mut self, event_type: &str) -> Frame {
        let what = format!("the event {event_type}");
        loop {
            let frame = self.frame(PATIENCE, &what).await;
            let came = frame.value["type"].as_str().unwrap_or_default();
            if came == event_type {
                assert!(frame.value["id"].is_string(), "an event has an id: {}", frame.text);
                return frame;
            }
            assert!(came.starts_with("agent.presence."), "expected {what}, got {}", frame.text);
        }
    }

    /// The text of the next event, for what a parser would even out.
    pub async fn expect_text(&mut self, event_type: &str) -> String {
        self.expect_frame(event_type).await.text
    }

    /// The next control frame of this type; events before it are passed over.
    pub async fn expect_control(&mut self, word: &str) -> Value {
        let what = format!("the control frame {word}");
        loop {
            let frame = self.frame(PATIENCE, &what).await;
            if frame.value["id"].is_null() {
                assert_eq!(frame.value["type"], word, "expected {what}, got {}", frame.text);
                return frame.value;
            }
        }
    }

    /// The next frame, which must be this control frame: no event may come before it.
    pub async fn expect_next_control(&mut self, word: &str) -> Value {
        let frame = self.expect_any().await;
        assert!(frame.value["id"].is_null() && frame.value["type"] == word, "expected {word}, got {}", frame.text);
        frame.value
    }

    /// The next frame, however long that takes, or the code that the connection ended with.
    pub async fn read(&mut self) -> Result<Frame, u16> {
        loop {
            match self.next().await {
                Next::Frame(frame) => return Ok(frame),
                Next::Ping => {}
                Next::Closed(code) => return Err(code),
            }
        }
    }

    /// Whatever comes next; presence is passed over.
    pub async fn expect_any(&mut self) -> Frame {
        loop {
            let frame = self.frame(PATIENCE, "a frame").await;
            if !frame.value["type"].as_str().unwrap_or_default().starts_with("agent.presence.") {
                return frame;
            }
        }
    }

    /// Reads until `marker`, which the test has published after all else, and fails if any event came before it.
    pub async fn expect_silence_until(&mut self, marker: &str) {
        self.expect_event(marker).await;
    }

    /// Reads on until the server closes; answers the code.
    pub async fn expect_close(&mut self) -> u16 {
        self.expect_close_within(PATIENCE).await
    }

    pub async fn expect_close_within(&mut self, limit: Duration) -> u16 {
        within(limit, "the server to close the socket", async {
            loop {
                if let Next::Closed(code) = self.next().await {
                    return code;
                }
            }
        })
        .await
    }

    /// A refusal that either leaves the socket open (an `error` frame) or closes it with one of `codes`.
    pub async fn expect_refusal(&mut self, codes: &[u16]) {
        within(PATIENCE, "an error frame or a close", async {
            loop {
                match self.next().await {
                    Next::Frame(frame) if frame.value["id"].is_null() && frame.value["type"] == "error" => {
                        assert!(frame.value["code"].is_string(), "an error has a code: {}", frame.text);
                        return;
                    }
                    Next::Closed(code) => {
                        assert!(codes.contains(&code), "closed with {code}, expected one of {codes:?}");
                        return;
                    }
                    Next::Frame(_) | Next::Ping => {}
                }
            }
        })
        .await;
    }

    /// Counts protocol pings, each answered by the library, until there were `count`.
    pub async fn expect_pings(&mut self, count: usize) {
        within(PATIENCE, &format!("{count} pings"), async {
            let mut seen = 0;
            while seen < count {
                match self.next().await {
                    Next::Ping => seen += 1,
                    Next::Frame(_) => {}
                    Next::Closed(code) => panic!("closed with {code} after {seen} pings"),
                }
            }
        })
        .await;
    }

    /// Sends one client frame.
    pub async fn send(&mut self, frame: Value) {
        self.send_message(Message::text(frame.to_string())).await;
    }

    /// The same, for a socket that may have been closed.
    pub async fn try_send(&mut self, frame: Value) -> Result<(), Error> {
        self.stream.send(Message::text(frame.to_string())).await
    }

    pub async fn subscribe(&mut self, patterns: &[&str]) -> Value {
        self.send(json!({"type": "subscribe", "events": patterns, "ref": 1})).await;
        self.expect_control("subscribed").await
    }

    pub async fn send_message(&mut self, message: Message) {
        self.stream.send(message).await.expect("the socket takes a message");
    }

    /// Says goodbye and waits for the echo.
    pub async fn close(mut self) {
        let _ = self.stream.close(None).await;
        self.expect_close().await;
    }

    async fn frame(&mut self, limit: Duration, what: &str) -> Frame {
        within(limit, what, async {
            loop {
                match self.next().await {
                    Next::Frame(frame) => return frame,
                    Next::Ping => {}
                    Next::Closed(code) => panic!("closed with {code} while waiting for {what}"),
                }
            }
        })
        .await
    }

    async fn next(&mut self) -> Next {
        loop {
            match self.stream.next().await {
                Some(Ok(Message::Text(text))) => {
                    let text = text.as_str().to_owned();
                    let value = envelope(&text);
                    return Next::Frame(Frame { text, value });
                }
                Some(Ok(Message::Ping(_))) => return Next::Ping,
                Some(Ok(Message::Close(frame))) => return Next::Closed(frame.map_or(1005, |f| f.code.into())),
                Some(Ok(_)) => {}
                // 1006 is what a client reports when no close frame came.
                Some(Err(_)) | None => return Next::Closed(1006),
            }
        }
    }
}

/// The members of a frame. A member that this parser cannot hold (a number beyond f64, nesting beyond 128) is its text.
fn envelope(text: &str) -> Value {
    let members: HashMap<String, Box<RawValue>> =
        serde_json::from_str(text).unwrap_or_else(|e| panic!("a frame is a JSON object ({e}): {text}"));
    let hold = |raw: &RawValue| serde_json::from_str(raw.get()).unwrap_or_else(|_| Value::from(raw.get()));
    members
        .into_iter()
        .map(|(name, raw)| {
            let value = hold(&raw);
            (name, value)
        })
        .collect()
}
