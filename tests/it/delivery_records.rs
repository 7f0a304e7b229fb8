//! What a tenant can read about its deliveries: logs, statistics, and a test sent now.

use crate::support::{Receiver, Server, find, items};
use serde_json::json;

#[tokio::test]
async fn every_attempt_is_logged_newest_first() {
    let server = Server::with().env("WEBHOOK_RETRY_SCHEDULE", "50ms").start().await;
    let receiver = Receiver::start().await;
    receiver.answer_with(crate::support::Answer::status(500).body(b"try again".to_vec()));
    let webhook = server.webhook("acme", &receiver.url()).await;
    let id = server.publish("acme", json!({"type": "call.ended"})).await;
    let logs = webhook.expect_attempts(2).await;
    let (last, first) = (&logs[0], &logs[1]);
    assert_eq!((&first["state"], &first["response_status"]), (&json!("failed"), &json!(500)), "{first}");
    assert_eq!(first["response_body"], "try again");
    assert!(first["next_attempt_at"].is_string(), "{first}");
    assert_eq!((&last["state"], &last["response_status"]), (&json!("succeeded"), &json!(200)), "{last}");
    assert!(last["next_attempt_at"].is_null(), "{last}");
    for (attempt, number) in [(first, 1), (last, 2)] {
        assert_eq!((&attempt["attempt"], &attempt["event_id"]), (&json!(number), &json!(id)), "{attempt}");
        assert_eq!(attempt["event_type"], "call.ended");
        assert_eq!(attempt["delivery_id"], receiver.all()[0].header("webhook-id"));
        assert!(attempt["duration_ms"].is_number() && attempt["at"].is_string(), "{attempt}");
    }
}

#[tokio::test]
async fn logs_are_chosen_by_state_and_type() {
    let server = Server::start().await;
    let mut receiver = Receiver::start().await;
    receiver.answer(500);
    let webhook = server.webhook_with("acme", &receiver.url(), json!({"retry_count": 0})).await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    receiver.expect_delivery().await;
    server.publish("acme", json!({"type": "call.missed"})).await;
    webhook.expect_attempts(2).await;
    let client = server.admin("acme");
    for (query, event_type) in [("state=failed", "call.ended"), ("event_type=call.missed", "call.missed")] {
        let listed = client.get(&format!("{}/logs?{query}", webhook.path())).await.expect(200);
        let types: Vec<_> = items(&listed.body).iter().map(|a| a["event_type"].clone()).collect();
        assert_eq!(types, [event_type], "{query}");
    }
    client.get(&format!("{}/logs?state=nonsense", webhook.path())).await.expect_problem(422);
}

#[tokio::test]
async fn logs_are_paged_and_chosen_by_time() {
    let server = Server::with().env("WEBHOOK_RETRY_SCHEDULE", "20ms").start().await;
    let receiver = Receiver::start().await;
    receiver.answer_always(500);
    let webhook = server.webhook_with("acme", &receiver.url(), json!({"retry_count": 4})).await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    webhook.expect_attempts(5).await;
    let client = server.admin("acme");
    let logs = client.get_all(&format!("{}/logs", webhook.path())).await;
    let numbers: Vec<_> = logs.iter().map(|attempt| attempt["attempt"].as_u64().unwrap_or_default()).collect();
    assert_eq!(numbers, [5, 4, 3, 2, 1]);
    let middle = logs[2]["at"].as_str().expect("a time");
    let of = |query: String| {
        let (client, path) = (client.clone(), webhook.path());
        async move {
            let listed = client.get(&format!("{path}/logs?{query}")).await.expect(200);
            items(&listed.body).iter().map(|a| a["attempt"].as_u64().unwrap_or_default()).collect::<Vec<_>>()
        }
    };
    assert_eq!(of(format!("after={middle}")).await, [5, 4, 3]);
    assert_eq!(of(format!("before={middle}")).await, [2, 1]);
    client.get(&format!("{}/logs?after=yesterday", webhook.path())).await.expect_problem(422);
}

#[tokio::test]
async fn stats_count_by_state() {
    let server = Server::start().await;
    let mut receiver = Receiver::start().await;
    let webhook = server.webhook_with("acme", &receiver.url(), json!({"retry_count": 0})).await;
    for status in [200, 200, 500] {
        receiver.answer(status);
        server.publish("acme", json!({"type": "call.ended"})).await;
        receiver.expect_delivery().await;
    }
    webhook.expect_count("delivered", 2).await;
    webhook.expect_count("failed", 1).await;
    webhook.expect_count("pending", 0).await;
    let stats = webhook.stats().await;
    for name in ["p50", "p95", "p99"] {
        assert!(find(&stats, name).is_some_and(|v| v.is_number()), "{name} in {stats}");
    }
}

#[tokio::test]
async fn a_test_is_sent_now_signed_and_shown() {
    let server = Server::start().await;
    let mut receiver = Receiver::start().await;
    receiver.answer_with(crate::support::Answer::status(202).body(b"thanks".to_vec()));
    let webhook = server.webhook_with("acme", &receiver.url(), json!({"events": ["call.*"]})).await;
    let tested = server.admin("acme").post(&format!("{}/test", webhook.path()), json!({})).await.expect(200);
    let delivery = receiver.expect_delivery().await;
    assert_eq!(delivery.header("x-webhook-event"), "webhook.test");
    assert_eq!(delivery.json()["data"]["webhook_id"], webhook.id);
    crate::support::verify::by_the_official_library(&delivery, &webhook.signing_secret).await;
    assert!(tested.body["request"].is_object() && tested.body["response"].is_object(), "{}", tested.text);
    assert!(tested.body["response"].to_string().contains("thanks"), "{}", tested.text);
    assert!(find(&tested.body["response"], "status").is_some_and(|s| *s == 202), "{}", tested.text);
    assert!(!tested.text.contains(&webhook.secret), "a test must not show the secret: {}", tested.text);
}

#[tokio::test]
async fn a_test_of_a_dead_endpoint_answers_what_went_wrong() {
    let server = Server::start().await;
    let gone = Receiver::start().await.url();
    let webhook = server.webhook("acme", &gone).await;
    let tested = server.admin("acme").post(&format!("{}/test", webhook.path()), json!({})).await.expect(200);
    assert!(find(&tested.body, "error").is_some_and(|e| e.is_string()), "{}", tested.text);
}
