//! A WebSocket on a bare TCP stream: what is to be written goes out in one system call for as much as there is, from
//! whichever thread finds that there is something. Nobody waits for a slow reader but its own session.

mod parse;
mod shards;
mod upgrade;

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{net::TcpStream, sync::Notify};

pub use parse::{Fault, Opcode, Parser, Said, encode, encode_close};
pub use shards::{Doorbell, Shards};
pub use upgrade::Upgrade;

use crate::hub::{Frame, Outbox, Position};

/// Frames that go into one write.
const BATCH: usize = 64;
/// Beyond these bytes nothing more is taken from the outbox: what waits there counts for the queue's limit.
const BATCH_BYTES: usize = 128 * 1024;
/// Bytes up to which they are copied together.
const LITTLE: usize = 1024;

/// The writing half, shared by the session and a shard.
pub struct Wire {
    pub stream: TcpStream,
    out: Mutex<Out>,
    /// The stream takes no more: the session waits until it does.
    blocked: AtomicBool,
    /// It is blocked, or broken.
    attention: Notify,
}

#[derive(Default)]
struct Out {
    /// Begun, or to be written before what is in the outbox.
    pieces: VecDeque<Piece>,
    /// Bytes of all of them.
    bytes: usize,
    /// Bytes of the first piece that are written.
    done: usize,
    /// Pieces that have been written whole.
    gone: u64,
    /// Where the hub's frames wait, from the welcome on.
    outbox: Option<Arc<Outbox>>,
    /// The last event that was written.
    written: Option<Position>,
    broken: bool,
}

struct Piece {
    header: [u8; 10],
    header_len: usize,
    body: Body,
}

enum Body {
    Frame(Frame),
    /// With its header.
    Raw(Vec<u8>),
}

impl Piece {
    fn frame(frame: Frame) -> Self {
        let (header, header_len) = parse::header(Opcode::Text, frame.len());
        Self { header, header_len, body: Body::Frame(frame) }
    }

    fn raw(bytes: Vec<u8>) -> Self {
        Self { header: [0; 10], header_len: 0, body: Body::Raw(bytes) }
    }

    fn parts(&self) -> [&[u8]; 2] {
        let body = match &self.body {
            Body::Frame(frame) => frame.as_bytes(),
            Body::Raw(bytes) => bytes,
        };
        [&self.header[..self.header_len], body]
    }

    fn len(&self) -> usize {
        self.parts().iter().map(|part| part.len()).sum()
    }
}

/// How a flush ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flushed {
    All,
    /// The client does not take it as fast.
    Blocked,
    Broken,
}

impl Wire {
    pub fn new(stream: TcpStream) -> Self {
        Self { stream, out: Mutex::default(), blocked: AtomicBool::new(false), attention: Notify::new() }
    }

    /// Held while bytes are handed to the kernel, which does not wait.
    fn out(&self) -> MutexGuard<'_, Out> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on what the hub queues is written too, after what was pushed so far.
    pub fn attach(&self, outbox: Arc<Outbox>) {
        self.out().outbox = Some(outbox);
    }

    /// From now on only what is pushed is written.
    pub fn detach(&self) {
        self.out().outbox = None;
    }

    /// Answers what to ask [`Wire::is_gone`] about the last of them.
    pub fn push_frames(&self, frames: impl Iterator<Item = Frame>) -> u64 {
        let mut out = self.out();
        frames.for_each(|frame| out.push(Piece::frame(frame)));
        out.end()
    }

    /// A frame with its header.
    pub fn push_raw(&self, bytes: Vec<u8>) -> u64 {
        let mut out = self.out();
        out.push(Piece::raw(bytes));
        out.end()
    }

    /// Whether what was pushed up to here is written.
    pub fn is_gone(&self, end: u64) -> bool {
        self.out().gone >= end
    }

    /// Pieces that are to be written before what is in the outbox.
    pub fn waiting(&self) -> usize {
        self.out().pieces.len()
    }

    /// The last event that was written.
    pub fn written(&self) -> Option<Position> {
        self.out().written.clone()
    }

