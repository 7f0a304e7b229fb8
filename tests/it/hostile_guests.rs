//! Plugins that loop, trap, allocate, flood or overflow cost their own tenant one failed event, and nobody else anything.

use crate::support::guests::{Guest, transformer};
use crate::support::{Receiver, Server};
use serde_json::json;

/// `hostile` runs the guest on its webhook and sockets; `neighbour` has a good plugin and must not notice.
async fn survives(guest: Guest) {
    let server = Server::start().await;
    server.install("hostile", &guest.bytes()).await;
    server.install("good", &transformer("1").bytes()).await;
    let (mut theirs, mut ours) = (Receiver::start().await, Receiver::start().await);
    let hostile = json!({"events": ["call.ended"], "chain": [{"plugin": "shared/hostile"}]});
    let webhook = server.webhook_with("hostile", &theirs.url(), hostile).await;
    server.webhook_with("neighbour", &ours.url(), json!({"chain": [{"plugin": "shared/good"}]})).await;

    for n in 0..5 {
        server.publish("hostile", json!({"type": "call.ended", "data": n})).await;
        server.publish("neighbour", json!({"type": "call.ended", "data": n})).await;
    }
    for delivery in ours.expect_deliveries(5).await {
        assert_eq!(delivery.json()["version"], "1");
    }
    webhook.expect_count("plugin_failed", 5).await;
    let failed = webhook.expect_failed().await;
    assert_eq!(failed["state"], "plugin_failed", "{failed}");

    // The tenant itself goes on as soon as the plugin is out of the way.
    webhook.change(json!({"chain": [], "events": ["*"]})).await;
    server.publish("hostile", json!({"type": "marker"})).await;
    theirs.expect_silence_until("marker").await;
}

#[tokio::test]
async fn a_guest_that_loops_costs_one_failed_delivery_each() {
    survives(transformer("1").looping()).await;
}

#[tokio::test]
async fn a_guest_that_traps_costs_one_failed_delivery_each() {
    survives(transformer("1").trapping()).await;
}

#[tokio::test]
async fn a_guest_that_allocates_without_end_costs_one_failed_delivery_each() {
    survives(transformer("1").hogging()).await;
}

#[tokio::test]
async fn a_guest_that_answers_ten_megabytes_costs_one_failed_delivery_each() {
    survives(transformer("1").flooding()).await;
}

#[tokio::test]
async fn a_guest_that_overflows_its_stack_costs_one_failed_delivery_each() {
    survives(transformer("1").overflowing()).await;
}

#[tokio::test]
async fn on_sockets_a_looping_guest_hides_its_tenants_events_and_nobody_elses() {
    let server = Server::start().await;
    server.install("hostile", &transformer("1").looping().bytes()).await;
    server.admin("hostile").put("/api/v1/sockets/chain", json!([{"plugin": "shared/hostile"}])).await.expect(200);
    let (mut theirs, mut ours) = (server.socket("hostile", "kim").await, server.socket("neighbour", "kim").await);
    for _ in 0..5 {
        server.publish("hostile", json!({"type": "call.ended"})).await;
    }
    server.publish("neighbour", json!({"type": "call.ended"})).await;
    ours.expect_event("call.ended").await;
    let failed = theirs.expect_event("plugin.failed").await;
    assert_eq!(failed["data"]["plugin"], "shared/hostile", "{failed}");
}

#[tokio::test]
async fn on_error_pass_delivers_past_a_trap() {
    let server = Server::start().await;
    server.install("hostile", &transformer("1").trapping().bytes()).await;
    let mut receiver = Receiver::start().await;
    let chain = json!([{"plugin": "shared/hostile", "on_error": "pass"}]);
    server.webhook_with("acme", &receiver.url(), json!({"chain": chain})).await;
    for n in 0..3 {
        server.publish("acme", json!({"type": "call.ended", "data": n})).await;
        assert_eq!(receiver.expect_delivery().await.json()["data"], n);
    }
}

#[tokio::test]
async fn a_delivery_that_its_plugin_failed_stays_failed_over_a_crash() {
    let mut server = Server::start().await;
    server.install("hostile", &transformer("1").trapping().bytes()).await;
    let receiver = Receiver::start().await;
    let webhook = server.webhook_with("acme", &receiver.url(), json!({"chain": [{"plugin": "shared/hostile"}]})).await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    webhook.expect_failed().await;
    server.kill();
    server.restart().await;
    webhook.expect_count("plugin_failed", 1).await;
    assert!(receiver.all().is_empty());
}
