//! One tenant's or endpoint's trouble is nobody else's.

use crate::support::client::Client;
use crate::support::receiver::Received;
use crate::support::wait::{PATIENCE, within};
use crate::support::{Database, Receiver, Server, on_every_database};
use serde_json::json;
use std::collections::HashMap;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

on_every_database! { durable:
    long_98_endpoints_do_not_notice_one_that_hangs_and_one_that_fails,
}

#[tokio::test]
async fn endpoints_do_not_notice_one_that_hangs_and_one_that_fails() {
    let shorter = Trial { measure: Duration::from_secs(1), windows: 9 };
    shorter.hold([Database::sqlite(), Database::sqlite()]).await;
}

/// Long enough for what hangs to time out after 30 s, and for a circuit to be probed.
async fn long_98_endpoints_do_not_notice_one_that_hangs_and_one_that_fails(database: Database) {
    let longer = Trial { measure: Duration::from_secs(5), windows: 41 };
    let other = Database::durable(database.kind()).await;
    longer.hold([database, other]).await;
}

/// Tenants with a live endpoint each, beside the two others.
const LIVE: usize = 98;
/// Of what this build can do on this machine, live endpoints get so much.
const SHARE: f64 = 0.7;
/// How much slower the slowest hundredth may get.
const FACTOR: f64 = 1.2;
/// Events are sent in bursts, one each tick. A delivery that comes a moment later than another time meets the next burst:
/// two runs of the same load differ by so much.
const TICK: Duration = Duration::from_millis(5);
/// Requests under way while the capacity is measured.
const AT_ONCE: usize = 16;

/// The machine has other things to do, too: with and without the two take turns in windows so short that both get their
/// share of that.
const WINDOW: Duration = Duration::from_secs(1);

/// The machine may get other work since the capacity was measured: at more than it can do, a p99 says nothing.
const TRIALS: usize = 3;

struct Trial {
    /// How long the capacity is measured.
    measure: Duration,
    /// How many of each kind.
    windows: usize,
}

/// A server with its live endpoints, and perhaps two others.
struct Side {
    server: Server,
    live: Receiver,
    clients: Vec<Client>,
    /// Of each window, from each request to its delivery at a live endpoint.
    latencies: Vec<Vec<Duration>>,
}

impl Trial {
    async fn hold(&self, databases: [Database; 2]) {
        let kind = databases[0].kind();
        let [alone, beside] = &databases;
        let (mut alone, mut beside) = (Side::start(alone).await, Side::start(beside).await);
        let (hung, broken) = (Receiver::start().await, Receiver::start().await);
        hung.hang();
        broken.answer_always(500);
        for (tenant, receiver) in [("hung", &hung), ("broken", &broken)] {
            beside.server.webhook(tenant, &receiver.url()).await;
            beside.clients.push(beside.server.service(tenant));
        }
        for trial in 1..=TRIALS {
            // Both, so that both are warm.
            let mut capacity = f64::MAX;
            for side in [&mut alone, &mut beside] {
                side.latencies.clear();
                capacity = capacity.min(self.capacity(&side.clients[..LIVE], &side.live).await);
            }
            // The live ones get the same on both sides, and the two others as much as each of them.
            let rate = capacity * SHARE / LIVE as f64;
            for window in 0..self.windows {
                let name = format!("t{trial}w{window}");
                // What one leaves to be done for the disk falls into the other's window: so each is first as often.
                let in_turn = if window % 2 == 0 { [&mut alone, &mut beside] } else { [&mut beside, &mut alone] };
                for side in in_turn {
                    side.window(&name, rate).await;
                }
            }
            let (without, with) = (alone.typical(), beside.typical());
            let limit = without.mul_f64(FACTOR) + TICK;
            println!(
                "{kind:?}: {capacity:.0} deliveries a second at most, {:.0} of live endpoints in {} windows each; p99 \
                 {without:?} without and {with:?} beside one that hangs ({} requests) and one that fails ({}), at most \
                 {limit:?}; of all windows together {:?} and {:?}",
                rate * LIVE as f64,
                self.windows,
                hung.count(),
                broken.count(),
                p99(alone.latencies.concat()),
                p99(beside.latencies.concat()),
            );
            assert!(hung.count() >= 10 && broken.count() >= 10, "{} hang, {} failed", hung.count(), broken.count());
            if with <= limit {
                return;
            }
            // Whatever else the machine does falls on one side now and then; what is true of the server falls on it always.
            assert!(trial < TRIALS, "beside the two p99 is {with:?}, without them {without:?}");
        }
    }

