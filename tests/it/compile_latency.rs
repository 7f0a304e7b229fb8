//! A hostile component takes nothing from other tenants while it is compiled, but its share of a core that nobody needs.

use crate::compile_bombs::{children, just_under_the_bounds, kill};
use crate::support::guests::transformer;
use crate::support::wait::PATIENCE;
use crate::support::{Receiver, Server, eventually, within};
use serde_json::json;
use std::collections::HashMap;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Windows of each kind, in turns, so that what else the machine does falls into both.
const WINDOWS: usize = 15;
const WINDOW: Duration = Duration::from_secs(2);
/// Between two events of the calm tenant.
const EVERY: Duration = Duration::from_millis(5);
/// How much slower the slowest hundredth may get.
const FACTOR: f64 = 1.2;
/// What two windows of the same load differ by.
const NOISE: Duration = Duration::from_millis(1);
const TRIALS: usize = 3;

#[tokio::test]
async fn long_other_tenants_do_not_notice_a_bomb_that_is_compiled() {
    let server = Server::start().await;
    let receiver = Receiver::start().await;
    server.install("good", &transformer("1").bytes()).await;
    server.webhook_with("calm", &receiver.url(), json!({"chain": [{"plugin": "shared/good"}]})).await;
    let bomb = just_under_the_bounds();
    window(&server, &receiver, "warm").await;
    for trial in 1..=TRIALS {
        let (mut without, mut with) = (Vec::new(), Vec::new());
        for n in 0..WINDOWS {
            without.push(window(&server, &receiver, &format!("t{trial}-{n}-without")).await);
            let file = server.plugin_path(&format!("bomb-{trial}-{n}"));
            std::fs::write(&file, &bomb).expect("the plugin folder takes files");
            let child = eventually("a child that compiles", || async { children(&server).first().copied() }).await;
            with.push(window(&server, &receiver, &format!("t{trial}-{n}-with")).await);
            assert_eq!(children(&server), [child], "it compiled all the while");
            std::fs::remove_file(&file).expect("it was there");
            kill(child);
            eventually("the child to be gone", || async { children(&server).is_empty().then_some(()) }).await;
        }
        let (without, with) = (median(without), median(with));
        println!("p99 from the request to the delivery: {without:?} without, {with:?} while a bomb is compiled");
        if with <= without.mul_f64(FACTOR) + NOISE {
            return;
        }
    }
    panic!("other tenants' events are slower while a bomb is compiled");
}

/// The p99 of one window, from each request to its delivery.
async fn window(server: &Server, receiver: &Receiver, name: &str) -> Duration {
    let (from, begun) = (receiver.count(), Instant::now());
    let client = server.service("calm");
    let mut ticks = tokio::time::interval(EVERY);
    let mut requests = JoinSet::new();
    while begun.elapsed() < WINDOW {
        ticks.tick().await;
        let (client, id) = (client.clone(), format!("{name}-{}", requests.len()));
        requests.spawn(async move {
            let at = Instant::now();
            assert_eq!(client.try_publish(&json!({"id": id, "type": "call.ended", "data": 1})).await, Some(202));
            (id, at)
        });
    }
    let sent: HashMap<String, Instant> = requests.join_all().await.into_iter().collect();
    within(PATIENCE, "the deliveries of a window", receiver.more_than(from + sent.len() - 1)).await;
    let took = |r: crate::support::Received| r.at - sent[r.json()["event"].as_str().expect("the plugin says which")];
    let mut latencies: Vec<Duration> = receiver.after(from).into_iter().map(took).collect();
    latencies.sort_unstable();
    latencies[latencies.len() * 99 / 100]
}

fn median(mut values: Vec<Duration>) -> Duration {
    values.sort_unstable();
    values[values.len() / 2]
}
