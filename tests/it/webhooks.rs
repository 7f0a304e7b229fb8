//! Contract, section 4: webhooks are made, read, changed and deleted.

use crate::support::{Receiver, Server, items};
use serde_json::{Value, json};

#[tokio::test]
async fn a_webhook_is_made_with_defaults_and_shown_without_its_secret() {
    let server = Server::start().await;
    let client = server.admin("acme");
    let body = json!({"name": "crm", "url": "http://127.0.0.1:9/hook", "events": ["call.*"]});
    let made = client.post("/api/v1/webhooks", body).await.expect(201).body;
    assert!(made["id"].is_i64(), "{made}");
    assert_eq!((&made["retry_count"], &made["timeout"], &made["is_active"]), (&json!(8), &json!(30), &json!(true)));
    assert!(made["secret"].as_str().is_some_and(|s| s.starts_with("whsec_")), "{made}");
    assert!(made["signing_secret"].as_str().is_some_and(|s| s.starts_with("whsec_")), "{made}");

    let shown = client.get(&format!("/api/v1/webhooks/{}", made["id"])).await.expect(200);
    assert_eq!((&shown.body["name"], &shown.body["events"]), (&json!("crm"), &json!(["call.*"])));
    let listed = client.get("/api/v1/webhooks").await.expect(200);
    assert_eq!(items(&listed.body).len(), 1);
    for reply in [shown, listed] {
        assert!(!reply.text.contains("whsec_"), "a secret is shown once: {}", reply.text);
    }
}

#[tokio::test]
async fn put_changes_what_it_names_and_nothing_else() {
    let server = Server::start().await;
    let webhook = server.webhook_with("acme", "http://127.0.0.1:9/hook", json!({"retry_count": 3})).await;
    let before = webhook.shown().await;
    webhook.change(json!({"name": "renamed", "headers": {"x-team": "blue"}})).await;
    let after = webhook.shown().await;
    assert_eq!((&after["name"], &after["headers"]), (&json!("renamed"), &json!({"x-team": "blue"})));
    for field in ["id", "url", "events", "retry_count", "timeout", "is_active"] {
        assert_eq!(after[field], before[field], "{field}");
    }
}

#[tokio::test]
async fn a_deleted_webhook_is_gone() {
    let server = Server::start().await;
    let webhook = server.webhook("acme", "http://127.0.0.1:9/hook").await;
    server.admin("acme").delete(&webhook.path()).await.expect(204);
    server.admin("acme").get(&webhook.path()).await.expect_problem(404);
    server.admin("acme").delete(&webhook.path()).await.expect_problem(404);
}

#[tokio::test]
async fn lists_are_paged_newest_first() {
    let server = Server::start().await;
    let client = server.admin("acme");
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.insert(0, server.webhook("acme", "http://127.0.0.1:9/hook").await.id);
    }
    let seen: Vec<i64> = client.get_all("/api/v1/webhooks").await.iter().filter_map(|w| w["id"].as_i64()).collect();
    assert_eq!(seen, ids);
    client.get("/api/v1/webhooks?limit=201").await.expect_problem(422);
    client.get("/api/v1/webhooks?cursor=nonsense").await.expect_problem(422);
}

#[tokio::test]
async fn values_out_of_range_are_refused_by_name() {
    let server = Server::start().await;
    let client = server.admin("acme");
    let cases: [(&str, Value); 12] = [
        ("name", json!("")),
        ("events", json!([])),
        ("events", json!(["call."])),
        ("events", json!(["*.call"])),
        ("events", json!(["CALL.*"])),
        ("retry_count", json!(21)),
        ("retry_count", json!(-1)),
        ("timeout", json!(0)),
        ("timeout", json!(61)),
        ("headers", json!({"webhook-signature": "v1,forged"})),
        ("headers", json!({"Host": "elsewhere"})),
        ("headers", json!({"x-split": "a\r\nx-b: c"})),
    ];
    for (field, value) in cases {
        let mut body = json!({"name": "n", "url": "http://127.0.0.1:9/hook", "events": ["*"]});
        body[field] = value;
        client.post("/api/v1/webhooks", body).await.expect_invalid(field);
    }
    let webhook = server.webhook("acme", "http://127.0.0.1:9/hook").await;
    client.put(&webhook.path(), json!({"timeout": 61})).await.expect_invalid("timeout");
    client.put(&webhook.path(), json!({"url": "ftp://example.com/"})).await.expect_invalid("url");
}

