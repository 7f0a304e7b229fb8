//! Contract, section 6: presence is that of all nodes, and true again soon after a node or Redis has failed.

use crate::cluster::{Pair, redis_is, shared};
use crate::presence::{OFFLINE, ONLINE, history};
use crate::support::{Redis, Server, Token, eventually, items, within};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// What a dead node held is clear, and told, within this time.
const CLEARED: Duration = Duration::from_secs(15);
/// Redis that came back empty is true again within this time.
const TRUE_AGAIN: Duration = Duration::from_secs(30);

/// The users whom Redis has online, sorted.
pub async fn members(redis: &Redis, tenant: &str) -> Vec<String> {
    let mut members: Vec<String> = redis.ask(&format!("SMEMBERS callcenter:online:{tenant}")).await;
    members.sort();
    members
}

/// The users whom a node has online, sorted.
pub async fn online(node: &Server, tenant: &str) -> Vec<String> {
    let listed = node.agent(tenant).get("/ws/users/online").await.expect(200).body;
    items(&listed).iter().map(|user| user.as_str().expect("a user").to_owned()).collect()
}

/// Everything that tells of a tenant says that these are here: Redis, and each node by its list, its counts and each user.
async fn is_true(pair: &Pair, users: &[(&str, u64)]) -> bool {
    let names: Vec<&str> = users.iter().map(|(user, _)| *user).collect();
    if members(&pair.redis, "acme").await != names {
        return false;
    }
    for node in &pair.nodes {
        let client = node.agent("acme");
        let stats = client.get("/ws/stats").await.expect(200).body;
        let clients: u64 = users.iter().map(|(_, connections)| connections).sum();
        if online(node, "acme").await != names || stats["clients"] != clients || stats["users"] != users.len() {
            return false;
        }
        for (user, connections) in users {
            let shown = client.get(&format!("/ws/users/{user}/online")).await.expect(200).body;
            if shown["online"] != true || shown["connections"] != *connections {
                return false;
            }
        }
    }
    true
}

async fn becomes_true(pair: &Pair, limit: Duration, users: &[(&str, u64)]) {
    within(limit, &format!("all to say that {users:?} are here"), async {
        let mut ticks = tokio::time::interval(Duration::from_millis(50));
        while !is_true(pair, users).await {
            ticks.tick().await;
        }
    })
    .await;
}

async fn expect_history(node: &Server, user: &str, limit: Duration, expected: &[&str]) {
    within(limit, &format!("{expected:?} of {user}"), async {
        let mut ticks = tokio::time::interval(Duration::from_millis(100));
        while history(node, "acme", user).await != expected {
            ticks.tick().await;
        }
    })
    .await;
}