    /// Deliveries a second, with as many requests under way as help.
    async fn capacity(&self, tenants: &[Client], live: &Receiver) -> f64 {
        let time = self.measure;
        let begun = Instant::now();
        let from = live.count();
        let mut publishers = JoinSet::new();
        for publisher in 0..AT_ONCE {
            let tenants = tenants.to_vec();
            publishers.spawn(async move {
                let mut sent = 0;
                for n in 0.. {
                    if begun.elapsed() > time {
                        break;
                    }
                    let client = &tenants[(n * AT_ONCE + publisher) % tenants.len()];
                    assert_eq!(client.try_publish(&json!({"type": "call.ended", "data": n})).await, Some(202));
                    sent += 1;
                }
                sent
            });
        }
        let sent: usize = publishers.join_all().await.into_iter().sum();
        within(PATIENCE * 2, "all deliveries of the measurement", live.more_than(from + sent - 1)).await;
        sent as f64 / begun.elapsed().as_secs_f64()
    }
}

impl Side {
    async fn start(database: &Database) -> Side {
        let (server, live) = (Server::on(database).await, Receiver::start().await);
        let mut clients = Vec::new();
        for n in 0..LIVE {
            let tenant = format!("live-{n}");
            server.webhook(&tenant, &live.url_of(&format!("/{tenant}"))).await;
            clients.push(server.service(&tenant));
        }
        Side { server, live, clients, latencies: Vec::new() }
    }

    async fn window(&mut self, name: &str, rate: f64) {
        let from = self.live.count();
        let sent = send_at_rate(name, &self.clients, rate * self.clients.len() as f64).await;
        let to_live_ones = sent.values().filter(|(client, _)| *client < LIVE).count();
        within(PATIENCE, "the last deliveries of a window", self.live.more_than(from + to_live_ones - 1)).await;
        let latency = |request: Received| request.at - sent[request.json()["id"].as_str().expect("it has an id")].1;
        self.latencies.push(self.live.after(from).into_iter().map(latency).collect());
    }

    /// The p99 of the middle window: a disk that stands still for a moment spoils one, and has nothing to do with
    /// neighbours.
    fn typical(&self) -> Duration {
        let mut windows: Vec<Duration> = self.latencies.iter().cloned().map(p99).collect();
        windows.sort_unstable();
        windows[windows.len() / 2]
    }
}

fn p99(mut latencies: Vec<Duration>) -> Duration {
    latencies.sort_unstable();
    latencies[latencies.len() * 99 / 100]
}

/// For one window; by whom and when each event was sent: the clients in turn, whether the one before was answered or not.
async fn send_at_rate(name: &str, clients: &[Client], rate: f64) -> HashMap<String, (usize, Instant)> {
    let mut requests = JoinSet::new();
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let begun = Instant::now();
    let mut n = 0;
    while begun.elapsed() < WINDOW {
        ticks.tick().await;
        let goal = (begun.elapsed().as_secs_f64() * rate) as usize;
        while n < goal {
            let (id, turn) = (format!("{name}-{n}"), n % clients.len());
            let client = clients[turn].clone();
            requests.spawn(async move {
                let at = Instant::now();
                let event = json!({"id": id, "type": "call.ended", "data": {"n": 1}});
                assert_eq!(client.try_publish(&event).await, Some(202));
                (id, (turn, at))
            });
            n += 1;
        }
    }
    requests.join_all().await.into_iter().collect()
}

#[tokio::test]
async fn a_hung_receiver_does_not_delay_another() {
    let server = Server::start().await;
    let (hung, mut healthy) = (Receiver::start().await, Receiver::start().await);
    hung.hang();
    for _ in 0..3 {
        server.webhook("acme", &hung.url()).await;
    }
    server.webhook("acme", &healthy.url()).await;
    for n in 0..100 {
        server.publish("acme", json!({"type": "call.ended", "data": n})).await;
    }
    healthy.expect_deliveries(100).await;
    server.publish("acme", json!({"type": "marker"})).await;
    assert_eq!(healthy.expect_delivery().await.header("x-webhook-event"), "marker");
}

#[tokio::test]
async fn a_tenants_storm_does_not_hold_up_anothers_one_event() {
    let server = Server::start().await;
    let (stormy, mut calm) = (Receiver::start().await, Receiver::start().await);
    stormy.hang();
    server.webhook("stormy", &stormy.url()).await;
    server.webhook("calm", &calm.url()).await;
    let storm: serde_json::Value = (0..1000).map(|n| json!({"type": "call.ended", "data": n})).collect();
    for _ in 0..3 {
        server.service("stormy").post("/api/v1/events", storm.clone()).await.expect(202);
    }
    server.publish("calm", json!({"type": "call.ended"})).await;
    assert_eq!(calm.expect_delivery().await.json()["tenant_id"], "calm");
}
