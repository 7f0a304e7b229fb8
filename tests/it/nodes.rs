//! Many nodes on one database are one server: each delivery is one node's, and a dead node's are soon another's.

use crate::support::account::Account;
use crate::support::client::Client;
use crate::support::load::{Load, WhenItBreaks};
use crate::support::receiver::{Door, Received};
use crate::support::webhooks::{Webhook, all_is_finished_and_counted_once};
use crate::support::{Answer, Database, Receiver, Server, eventually, on_every_database};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What a dead node held is taken over within this time of its death.
const TAKEOVER: Duration = Duration::from_secs(15);
/// A change made through one node is in force on the others within this time, where there is no Redis.
const IN_FORCE: Duration = Duration::from_secs(5);

on_every_database! { servers relaxed:
    each_delivery_is_received_exactly_once_when_nothing_fails,
    long_20_000_deliveries_are_received_exactly_once_when_nothing_fails,
    what_a_killed_and_a_frozen_node_held_goes_on_within_15_s,
    what_a_node_held_that_died_after_its_burial_goes_on,
    order_by_key_holds_over_nodes,
    what_is_changed_through_one_node_is_in_force_on_the_others_within_5_s,
    what_one_node_learned_of_a_receiver_is_honoured_by_the_others,
    a_rolling_restart_under_load_loses_nothing_and_doubles_nothing,
}

/// Four nodes; the n-th has the n-th number in the database.
async fn four_nodes(database: &Database) -> Vec<Server> {
    four_nodes_and(database, &Receiver::start().await, &[]).await.0
}

/// Webhooks at these paths, of which `/ordered` wants order by key, and four nodes that know them from their start.
async fn four_nodes_and(database: &Database, receiver: &Receiver, paths: &[&str]) -> (Vec<Server>, Vec<Webhook>) {
    let (mut nodes, mut webhooks) = (Vec::new(), Vec::new());
    for n in 0..4 {
        nodes.push(Server::with().database(database).env("WEBHOOK_RETRY_SCHEDULE", "200ms").start().await);
        for path in paths.iter().filter(|_| n == 0) {
            let ordering = if *path == "/ordered" { "key" } else { "none" };
            let fields = json!({"ordering": ordering, "retry_count": 20});
            webhooks.push(nodes[0].webhook_with("acme", &receiver.url_of(path), fields).await);
        }
    }
    (nodes, webhooks)
}

/// Names of the nodes, in order of their numbers.
async fn names(database: &Database) -> Vec<String> {
    database.texts("SELECT id FROM jf_nodes ORDER BY slot").await
}

fn publishers(nodes: &[Server], each: usize) -> Vec<Client> {
    nodes.iter().flat_map(|node| (0..each).map(|_| node.service("acme"))).collect()
}

/// Until a webhook is in force on all nodes.
async fn known_to_all(nodes: &[Server], webhook: &Webhook) {
    for node in nodes {
        eventually("a webhook to be known to all nodes", || async {
            (node.admin("acme").get(&webhook.path()).await.status == 200).then_some(())
        })
        .await;
    }
}

// --- one node for each delivery ------------------------------------------------------------------------------------

async fn each_delivery_is_received_exactly_once_when_nothing_fails(database: Database) {
    exactly_once(database, 500).await;
}

async fn long_20_000_deliveries_are_received_exactly_once_when_nothing_fails(database: Database) {
    exactly_once(database, 5_000).await;
}

async fn exactly_once(database: Database, events: usize) {
    const PATHS: [&str; 4] = ["/a", "/b", "/c", "/ordered"];
    let receiver = Receiver::start().await;
    let (nodes, webhooks) = four_nodes_and(&database, &receiver, &PATHS).await;
    let begun = Instant::now();
    let load = Load::start("e", publishers(&nodes, 2), WhenItBreaks::End);
    load.accept_many(events).await;
    let refused = load.refused();
    let ids = load.end().await;
    let mut account = Account::default();
    account.expect(&receiver, &ids, &PATHS).await;
    all_is_finished_and_counted_once(&database, &webhooks).await;
    account.take_in(&receiver);
    assert_eq!(account.requests(), ids.len() * PATHS.len(), "each of {} events once at each webhook", ids.len());
    assert_eq!(account.duplicates(), 0);
    assert_eq!(refused, 0, "nothing failed, and yet so many requests were answered 503");
    println!(
        "{:?}: 4 nodes, {} deliveries of {} events, each received exactly once, in {:?}",
        database.kind(),
        account.requests(),
        ids.len(),
        begun.elapsed()
    );
}

// --- takeover ------------------------------------------------------------------------------------------------------