/// Waits until the node takes sockets without Redis; until then they are told to come back in a second.
async fn goes_alone(node: &Server) {
    redis_is(node, "unavailable").await;
    let token = Token::of("acme").user("kim").role("agent").sign();
    eventually("a node to take sockets without Redis", || async {
        let mut socket = node.dial("/ws").bearer(&token).open().await;
        let first = socket.read().await.ok()?;
        socket.close().await;
        (first.value["type"] == "welcome").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_user_of_both_nodes_is_one_and_is_told_once() {
    let pair = Pair::start().await;
    let [one, two] = &pair.nodes;
    let (desk, phone) = (one.socket("acme", "kim").await, two.socket("acme", "kim").await);
    let lee = two.socket("acme", "lee").await;
    let other = one.socket("other", "kim").await;
    assert_eq!(members(&pair.redis, "acme").await, ["kim", "lee"], "written before the welcome");
    becomes_true(&pair, CLEARED, &[("kim", 2), ("lee", 1)]).await;
    let (seen, ttl): (i64, i64) = (
        pair.redis.ask("GET callcenter:presence:acme:kim").await,
        pair.redis.ask("TTL callcenter:presence:acme:kim").await,
    );
    let now = crate::support::tokens::now();
    assert!((now - 60..=now + 1).contains(&seen) && (290..=300).contains(&ttl), "{seen} {ttl}");
    desk.close().await;
    becomes_true(&pair, CLEARED, &[("kim", 1), ("lee", 1)]).await;
    phone.close().await;
    becomes_true(&pair, CLEARED, &[("lee", 1)]).await;
    expect_history(one, "kim", Duration::from_secs(10), &[ONLINE, OFFLINE]).await;
    assert_eq!(history(two, "other", "kim").await, [ONLINE], "another tenant's kim is here");
    lee.close().await;
    other.close().await;
}

#[tokio::test]
async fn the_users_of_a_killed_node_leave_within_15_s() {
    let mut pair = Pair::start().await;
    let (lee, kim) = (pair.nodes[1].socket("acme", "lee").await, pair.nodes[1].socket("acme", "kim").await);
    let mut desk = pair.nodes[0].socket("acme", "kim").await;
    expect_history(&pair.nodes[0], "lee", CLEARED, &[ONLINE]).await;
    pair.nodes[1].kill();
    let killed = Instant::now();
    drop((lee, kim));
    let event = within(CLEARED, "lee to be told offline", async {
        loop {
            let frame = desk.read().await.expect("the other node stays").value;
            if frame["type"] == OFFLINE {
                return frame;
            }
        }
    })
    .await;
    assert_eq!((&event["data"]["user_id"], &event["data"]["reason"]), (&json!("lee"), &json!("lost")), "{event}");
    assert!(killed.elapsed() < CLEARED);
    assert_eq!(members(&pair.redis, "acme").await, ["kim"], "kim is on the other node, too");
    let shown = pair.nodes[0].agent("acme").get("/ws/users/kim/online").await.expect(200).body;
    assert_eq!(shown["connections"], 1);
    let stats = pair.nodes[0].agent("acme").get("/ws/stats").await.expect(200).body;
    assert_eq!((&stats["clients"], &stats["users"]), (&json!(1), &json!(1)));
    pair.nodes[1].restart().await;
    shared(&pair.nodes[1]).await;
    let _lee = pair.nodes[1].socket("acme", "lee").await;
    expect_history(&pair.nodes[0], "lee", CLEARED, &[ONLINE, OFFLINE, ONLINE]).await;
    assert_eq!(history(&pair.nodes[0], "acme", "kim").await, [ONLINE]);
}

#[tokio::test]
async fn redis_that_was_restarted_empty_is_true_again_and_nobody_is_told_anything_false() {
    let mut pair = Pair::start().await;
    let (_kim, lee) = (pair.nodes[0].socket("acme", "kim").await, pair.nodes[1].socket("acme", "lee").await);
    let max = pair.nodes[0].socket("acme", "max").await;
    becomes_true(&pair, CLEARED, &[("kim", 1), ("lee", 1), ("max", 1)]).await;
    expect_history(&pair.nodes[0], "max", CLEARED, &[ONLINE]).await;
    pair.redis.kill();
    for node in &pair.nodes {
        goes_alone(node).await;
    }
    // They leave, one comes, and one comes back elsewhere while nobody can say so to Redis.
    drop((max, lee));
    let _lee = pair.nodes[0].socket("acme", "lee").await;
    let _ann = pair.nodes[1].socket("acme", "ann").await;
    pair.redis.start_again().await;
    becomes_true(&pair, TRUE_AGAIN, &[("ann", 1), ("kim", 1), ("lee", 1)]).await;
    expect_history(&pair.nodes[0], "max", TRUE_AGAIN, &[ONLINE, OFFLINE]).await;
    expect_history(&pair.nodes[0], "ann", TRUE_AGAIN, &[ONLINE]).await;
    for user in ["kim", "lee"] {
        assert_eq!(history(&pair.nodes[1], "acme", user).await, [ONLINE], "{user} was never away");
    }
}

#[tokio::test]
async fn a_node_that_stops_withdraws_at_once() {
    let mut pair = Pair::start().await;
    let _kim = pair.nodes[0].socket("acme", "kim").await;
    let _lee = pair.nodes[1].socket("acme", "lee").await;
    expect_history(&pair.nodes[0], "lee", CLEARED, &[ONLINE]).await;
    let code = pair.nodes[1].terminate().await;
    let ended = Instant::now();
    assert_eq!(code, Some(0));
    assert_eq!(members(&pair.redis, "acme").await, ["kim"]);
    let nodes: Vec<String> = pair.redis.ask("ZRANGE callcenter:nodes 0 -1").await;
    assert_eq!(nodes.len(), 1, "{nodes:?}");
    let stats: Value = pair.nodes[0].agent("acme").get("/ws/stats").await.expect(200).body;
    assert_eq!((&stats["clients"], &stats["users"]), (&json!(1), &json!(1)));
    expect_history(&pair.nodes[0], "lee", CLEARED, &[ONLINE, OFFLINE]).await;
    assert!(ended.elapsed() < CLEARED);
    eventually("kim to stay", || async { (online(&pair.nodes[0], "acme").await == ["kim"]).then_some(()) }).await;
}
