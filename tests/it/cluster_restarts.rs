//! Nodes that are stopped and started one after the other, or killed, while publishers go on: clients come back at another
//! node, and have each event once.

use crate::cluster::{TYPES, shared};
use crate::support::load::{Load, Plan, WhenItBreaks};
use crate::support::watcher::Watcher;
use crate::support::{Database, Redis, Server, databases::Kind};
use serde_json::json;
use std::time::{Duration, Instant};

const PLAN: Plan =
    Plan { when_it_breaks: WhenItBreaks::SendAgain, types: TYPES, pause: Some(Duration::from_millis(25)) };

async fn nodes(count: usize, database: &Database, redis: &Redis) -> Vec<Server> {
    let mut nodes = Vec::new();
    for _ in 0..count {
        nodes.push(Server::with().database(database).redis(redis).start().await);
    }
    for node in &nodes {
        shared(node).await;
    }
    nodes
}

/// Clients that go from node to node, each beginning at another.
async fn roaming(nodes: &[Server], count: usize) -> Vec<Watcher> {
    let mut watchers = Vec::new();
    for n in 0..count {
        let mut in_turn: Vec<&Server> = nodes.iter().collect();
        in_turn.rotate_left(n % nodes.len());
        watchers.push(Watcher::start(&in_turn, "acme", &format!("kim{n}")).await);
    }
    watchers
}

fn publishers(nodes: &[Server]) -> Load {
    let publishers = nodes.iter().flat_map(|node| [node.service("acme"), node.service("acme")]).collect();
    Load::planned("r", publishers, PLAN)
}

async fn rolling_restart(count: usize) {
    let (database, redis) = (Database::relaxed(Kind::MariaDb).await, Redis::start().await);
    let mut nodes = nodes(count, &database, &redis).await;
    let watchers = roaming(&nodes, 20).await;
    let load = publishers(&nodes);
    for node in &mut nodes {
        load.accept_more(100).await;
        assert_eq!(node.terminate().await, Some(0));
        load.accept_more(50).await;
        node.restart().await;
        shared(node).await;
    }
    load.accept_more(100).await;
    let slowest = load.slowest();
    let ids = load.end().await;
    for watcher in &watchers {
        watcher.expect(&ids).await;
        assert!(watcher.gaps().is_empty(), "{:?}", watcher.gaps());
        assert!(watcher.seen().closes.iter().all(|code| *code == 1012), "{:?}", watcher.seen().closes);
    }
    Watcher::agree(&watchers);
    println!("{count} nodes restarted, {} events at {} clients, slowest answer {slowest:?}", ids.len(), watchers.len());
}

#[tokio::test]
async fn a_rolling_restart_of_two_nodes_is_seen_by_no_client() {
    rolling_restart(2).await;
}

#[tokio::test]
async fn long_a_rolling_restart_of_three_nodes_is_seen_by_no_client() {
    rolling_restart(3).await;
}

#[tokio::test]
async fn clients_of_a_killed_node_miss_nothing_at_the_other() {
    let (database, redis) = (Database::relaxed(Kind::MariaDb).await, Redis::start().await);
    let mut nodes = nodes(2, &database, &redis).await;
    let watchers = roaming(&nodes, 10).await;
    let load = publishers(&nodes);
    let begun = Instant::now();
    for node in &mut nodes {
        load.accept_more(100).await;
        node.kill();
        load.accept_more(50).await;
        node.restart().await;
        shared(node).await;
    }
    load.accept_more(50).await;
    let ids = load.end().await;
    for watcher in &watchers {
        watcher.expect(&ids).await;
        assert!(watcher.gaps().is_empty(), "{:?}", watcher.gaps());
    }
    Watcher::agree(&watchers);
    println!("two nodes killed, {} events at {} clients in {:?}", ids.len(), watchers.len(), begun.elapsed());
}

/// Committed, and its node dead before the sockets were told: the publisher sends it again, and all see it once.
#[tokio::test]
async fn an_event_whose_node_died_before_it_was_shown_is_shown_when_it_is_sent_again() {
    let (database, mut redis) = (Database::relaxed(Kind::MariaDb).await, Redis::keeping().await);
    let mut nodes = nodes(2, &database, &redis).await;
    let watcher = Watcher::on(&nodes[1], "acme", "kim").await;
    let event = json!({"id": "died", "type": "call.ended"});
    // The node waits for Redis after the commit, and dies there.
    redis.freeze();
    let client = nodes[0].service("acme");
    let sent = event.clone();
    let publishing = tokio::spawn(async move { client.try_publish(&sent).await });
    crate::support::eventually("the commit", || async {
        (database.count("SELECT COUNT(*) FROM jf_events WHERE id = 'died'").await == 1).then_some(())
    })
    .await;
    nodes[0].kill();
    assert_eq!(publishing.await.expect("a request ends"), None, "it was not answered");
    // What had left the dead node may lie in the kernel: it must not count for this proof.
    redis.kill();
    redis.start_again().await;
    shared(&nodes[1]).await;
    let again = nodes[1].service("acme").post("/api/v1/events", event).await.expect(202);
    assert_eq!(again.body["duplicate"], true, "{}", again.text);
    watcher.expect(&["died".to_owned()]).await;
    nodes[1].publish("acme", json!({"id": "next", "type": "call.ended"})).await;
    watcher.expect(&["next".to_owned()]).await;
    assert_eq!(watcher.ids(), ["died", "next"]);
}
