//! One reader of Jackfield that stops reading, among many: what the others notice, and what it costs.

use std::{
    io, thread,
    time::{Duration, Instant},
};

use anyhow::{anyhow, ensure};
use memchr::memmem;
use tokio::{io::AsyncReadExt, net::TcpStream, task::spawn_local, time::timeout};

use super::{
    publishers::Publisher,
    subscribers::{Audience, connect},
    systems::{Door, Kind, System},
    trial::{Figures, SUBSCRIBERS, steady},
    until,
};

/// Has two connections that read, and then one that does not.
const USER: &str = "stalled";
/// Of events for this user alone, so that its queue fills while the others get theirs: their data, how many go ahead and
/// fill the kernel's buffers, and the pause between those that follow.
const EXTRA_BYTES: usize = 16 * 1024;
const AHEAD: usize = 320;
const PAUSE: Duration = Duration::from_millis(20);
/// Few enough that the machine has room: what the stalled reader costs the others is not to drown in their own queues.
const WRITES: (u32, usize) = (20, 1);
const PAIRS: usize = 5;
const EXTRA_FOR: Duration = Duration::from_millis(3400);
const WARM_UP: usize = 2000;
/// As little as the kernel gives.
const RECEIVE_BUFFER: u32 = 4096;
const LOOK_AGAIN: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(15);
/// In the last words to a reader whose queue was full.
const CLOSED: &[u8] = b"slow_consumer";

pub struct Stalled {
    /// The others, beside a second reader, and beside one that stopped reading.
    pub without: Figures,
    pub with: Figures,
    /// What the system had at most beside the second more than beside the first, KiB.
    pub cost_kib: f64,
}

/// Pairs of windows on one system, which of the two comes first in turn: what drifts meanwhile is in both.
///
/// # Errors
/// When the trial cannot be run, or a reader was not closed in the end.
pub async fn trial() -> anyhow::Result<Vec<Stalled>> {
    let system = System::start(Kind::Jackfield).await?;
    let mut audience = Audience::new(system.door);
    audience.join(SUBSCRIBERS - 1).await?;
    spawn_local(read(connect(system.door, USER, None).await?));
    // So that what the extra events take of memory, in the history and the database's caches, is there.
    let door = system.door;
    tokio::task::spawn_blocking(move || publish_extra(door, WARM_UP, Duration::ZERO)).await??;
    spawn_local(read(connect(system.door, USER, None).await?));
    let mut pairs = Vec::with_capacity(PAIRS);
    for n in 0..PAIRS {
        let (without, with) = if n % 2 == 0 {
            let without = load(&system, &audience).await?;
            (without, beside_stalled(&system, &audience).await?)
        } else {
            let with = beside_stalled(&system, &audience).await?;
            (load(&system, &audience).await?, with)
        };
        pairs.push(Stalled { without: without.0, with: with.0, cost_kib: with.1 - without.1 });
    }
    Ok(pairs)
}

async fn beside_stalled(system: &System, audience: &Audience) -> anyhow::Result<(Figures, f64)> {
    let mut stalled = connect(system.door, USER, Some(RECEIVE_BUFFER)).await?;
    let load = load(system, audience).await?;
    let mut rest = Vec::new();
    let closed = timeout(PATIENCE, stalled.read_to_end(&mut rest)).await.is_ok();
    ensure!(closed && memmem::find(&rest, CLOSED).is_some(), "the stalled reader was not closed as a slow consumer");
    Ok(load)
}

/// The figures of the others, and the most memory that the system had meanwhile, KiB.
async fn load(system: &System, audience: &Audience) -> anyhow::Result<(Figures, f64)> {
    let door = system.door;
    let extra = thread::spawn(move || publish_extra(door, AHEAD, EXTRA_FOR));
    let mut most: f64 = 0.0;
    let figures = steady(system, audience, WRITES);
    tokio::pin!(figures);
    let figures = loop {
        tokio::select! {
            figures = &mut figures => break figures?,
            () = until(Instant::now() + LOOK_AGAIN) => most = most.max(system.memory_kib()?),
        }
    };
    extra.join().map_err(|_| anyhow!("the extra publisher panicked"))??;
    Ok((figures, most))
}

async fn read(mut stream: TcpStream) {
    let mut buffer = vec![0; EXTRA_BYTES];
    while stream.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
}

fn publish_extra(door: Door, ahead: usize, then: Duration) -> io::Result<()> {
    let body =
        format!(r#"{{"type":"call.answered","user_id":"{USER}","data":{{"pad":"{}"}}}}"#, "x".repeat(EXTRA_BYTES));
    let mut publisher = Publisher::open(door)?;
    let start = Instant::now();
    for _ in 0..ahead {
        publisher.post(&body)?;
    }
    while start.elapsed() < then {
        publisher.post(&body)?;
        thread::sleep(PAUSE);
    }
    Ok(())
}
