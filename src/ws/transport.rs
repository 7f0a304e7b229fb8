//! One WebSocket as the sessions use it: whole messages in, frames out, and an orderly end. It knows nothing of tenants and
//! events.

use std::{collections::VecDeque, future::Future, io, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::net::TcpStream;

use super::{
    control::Control,
    wire::{Doorbell, Fault, Flushed, Opcode, Parser, Said, Shards, Wire, encode, encode_close},
};
use crate::{
    config::SocketConfig,
    hub::{Close, Frame, Outbox, Position},
};

/// How long a close may take that a slow client has to read its way to.
pub const CLOSE_DEADLINE: Duration = Duration::from_secs(10);
const ANSWER_DEADLINE: Duration = Duration::from_secs(2);
/// Pongs that a client is owed which does not read; beyond it, its pings get no answer.
const MAX_WAITING: usize = 256;
/// At most so many bytes are read at once.
const READ: usize = 8 * 1024;

pub struct Transport {
    wire: Arc<Wire>,
    parser: Parser,
    said: VecDeque<Said>,
    /// Read with the handshake.
    early: Bytes,
    fault: Option<Fault>,
    deaf: bool,
    /// How long one batch may take to be written.
    patience: Duration,
    /// Bytes that are read at once.
    read_bytes: usize,
    /// What the client closed with.
    closed: Option<u16>,
}

/// Why a session ends.
#[derive(Debug)]
pub enum End {
    /// We close, for a reason.
    Close(Close),
    /// The client closed.
    Closed,
    /// The client is gone.
    Gone,
}

impl End {
    pub fn ours(code: u16, reason: &'static str) -> Self {
        Self::Close(Close { code, reason, after_ms: None })
    }
}

impl Transport {
    pub fn new((stream, early): (TcpStream, Bytes), max_message_bytes: usize, config: &SocketConfig) -> Self {
        Self {
            wire: Arc::new(Wire::new(stream)),
            parser: Parser::new(max_message_bytes),
            said: VecDeque::new(),
            early,
            fault: None,
            deaf: false,
            read_bytes: config.read_buffer_bytes.min(READ),
            patience: config.pong_timeout,
            closed: None,
        }
    }

    /// Has one of the shards told of what the hub queues, for as long as [`Transport::follow`] lets it go out.
    pub fn attach(&self, outbox: &Arc<Outbox>, shards: &Shards) {
        let doorbell: Doorbell = shards.doorbell(&self.wire);
        outbox.tell(Box::new(doorbell));
    }

    /// From now on what the hub queues goes out by itself, and what waits there goes out at once.
    pub fn follow(&self, outbox: Arc<Outbox>) {
        self.wire.attach(outbox);
        // Where it is blocked or broken, whoever attends to it knows.
        self.wire.flush();
    }

    /// From now on only what is sent here goes out.
    pub fn hold(&self) {
        self.wire.detach();
    }

    /// The writing half.
    pub fn wire(&self) -> Arc<Wire> {
        self.wire.clone()
    }

    /// The last event that was written.
    pub fn written(&self) -> Option<Position> {
        self.wire.written()
    }

    /// Waits for what the client says next: a text, or what it asks for in control frames, which are answered here. May be
    /// given up at any time.
    pub async fn hear(&mut self) -> Result<Said, End> {
        loop {
            if let Some(said) = self.said.pop_front() {
                match said {
                    Said::Ping(payload) => {
                        if self.wire.waiting() < MAX_WAITING {
                            self.wire.push_raw(encode(Opcode::Pong, &payload));
                            self.wire.flush();
                        }
                        return Ok(Said::Ping(payload));
                    }
                    Said::Close(code) => {
                        self.closed = Some(code);
                        return Err(End::Closed);
                    }
                    said => return Ok(said),
                }
            }
            // What came before the fault has been heard; what comes after it means nothing.
            if let Some(fault) = self.fault.take() {
                self.deaf = true;
                return Err(protocol_end(fault));
            }
            self.read().await?;
        }
    }

    async fn read(&mut self) -> Result<(), End> {
        if !self.early.is_empty() {
            let early = std::mem::take(&mut self.early);
            self.parse(&early);
            return Ok(());
        }
        self.wire.stream.readable().await.map_err(|_| End::Gone)?;
        match self.read_now() {
            Ok(0) => Err(End::Gone),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(_) => Err(End::Gone),
        }
    }

    /// Apart, so that an idle session holds no buffer.
    fn read_now(&mut self) -> io::Result<usize> {
        let mut buffer = [0; READ];
        let count = self.wire.stream.try_read(&mut buffer[..self.read_bytes])?;
        self.parse(&buffer[..count]);
        Ok(count)
    }

    fn parse(&mut self, bytes: &[u8]) {
        if self.deaf {
            return;
        }
        let mut said = Vec::new();
        self.fault = self.parser.read(bytes, &mut said).err();
        self.said.extend(said);
    }

    /// Writes all, before what the hub has queued. A client that does not read holds us here: until `closing` says that it
    /// is enough, or for the time in which it should have been heard of.
    pub async fn send_all(
        &self,
        frames: impl Iterator<Item = Frame>,
        closing: impl Future<Output = Close>,
    ) -> Result<(), End> {
        let end = self.wire.push_frames(frames);
        self.written_out(end, closing).await
    }

    pub async fn send_raw(&self, bytes: Vec<u8>, closing: impl Future<Output = Close>) -> Result<(), End> {
        let end = self.wire.push_raw(bytes);
        self.written_out(end, closing).await
    }

    /// What comes behind `end` is not waited for: it may never end.
    async fn written_out(&self, end: u64, closing: impl Future<Output = Close>) -> Result<(), End> {
        match self.wire.flush() {
            Flushed::All => return Ok(()),
            Flushed::Broken => return Err(End::Gone),
            Flushed::Blocked => {}
        }
        let written = async {
            while !self.wire.is_gone(end) {
                if self.wire.unblock().await == Flushed::Broken {
                    return Err(End::Gone);
                }
            }
            Ok(())
        };
        tokio::select! {
            biased;
            written = written => written,
            close = closing => Err(End::Close(close)),
            () = tokio::time::sleep(self.patience) => Err(End::ours(4512, "no_pong")),
        }
    }

    /// Says goodbye where we close, and closes, within one deadline each way.
    pub async fn end(mut self, end: End) {
        self.hold();
        let last = match &end {
            End::Close(close) => {
                // 1002, 1003, 1007 and 1009 say it all: the client does not speak our protocol.
                if !matches!(close.code, 1002 | 1003 | 1007 | 1009) {
                    self.wire.push_frames(std::iter::once(Frame::new(Control::bye(close).to_json())));
                }
                self.wire.push_raw(encode_close(close.code, close.reason))
            }
            End::Closed => self.wire.push_raw(encode_close(self.closed.unwrap_or(1000), "")),
            End::Gone => return,
        };
        // A client that is gone, or never reads, needs no goodbye.
        let said = tokio::time::timeout(CLOSE_DEADLINE, self.written_out(last, std::future::pending())).await;
        if !matches!(said, Ok(Ok(()))) {
            return;
        }
        // The server closes first (RFC 6455 §7.1.1), after the client's own close: hanging up before it has read ours could
        // take the code with it.
        let answered = async {
            if self.closed.is_none() {
                while !matches!(self.hear().await, Err(End::Closed | End::Gone)) {}
            }
        };
        let _ = tokio::time::timeout(ANSWER_DEADLINE, answered).await;
        self.shut_down();
    }

    fn shut_down(self) {
        if let Some(wire) = Arc::into_inner(self.wire)
            && let Ok(stream) = wire.stream.into_std()
        {
            // Whoever is gone already needs no end.
            let _ = stream.shutdown(std::net::Shutdown::Write);
        }
    }
}

/// Each fault of the protocol has its code (RFC 6455 §7.4.1).
fn protocol_end(fault: Fault) -> End {
    match fault {
        Fault::TooBig => End::ours(1009, "too_big"),
        Fault::NotUtf8 => End::ours(1007, "not_utf8"),
        Fault::Protocol => End::ours(1002, "protocol_error"),
    }
}
