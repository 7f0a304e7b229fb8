//! One tenant's or endpoint's trouble is nobody else's.

use crate::support::{Receiver, Server};
use serde_json::json;

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