async fn what_a_killed_and_a_frozen_node_held_goes_on_within_15_s(database: Database) {
    const PATHS: [&str; 2] = ["/hook", "/ordered"];
    let receiver = Receiver::start().await;
    let (mut nodes, webhooks) = four_nodes_and(&database, &receiver, &PATHS).await;
    let names = names(&database).await;
    let door = Door::shut();
    let behind = door.clone();
    receiver.answer_by(move |_| Answer::status(200).behind(&behind));
    let load = |n: usize, when| Load::start(&format!("n{n}"), publishers(&nodes[n..=n], 3), when);
    let loads = [
        load(0, WhenItBreaks::SendAgain),
        load(1, WhenItBreaks::End),
        load(2, WhenItBreaks::SendAgain),
        load(3, WhenItBreaks::SendAgain),
    ];
    for load in &loads {
        load.accept_many(60).await;
    }

    let (dead, frozen) = (1, 2);
    let fault = Instant::now();
    nodes[frozen].freeze();
    nodes[dead].kill();
    let mut held = BTreeMap::new();
    for (node, path, webhook) in [
        (dead, "/hook", &webhooks[0]),
        (frozen, "/hook", &webhooks[0]),
        (dead, "/ordered", &webhooks[1]),
        (frozen, "/ordered", &webhooks[1]),
    ] {
        let whose = format!("lease_owner = '{}' AND webhook_id = {}", names[node], webhook.id);
        let sql = format!("SELECT event_id FROM jf_deliveries WHERE state = 'pending' AND {whose}");
        held.insert((node, path), database.texts(&sql).await);
    }
    assert!(held[&(dead, "/hook")].len() >= 30 && held[&(frozen, "/hook")].len() >= 30, "they hold little: {held:?}");
    receiver.answer_always(200);
    door.open();

    // Those who live wait for the locks of the frozen one, and not for long. Then there is enough to deliver.
    let [first, dying, freezing, last] = loads;
    let mut ids = dying.end().await;
    let mut slowest = Duration::ZERO;
    for load in [first, last] {
        load.accept_more(20).await;
        slowest = slowest.max(load.slowest());
        ids.extend(load.end().await);
    }
    assert!(slowest < Duration::from_secs(10), "a publisher on another node waited {slowest:?}");

    let mut account = Account::default();
    let mut took = Duration::ZERO;
    for ((_, path), ids) in &held {
        took = took.max(account.expect_since(&receiver, ids, path, fault).await);
    }
    assert!(took <= TAKEOVER, "what two nodes held went on {took:?} after their end");

    nodes[frozen].go_on();
    freezing.accept_more(20).await;
    eventually("the frozen node to join again", || async {
        let now = self::names(&database).await;
        (now.len() == 3 && now.contains(&names[frozen]) && !now.contains(&names[dead])).then_some(())
    })
    .await;
    account.fault(fault, Instant::now() + Duration::from_secs(1));
    ids.extend(freezing.end().await);
    account.expect(&receiver, &ids, &PATHS).await;
    all_is_finished_and_counted_once(&database, &webhooks).await;
    let held: usize = held.values().map(Vec::len).sum();
    println!(
        "{:?}: a killed and a frozen node held {held} deliveries, the last went on after {took:?}; {} events, {} \
         duplicates, all explained; publishers on the other nodes waited {slowest:?} at most",
        database.kind(),
        ids.len(),
        account.duplicates()
    );
}

async fn what_a_node_held_that_died_after_its_burial_goes_on(database: Database) {
    let mut receiver = Receiver::start().await;
    receiver.hang();
    let (mut nodes, webhooks) = four_nodes_and(&database, &receiver, &["/hook"]).await;
    let name = names(&database).await.swap_remove(1);
    // As the others do with one that stands still: it finds out at its next beat, in three seconds at most.
    database.execute(&format!("DELETE FROM jf_nodes WHERE id = '{name}'")).await;
    let id = nodes[1].publish("acme", json!({"type": "call.ended"})).await;
    receiver.expect_delivery().await;
    nodes[1].kill();
    let killed = Instant::now();
    receiver.answer_always(200);
    assert_eq!(receiver.expect_delivery().await.json()["id"], *id);
    assert!(killed.elapsed() <= TAKEOVER, "it went on after {:?}", killed.elapsed());
    all_is_finished_and_counted_once(&database, &webhooks).await;
}

// --- order ---------------------------------------------------------------------------------------------------------

