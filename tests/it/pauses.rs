//! `Retry-After` with 429 or 503: the receiver wants to be left alone, and the whole webhook leaves it alone.

use crate::support::{Answer, Receiver, Server};
use serde_json::json;
use std::time::{Duration, SystemTime};

#[tokio::test]
async fn a_429_or_503_with_retry_after_pauses_the_whole_webhook_and_no_other() {
    for status in [429, 503] {
        let server = Server::with().env("WEBHOOK_RETRY_SCHEDULE", "20ms").start().await;
        let (mut receiver, mut other) = (Receiver::start().await, Receiver::start().await);
        receiver.answer_with(Answer::status(status).header("retry-after", "2"));
        let webhook = server.webhook("acme", &receiver.url()).await;
        server.publish("acme", json!({"type": "call.ended"})).await;
        let first = receiver.expect_delivery().await;
        webhook.expect_attempt().await;
        assert!(webhook.circuit().await["paused_until"].is_string(), "{}", webhook.stats().await);

        server.webhook("acme", &other.url()).await;
        server.publish("acme", json!({"type": "call.missed"})).await;
        let elsewhere = other.expect_delivery().await;
        assert!(elsewhere.at - first.at < Duration::from_secs(2), "another webhook waited too");
        // The failed one, and the one that has not been tried yet.
        for later in receiver.expect_deliveries(2).await {
            let waited = later.at - first.at;
            assert!(waited >= Duration::from_secs(2) && waited < Duration::from_secs(4), "{status}: {waited:?}");
        }
        webhook.expect_count("delivered", 2).await;
        let circuit = webhook.circuit().await;
        assert!(circuit["paused_until"].is_null() && circuit["state"] == "closed", "{circuit}");
    }
}

#[tokio::test]
async fn a_date_is_as_good_as_seconds() {
    let server = Server::with().env("WEBHOOK_RETRY_SCHEDULE", "20ms").start().await;
    let mut receiver = Receiver::start().await;
    let until = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(5));
    receiver.answer_with(Answer::status(503).header("retry-after", &until));
    server.webhook("acme", &receiver.url()).await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    let both = receiver.expect_deliveries(2).await;
    // A date has whole seconds, and the first delivery came a moment after it was written.
    assert!(both[1].at - both[0].at >= Duration::from_millis(1_500), "{:?}", both[1].at - both[0].at);
}

#[tokio::test]
async fn other_statuses_and_garbage_pause_nothing() {
    let server = Server::with().env("WEBHOOK_RETRY_SCHEDULE", "20ms").start().await;
    for (status, value) in [(500, "3600"), (404, "3600"), (302, "3600"), (429, "-1"), (429, "soon"), (503, "1.5")] {
        let mut receiver = Receiver::start().await;
        receiver.answer_with(Answer::status(status).header("retry-after", value));
        let webhook = server.webhook("acme", &receiver.url()).await;
        server.publish("acme", json!({"type": "call.ended"})).await;
        receiver.expect_deliveries(2).await;
        webhook.expect_count("delivered", 1).await;
        assert!(webhook.circuit().await["paused_until"].is_null(), "{status} {value}");
        server.admin("acme").delete(&webhook.path()).await.expect(204);
    }
}

#[tokio::test]
async fn a_pause_outlives_kill_9_and_ends_with_a_new_url() {
    let mut server = Server::with().env("WEBHOOK_RETRY_SCHEDULE", "20ms").start().await;
    let (mut receiver, mut new) = (Receiver::start().await, Receiver::start().await);
    receiver.answer_with(Answer::status(429).header("retry-after", "3600"));
    let webhook = server.webhook("acme", &receiver.url()).await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    receiver.expect_delivery().await;
    let shown = webhook.expect_attempt().await;
    assert!(shown["next_attempt_at"].as_str() > shown["at"].as_str(), "{shown}");
    // The next write comes after the one that told of the pause.
    server.publish("acme", json!({"type": "agent.login"})).await;
    server.kill();
    server.restart().await;
    let webhook = webhook.of(&server, "acme");
    crate::support::eventually("the pause to be known again", || async {
        webhook.circuit().await["paused_until"].is_string().then_some(())
    })
    .await;
    server.publish("acme", json!({"type": "call.missed"})).await;
    webhook.expect_count("pending", 2).await;
    assert_eq!(receiver.all().len(), 1);
    webhook.change(json!({"url": new.url()})).await;
    assert_eq!(new.expect_delivery().await.header("x-webhook-event"), "call.missed");
}

#[tokio::test]
async fn a_retry_by_hand_passes_a_pause_and_leaves_it_standing() {
    let server = Server::with().env("WEBHOOK_RETRY_SCHEDULE", "20ms").start().await;
    let mut receiver = Receiver::start().await;
    receiver.answer_with(Answer::status(429).header("retry-after", "3600"));
    let webhook = server.webhook("acme", &receiver.url()).await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    let id = receiver.expect_delivery().await.header("webhook-id").to_owned();
    webhook.expect_attempt().await;
    server.publish("acme", json!({"type": "call.missed"})).await;
    webhook.retry(&id).await.expect(202);
    webhook.expect_state(&id, "delivered").await;
    webhook.expect_count("pending", 1).await;
    assert!(webhook.circuit().await["paused_until"].is_string());
    assert_eq!(receiver.all().len(), 2);
}
