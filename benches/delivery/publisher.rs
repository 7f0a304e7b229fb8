//! The load: publishers that each wait for their answer (for rates), and a steady schedule that waits for nobody (for
//! latencies). All of it runs on the thread that calls.

use std::{
    cell::{Cell, RefCell},
    io,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::{sync::mpsc, task::LocalSet, time::sleep_until};

use super::wire::{Connection, find, quoted_after};

/// Bytes of `data`, as JSON text.
pub const DATA_BYTES: usize = 1024;
const DIGITS: usize = 10;

/// A request to publish one event, but for the event's number.
#[derive(Clone)]
pub struct Request {
    bytes: Vec<u8>,
    number_at: usize,
}

/// An event that was answered with 202.
pub struct Accepted {
    pub id: String,
    pub number: u64,
    pub at: Instant,
}

/// What publishing came to.
#[derive(Default)]
pub struct Load {
    pub accepted: Vec<Accepted>,
    /// Answers other than the expected one.
    pub refused: u64,
}

impl Request {
    pub fn new(to: SocketAddr, path: &str, token: &str) -> Self {
        let prefix = format!(r#"{{"n":"{}","pad":""#, "0".repeat(DIGITS));
        let data = format!("{prefix}{}\"}}", "x".repeat(DATA_BYTES - prefix.len() - 2));
        let body = format!(r#"{{"type":"call.answered","data":{data}}}"#);
        let bytes = post(to, path, token, &body);
        let number_at = find(&bytes, br#"{"n":""#).map_or(0, |at| at + 6);
        Self { bytes, number_at }
    }

    fn numbered(&mut self, number: u64) -> &[u8] {
        let digits = format!("{number:0DIGITS$}");
        self.bytes[self.number_at..self.number_at + DIGITS].copy_from_slice(digits.as_bytes());
        &self.bytes
    }
}

/// A POST of JSON.
pub fn post(to: SocketAddr, path: &str, token: &str, body: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nhost: {to}\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// When a load is over.
#[derive(Clone, Copy)]
pub enum Stop {
    At(Instant),
    /// After so many events.
    After(u64),
}

impl Stop {
    fn has_come(self, number: u64) -> bool {
        match self {
            Self::At(end) => Instant::now() >= end,
            Self::After(events) => number >= events,
        }
    }
}

/// `publishers` connections that each send the next event when the last is answered, until it is over. `status` is the
/// answer that counts.
///
/// # Errors
/// When the server cannot be reached or breaks off.
pub async fn closed_loop(
    to: SocketAddr,
    request: &Request,
    publishers: usize,
    status: &'static str,
    stop: Stop,
) -> io::Result<Load> {
    let numbers = Rc::new(Cell::new(0));
    let mut tasks = Vec::with_capacity(publishers);
    let local = LocalSet::new();
    for _ in 0..publishers {
        let mut connection = Connection::open(to).await?;
        let (mut request, numbers) = (request.clone(), numbers.clone());
        tasks.push(local.spawn_local(async move {
            let mut load = Load::default();
            while !stop.has_come(numbers.get()) {
                let number = numbers.replace(numbers.get() + 1);
                publish(&mut connection, &mut request, number, status, &mut load).await?;
            }
            io::Result::Ok(load)
        }));
    }
    local.await;
    let mut all = Load::default();
    for task in tasks {
        let load = task.await.map_err(io::Error::other)??;
        all.accepted.extend(load.accepted);
        all.refused += load.refused;
    }
    Ok(all)
}

async fn publish(
    connection: &mut Connection,
    request: &mut Request,
    number: u64,
    status: &str,
    load: &mut Load,
) -> io::Result<()> {
    let answer = connection.ask(request.numbered(number)).await?;
    if !answer.has_status(status) {
        load.refused += 1;
        return Ok(());
    }
    // The bare receiver gives no id.
    let id = quoted_after(answer.body, br#""id":""#).unwrap_or_default().to_owned();
    load.accepted.push(Accepted { id, number, at: Instant::now() });
    Ok(())
}

/// When event `number` of a steady schedule is to be published.
#[derive(Clone, Copy)]
pub struct Schedule {
    pub start: Instant,
    pub per_second: u32,
    pub events: u64,
}

impl Schedule {
    pub fn due(&self, number: u64) -> Instant {
        self.start + Duration::from_secs(number) / self.per_second
    }
}

/// Publishes on the schedule, each event on a connection of its own that is idle, whatever became of those before.
/// Returns the load and how late each event was sent.
///
/// # Errors
/// When the server cannot be reached or breaks off.
pub async fn open_loop(
    to: SocketAddr,
    request: &Request,
    connections: usize,
    schedule: Schedule,
) -> io::Result<(Load, Vec<Duration>)> {
    let mut idle = Vec::with_capacity(connections);
    for _ in 0..connections {
        idle.push(Connection::open(to).await?);
    }
    let idle = Rc::new(RefCell::new(idle));
    // A thread's sleep is exact to some 60 µs, tokio's to a millisecond.
    let (pace, mut due) = mpsc::unbounded_channel();
    let pacer = std::thread::spawn(move || {
        for number in 0..schedule.events {
            std::thread::sleep(schedule.due(number).saturating_duration_since(Instant::now()));
            if pace.send(number).is_err() {
                return;
            }
        }
    });
    let local = LocalSet::new();
    let mut tasks = Vec::new();
    let mut late = Vec::new();
    local
        .run_until(async {
            while let Some(number) = due.recv().await {
                late.push(schedule.due(number).elapsed());
                let (idle, mut request) = (idle.clone(), request.clone());
                tasks.push(tokio::task::spawn_local(async move {
                    let mut load = Load::default();
                    let taken = idle.borrow_mut().pop();
                    let mut connection = match taken {
                        Some(connection) => connection,
                        None => Connection::open(to).await?,
                    };
                    publish(&mut connection, &mut request, number, "202", &mut load).await?;
                    idle.borrow_mut().push(connection);
                    io::Result::Ok(load)
                }));
            }
        })
        .await;
    local.await;
    let _ = pacer.join();
    let mut all = Load::default();
    for task in tasks {
        let load = task.await.map_err(io::Error::other)??;
        all.accepted.extend(load.accepted);
        all.refused += load.refused;
    }
    Ok((all, late))
}

/// Waits until `at`, on the bench's one clock.
pub async fn until(at: Instant) {
    sleep_until(at.into()).await;
}
