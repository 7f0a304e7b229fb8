//! One event for many sockets: deliveries a second, the server's CPU for each, latency, memory of idle connections, and what
//! one stalled reader does to the others; beside nchan and nats-server, which the same load asks the same of, in the same run.
//!
//! Each system is a process of its own; subscribers are one thread of this one, publishers a few. All of them share the
//! machine's cores. Of three trials, in which the systems take turns, the medians count.
//!
//! Exit status: 1 when Jackfield did not deliver something, 2 when the bench could not run; never for speed.

mod histogram;
mod payload;
#[path = "../../tests/it/support/ports.rs"]
mod ports;
mod publishers;
mod report;
mod stall;
mod subscribers;
mod systems;
mod trial;
#[path = "../delivery/window.rs"]
#[allow(dead_code, reason = "the delivery bench uses the rest of it")]
mod window;

use std::{process::ExitCode, time::Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use report::Report;
use subscribers::Audience;
use systems::{KINDS, Kind, System};
use trial::{BURSTS, IDLE, MANY_SUBSCRIBERS, STEADY, SUBSCRIBERS};

const TRIALS: usize = 3;
const PARTS: [&str; 4] = ["steady", "rates", "idle", "stalled"];
/// Connections, and some files besides.
const FILES: u64 = IDLE as u64 + 500;

fn main() -> ExitCode {
    let parts: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    if let Some(unknown) = parts.iter().find(|part| !PARTS.contains(&part.as_str())) {
        eprintln!("there is no part {unknown}: {}", PARTS.join(", "));
        return ExitCode::from(2);
    }
    let measured = raise_files().and_then(|()| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        tokio::task::LocalSet::new().block_on(&runtime, measure(&parts))
    });
    match measured {
        Ok(0) => ExitCode::SUCCESS,
        Ok(missing) => {
            println!("MISSING: {missing} deliveries of Jackfield did not arrive");
            ExitCode::from(1)
        }
        Err(error) => {
            eprintln!("the bench could not run: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// The systems inherit it.
fn raise_files() -> anyhow::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    anyhow::ensure!(hard >= FILES, "this needs {FILES} open files, and may have {hard} (ulimit -Hn)");
    Ok(setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?)
}

/// Runs the parts, all of them where none is named; returns how many of Jackfield's deliveries are missing.
async fn measure(parts: &[String]) -> anyhow::Result<u64> {
    let wants = |part: &str| parts.is_empty() || parts.iter().any(|wanted| wanted == part);
    report::print_conditions()?;
    let begun = Instant::now();
    let mut report = Report::default();
    for trial in 0..TRIALS {
        println!("trial {} of {TRIALS}", trial + 1);
        for turn in 0..KINDS.len() {
            let kind = KINDS[(trial + turn) % KINDS.len()];
            loads(kind, &wants, &mut report).await?;
            if wants("idle") {
                report.add_idle(kind, trial::idle(kind).await?);
            }
        }
        if wants("stalled") {
            for pair in stall::trial().await? {
                report.add_stalled(pair);
            }
        }
    }
    report.print();
    println!("\nall in {:.0} s", begun.elapsed().as_secs_f64());
    Ok(report.missing_of(Kind::Jackfield))
}

async fn loads(kind: Kind, wants: &impl Fn(&str) -> bool, report: &mut Report) -> anyhow::Result<()> {
    if !wants("steady") && !wants("rates") {
        return Ok(());
    }
    let system = System::start(kind).await?;
    let mut audience = Audience::new(system.door);
    audience.join(SUBSCRIBERS).await?;
    if wants("steady") {
        report.add(kind, "steady", trial::steady(&system, &audience, STEADY).await?);
        report.add(kind, "bursts", trial::steady(&system, &audience, BURSTS).await?);
    }
    if wants("rates") {
        report.add(kind, "saturating", trial::saturating(&system, &audience).await?);
        audience.join(MANY_SUBSCRIBERS - SUBSCRIBERS).await?;
        report.add(kind, "saturating, many", trial::saturating(&system, &audience).await?);
    }
    Ok(())
}

/// Waits until `at`, on the bench's one clock.
async fn until(at: Instant) {
    tokio::time::sleep_until(at.into()).await;
}
