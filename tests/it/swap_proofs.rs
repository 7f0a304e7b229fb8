//! Contract, section 7: a new version takes over between two calls. Under load, over many swaps, no event is lost, none
//! comes twice, and none goes through half a chain: two steps of one plugin stamp each event, and the stamps are equal.
//!
//! The short proof is in the suite; the long ones count a million events on one node, and a hundred thousand on three.

use crate::cluster::shared;
use crate::support::client::Client;
use crate::support::databases::Kind;
use crate::support::guests::transformer;
use crate::support::tokens::Token;
use crate::support::{Answer, Database, Receiver, Redis, Server, Socket};
use crate::uploads::{SLACKISH, upload};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const STEPS: &str = r#"[{"plugin":"slackish","config":{"step":1}},{"plugin":"slackish","config":{"step":2}}]"#;
/// Versions to swap between, one after the other.
const VERSIONS: u32 = 10;

/// Each event once, with what stamped it.
#[derive(Default)]
struct Tally {
    /// How often an event came, by the number in its id.
    came: Mutex<Vec<u8>>,
    seen: AtomicUsize,
    by_version: Mutex<BTreeMap<String, usize>>,
    /// What should not be: at most a few, for the message.
    wrong: Mutex<Vec<String>>,
}

impl Tally {
    fn of(events: usize) -> Arc<Tally> {
        Arc::new(Tally { came: Mutex::new(vec![0; events]), ..Tally::default() })
    }

    /// What the second step made: its stamp around that of the first one.
    fn take(&self, made: &Value) {
        let (outer, inner) = (&made["version"], &made["data"]["version"]);
        let id = made["event"].as_str().unwrap_or_default();
        let number = id.strip_prefix("e-").and_then(|number| number.parse::<usize>().ok());
        let steps = (&made["config"]["step"], &made["data"]["config"]["step"]);
        if !outer.is_string() || outer != inner || number.is_none() || steps != (&json!(2), &json!(1)) {
            let mut wrong = self.wrong.lock().expect("nobody panics with it");
            if wrong.len() < 5 {
                wrong.push(made.to_string());
            }
        }
        if let Some(number) = number {
            let mut came = self.came.lock().expect("nobody panics with it");
            came[number] = came[number].saturating_add(1);
        }
        let version = outer.as_str().unwrap_or_default().to_owned();
        *self.by_version.lock().expect("nobody panics with it").entry(version).or_default() += 1;
        self.seen.fetch_add(1, Ordering::SeqCst);
    }

    /// Waits until as many have come as there are events, then looks at each.
    async fn expect(&self, events: usize, what: &str) {
        let mut ticks = tokio::time::interval(Duration::from_millis(50));
        let mut last = (0, Instant::now());
        while self.seen.load(Ordering::SeqCst) < events {
            ticks.tick().await;
            let seen = self.seen.load(Ordering::SeqCst);
            if seen > last.0 {
                last = (seen, Instant::now());
            }
            assert!(last.1.elapsed() < Duration::from_secs(20), "{what}: {seen} of {events} came, and no more");
        }
        let came = self.came.lock().expect("nobody panics with it");
        let (lost, twice) = (came.iter().filter(|n| **n == 0).count(), came.iter().filter(|n| **n > 1).count());
        let wrong = self.wrong.lock().expect("nobody panics with it");
        assert!(lost == 0 && twice == 0 && wrong.is_empty(), "{what}: {lost} lost, {twice} twice, wrong: {wrong:?}");
    }

    fn versions(&self) -> usize {
        self.by_version.lock().expect("nobody panics with it").len()
    }
}

/// Reads a socket until it ends.
fn watch(mut socket: Socket, tally: Arc<Tally>) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        while let Ok(frame) = socket.read().await {
            if frame.value["type"] == "call.ended" {
                tally.take(&frame.value["data"]);
            }
            assert_ne!(frame.value["type"], "gap", "nothing is missed: {}", frame.text);
        }
    })
}

/// A receiver that keeps no request.
async fn counting(tally: Arc<Tally>) -> Receiver {
    let receiver = Receiver::start().await;
    receiver.answer_by(move |request| {
        tally.take(&request.json());
        Answer::status(200)
    });
    receiver
}

/// Publishes all events in arrays, by one publisher for each client, and counts those that were answered.
async fn publish(clients: Vec<Client>, events: usize, published: Arc<AtomicUsize>) {
    const MANY: usize = 500;
    let next = Arc::new(AtomicUsize::new(0));
    let publishers = clients.into_iter().map(|client| {
        let (next, published) = (next.clone(), published.clone());
        tokio::spawn(async move {
            loop {
                let from = next.fetch_add(MANY, Ordering::SeqCst);
                if from >= events {
                    return;
                }
                let to = events.min(from + MANY);
                let event = |n: usize| json!({"id": format!("e-{n}"), "type": "call.ended", "data": n});
                let body: Vec<Value> = (from..to).map(event).collect();
                let answer = client.post("/api/v1/events", json!(body)).await.expect(202);
                assert!(!answer.text.contains("\"status\""), "each was taken: {}", answer.text);
                published.fetch_add(to - from, Ordering::SeqCst);
            }
        })
    });
    for publisher in publishers.collect::<Vec<_>>() {
        publisher.await.expect("every answer was 202");
    }
}

