//! Rates and latencies of one server on one database, each event counted by its id.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use crate::{
    databases::Database,
    publisher::{Load, Request, Schedule, Stop, closed_loop, open_loop, until},
    receiver::{Receipt, Receiver},
    server::Server,
    verdict,
    window::{Window, cpu_seconds, peak_memory_mib, percentile_ms},
};

pub const WARM_UP: Duration = Duration::from_secs(2);
pub const MEASURED: Duration = Duration::from_secs(10);
pub const BARE_MEASURED: Duration = Duration::from_secs(4);
/// The load of the latencies.
pub const STEADY_PER_SECOND: u32 = 300;
const STEADY_CONNECTIONS: usize = 16;
/// After the last 202, as long as nothing arrives any more, until what is missing counts as lost.
const DRAIN_PATIENCE: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(5);
const TARGET_P50_MS: f64 = 1.5;

/// What became of the accepted events.
pub struct Account {
    pub lost: usize,
    pub duplicates: usize,
    /// Received, though never answered with 202.
    unanswered: usize,
}

pub async fn bare(receiver: &Receiver, publishers: usize) -> anyhow::Result<f64> {
    let request = Request::new(receiver.address, "/", "none");
    let window = Window::after(WARM_UP / 2, BARE_MEASURED);
    let load = closed_loop(receiver.address, &request, publishers, "200", Stop::At(window.end)).await?;
    Ok(in_window(&load, window) as f64 / window.seconds())
}

/// Publishes as fast as it is answered; returns how many events were lost.
pub async fn rates(
    database: &Database,
    receiver: &Receiver,
    publishers: usize,
    limit: f64,
    target_per_second: f64,
) -> anyhow::Result<usize> {
    let server = Server::start(database).await?;
    server.subscribe(receiver.address).await?;
    let request = Request::new(server.address, "/api/v1/events", &server.token);
    let window = Window::after(WARM_UP, MEASURED);
    let cpu_of = |process| async move {
        until(window.start).await;
        let before = cpu_seconds(process)?;
        until(window.end).await;
        Ok::<f64, std::io::Error>(cpu_seconds(process)? - before)
    };
    let (load, server_cpu, own_cpu) = tokio::join!(
        closed_loop(server.address, &request, publishers, "202", Stop::At(window.end)),
        cpu_of(server.process()),
        cpu_of(std::process::id()),
    );
    let (load, server_cpu, own_cpu) = (load?, server_cpu?, own_cpu?);
    let receipts = drained(receiver, &load).await;
    let account = account(&load, &receipts);
    let arrived_in_window: HashSet<&str> =
        receipts.iter().filter(|receipt| window.has(receipt.at)).map(|receipt| receipt.id.as_str()).collect();
    let (accepted, delivered) = (in_window(&load, window), arrived_in_window.len());
    let per_second = |count: usize| count as f64 / window.seconds();
    let drain = receipts.iter().map(|receipt| receipt.at).max().map(|last| last.saturating_duration_since(window.end));

    println!("     accepted        {:>9.0} events/s", per_second(accepted));
    println!(
        "     delivered       {:>9.0} deliveries/s   (target ≥ {target_per_second:.0}: {})",
        per_second(delivered),
        verdict(per_second(delivered) >= target_per_second)
    );
    println!("     of the limit    {:>9.1} %", 100.0 * per_second(delivered) / limit);
    print_account(&load, &receipts, &account);
    println!("     drained after   {:>9.0} ms", drain.unwrap_or_default().as_secs_f64() * 1e3);
    println!("     server memory   {:>9.0} MiB (VmHWM)", peak_memory_mib(server.process())?);
    println!(
        "     server CPU      {server_cpu:>9.1} s in the {} s ({:.0} µs a delivery)",
        MEASURED.as_secs(),
        1e6 * server_cpu / delivered.max(1) as f64
    );
    println!("     CPU of the load {own_cpu:>9.1} s in the {} s", MEASURED.as_secs());
    Ok(account.lost)
}

