//! The subscribers: WebSockets by hand, all on the calling thread, which count payloads in what they read and parse nothing.
//! One read buffer serves them all, so that the load costs few cycles of the cores that it shares with the server.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    io,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use anyhow::bail;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf},
    net::{TcpSocket, TcpStream},
    task::{AbortHandle, JoinSet, spawn_local},
    time::timeout,
};

use super::{
    histogram::Histogram,
    payload::{STAMP_BYTES, scan, since_begin},
    publishers::{Backlog, Publisher},
    systems::{Door, Kind},
    until,
};

/// Handshakes under way at once.
const JOIN_AT_ONCE: usize = 64;
const READ_BYTES: usize = 64 * 1024;
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// All subscribers of a system.
pub struct Audience {
    door: Door,
    heard: Rc<Heard>,
    tasks: Vec<AbortHandle>,
}

/// What they have heard together.
struct Heard {
    payloads: Cell<u64>,
    broken: Cell<u64>,
    /// None while nothing is measured.
    latencies: RefCell<Option<Histogram>>,
    /// Told whenever an event is with all subscribers, from so many payloads on.
    backlog: RefCell<Option<(Arc<Backlog>, u64)>>,
    subscribers: Cell<u64>,
    buffer: RefCell<Vec<u8>>,
}

impl Audience {
    pub fn new(door: Door) -> Self {
        let heard = Heard {
            payloads: Cell::default(),
            broken: Cell::default(),
            latencies: RefCell::default(),
            backlog: RefCell::default(),
            subscribers: Cell::default(),
            buffer: RefCell::new(vec![0; READ_BYTES]),
        };
        Self { door, heard: Rc::new(heard), tasks: Vec::new() }
    }

    pub fn len(&self) -> u64 {
        self.heard.subscribers.get()
    }

    /// Payloads that arrived.
    pub fn payloads(&self) -> u64 {
        self.heard.payloads.get()
    }

    /// Adds subscribers; each has heard an event when this returns.
    ///
    /// # Errors
    /// When one is refused, or hears nothing.
    pub async fn join(&mut self, count: usize) -> anyhow::Result<()> {
        let (door, first) = (self.door, self.tasks.len());
        let mut joining = JoinSet::new();
        for n in first..first + count {
            if joining.len() == JOIN_AT_ONCE {
                self.seat(joining.join_next().await)?;
            }
            joining.spawn_local(async move { connect(door, &format!("user-{n}"), None).await });
        }
        while !joining.is_empty() {
            self.seat(joining.join_next().await)?;
        }
        let before = self.payloads();
        tokio::task::spawn_blocking(move || Publisher::open(door)?.publish(1, Instant::now())).await??;
        let missing = self.wait_for(before + self.len()).await;
        if missing > 0 {
            bail!("{missing} subscribers of {} heard nothing", door.kind);
        }
        Ok(())
    }

    fn seat(&mut self, joined: Option<Result<io::Result<TcpStream>, tokio::task::JoinError>>) -> anyhow::Result<()> {
        if let Some(stream) = joined {
            self.tasks.push(spawn_local(listen(stream??, self.heard.clone())).abort_handle());
            self.heard.subscribers.set(self.tasks.len() as u64);
        }
        Ok(())
    }

    /// Waits until so many payloads arrived, as long as something arrives; returns how many are missing.
    pub async fn wait_for(&self, payloads: u64) -> u64 {
        let (mut seen, mut since) = (self.payloads(), Instant::now());
        while self.payloads() < payloads && since.elapsed() < PATIENCE {
            until(Instant::now() + LOOK_AGAIN).await;
            if self.payloads() > seen {
                (seen, since) = (self.payloads(), Instant::now());
            }
        }
        payloads.saturating_sub(self.payloads())
    }

    /// Connections that the system closed.
    pub fn broken(&self) -> u64 {
        self.heard.broken.get()
    }

    /// From now on latencies are kept.
    pub fn record(&self) {
        *self.heard.latencies.borrow_mut() = Some(Histogram::default());
    }

    /// The latencies kept so far; no more are.
    pub fn recorded(&self) -> Histogram {
        self.heard.latencies.take().unwrap_or_default()
    }

    /// From now on it is told of each event that all have.
    pub fn tell(&self, backlog: Option<Arc<Backlog>>) {
        let before = self.payloads();
        *self.heard.backlog.borrow_mut() = backlog.map(|backlog| (backlog, before));
    }
}