/// Lets one version after the other serve, spread over the load, through one node.
async fn swap(node: &Server, swaps: usize, events: usize, published: &AtomicUsize) -> Duration {
    let admin = node.admin("acme");
    let mut ticks = tokio::time::interval(Duration::from_millis(2));
    let mut slowest = Duration::ZERO;
    for n in 0..swaps {
        while published.load(Ordering::SeqCst) < events * n / swaps {
            ticks.tick().await;
        }
        let begun = Instant::now();
        let version = (n as u32 + 1) % VERSIONS + 1;
        admin.put(&format!("{SLACKISH}/active"), json!({"version": version})).await.expect(200);
        slowest = slowest.max(begun.elapsed());
    }
    slowest
}

/// All versions, of which the first serves, and the chain before sockets.
async fn prepare(node: &Server) {
    for n in 1..=VERSIONS {
        let path = format!("{SLACKISH}?activate={}", n == 1);
        upload(node, &path, transformer(&n.to_string()).bytes()).await.expect(201);
    }
    node.admin("acme").put_text("/api/v1/sockets/chain", STEPS).await.expect(200);
}

struct Proof<'a> {
    nodes: &'a [Server],
    events: usize,
    swaps: usize,
    /// To a webhook as well as to sockets.
    webhook: bool,
}

impl Proof<'_> {
    async fn run(self) {
        let Proof { nodes, events, swaps, webhook } = self;
        prepare(&nodes[0]).await;
        let (on_socket, on_webhook) = (Tally::of(events), Tally::of(events));
        let receiver = counting(on_webhook.clone()).await;
        if webhook {
            let chain: Value = serde_json::from_str(STEPS).expect("JSON");
            let made = nodes[0].webhook_with("acme", &receiver.url(), json!({"chain": chain})).await;
            for node in nodes {
                crate::support::eventually("a webhook to be known to all nodes", || async {
                    (node.admin("acme").get(&made.path()).await.status == 200).then_some(())
                })
                .await;
            }
        }
        let last = nodes.last().expect("there is a node");
        let token = Token::of("acme").user("kim").role("agent").sign();
        let mut socket = last.dial("/ws?events=call.*").bearer(&token).open().await;
        socket.expect_welcome().await;
        let watching = watch(socket, on_socket.clone());
        let published = Arc::new(AtomicUsize::new(0));
        let clients = nodes.iter().flat_map(|node| (0..4).map(|_| node.service("acme"))).collect();
        let begun = Instant::now();
        let ((), slowest) =
            tokio::join!(publish(clients, events, published.clone()), swap(&nodes[0], swaps, events, &published));
        on_socket.expect(events, "sockets").await;
        if webhook {
            on_webhook.expect(events, "webhook").await;
        }
        let took = begun.elapsed();
        println!(
            "{events} events over {swaps} swaps on {} nodes in {took:.1?} ({:.0}/s): none lost, none twice, none through \
             half a chain; {} versions were seen on sockets, {} at the webhook; the slowest swap was answered in {slowest:.1?}",
            nodes.len(),
            events as f64 / took.as_secs_f64(),
            on_socket.versions(),
            on_webhook.versions(),
        );
        assert!(on_socket.versions() > 1 && (!webhook || on_webhook.versions() > 1), "swaps happened meanwhile");
        watching.abort();
    }
}

async fn one_node() -> Server {
    Server::with().env("WS_MAX_QUEUE_BYTES", "256MiB").start().await
}

#[tokio::test]
async fn over_ten_swaps_under_load_no_event_is_lost_doubled_or_sent_through_half_a_chain() {
    let nodes = [one_node().await];
    Proof { nodes: &nodes, events: 4_000, swaps: 10, webhook: true }.run().await;
}

#[tokio::test]
async fn long_a_million_events_over_a_hundred_swaps_on_one_node() {
    let nodes = [one_node().await];
    Proof { nodes: &nodes, events: 1_000_000, swaps: 100, webhook: false }.run().await;
}

#[tokio::test]
async fn long_a_hundred_thousand_events_over_twenty_swaps_on_three_nodes() {
    let (database, redis) = (Database::relaxed(Kind::MariaDb).await, Redis::start().await);
    let mut nodes = Vec::new();
    for _ in 0..3 {
        let node = Server::with().database(&database).redis(&redis).env("WS_MAX_QUEUE_BYTES", "256MiB");
        nodes.push(node.start().await);
    }
    for node in &nodes {
        shared(node).await;
    }
    Proof { nodes: &nodes, events: 100_000, swaps: 20, webhook: true }.run().await;
}
