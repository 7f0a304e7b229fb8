//! What waits for a dead endpoint, a million deliveries, beside what is due to a live one: the start, and what claiming and
//! delivering cost then, beside the same with ten thousand; and the plan of the claim.

use std::time::{Duration, Instant};

use anyhow::bail;

use crate::{
    databases::{Database, Kind},
    fresh,
    pending::{claim, fill},
    publisher::until,
    receiver::Receiver,
    server::Server,
    verdict,
    window::cpu_seconds,
};

const FEW: u64 = 10_000;
const MANY: u64 = 1_000_000;
/// Due to the live endpoint when the server starts: all of them are claimed from the table.
const LIVE: u64 = 20_000;
const TARGET_RATIO: f64 = 1.3;
const TARGET_START_S: f64 = 1.0;
const PATIENCE: Duration = Duration::from_secs(300);
const LOOK_AGAIN: Duration = Duration::from_millis(2);
/// Nothing listens there.
const DEAD: ([u8; 4], u16) = ([127, 0, 0, 1], 9);
const ROUNDS: usize = 3;

struct Cost {
    start_s: f64,
    /// From the first live receipt to the last.
    live_s: f64,
    cpu_us: f64,
}

pub async fn measure(receiver: &Receiver) -> anyhow::Result<()> {
    println!("\nBacklog: {LIVE} deliveries due to a live endpoint beside those of a dead one; best of {ROUNDS} starts");
    for kind in [Kind::Sqlite, Kind::Postgres, Kind::MariaDb] {
        println!("   {kind:?}");
        let few = cost(kind, FEW, receiver).await?;
        let many = cost(kind, MANY, receiver).await?;
        let ratio = many.live_s / few.live_s;
        println!(
            "     claimed and delivered, {MANY} to {FEW}: {ratio:.2} of the time, {:.2} of the server's CPU   (target ≤ \
             {TARGET_RATIO}: {})",
            many.cpu_us / few.cpu_us,
            verdict(ratio <= TARGET_RATIO)
        );
        println!(
            "     start with {MANY} rows {:.2} s   (target ≤ {TARGET_START_S} s: {})",
            many.start_s,
            verdict(many.start_s <= TARGET_START_S)
        );
    }
    Ok(())
}

async fn cost(kind: Kind, dead: u64, receiver: &Receiver) -> anyhow::Result<Cost> {
    let database = fresh(kind).await;
    let server = Server::start(&database).await?;
    server.webhook(DEAD.into(), "dead").await?;
    server.webhook(receiver.address, "live").await?;
    server.stop().await?;
    fill(&database, "dead", 1, 1, dead).await;
    let mut best: Option<Cost> = None;
    for round in 0..ROUNDS {
        fill(&database, &format!("live{round}"), 2, 0, LIVE).await;
        let cost = round_of(&database, receiver).await?;
        if best.as_ref().is_none_or(|best| cost.live_s < best.live_s) {
            best = Some(cost);
        }
    }
    let Some(best) = best else { bail!("no round was made") };
    println!(
        "     {dead:>9} pending: start {:.2} s, {:.0} live deliveries/s, {:.0} µs of server CPU each",
        best.start_s,
        LIVE as f64 / best.live_s,
        best.cpu_us
    );
    if dead == MANY {
        for line in database.plan(&claim(kind)).await {
            println!("     plan: {line}");
        }
    }
    Ok(best)
}

async fn round_of(database: &Database, receiver: &Receiver) -> anyhow::Result<Cost> {
    receiver.take();
    let begun = Instant::now();
    let server = Server::start(database).await?;
    let start_s = begun.elapsed().as_secs_f64();
    while receiver.count() < LIVE {
        if begun.elapsed() > PATIENCE {
            bail!("{} of {LIVE} deliveries came; the server said:\n{}", receiver.count(), server.log());
        }
        until(Instant::now() + LOOK_AGAIN).await;
    }
    let cpu_us = 1e6 * cpu_seconds(server.process())? / LIVE as f64;
    let receipts = receiver.take();
    let first = receipts.iter().map(|receipt| receipt.at).min();
    let last = receipts.iter().map(|receipt| receipt.at).max();
    let live_s = last.zip(first).map_or(f64::NAN, |(last, first)| (last - first).as_secs_f64());
    server.stop().await?;
    Ok(Cost { start_s, live_s, cpu_us })
}