impl Drop for Audience {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// A subscriber on its own, with a receive buffer of so many bytes; it has been welcomed when this returns.
///
/// # Errors
/// When it is refused.
pub async fn connect(door: Door, user: &str, receive_buffer: Option<u32>) -> io::Result<TcpStream> {
    timeout(PATIENCE, handshake(door, user, receive_buffer)).await?
}

async fn handshake(door: Door, user: &str, receive_buffer: Option<u32>) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if let Some(bytes) = receive_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    let mut stream = socket.connect(door.subscribe).await?;
    stream.set_nodelay(true)?;
    let (path, authorization) = match door.kind {
        Kind::Jackfield => ("/ws?events=call.*", format!("authorization: Bearer {}\r\n", door.token(user, "agent"))),
        Kind::Nchan => ("/sub/bench", String::new()),
        Kind::Nats => ("/", String::new()),
    };
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: {}\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{authorization}\r\n",
        door.subscribe
    );
    stream.write_all(request.as_bytes()).await?;
    let mut read = Vec::with_capacity(1024);
    let head = read_to(&mut stream, &mut read, b"\r\n\r\n").await?;
    if !read.starts_with(b"HTTP/1.1 101 ") {
        return Err(io::Error::other(String::from_utf8_lossy(&read).into_owned()));
    }
    match door.kind {
        // Its welcome: from here on every event comes.
        Kind::Jackfield if read.len() == head => stream.read_buf(&mut read).await.map(drop)?,
        Kind::Jackfield | Kind::Nchan => {}
        Kind::Nats => {
            let words = b"CONNECT {\"verbose\":false}\r\nSUB bench 1\r\nPING\r\n";
            // A final binary frame, masked with zeros.
            let mut frame = vec![0x82, 0x80 | words.len() as u8, 0, 0, 0, 0];
            frame.extend_from_slice(words);
            stream.write_all(&frame).await?;
            read_to(&mut stream, &mut read, b"PONG\r\n").await?;
        }
    }
    Ok(stream)
}

/// Reads on until `end` has come; returns where it ends.
async fn read_to(stream: &mut TcpStream, read: &mut Vec<u8>, end: &[u8]) -> io::Result<usize> {
    loop {
        if let Some(at) = memchr::memmem::find(read, end) {
            return Ok(at + end.len());
        }
        if stream.read_buf(read).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Reads until the end.
async fn listen(mut stream: TcpStream, heard: Rc<Heard>) {
    let (mut kept, mut len) = ([0; STAMP_BYTES], 0);
    while let Ok(1..) = poll_fn(|cx| heard.poll(&mut stream, &mut kept, &mut len, cx)).await {}
    heard.broken.set(heard.broken.get() + 1);
}

impl Heard {
    /// Reads once; returns how much that was. `kept` is what the last read had of a stamp that was not whole.
    fn poll(
        &self,
        stream: &mut TcpStream,
        kept: &mut [u8; STAMP_BYTES],
        len: &mut usize,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut buffer = self.buffer.borrow_mut();
        buffer[..*len].copy_from_slice(&kept[..*len]);
        let mut room = ReadBuf::new(&mut buffer[*len..]);
        ready!(Pin::new(stream).poll_read(cx, &mut room))?;
        let count = room.filled().len();
        let bytes = &buffer[..*len + count];
        let now = since_begin(Instant::now());
        let mut latencies = self.latencies.borrow_mut();
        let mut payloads = self.payloads.get();
        *len = scan(bytes, |sent| {
            payloads += 1;
            if let Some(latencies) = &mut *latencies {
                latencies.add(now.saturating_sub(sent));
            }
        });
        kept[..*len].copy_from_slice(&bytes[bytes.len() - *len..]);
        let before = self.payloads.replace(payloads);
        self.tell(before, payloads);
        Poll::Ready(Ok(count))
    }

    fn tell(&self, before: u64, now: u64) {
        if let (Some((backlog, start)), all @ 1..) = (&*self.backlog.borrow(), self.subscribers.get()) {
            let events = |payloads: u64| payloads.saturating_sub(*start) / all;
            if events(now) > events(before) {
                backlog.arrived(events(now));
            }
        }
    }
}
