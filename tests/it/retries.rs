//! A delivery that failed is tried again, with the same bytes, until it is delivered or its schedule ends.

use crate::support::{Answer, Receiver, Server, find};
use serde_json::json;
use std::time::Duration;

#[tokio::test]
async fn a_failed_delivery_is_retried_with_the_same_id_and_bytes_and_a_new_timestamp() {
    let server = Server::with().env("WEBHOOK_RETRY_SCHEDULE", "1100ms").start().await;
    let mut receiver = Receiver::start().await;
    receiver.answer(500);
    let webhook = server.webhook("acme", &receiver.url()).await;
    server.publish("acme", json!({"type": "call.ended", "data": {"n": 1.0e5}})).await;
    let attempts = receiver.expect_deliveries(2).await;
    assert_eq!(attempts[0].header("webhook-id"), attempts[1].header("webhook-id"));
    assert_eq!(attempts[0].body, attempts[1].body);
    assert_ne!(attempts[0].header("webhook-timestamp"), attempts[1].header("webhook-timestamp"));
    crate::support::verify::by_the_official_library(&attempts[1], &webhook.signing_secret).await;
    webhook.expect_count("delivered", 1).await;
}

/// What a receiver saw half of must not come back as something else.
#[tokio::test]
async fn a_retry_sends_the_first_attempts_bytes_though_the_chain_has_changed() {
    let server = Server::with().env("WEBHOOK_RETRY_SCHEDULE", "1500ms").start().await;
    let mut receiver = Receiver::start().await;
    receiver.answer(500);
    let webhook = server.webhook("acme", &receiver.url()).await;
    server.install("guest", &crate::support::guests::transformer("1").bytes()).await;
    server.plugin_serving("guest", &crate::support::guests::transformer("1").bytes()).await;
    server.publish("acme", json!({"type": "call.ended", "data": {"n": 1}})).await;
    let first = receiver.expect_delivery().await;
    webhook.change(json!({"chain": [{"plugin": "shared/guest"}]})).await;
    let second = receiver.expect_delivery().await;
    assert_eq!((first.text(), first.header("webhook-id")), (second.text(), second.header("webhook-id")));
}

#[tokio::test]
async fn retries_wait_the_schedule_and_jitter_only_adds() {
    let server = Server::with().env("WEBHOOK_RETRY_SCHEDULE", "200ms,400ms").start().await;
    let mut receiver = Receiver::start().await;
    receiver.answer_always(503);
    server.webhook_with("acme", &receiver.url(), json!({"retry_count": 3})).await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    let attempts = receiver.expect_deliveries(4).await;
    // The last delay repeats.
    for (n, least) in [200, 400, 400].into_iter().enumerate() {
        let waited = attempts[n + 1].at - attempts[n].at;
        assert!(waited >= Duration::from_millis(least), "retry {} came after {waited:?}", n + 1);
    }
}

#[tokio::test]
async fn after_retry_count_the_delivery_is_failed_and_listed() {
    let server = Server::with().env("WEBHOOK_RETRY_SCHEDULE", "50ms").start().await;
    let mut receiver = Receiver::start().await;
    receiver.answer_always(500);
    let webhook = server.webhook_with("acme", &receiver.url(), json!({"retry_count": 2})).await;
    let id = server.publish("acme", json!({"type": "call.ended"})).await;
    receiver.expect_deliveries(3).await;
    let failed = webhook.expect_failed().await;
    assert_eq!((&failed["state"], &failed["event_id"]), (&json!("failed"), &json!(id)), "{failed}");
    assert_eq!(webhook.expect_attempts(3).await.len(), 3);
    assert_eq!(receiver.all().len(), 3);
}

#[tokio::test]
async fn an_endpoint_that_refuses_connections_is_retried_too() {
    let server = Server::with().env("WEBHOOK_RETRY_SCHEDULE", "50ms").start().await;
    let gone = Receiver::start().await.url();
    let webhook = server.webhook_with("acme", &gone, json!({"retry_count": 1})).await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    let logs = webhook.expect_attempts(2).await;
    assert!(logs.iter().all(|a| a["state"] == "failed" && a["error"].is_string()), "{logs:?}");
    webhook.expect_failed().await;
}