    /// Writes as much as the stream takes now.
    pub fn flush(&self) -> Flushed {
        let mut out = self.out();
        loop {
            if out.broken {
                return Flushed::Broken;
            }
            out.refill();
            if out.pieces.is_empty() {
                self.blocked.store(false, Ordering::Relaxed);
                return Flushed::All;
            }
            match out.write(&self.stream) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if !self.blocked.swap(true, Ordering::Relaxed) {
                        self.attention.notify_one();
                    }
                    return Flushed::Blocked;
                }
                Err(_) => {
                    out.broken = true;
                    (out.pieces, out.bytes) = (VecDeque::new(), 0);
                    self.attention.notify_one();
                    return Flushed::Broken;
                }
            }
        }
    }

    /// Waits until a stream that takes no more does again, and gives it what waits.
    pub async fn unblock(&self) -> Flushed {
        match self.stream.writable().await {
            Ok(()) => self.flush(),
            Err(_) => Flushed::Broken,
        }
    }

    /// Gives a slow client what waits as fast as it takes it; returns when the stream is broken. May be given up at any time.
    pub async fn attend(&self) {
        loop {
            let flushed = if self.blocked.load(Ordering::Relaxed) {
                self.unblock().await
            } else {
                self.attention.notified().await;
                self.flush()
            };
            if flushed == Flushed::Broken {
                return;
            }
        }
    }
}

impl Out {
    fn push(&mut self, piece: Piece) {
        self.bytes += piece.len();
        self.pieces.push_back(piece);
    }

    fn end(&self) -> u64 {
        self.gone + self.pieces.len() as u64
    }

    fn refill(&mut self) {
        if self.pieces.len() < BATCH
            && self.bytes < BATCH_BYTES
            && let Some(outbox) = self.outbox.clone()
        {
            outbox.take(BATCH - self.pieces.len(), BATCH_BYTES - self.bytes, |frame| self.push(Piece::frame(frame)));
        }
        if self.pieces.is_empty() && self.pieces.capacity() > BATCH {
            self.pieces = VecDeque::new();
        }
    }

    /// One system call. What is little is copied together: `send` costs the kernel less than `writev`.
    fn write(&mut self, stream: &TcpStream) -> io::Result<()> {
        let written = self.write_little(stream).unwrap_or_else(|| self.write_vectored(stream))?;
        self.forget(written)
    }

    fn write_little(&self, stream: &TcpStream) -> Option<io::Result<usize>> {
        let (mut little, mut len) = ([0; LITTLE], 0);
        for part in self.pieces.iter().flat_map(Piece::parts) {
            little.get_mut(len..len + part.len())?.copy_from_slice(part);
            len += part.len();
        }
        Some(stream.try_write(&little[self.done..len]))
    }

    fn write_vectored(&self, stream: &TcpStream) -> io::Result<usize> {
        let mut slices = [IoSlice::new(&[]); 2 * BATCH];
        let (mut count, mut skip) = (0, self.done);
        for part in self.pieces.iter().take(BATCH).flat_map(Piece::parts) {
            let skipped = skip.min(part.len());
            skip -= skipped;
            if skipped < part.len() {
                slices[count] = IoSlice::new(&part[skipped..]);
                count += 1;
            }
        }
        stream.try_write_vectored(&slices[..count])
    }

    /// Forgets the pieces that are written.
    fn forget(&mut self, mut written: usize) -> io::Result<()> {
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        written += self.done;
        self.done = 0;
        while let Some(first) = self.pieces.front() {
            if written < first.len() {
                self.done = written;
                return Ok(());
            }
            written -= first.len();
            self.bytes -= first.len();
            self.gone += 1;
            if let Some(Piece { body: Body::Frame(frame), .. }) = self.pieces.pop_front()
                && let Some(position) = frame.position()
            {
                self.written = Some(position.clone());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use tokio::net::TcpListener;

    use super::*;

    /// A client that reads as fast as events come, and no faster, is not one that does not read.
    #[tokio::test]
    async fn what_was_pushed_is_gone_although_more_waits_behind_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let wire = Wire::new(listener.accept().await.unwrap().0);
        let outbox = Arc::new(Outbox::new(usize::MAX, Arc::<AtomicUsize>::default()));
        for _ in 0..500 {
            assert!(outbox.push(Frame::new("x".repeat(100_000))).is_ok());
        }
        wire.attach(outbox);
        let end = wire.push_raw(b"first".to_vec());
        wire.stream.writable().await.unwrap();
        assert_eq!((wire.flush(), wire.is_gone(end)), (Flushed::Blocked, true));
        assert!((1..=2).contains(&wire.waiting()), "what waits in the outbox counts there, for its limit");
        let end = wire.push_raw(b"second".to_vec());
        assert!(!wire.is_gone(end));
    }
}