/// Publishes at a steady pace; returns how many events were lost.
pub async fn latencies(database: &Database, receiver: &Receiver) -> anyhow::Result<usize> {
    let server = Server::start(database).await?;
    server.subscribe(receiver.address).await?;
    let request = Request::new(server.address, "/api/v1/events", &server.token);
    let warm_up = u64::from(STEADY_PER_SECOND) * WARM_UP.as_secs();
    let events = warm_up + u64::from(STEADY_PER_SECOND) * MEASURED.as_secs();
    let schedule =
        Schedule { start: Instant::now() + Duration::from_millis(100), per_second: STEADY_PER_SECOND, events };
    let (load, late) = open_loop(server.address, &request, STEADY_CONNECTIONS, schedule).await?;
    let receipts = drained(receiver, &load).await;
    let account = account(&load, &receipts);
    let since_due = |moments: HashMap<u64, Instant>| {
        let counted = moments.into_iter().filter(|(number, _)| (warm_up..events).contains(number));
        sorted(counted.map(|(number, at)| at.saturating_duration_since(schedule.due(number))).collect())
    };
    // A duplicate's first arrival counts: later ones come first here and are replaced.
    let received = since_due(receipts.iter().rev().map(|receipt| (receipt.number, receipt.at)).collect());
    let answered = since_due(load.accepted.iter().map(|accepted| (accepted.number, accepted.at)).collect());

    print_latency("publish → receipt", &received);
    let p50 = percentile_ms(&received, 0.5);
    println!("                        (target p50 ≤ {TARGET_P50_MS} ms: {})", verdict(p50 <= TARGET_P50_MS));
    print_latency("publish → 202", &answered);
    let late = late.into_iter().skip(usize::try_from(warm_up)?);
    print_latency("of which late start", &sorted(late.collect()));
    println!("     counted from the moment that the schedule says, on one monotonic clock");
    print_account(&load, &receipts, &account);
    Ok(account.lost)
}

/// Waits for what was accepted, as long as something still arrives.
pub async fn drained(receiver: &Receiver, load: &Load) -> Vec<Receipt> {
    let (mut seen, mut since) = (receiver.count(), Instant::now());
    let mut all = Vec::new();
    loop {
        all.extend(receiver.take());
        let arrived: usize = all.len();
        if arrived >= load.accepted.len() && account(load, &all).lost == 0 {
            return all;
        }
        if arrived as u64 != seen {
            (seen, since) = (arrived as u64, Instant::now());
        }
        if since.elapsed() > DRAIN_PATIENCE {
            return all;
        }
        until(Instant::now() + LOOK_AGAIN).await;
    }
}

pub fn account(load: &Load, receipts: &[Receipt]) -> Account {
    let accepted: HashSet<&str> = load.accepted.iter().map(|accepted| accepted.id.as_str()).collect();
    let received: HashSet<&str> = receipts.iter().map(|receipt| receipt.id.as_str()).collect();
    Account {
        lost: accepted.difference(&received).count(),
        duplicates: receipts.len() - received.len(),
        unanswered: received.difference(&accepted).count(),
    }
}

fn in_window(load: &Load, window: Window) -> usize {
    load.accepted.iter().filter(|accepted| window.has(accepted.at)).count()
}

fn sorted(mut durations: Vec<Duration>) -> Vec<Duration> {
    durations.sort_unstable();
    durations
}

pub fn print_account(load: &Load, receipts: &[Receipt], account: &Account) {
    println!(
        "     all in all      {:>9} accepted, {} received, {} lost, {} duplicates, {} received but not accepted, {} refused",
        load.accepted.len(),
        receipts.len(),
        account.lost,
        account.duplicates,
        account.unanswered,
        load.refused
    );
}

fn print_latency(what: &str, sorted: &[Duration]) {
    let at = |share| percentile_ms(sorted, share);
    println!("     {what:<19} p50 {:>6.2} ms   p99 {:>6.2} ms   max {:>6.2} ms", at(0.5), at(0.99), at(1.0));
}
