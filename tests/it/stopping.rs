//! Contract, section 9: how a server leaves.

use crate::support::wait::PATIENCE;
use crate::support::{Receiver, Server, within};
use serde_json::json;
use std::time::Duration;

#[tokio::test]
async fn sigterm_says_bye_closes_1012_and_ends_with_0_within_the_grace() {
    let mut server = Server::start().await;
    let mut socket = server.socket("acme", "kim").await;
    server.ask_to_stop();
    let bye = socket.expect_control("bye").await;
    assert_eq!(bye["code"], 1012, "{bye}");
    assert_eq!(bye["reconnect"], true, "{bye}");
    assert!(bye["after_ms"].is_u64() && bye["reason"].is_string(), "{bye}");
    assert_eq!(socket.expect_close().await, 1012);
    assert_eq!(server.ended_within(Duration::from_secs(5)).await.code(), Some(0));
}

#[tokio::test]
async fn after_sigterm_readyz_is_503_or_nobody_listens() {
    let mut server = Server::start().await;
    let mut socket = server.socket("acme", "kim").await;
    let client = server.anonymous();
    server.ask_to_stop();
    socket.expect_control("bye").await;
    within(PATIENCE, "the listener to be closed", async {
        while let Some(status) = client.try_get("/readyz").await {
            assert_eq!(status, 503, "a draining server must not look ready");
        }
    })
    .await;
    assert_eq!(server.ended_within(Duration::from_secs(6)).await.code(), Some(0));
}

#[tokio::test]
async fn a_hanging_receiver_does_not_hold_up_a_stop_and_gets_its_delivery_after_the_next_start() {
    let mut server = Server::start().await;
    let mut receiver = Receiver::start().await;
    receiver.hang();
    server.webhook("acme", &receiver.url()).await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    let hanging = receiver.expect_delivery().await;

    server.ask_to_stop();
    assert_eq!(server.ended_within(Duration::from_secs(6)).await.code(), Some(0));
    receiver.answer_always(200);
    server.restart().await;
    let delivered = receiver.expect_delivery().await;
    assert_eq!(delivered.header("webhook-id"), hanging.header("webhook-id"));
    assert_eq!(delivered.body, hanging.body);
}

#[tokio::test]
async fn everything_answered_before_an_orderly_stop_is_delivered_before_or_after_it() {
    let mut server = Server::start().await;
    let receiver = Receiver::start().await;
    server.webhook("acme", &receiver.url()).await;
    let mut ids = Vec::new();
    for n in 0..100 {
        ids.push(server.publish("acme", json!({"type": "call.ended", "data": {"n": n}})).await);
    }
    assert_eq!(server.terminate().await, Some(0));
    server.restart().await;
    receiver.expect_ids(&ids, |body| &body["id"]).await;
}

/// Whoever copies the one file after a stop has everything.
#[tokio::test]
async fn after_a_stop_the_database_is_one_whole_file() {
    let mut server = Server::start().await;
    for _ in 0..20 {
        server.publish("acme", json!({"type": "call.incoming"})).await;
    }
    assert_eq!(server.terminate().await, Some(0));
    let home = server.plugin_path("x").parent().and_then(|plugins| plugins.parent()).expect("a home").to_owned();
    let log = std::fs::metadata(home.join("jackfield.db-wal")).map_or(0, |metadata| metadata.len());
    assert_eq!(log, 0, "the write-ahead log was brought home");
}
