//! `GET /api/v1/events/{id}`: what became of an event at each target, and why something was not sent.

use crate::support::{Receiver, Server, eventually, guests, items};
use serde_json::{Value, json};

async fn trace(server: &Server, event: &str) -> Value {
    server.service("acme").get(&format!("/api/v1/events/{event}")).await.expect(200).body["trace"].clone()
}

/// The trace's line about a webhook.
#[track_caller]
fn about(trace: &Value, webhook: i64) -> Value {
    let lines = items(&trace["webhooks"]);
    lines.into_iter().find(|w| w["webhook_id"] == webhook).unwrap_or_else(|| panic!("no webhook {webhook} in {trace}"))
}

#[tokio::test]
async fn a_trace_shows_each_delivery_with_its_attempts() {
    let server = Server::with().env("WEBHOOK_RETRY_SCHEDULE", "20ms").start().await;
    let receiver = Receiver::start().await;
    receiver.answer_with(crate::support::Answer::status(503).body(b"busy".to_vec()));
    let webhook = server.webhook("acme", &receiver.url()).await;
    let event = r#"{"type":"call.ended","data":{"n":1.0e2}}"#;
    let published = server.service("acme").post_text("/api/v1/events", event).await.expect(202);
    let event = published.body["id"].as_str().expect("an id");
    webhook.expect_count("delivered", 1).await;
    let shown = server.service("acme").get(&format!("/api/v1/events/{event}")).await.expect(200);
    assert!(shown.text.contains(r#""data":{"n":1.0e2}"#), "the data is as it was sent: {}", shown.text);
    let deliveries = items(&shown.body["trace"]["deliveries"]);
    assert_eq!(deliveries.len(), 1, "{}", shown.text);
    let delivery = &deliveries[0];
    assert_eq!((&delivery["state"], &delivery["webhook_id"]), (&json!("delivered"), &json!(webhook.id)));
    let attempts = items(&delivery["attempts"]);
    assert_eq!((&attempts[0]["state"], &attempts[0]["response_body"]), (&json!("failed"), &json!("busy")));
    assert_eq!((&attempts[1]["state"], &attempts[1]["attempt"]), (&json!("succeeded"), &json!(2)));
    let line = about(&shown.body["trace"], webhook.id);
    assert_eq!((&line["owed"], &line["delivery_id"], &line["why_not"]), (&json!(true), &delivery["id"], &json!(null)));
    server.service("other").get(&format!("/api/v1/events/{event}")).await.expect_problem(404);
}

#[tokio::test]
async fn a_webhook_that_was_owed_nothing_says_why() {
    let server = Server::start().await;
    let make = |fields: Value| server.webhook_with("acme", "http://127.0.0.1:9/hook", fields);
    let unmatched = make(json!({"events": ["agent.*"]})).await;
    let inexact = make(json!({"events": ["chat.*"]})).await;
    let off = make(json!({"events": ["*"], "is_active": false})).await;
    let changed = make(json!({"events": ["agent.*"]})).await;
    let call = server.publish("acme", json!({"type": "call.ended"})).await;
    // Typing is stored only where somebody is owed it.
    make(json!({"events": ["chat.typing"]})).await;
    let typing = server.publish("acme", json!({"type": "chat.typing", "data": {"from": "kim"}})).await;
    changed.change(json!({"events": ["call.*"]})).await;
    // In a later millisecond.
    let late = eventually("a moment to pass", || async {
        let late = make(json!({"events": ["*"]})).await;
        let made = late.shown().await["created_at"].as_str()?.to_owned();
        let shown = server.service("acme").get(&format!("/api/v1/events/{typing}")).await.expect(200).body;
        (made.as_str() > shown["timestamp"].as_str()?).then_some(late)
    })
    .await;
    let (call, typing) = (trace(&server, &call).await, trace(&server, &typing).await);
    for (trace, webhook, words) in [
        (&call, unmatched.id, "no pattern"),
        (&call, off.id, "switched off"),
        (&call, late.id, "made after"),
        (&call, changed.id, "when the event came"),
        (&typing, inexact.id, "ephemeral"),
    ] {
        let line = about(trace, webhook);
        assert_eq!((&line["owed"], &line["delivery_id"]), (&json!(false), &json!(null)), "{line}");
        assert!(line["why_not"].as_str().is_some_and(|why| why.contains(words)), "{words}: {line}");
    }
}

#[tokio::test]
async fn a_trace_counts_the_connections_that_an_event_went_to() {
    let server = Server::start().await;
    let nobody = server.publish("acme", json!({"type": "call.ended"})).await;
    let sockets = trace(&server, &nobody).await["sockets"].clone();
    assert_eq!((&sockets["state"], &sockets["connections"]), (&json!("sent"), &json!(0)), "{sockets}");
    assert!(sockets["reason"].is_string(), "{sockets}");
    let mut kim = server.socket("acme", "kim").await;
    let mut lee = server.socket("acme", "lee").await;
    for (event, connections) in [
        (json!({"type": "call.ended"}), 2),
        (json!({"type": "call.ended", "user_id": "lee"}), 1),
        (json!({"type": "call.ended", "user_id": "max"}), 0),
    ] {
        let event = server.publish("acme", event).await;
        assert_eq!(trace(&server, &event).await["sockets"]["connections"], connections);
    }
    kim.expect_event("call.ended").await;
    lee.expect_event("call.ended").await;
}

#[tokio::test]
async fn a_trace_tells_why_the_sockets_chain_showed_nothing() {
    for (guest, state, words) in [
        (guests::transformer("1").dropping(), "dropped", "not wanted"),
        (guests::transformer("1").failing(), "plugin_failed", "shared/guest"),
    ] {
        let server = Server::start().await;
        server.install("guest", &guest.bytes()).await;
        let chain = json!([{"plugin": "shared/guest", "events": ["call.*"]}]);
        server.admin("acme").put("/api/v1/sockets/chain", chain).await.expect(200);
        let event = server.publish("acme", json!({"type": "call.ended"})).await;
        let sockets = trace(&server, &event).await["sockets"].clone();
        assert_eq!((&sockets["state"], &sockets["connections"]), (&json!(state), &json!(0)), "{sockets}");
        assert!(sockets["reason"].as_str().is_some_and(|reason| reason.contains(words)), "{sockets}");
        assert_eq!(items(&sockets["plugins"]).len(), 1, "{sockets}");
    }
}