#[tokio::test]
async fn only_matching_events_are_owed() {
    let server = Server::start().await;
    let mut receiver = Receiver::start().await;
    server.webhook_with("acme", &receiver.url(), json!({"events": ["call.*", "marker"]})).await;
    for name in ["agent.login", "callback.wanted", "call", "call.recording.available", "marker"] {
        server.publish("acme", json!({"type": name})).await;
    }
    assert_eq!(receiver.expect_delivery().await.header("x-webhook-event"), "call.recording.available");
    receiver.expect_silence_until("marker").await;
}

#[tokio::test]
async fn typing_is_sent_only_where_it_is_asked_for_exactly() {
    let server = Server::start().await;
    let (mut all, mut exact) = (Receiver::start().await, Receiver::start().await);
    server.webhook_with("acme", &all.url(), json!({"events": ["*", "chat.*"]})).await;
    server.webhook_with("acme", &exact.url(), json!({"events": ["chat.typing"]})).await;
    server.publish("acme", json!({"type": "chat.typing", "data": {"from": "kim"}})).await;
    server.publish("acme", json!({"type": "marker"})).await;
    all.expect_silence_until("marker").await;
    assert_eq!(exact.expect_delivery().await.header("x-webhook-event"), "chat.typing");
}

#[tokio::test]
async fn an_inactive_webhook_owes_nothing_new() {
    let server = Server::start().await;
    let mut receiver = Receiver::start().await;
    let webhook = server.webhook("acme", &receiver.url()).await;
    webhook.change(json!({"is_active": false})).await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    webhook.change(json!({"is_active": true})).await;
    server.publish("acme", json!({"type": "marker"})).await;
    receiver.expect_silence_until("marker").await;
}

#[tokio::test]
async fn what_an_inactive_webhook_owed_waits_for_it() {
    let server = Server::with().env("WEBHOOK_RETRY_SCHEDULE", "100ms").start().await;
    let mut receiver = Receiver::start().await;
    receiver.answer_always(500);
    let webhook = server.webhook_with("acme", &receiver.url(), json!({"retry_count": 20})).await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    let first = receiver.expect_delivery().await;
    webhook.change(json!({"is_active": false})).await;
    receiver.answer_always(200);
    webhook.change(json!({"is_active": true})).await;
    webhook.expect_count("delivered", 1).await;
    assert!(receiver.all().iter().all(|r| r.header("webhook-id") == first.header("webhook-id")));
}

#[tokio::test]
async fn a_deleted_webhook_gets_nothing_more_not_even_its_retries() {
    let server = Server::with().env("WEBHOOK_RETRY_SCHEDULE", "400ms").start().await;
    let receiver = Receiver::start().await;
    receiver.answer_always(500);
    let doomed = server.webhook("acme", &receiver.url_of("/doomed")).await;
    server.webhook("acme", &receiver.url_of("/other")).await;
    let count = |requests: &[crate::support::Received], path: &str| requests.iter().filter(|r| r.path == path).count();
    server.publish("acme", json!({"type": "call.ended"})).await;
    receiver.expect("a first attempt at both", |r| count(r, "/doomed") >= 1 && count(r, "/other") >= 1).await;
    server.admin("acme").delete(&doomed.path()).await.expect(204);
    let before = count(&receiver.all(), "/doomed");
    // By the other's third attempt the doomed one's next would long have been due.
    let later = receiver.expect("two retries of the other", |r| count(r, "/other") >= 3).await;
    assert!(count(&later, "/doomed") <= before, "a deleted webhook was sent to");
}

#[tokio::test]
async fn a_change_is_in_force_when_it_is_answered() {
    let server = Server::start().await;
    let (mut old, mut new) = (Receiver::start().await, Receiver::start().await);
    let webhook = server.webhook("acme", &old.url()).await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    old.expect_delivery().await;
    webhook.change(json!({"url": new.url(), "headers": {"x-team": "blue"}})).await;
    server.publish("acme", json!({"type": "call.missed"})).await;
    let delivery = new.expect_delivery().await;
    assert_eq!((delivery.header("x-webhook-event"), delivery.header("x-team")), ("call.missed", "blue"));
    assert_eq!(old.all().len(), 1);
}
