//! The publishers: the same number of kept connections for every system, each in a thread of its own, each with the next
//! event when its last one was answered. On a schedule, or as fast as the subscribers get them.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::bail;

use super::{
    payload::{PAYLOAD_BYTES, payload},
    systems::{Door, Kind},
    until,
};

pub const PUBLISHERS: usize = 8;
/// Events of a saturating load that are on their way at once: more would only wait.
pub const MAX_ON_THE_WAY: u64 = 32;
const LOOK_AGAIN: Duration = Duration::from_millis(2);
const ANSWER_DEADLINE: Duration = Duration::from_secs(20);

/// One kept connection.
pub struct Publisher {
    door: Door,
    token: String,
    stream: TcpStream,
    answers: Vec<u8>,
}

impl Publisher {
    /// # Errors
    /// When the system cannot be reached.
    pub fn open(door: Door) -> io::Result<Self> {
        let stream = TcpStream::connect(door.publish)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_DEADLINE))?;
        let mut publisher = Self { door, token: door.token("publisher", "service"), stream, answers: Vec::new() };
        if door.kind == Kind::Nats {
            publisher.stream.write_all(b"CONNECT {\"verbose\":false}\r\nPING\r\n")?;
            publisher.wait_for(b"PONG\r\n")?;
        }
        Ok(publisher)
    }

    /// Publishes events that were due `at` in one write, and waits for the answer to each.
    ///
    /// # Errors
    /// When one is refused.
    pub fn publish(&mut self, events: usize, at: Instant) -> io::Result<()> {
        let payload = payload(at);
        match self.door.kind {
            Kind::Jackfield => {
                let event = format!(r#"{{"type":"call.answered","data":{payload}}}"#);
                let body = if events == 1 { event } else { format!("[{}]", vec![event; events].join(",")) };
                self.post(&body)
            }
            Kind::Nchan => {
                let request = format!(
                    "POST /pub/bench HTTP/1.1\r\nhost: bench\r\ncontent-length: {PAYLOAD_BYTES}\r\n\r\n{payload}"
                );
                self.stream.write_all(request.repeat(events).as_bytes())?;
                (0..events).try_for_each(|_| self.answer())
            }
            Kind::Nats => {
                let message = format!("PUB bench {PAYLOAD_BYTES}\r\n{payload}\r\n").repeat(events);
                self.stream.write_all(format!("{message}PING\r\n").as_bytes())?;
                self.wait_for(b"PONG\r\n").map(drop)
            }
        }
    }

    /// Publishes JSON to Jackfield.
    ///
    /// # Errors
    /// When it is refused.
    pub fn post(&mut self, body: &str) -> io::Result<()> {
        let request = format!(
            "POST /api/v1/events HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.token,
            body.len()
        );
        self.stream.write_all(request.as_bytes())?;
        self.answer()
    }

    /// Reads one answer of HTTP.
    fn answer(&mut self) -> io::Result<()> {
        let head = self.wait_for(b"\r\n\r\n")?;
        let text = String::from_utf8_lossy(&head).to_lowercase();
        let length = text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
        let length: usize = length.ok_or(io::ErrorKind::InvalidData)?;
        while self.answers.len() < length {
            self.read()?;
        }
        let body = self.answers.drain(..length).collect::<Vec<_>>();
        if !text.starts_with("http/1.1 2") {
            return Err(io::Error::other(format!("{text}{}", String::from_utf8_lossy(&body))));
        }
        Ok(())
    }

    /// Takes what comes up to the end of `end`.
    fn wait_for(&mut self, end: &[u8]) -> io::Result<Vec<u8>> {
        loop {
            if let Some(at) = memchr::memmem::find(&self.answers, end) {
                return Ok(self.answers.drain(..at + end.len()).collect());
            }
            self.read()?;
        }
    }

    fn read(&mut self) -> io::Result<()> {
        let mut bytes = [0; 4096];
        let count = self.stream.read(&mut bytes)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.answers.extend_from_slice(&bytes[..count]);
        Ok(())
    }
}

/// When events are published.
#[derive(Clone)]
pub enum Pace {
    /// So many writes a second, of so many events each, whatever became of those before.
    Steady { per_second: u32, events: usize },
    /// As fast as all subscribers get them.
    Saturating(Arc<Backlog>),
}

/// Counts the events that are not with all subscribers yet.
#[derive(Default)]
pub struct Backlog {
    counts: Mutex<Counts>,
    changed: Condvar,
}

#[derive(Default)]
struct Counts {
    begun: u64,
    arrived: u64,
    over: bool,
}

impl Backlog {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room; false when the load is over.
    fn begin(&self) -> bool {
        let full = |counts: &mut Counts| !counts.over && counts.begun - counts.arrived >= MAX_ON_THE_WAY;
        let mut counts = self.changed.wait_while(self.counts(), full).unwrap_or_else(PoisonError::into_inner);
        counts.begun += 1;
        !counts.over
    }

    /// So many events are with all subscribers now.
    pub fn arrived(&self, events: u64) {
        self.counts().arrived = events;
        self.changed.notify_all();
    }

    fn end(&self) {
        self.counts().over = true;
        self.changed.notify_all();
    }
}

/// A load under way.
pub struct Load {
    publishers: Vec<JoinHandle<io::Result<()>>>,
    shared: Arc<Shared>,
    pace: Pace,
}

#[derive(Default)]
struct Shared {
    over: AtomicBool,
    /// Writes begun.
    number: AtomicU64,
    /// Events answered.
    published: AtomicU64,
}

impl Load {
    pub fn start(door: Door, pace: &Pace) -> Self {
        let shared = Arc::<Shared>::default();
        let start = Instant::now();
        let publisher = |_| {
            let (shared, pace) = (shared.clone(), pace.clone());
            thread::spawn(move || run(door, &shared, &pace, start))
        };
        let publishers = (0..PUBLISHERS).map(publisher).collect();
        Self { publishers, shared, pace: pace.clone() }
    }

    /// Ends it; returns how many events were published.
    ///
    /// # Errors
    /// When one was refused.
    pub async fn end(self) -> anyhow::Result<u64> {
        self.shared.over.store(true, Ordering::Relaxed);
        if let Pace::Saturating(backlog) = &self.pace {
            backlog.end();
        }
        for publisher in self.publishers {
            // This thread has subscribers to serve meanwhile.
            while !publisher.is_finished() {
                until(Instant::now() + LOOK_AGAIN).await;
            }
            match publisher.join() {
                Ok(ended) => ended?,
                Err(_) => bail!("a publisher panicked"),
            }
        }
        Ok(self.shared.published.load(Ordering::Relaxed))
    }
}

fn run(door: Door, shared: &Shared, pace: &Pace, start: Instant) -> io::Result<()> {
    let mut publisher = Publisher::open(door)?;
    while !shared.over.load(Ordering::Relaxed) {
        let (events, at) = match pace {
            Pace::Steady { per_second, events } => {
                let number = shared.number.fetch_add(1, Ordering::Relaxed);
                let due = start + Duration::from_secs(number) / *per_second;
                thread::sleep(due.saturating_duration_since(Instant::now()));
                (*events, due)
            }
            Pace::Saturating(backlog) => {
                if !backlog.begin() {
                    break;
                }
                (1, Instant::now())
            }
        };
        publisher.publish(events, at)?;
        shared.published.fetch_add(events as u64, Ordering::Relaxed);
    }
    Ok(())
}
