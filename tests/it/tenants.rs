//! One tenant never sees, changes or receives what is another's.

use crate::support::{Receiver, Server, items};
use serde_json::json;

#[tokio::test]
async fn another_tenants_webhook_is_not_found() {
    let server = Server::start().await;
    let receiver = Receiver::start().await;
    let webhook = server.webhook("acme", &receiver.url()).await;
    let stranger = server.admin("other");
    let path = webhook.path();
    stranger.get(&path).await.expect_problem(404);
    stranger.put(&path, json!({"name": "mine now"})).await.expect_problem(404);
    stranger.delete(&path).await.expect_problem(404);
    stranger.post(&format!("{path}/test"), json!({})).await.expect_problem(404);
    stranger.get(&format!("{path}/logs")).await.expect_problem(404);
    stranger.get(&format!("{path}/stats")).await.expect_problem(404);
    assert!(items(&stranger.get("/api/v1/webhooks").await.expect(200).body).is_empty());
    assert_eq!(webhook.shown().await["name"], "under test");
}

#[tokio::test]
async fn events_reach_only_their_tenants_sockets() {
    let server = Server::start().await;
    let mut ours = server.socket("acme", "kim").await;
    let mut theirs = server.socket("other", "kim").await;
    let mut similar = server.socket("ACME", "kim").await;
    server.publish("acme", json!({"type": "call.incoming"})).await;
    server.publish("acme", json!({"type": "call.incoming", "user_id": "kim"})).await;
    server.publish("other", json!({"type": "marker"})).await;
    server.publish("ACME", json!({"type": "marker"})).await;
    ours.expect_event("call.incoming").await;
    assert_eq!(ours.expect_event("call.incoming").await["tenant_id"], "acme");
    theirs.expect_silence_until("marker").await;
    similar.expect_silence_until("marker").await;
}

#[tokio::test]
async fn events_reach_only_their_tenants_webhooks() {
    let server = Server::start().await;
    let (mut ours, mut theirs) = (Receiver::start().await, Receiver::start().await);
    server.webhook("acme", &ours.url()).await;
    server.webhook("other", &theirs.url()).await;
    server.publish("acme", json!({"type": "call.incoming"})).await;
    server.publish("other", json!({"type": "marker"})).await;
    assert_eq!(ours.expect_delivery().await.json()["tenant_id"], "acme");
    theirs.expect_silence_until("marker").await;
}

#[tokio::test]
async fn failures_are_listed_for_their_tenant_alone() {
    let server = Server::start().await;
    let receiver = Receiver::start().await;
    receiver.answer_always(500);
    let webhook = server.webhook_with("acme", &receiver.url(), json!({"retry_count": 0})).await;
    server.publish("acme", json!({"type": "call.incoming"})).await;
    webhook.expect_failed().await;
    assert!(items(&server.admin("other").get("/api/v1/webhooks/failed").await.expect(200).body).is_empty());
}

#[tokio::test]
async fn presence_is_the_tenants_own() {
    let server = Server::start().await;
    let _socket = server.socket("acme", "kim").await;
    let seen = server.agent("other").get("/ws/users/kim/online").await.expect(200);
    assert_eq!(seen.body["online"], false);
    assert_eq!(server.agent("other").get("/ws/stats").await.expect(200).body["clients"], 0);
}
