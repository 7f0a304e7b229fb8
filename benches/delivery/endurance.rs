//! A million deliveries through one server: its memory at every tenth of them.

use std::time::{Duration, Instant};

use crate::{
    databases::Database,
    load::{account, drained, print_account},
    publisher::{Request, Stop, closed_loop, until},
    receiver::Receiver,
    server::Server,
    verdict,
    window::resident_memory_mib,
};

const EVENTS: u64 = 1_000_000;
const PUBLISHERS: usize = 128;
const TENTHS: u64 = 10;
/// Around the middle of the highest and the lowest.
const FLAT: f64 = 0.1;
const LOOK: Duration = Duration::from_millis(50);

/// Returns how many events were lost.
pub async fn memory(receiver: &Receiver) -> anyhow::Result<usize> {
    println!("\nMemory over {EVENTS} deliveries (SQLite, {PUBLISHERS} publishers), resident at each tenth");
    let database = Database::sqlite();
    let server = Server::start(&database).await?;
    server.subscribe(receiver.address).await?;
    let request = Request::new(server.address, "/api/v1/events", &server.token);
    let started = Instant::now();
    let samples = async {
        let mut samples = Vec::new();
        // The first tenth fills caches and is no sample.
        for tenth in 1..TENTHS {
            while receiver.count() < EVENTS / TENTHS * tenth {
                until(Instant::now() + LOOK).await;
            }
            samples.push(resident_memory_mib(server.process())?);
        }
        anyhow::Ok(samples)
    };
    let (load, samples) = tokio::join!(
        closed_loop(server.address, &request, PUBLISHERS, "202", Stop::After(EVENTS)),
        tokio::time::timeout(Duration::from_secs(1800), samples),
    );
    let (load, mut samples) = (load?, samples??);
    let receipts = drained(receiver, &load).await;
    samples.push(resident_memory_mib(server.process())?);
    let shown: Vec<String> = samples.iter().map(|mib| format!("{mib:.0}")).collect();
    println!("     MiB             {}", shown.join(" "));
    let (least, most) =
        samples.iter().fold((f64::MAX, 0.0_f64), |(least, most), mib| (least.min(*mib), most.max(*mib)));
    let swing = (most - least) / (most + least);
    println!(
        "     flat            ± {:.1} %   (target ± {:.0} %: {})",
        100.0 * swing,
        100.0 * FLAT,
        verdict(swing <= FLAT)
    );
    println!("     all in          {:.0} s", started.elapsed().as_secs_f64());
    let account = account(&load, &receipts);
    print_account(&load, &receipts, &account);
    Ok(account.lost)
}
