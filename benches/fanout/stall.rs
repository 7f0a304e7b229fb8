//! One reader of Jackfield that stops reading, among many: what the others notice, and what it costs.

use std::{
    io, thread,
    time::{Duration, Instant},
};

use tokio::{io::AsyncReadExt, net::TcpStream, task::spawn_local};

use super::{
    publishers::Publisher,
    subscribers::{Audience, connect},
    systems::{Door, Kind, System},
    trial::{Figures, STEADY, SUBSCRIBERS, steady},
    until,
};

/// Who stops reading, or reads on in the trial to compare with.
const USER: &str = "stalled";
/// Of events for this user alone, so that its queue fills while the others get theirs: their data, how many go ahead and
/// fill the kernel's buffers, and the pause between those that follow.
const EXTRA_BYTES: usize = 64 * 1024;
const AHEAD: usize = 32;
const PAUSE: Duration = Duration::from_millis(50);
const EXTRA_FOR: Duration = Duration::from_millis(3400);
/// As little as the kernel gives.
const RECEIVE_BUFFER: u32 = 4096;
const LOOK_AGAIN: Duration = Duration::from_millis(20);

pub struct Stalled {
    pub others: Figures,
    /// The most memory that the system had more than at the start, KiB.
    pub grown_kib: f64,
}

/// # Errors
/// When the trial cannot be run.
pub async fn trial(reads: bool) -> anyhow::Result<Stalled> {
    let system = System::start(Kind::Jackfield).await?;
    let mut audience = Audience::new(system.door);
    audience.join(SUBSCRIBERS - 1).await?;
    // Once beforehand, so that what the load itself takes of memory is there.
    steady(&system, &audience, STEADY).await?;
    let stream = connect(system.door, USER, (!reads).then_some(RECEIVE_BUFFER)).await?;
    let reader = spawn_local(read_or_hold(stream, reads));
    let before = system.memory_kib()?;
    let door = system.door;
    let extra = thread::spawn(move || publish_extra(door));
    let mut most = before;
    let figures = steady(&system, &audience, STEADY);
    tokio::pin!(figures);
    let others = loop {
        tokio::select! {
            figures = &mut figures => break figures?,
            () = until(Instant::now() + LOOK_AGAIN) => most = most.max(system.memory_kib()?),
        }
    };
    reader.abort();
    extra.join().map_err(|_| anyhow::anyhow!("the extra publisher panicked"))??;
    Ok(Stalled { others, grown_kib: most - before })
}

async fn read_or_hold(mut stream: TcpStream, reads: bool) {
    let mut buffer = vec![0; EXTRA_BYTES];
    if reads {
        while stream.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
    } else {
        std::future::pending::<()>().await;
    }
}

fn publish_extra(door: Door) -> io::Result<()> {
    let body =
        format!(r#"{{"type":"call.answered","user_id":"{USER}","data":{{"pad":"{}"}}}}"#, "x".repeat(EXTRA_BYTES));
    let mut publisher = Publisher::open(door)?;
    let start = Instant::now();
    for _ in 0..AHEAD {
        publisher.post(&body)?;
    }
    while start.elapsed() < EXTRA_FOR {
        publisher.post(&body)?;
        thread::sleep(PAUSE);
    }
    Ok(())
}
