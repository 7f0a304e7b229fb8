//! One trial of one system: what it is made to do, and the figures of it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    publishers::{Backlog, Load, Pace},
    subscribers::Audience,
    systems::{Kind, System},
    until,
};

/// Subscribers of most loads.
pub const SUBSCRIBERS: usize = 1000;
/// Of the large one.
pub const MANY_SUBSCRIBERS: usize = 4000;
/// Connections that hear one event and then nothing.
pub const IDLE: usize = 10_000;
/// Writes a second, and events in each: the first makes 50,000 deliveries a second.
pub const STEADY: (u32, usize) = (50, 1);
pub const BURSTS: (u32, usize) = (10, 10);

const WARM_UP: Duration = Duration::from_millis(500);
/// Until what is on its way has filled up.
const SATURATING_WARM_UP: Duration = Duration::from_secs(1);
pub const MEASURED: Duration = Duration::from_secs(3);
/// After the last handshake of idle connections.
const SETTLED: Duration = Duration::from_secs(1);

/// A load's figures.
#[derive(Debug, Clone, Copy)]
pub struct Figures {
    pub deliveries_per_second: f64,
    /// CPU of the system's processes for each delivery.
    pub cpu_us: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub missing: u64,
}

pub async fn steady(
    system: &System,
    audience: &Audience,
    (per_second, events): (u32, usize),
) -> anyhow::Result<Figures> {
    measure(system, audience, &Pace::Steady { per_second, events }, WARM_UP).await
}

pub async fn saturating(system: &System, audience: &Audience) -> anyhow::Result<Figures> {
    let backlog = Arc::<Backlog>::default();
    audience.tell(Some(backlog.clone()));
    let figures = measure(system, audience, &Pace::Saturating(backlog), SATURATING_WARM_UP).await;
    audience.tell(None);
    figures
}

async fn measure(system: &System, audience: &Audience, pace: &Pace, warm_up: Duration) -> anyhow::Result<Figures> {
    let first = audience.payloads();
    let load = Load::start(system.door, pace);
    until(Instant::now() + warm_up).await;
    audience.record();
    let (start, payloads, cpu) = (Instant::now(), audience.payloads(), system.cpu_seconds()?);
    until(start + MEASURED).await;
    let seconds = start.elapsed().as_secs_f64();
    let (deliveries, cpu) = ((audience.payloads() - payloads) as f64, system.cpu_seconds()? - cpu);
    let latencies = audience.recorded();
    let published = load.end().await?;
    let expected = first + published * audience.len();
    let missing = audience.wait_for(expected).await;
    anyhow::ensure!(audience.payloads() <= expected, "{} delivered something twice", system.door.kind);
    anyhow::ensure!(audience.broken() == 0, "{} closed {} subscribers", system.door.kind, audience.broken());
    Ok(Figures {
        deliveries_per_second: deliveries / seconds,
        cpu_us: 1e6 * cpu / deliveries,
        p50_ms: latencies.percentile_ms(0.5),
        p99_ms: latencies.percentile_ms(0.99),
        missing,
    })
}

/// KiB of memory for each of many connections that heard one event and hear nothing now.
pub async fn idle(kind: Kind) -> anyhow::Result<f64> {
    let system = System::start(kind).await?;
    let mut audience = Audience::new(system.door);
    // What the first connection brings along is no cost of a connection.
    audience.join(1).await?;
    let before = system.memory_kib()?;
    audience.join(IDLE - 1).await?;
    until(Instant::now() + SETTLED).await;
    anyhow::ensure!(audience.broken() == 0, "{kind} closed {} idle connections", audience.broken());
    Ok((system.memory_kib()? - before) / (IDLE - 1) as f64)
}
