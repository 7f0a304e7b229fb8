//! From publish to receipt: how many events a second, how fast, and that none is lost; whether memory stays flat; what a
//! million deliveries that wait cost. Prints figures, compares nothing but the bare limit of the same publishers and the
//! same receiver without a server between them.
//!
//! The server is the release binary in a process of its own, and so is the database where it is one; publishers and
//! receiver are two threads of this one. All of them share the machine's cores, so figures say something beside figures of
//! the same machine only.
//!
//! Exit status: 1 when an event that was answered 202 did not arrive, 2 when the bench could not run; never for speed.

mod backlog;
#[path = "../../tests/it/support/databases.rs"]
#[allow(dead_code, unused_imports, reason = "the tests use the rest of it")]
mod databases;
mod endurance;
mod load;
#[path = "../../tests/it/support/pending.rs"]
mod pending;
#[path = "../../tests/it/support/ports.rs"]
mod ports;
mod publisher;
mod receiver;
mod server;
mod window;
mod wire;

use std::process::ExitCode;

use databases::{Database, Kind};
use load::{BARE_MEASURED, MEASURED, STEADY_PER_SECOND, WARM_UP};
use publisher::DATA_BYTES;
use receiver::Receiver;

/// Publishers, and deliveries a second that are to be reached.
const SQLITE: [(usize, f64); 2] = [(64, 6_000.0), (128, 10_000.0)];
const SERVERS: [(usize, f64); 1] = [(128, 4_000.0)];
const PARTS: [&str; 4] = ["rates", "latency", "memory", "backlog"];

fn main() -> ExitCode {
    let parts: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    if let Some(unknown) = parts.iter().find(|part| !PARTS.contains(&part.as_str())) {
        eprintln!("there is no part {unknown}: {}", PARTS.join(", "));
        return ExitCode::from(2);
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return broken(&error.into()),
    };
    match runtime.block_on(measure(&parts)) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(lost) => {
            println!("LOST: {lost} events were answered 202 and did not arrive");
            ExitCode::from(1)
        }
        Err(error) => broken(&error),
    }
}

fn broken(error: &anyhow::Error) -> ExitCode {
    eprintln!("the bench could not run: {error:#}");
    ExitCode::from(2)
}

/// Runs the parts, all of them where none is named; returns how many events were lost.
async fn measure(parts: &[String]) -> anyhow::Result<usize> {
    let wants = |part: &str| parts.is_empty() || parts.iter().any(|wanted| wanted == part);
    let cores = std::thread::available_parallelism()?;
    let load = std::fs::read_to_string("/proc/loadavg")?;
    let load = load.split(' ').next().unwrap_or_default();
    println!("{cores} cores, shared by the server, its database, the publishers and the receiver");
    println!("load average before: {load}; databases on {}", server::file_system(&std::env::temp_dir()));
    println!("one webhook; {DATA_BYTES} bytes of data an event; one event a request, HTTP/1.1 kept alive");
    println!("a fresh server and database for each load, with the durability that the database has by default:");
    println!(
        "SQLite WAL and synchronous=FULL, MariaDB innodb_flush_log_at_trx_commit=1, Postgres synchronous_commit=on"
    );
    let receiver = Receiver::start()?;
    let mut lost = 0;
    if wants("rates") {
        lost += rates(&receiver).await?;
    }
    if wants("latency") {
        let (warm_up, measured) = (WARM_UP.as_secs(), MEASURED.as_secs());
        println!("\nLatency at a steady {STEADY_PER_SECOND} events/s: {warm_up} s of warm-up, {measured} s measured");
        lost += load::latencies(&Database::sqlite(), &receiver).await?;
    }
    if wants("memory") {
        lost += endurance::memory(&receiver).await?;
    }
    if wants("backlog") {
        backlog::measure(&receiver).await?;
    }
    Ok(lost)
}

async fn rates(receiver: &Receiver) -> anyhow::Result<usize> {
    println!("\nThe bare limit: publishers straight to the receiver, {} s", BARE_MEASURED.as_secs());
    let mut limits = Vec::new();
    for (publishers, _) in SQLITE {
        let limit = load::bare(receiver, publishers).await?;
        println!("   {publishers:>3} publishers    {limit:>9.0} requests/s");
        limits.push((publishers, limit));
    }
    let (warm_up, measured) = (WARM_UP.as_secs(), MEASURED.as_secs());
    println!("\nPublish → 202 → received: {warm_up} s of warm-up, {measured} s measured");
    let mut lost = 0;
    let loads = [(Kind::Sqlite, SQLITE.as_slice()), (Kind::Postgres, &SERVERS), (Kind::MariaDb, &SERVERS)];
    for (kind, loads) in loads {
        for (publishers, target) in loads {
            let database = fresh(kind).await;
            let limit = limits.iter().find(|(of, _)| of == publishers).map_or(f64::NAN, |(_, limit)| *limit);
            println!("   {kind:?}, {publishers} publishers");
            lost += load::rates(&database, receiver, *publishers, limit, *target).await?;
        }
    }
    Ok(lost)
}

/// An empty database with the durability that it has by default.
async fn fresh(kind: Kind) -> Database {
    match kind {
        Kind::Sqlite => Database::sqlite(),
        Kind::MariaDb => Database::mariadb().await,
        Kind::Postgres => Database::postgres().await,
    }
}

fn verdict(reached: bool) -> &'static str {
    if reached { "reached" } else { "NOT reached" }
}