#[tokio::test]
async fn a_timeout_is_a_failed_attempt() {
    let server = Server::start().await;
    let mut receiver = Receiver::start().await;
    receiver.hang();
    let webhook = server.webhook_with("acme", &receiver.url(), json!({"timeout": 1, "retry_count": 0})).await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    receiver.expect_delivery().await;
    let attempt = webhook.expect_attempts(1).await.remove(0);
    assert_eq!((&attempt["state"], &attempt["response_status"]), (&json!("failed"), &json!(null)), "{attempt}");
    assert!(attempt["duration_ms"].as_f64().is_some_and(|ms| ms >= 990.0), "{attempt}");
}

#[tokio::test]
async fn a_redirect_is_a_failed_attempt_and_never_followed() {
    let server = Server::start().await;
    let (mut receiver, elsewhere) = (Receiver::start().await, Receiver::start().await);
    for status in [301, 302, 303, 307, 308] {
        receiver.answer_with(Answer::status(status).header("location", &elsewhere.url()));
        let webhook = server.webhook_with("acme", &receiver.url(), json!({"retry_count": 0})).await;
        server.publish("acme", json!({"type": "call.ended"})).await;
        receiver.expect_delivery().await;
        let attempt = webhook.expect_attempts(1).await.remove(0);
        assert_eq!((&attempt["state"], &attempt["response_status"]), (&json!("failed"), &json!(status)));
        server.admin("acme").delete(&webhook.path()).await.expect(204);
    }
    assert!(elsewhere.all().is_empty());
}

#[tokio::test]
async fn gone_fails_the_delivery_and_disables_the_webhook_with_an_event() {
    let server = Server::start().await;
    let mut receiver = Receiver::start().await;
    receiver.answer(410);
    let webhook = server.webhook("acme", &receiver.url()).await;
    let mut socket = server.socket("acme", "kim").await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    receiver.expect_delivery().await;
    socket.expect_event("call.ended").await;
    let disabled = socket.expect_event("webhook.disabled").await;
    assert_eq!(disabled["data"]["webhook_id"], webhook.id, "{disabled}");
    assert!(disabled["data"]["reason"].as_str().is_some_and(|r| r.contains("410")), "{disabled}");
    assert_eq!(webhook.shown().await["is_active"], false);
    webhook.expect_failed().await;

    server.publish("acme", json!({"type": "call.missed"})).await;
    webhook.change(json!({"is_active": true})).await;
    server.publish("acme", json!({"type": "marker"})).await;
    receiver.expect_silence_until("marker").await;
}

#[tokio::test]
async fn a_2xx_status_delivers_whatever_the_body_says() {
    let server = Server::start().await;
    let mut receiver = Receiver::start().await;
    let webhook = server.webhook("acme", &receiver.url()).await;
    for status in [200, 201, 202, 204] {
        receiver.answer_with(Answer::status(status));
        server.publish("acme", json!({"type": "call.ended"})).await;
        receiver.expect_delivery().await;
    }
    webhook.expect_count("delivered", 4).await;
}

#[tokio::test]
async fn of_a_large_response_little_is_read_and_less_is_kept() {
    let server = Server::start().await;
    let mut receiver = Receiver::start().await;
    receiver.answer_with(Answer::status(500).body(vec![b'x'; 5_000_000]));
    let webhook = server.webhook_with("acme", &receiver.url(), json!({"retry_count": 0})).await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    receiver.expect_delivery().await;
    let attempt = webhook.expect_attempts(1).await.remove(0);
    let kept = attempt["response_body"].as_str().unwrap_or_default().len();
    assert!((1..=4096).contains(&kept), "{kept} bytes were kept");
}

#[tokio::test]
async fn retry_after_is_obeyed() {
    let server = Server::with().env("WEBHOOK_RETRY_SCHEDULE", "50ms").start().await;
    let mut receiver = Receiver::start().await;
    receiver.answer_with(Answer::status(429).header("retry-after", "1"));
    let webhook = server.webhook("acme", &receiver.url()).await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    let attempts = receiver.expect_deliveries(2).await;
    assert!(attempts[1].at - attempts[0].at >= Duration::from_millis(950));
    webhook.expect_count("delivered", 1).await;
    assert!(find(&webhook.stats().await, "p95").is_some());
}
