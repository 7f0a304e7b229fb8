//! One WebSocket as the sessions use it: whole messages in, batches out, and an orderly end. It knows nothing of tenants and
//! events.

use std::{error::Error as _, future::Future, time::Duration};

use axum::{
    body::Bytes,
    extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket},
};
use futures_util::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};

use super::control::Control;
use crate::hub::Close;

/// How long a close may take that a slow client has to read its way to.
pub const CLOSE_DEADLINE: Duration = Duration::from_secs(10);
const ANSWER_DEADLINE: Duration = Duration::from_secs(2);

pub struct Transport {
    sink: SplitSink<WebSocket, Message>,
    stream: SplitStream<WebSocket>,
    /// How long one batch may take to be written.
    patience: Duration,
}

/// What came from a client.
#[derive(Debug)]
pub enum Said {
    Text(Utf8Bytes),
    Binary(Bytes),
    /// Answered below us.
    Ping,
    Pong,
}

/// Why a session ends.
#[derive(Debug)]
pub enum End {
    /// We close, for a reason.
    Close(Close),
    /// The client closed, or is gone.
    Gone,
}

impl End {
    pub fn ours(code: u16, reason: &'static str) -> Self {
        Self::Close(Close { code, reason, after_ms: None })
    }
}

impl Transport {
    pub fn new(socket: WebSocket, patience: Duration) -> Self {
        let (sink, stream) = socket.split();
        Self { sink, stream, patience }
    }

    /// Waits for what the client says next. May be given up at any time.
    pub async fn hear(&mut self) -> Result<Said, End> {
        match self.stream.next().await {
            Some(Ok(Message::Text(text))) => Ok(Said::Text(text)),
            Some(Ok(Message::Binary(bytes))) => Ok(Said::Binary(bytes)),
            Some(Ok(Message::Ping(_))) => Ok(Said::Ping),
            Some(Ok(Message::Pong(_))) => Ok(Said::Pong),
            Some(Ok(Message::Close(_))) | None => Err(End::Gone),
            Some(Err(error)) => Err(protocol_end(&error)),
        }
    }

    /// Feeds all, flushes once. A client that does not read holds us here: until `closing` says that it is enough, or for
    /// the time in which it should have been heard of.
    pub async fn send_all(
        &mut self,
        messages: impl Iterator<Item = Message>,
        closing: impl Future<Output = Close>,
    ) -> Result<(), End> {
        let sink = &mut self.sink;
        let sending = async {
            for message in messages {
                sink.feed(message).await?;
            }
            sink.flush().await
        };
        tokio::select! {
            biased;
            sent = sending => sent.map_err(|_| End::Gone),
            close = closing => Err(End::Close(close)),
            () = tokio::time::sleep(self.patience) => Err(End::ours(4512, "no_pong")),
        }
    }

    /// Says goodbye where we close, and closes, within one deadline each way.
    pub async fn end(mut self, end: End) {
        if let End::Close(close) = end {
            // A client that is gone, or never reads, needs no goodbye.
            let _ = tokio::time::timeout(CLOSE_DEADLINE, self.say_goodbye(&close)).await;
        }
        // Ours is to be read, or the client's own to be answered: hanging up before could take the code with it.
        let answered = async { while let Some(Ok(_)) = self.stream.next().await {} };
        let _ = tokio::time::timeout(ANSWER_DEADLINE, answered).await;
    }

    async fn say_goodbye(&mut self, close: &Close) -> Result<(), axum::Error> {
        let frame = CloseFrame { code: close.code, reason: Utf8Bytes::from_static(close.reason) };
        // 1002, 1003, 1007 and 1009 say it all: the client does not speak our protocol.
        if !matches!(close.code, 1002 | 1003 | 1007 | 1009) {
            self.sink.feed(Message::Text(Control::bye(close).to_json().into())).await?;
        }
        self.sink.feed(Message::Close(Some(frame))).await?;
        self.sink.flush().await
    }
}

/// Each fault of the protocol has its code (RFC 6455 §7.4.1).
fn protocol_end(error: &axum::Error) -> End {
    use tungstenite::Error;
    match error.source().and_then(|source| source.downcast_ref::<Error>()) {
        Some(Error::Capacity(_)) => End::ours(1009, "too_big"),
        Some(Error::Utf8(_)) => End::ours(1007, "not_utf8"),
        Some(Error::Protocol(_)) => End::ours(1002, "protocol_error"),
        _ => End::Gone,
    }
}