async fn order_by_key_holds_over_nodes(database: Database) {
    const KEYS: usize = 6;
    const EACH: usize = 40;
    let receiver = Receiver::start().await;
    // Some fail, and those behind them must wait.
    receiver.answer_by(|_| Answer::status(if rand::random_range(0..10) == 0 { 500 } else { 200 }));
    let (nodes, webhooks) = four_nodes_and(&database, &receiver, &["/ordered"]).await;

    let publishers: Vec<_> = (0..KEYS)
        .map(|key| {
            let clients = publishers(&nodes, 1);
            tokio::spawn(async move {
                for n in 0..EACH {
                    // Answered on one node before it is sent to another.
                    let client = &clients[rand::random_range(0..clients.len())];
                    let id = format!("k{key}-{n}");
                    let event = json!({"id": id, "type": "call.ended", "key": format!("k{key}"), "data": {"n": n}});
                    client.post("/api/v1/events", event).await.expect(202);
                }
            })
        })
        .collect();
    for publisher in publishers {
        publisher.await.expect("every event is taken");
    }
    all_is_finished_and_counted_once(&database, &webhooks).await;

    let mut by_key: BTreeMap<String, Vec<(u64, Received)>> = BTreeMap::new();
    for request in receiver.all() {
        let event = request.json();
        let (key, n) = (event["key"].as_str().expect("a key"), event["data"]["n"].as_u64().expect("a number"));
        by_key.entry(key.to_owned()).or_default().push((n, request));
    }
    assert_eq!(by_key.len(), KEYS);
    for (key, requests) in &by_key {
        let mut in_order: Vec<u64> = requests.iter().map(|(n, _)| *n).collect();
        assert!(in_order.is_sorted(), "{key} came out of order: {in_order:?}");
        in_order.dedup();
        assert_eq!(in_order.len(), EACH, "{key} came whole: {in_order:?}");
        for pair in requests.windows(2) {
            let [(first, before), (second, after)] = pair else { unreachable!("windows of two") };
            let answered = before.answered().expect("each is answered");
            assert!(answered <= after.at, "{key}: {second} was sent while {first} was under way");
        }
    }
    let requests: usize = by_key.values().map(Vec::len).sum();
    println!("{:?}: {KEYS} keys of {EACH} events over 4 nodes, {requests} requests, all in order", database.kind());
}

// --- changes -------------------------------------------------------------------------------------------------------

async fn what_is_changed_through_one_node_is_in_force_on_the_others_within_5_s(database: Database) {
    let nodes = four_nodes(&database).await;
    let (mut old, mut new, mut other) = (Receiver::start().await, Receiver::start().await, Receiver::start().await);
    let others = [0, 1, 2, 3].map(|n| nodes[n].admin("acme"));
    let publish_on_all = async |event_type: &str| {
        for node in &nodes {
            node.publish("acme", json!({"type": event_type})).await;
        }
    };

    nodes[2].webhook_with("acme", &other.url(), json!({"events": ["marker"]})).await;
    let webhook = nodes[0].webhook_with("acme", &old.url(), json!({"events": ["call.ended"]})).await;
    let begun = Instant::now();
    for client in &others {
        shown(client, &webhook, begun, |_| true).await;
    }
    publish_on_all("call.ended").await;
    old.expect_deliveries(4).await;

    let url = new.url();
    let begun = Instant::now();
    others[1].put(&webhook.path(), json!({"url": url, "events": ["call.started"]})).await.expect(200);
    for client in &others {
        shown(client, &webhook, begun, |body| body["url"] == *url).await;
    }
    publish_on_all("call.ended").await;
    publish_on_all("call.started").await;
    for delivery in new.expect_deliveries(4).await {
        assert_eq!(delivery.header("x-webhook-event"), "call.started", "what it no longer wants is not sent");
    }

    let begun = Instant::now();
    others[2].delete(&webhook.path()).await.expect(204);
    for client in &others {
        eventually("a deleted webhook to be gone on all nodes", || async {
            (client.get(&webhook.path()).await.status == 404).then_some(())
        })
        .await;
        assert!(begun.elapsed() <= IN_FORCE, "a deletion took {:?}", begun.elapsed());
    }
    publish_on_all("call.started").await;
    publish_on_all("marker").await;
    other.expect_deliveries(4).await;
    assert_eq!((old.count(), new.count()), (4, 4), "nothing is sent to a deleted webhook");
}

/// Waits until a node shows a webhook so, and makes sure that it took no longer than it may.
async fn shown(client: &Client, webhook: &Webhook, since: Instant, so: impl Fn(&Value) -> bool) {
    eventually("a change to be shown by all nodes", || async {
        let reply = client.get(&webhook.path()).await;
        (reply.status == 200 && so(&reply.body)).then_some(())
    })
    .await;
    assert!(since.elapsed() <= IN_FORCE, "a change took {:?}", since.elapsed());
}

// --- gates ---------------------------------------------------------------------------------------------------------

