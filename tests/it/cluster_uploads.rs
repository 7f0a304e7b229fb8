//! Uploads over nodes: what is changed through one is in force on the others in time, and what cannot be brought into
//! force keeps what served.

use crate::cluster::Pair;
use crate::support::guests::transformer;
use crate::support::{Database, Server, eventually, on_every_database};
use crate::uploads::{SLACKISH, upload};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const WITH_REDIS: Duration = Duration::from_secs(1);
const WITHOUT: Duration = Duration::from_secs(5);

on_every_database! { servers relaxed:
    without_redis_a_swap_is_in_force_on_the_other_node_within_five_seconds,
    a_version_that_cannot_be_brought_into_force_leaves_the_one_before_serving,
}

async fn serves(node: &Server, version: u32) {
    eventually(&format!("a node to serve version {version}"), || async {
        let shown = node.admin("acme").get(SLACKISH).await.body;
        (shown["active_version"] == version).then_some(())
    })
    .await;
}

/// Swaps through one node are in force on the other, where the tenant's sockets chain uses the plugin.
async fn swaps_reach(one: &Server, two: &Server, limit: Duration) {
    upload(one, SLACKISH, transformer("1").bytes()).await.expect(201);
    // The other node may not know it yet, and looks.
    two.admin("acme").put("/api/v1/sockets/chain", json!([{"plugin": "slackish"}])).await.expect(200);
    let mut socket = two.socket("acme", "kim").await;
    let mut version_now = async || {
        two.publish("acme", json!({"type": "call.ended"})).await;
        socket.expect_event("call.ended").await["data"]["version"].clone()
    };
    assert_eq!(version_now().await, "1");
    upload(one, SLACKISH, transformer("2").bytes()).await.expect(201);
    let swapped = Instant::now();
    serves(two, 2).await;
    assert!(swapped.elapsed() <= limit, "an upload took {:?}", swapped.elapsed());
    assert_eq!(version_now().await, "2");
    one.admin("acme").put(&format!("{SLACKISH}/active"), json!({"version": 1})).await.expect(200);
    let swapped = Instant::now();
    serves(two, 1).await;
    assert!(swapped.elapsed() <= limit, "the way back took {:?}", swapped.elapsed());
    assert_eq!(version_now().await, "1");
    two.admin("acme").put("/api/v1/sockets/chain", json!([])).await.expect(200);
    one.admin("acme").delete(SLACKISH).await.expect(204);
    let deleted = Instant::now();
    eventually("the other node to know it no more", || async {
        let listed = two.admin("acme").get("/api/v1/plugins").await.expect(200);
        (!listed.text.contains("slackish")).then_some(())
    })
    .await;
    assert!(deleted.elapsed() <= limit, "the end took {:?}", deleted.elapsed());
}

#[tokio::test]
async fn with_redis_a_swap_is_in_force_on_the_other_node_within_a_second() {
    let pair = Pair::start().await;
    let [one, two] = &pair.nodes;
    swaps_reach(one, two, WITH_REDIS).await;
}

async fn without_redis_a_swap_is_in_force_on_the_other_node_within_five_seconds(database: Database) {
    let (one, two) = (Server::on(&database).await, Server::on(&database).await);
    swaps_reach(&one, &two, WITHOUT).await;
}

async fn a_version_that_cannot_be_brought_into_force_leaves_the_one_before_serving(database: Database) {
    let mut server = Server::on(&database).await;
    upload(&server, SLACKISH, transformer("1").bytes()).await.expect(201);
    upload(&server, SLACKISH, transformer("2").bytes()).await.expect(201);
    server.admin("acme").put(&format!("{SLACKISH}/active"), json!({"version": 1})).await.expect(200);
    server.admin("acme").put("/api/v1/sockets/chain", json!([{"plugin": "slackish"}])).await.expect(200);
    // Nothing of version 2 is in memory after this.
    server.kill();
    server.restart().await;
    // What stands for these bytes is no digest of them: they are not taken.
    database.execute("UPDATE jf_plugin_versions SET sha256 = REPLACE(sha256, 'a', 'z') WHERE version = 2").await;
    database.execute("UPDATE jf_plugins SET active_version = 2, generation = generation + 1").await;
    let shown = || async { server.admin("acme").get(SLACKISH).await.expect(200).body };
    eventually("last_error to say so", || async {
        let error = shown().await["last_error"].clone();
        error.to_string().contains("version 2 is not in force yet").then_some(())
    })
    .await;
    let mut socket = server.socket("acme", "kim").await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    assert_eq!(socket.expect_event("call.ended").await["data"]["version"], "1");
    database.execute("UPDATE jf_plugin_versions SET sha256 = REPLACE(sha256, 'z', 'a') WHERE version = 2").await;
    serves(&server, 2).await;
    assert_eq!(shown().await["last_error"], Value::Null);
    server.publish("acme", json!({"type": "call.ended"})).await;
    assert_eq!(socket.expect_event("call.ended").await["data"]["version"], "2");
}