async fn what_one_node_learned_of_a_receiver_is_honoured_by_the_others(database: Database) {
    let nodes = four_nodes(&database).await;
    let (mut busy, broken, mut other) = (Receiver::start().await, Receiver::start().await, Receiver::start().await);
    let [pausing, failing, marker] = [
        nodes[0].webhook_with("acme", &busy.url(), json!({"events": ["call.paused"], "retry_count": 20})).await,
        nodes[0].webhook_with("acme", &broken.url(), json!({"events": ["call.failed"], "retry_count": 20})).await,
        nodes[0].webhook_with("acme", &other.url(), json!({"events": ["marker"]})).await,
    ];
    known_to_all(&nodes, &marker).await;

    // One node is asked to wait, while two failures in a row are under way from another one, which it tells too.
    let door = Door::shut();
    let behind = door.clone();
    busy.answer_by(move |_| Answer::status(500).behind(&behind));
    for _ in 0..2 {
        nodes[1].publish("acme", json!({"type": "call.paused"})).await;
    }
    busy.expect_deliveries(2).await;
    busy.answer_with(Answer::status(429).header("retry-after", "60"));
    nodes[0].publish("acme", json!({"type": "call.paused"})).await;
    busy.expect_delivery().await;
    eventually("the pause to be written", || async {
        let sql = format!("SELECT COUNT(*) FROM jf_gates WHERE webhook_id = {} AND paused_until_ms > 0", pausing.id);
        (database.count(&sql).await == 1).then_some(())
    })
    .await;
    let learned = Instant::now();
    door.open();
    busy.answer_always(500);

    broken.answer_always(500);
    nodes[3].publish("acme", json!({"type": "call.failed"})).await;
    let open = broken.expect("10 failures", |all| all.len() >= 10).await.len();
    let opened = Instant::now();
    for node in &nodes {
        circuit(node, &failing, opened, |circuit| circuit["state"] == "open").await;
    }
    for node in &nodes {
        circuit(node, &pausing, learned, |circuit| !circuit["paused_until"].is_null()).await;
    }
    let paused = busy.count();

    for node in &nodes {
        for event_type in ["call.paused", "call.failed", "marker"] {
            node.publish("acme", json!({"type": event_type})).await;
        }
    }
    other.expect_deliveries(4).await;
    // Longer than a node trusts its own word more than the others', and everything that was to be told has been told.
    eventually("two more looks of all nodes", || async { (learned.elapsed() > Duration::from_secs(9)).then_some(()) })
        .await;
    for node in &nodes {
        let now = stats(node, &pausing).await;
        assert!(!now["circuit"]["paused_until"].is_null(), "a pause is forgotten: {now}");
    }
    assert_eq!(busy.count(), paused, "a paused webhook is left alone");
    assert_eq!(broken.count(), open, "an open circuit is open everywhere");
    let waiting = stats(&nodes[2], &pausing).await;
    assert_eq!(waiting["deliveries"]["pending"], 3 + 4, "nothing is lost: {waiting}");
}

async fn stats(node: &Server, webhook: &Webhook) -> Value {
    node.admin("acme").get(&format!("{}/stats", webhook.path())).await.expect(200).body
}

async fn circuit(node: &Server, webhook: &Webhook, since: Instant, so: impl Fn(&Value) -> bool) {
    eventually("all nodes to know how a webhook stands", || async {
        so(&stats(node, webhook).await["circuit"]).then_some(())
    })
    .await;
    assert!(since.elapsed() <= IN_FORCE, "it took {:?} until all nodes knew how a webhook stands", since.elapsed());
}

// --- restarts ------------------------------------------------------------------------------------------------------

async fn a_rolling_restart_under_load_loses_nothing_and_doubles_nothing(database: Database) {
    const PATHS: [&str; 2] = ["/hook", "/ordered"];
    let receiver = Receiver::start().await;
    let (mut nodes, webhooks) = four_nodes_and(&database, &receiver, &PATHS).await;
    let load = Load::start("rolling", publishers(&nodes, 2), WhenItBreaks::SendAgain);
    for node in &mut nodes {
        load.accept_more(100).await;
        assert_eq!(node.terminate().await, Some(0));
        load.accept_more(30).await;
        node.restart().await;
    }
    load.accept_more(100).await;
    let refused = load.refused();
    let ids = load.end().await;
    let mut account = Account::default();
    account.expect(&receiver, &ids, &PATHS).await;
    all_is_finished_and_counted_once(&database, &webhooks).await;
    account.take_in(&receiver);
    assert_eq!(account.duplicates(), 0);
    println!(
        "{:?}: 4 nodes stopped and started one after the other; {} events answered 202, {} deliveries, none twice; \
         {refused} answers of 503",
        database.kind(),
        ids.len(),
        account.requests()
    );
}
