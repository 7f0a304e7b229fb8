//! Contract, section 3: one event, many events, and events that are none.

use crate::support::{Receiver, Server, items};
use serde_json::{Value, json};

#[tokio::test]
async fn an_event_is_answered_202_with_its_id() {
    let server = Server::start().await;
    let event = json!({"type": "call.incoming", "data": {"call_id": "c1", "caller": "+49 30 1234"}});
    let reply = server.service("acme").post("/api/v1/events", event).await.expect(202);
    assert!(reply.body["id"].as_str().is_some_and(|id| id.starts_with("evt_")), "{}", reply.text);
    assert_eq!(reply.body["duplicate"], false);
}

#[tokio::test]
async fn the_envelope_carries_what_was_published_and_nothing_else() {
    let server = Server::start().await;
    let mut receiver = Receiver::start().await;
    server.webhook("acme", &receiver.url()).await;
    let event = json!({"id": "order-1", "type": "call.incoming", "tenant_id": "acme", "user_id": "kim",
                       "key": "call-77", "source": "pbx-1", "data": {"caller": "anna"}});
    server.publish("acme", event.clone()).await;

    let envelope = receiver.expect_delivery().await.json();
    for field in ["id", "type", "tenant_id", "user_id", "key", "source", "data"] {
        assert_eq!(envelope[field], event[field], "{field} in {envelope}");
    }
    assert_eq!(envelope["session_id"], Value::Null);
    let timestamp = envelope["timestamp"].as_str().unwrap_or_default();
    assert!(timestamp.len() == 24 && timestamp.ends_with('Z'), "RFC 3339, UTC, milliseconds: {timestamp}");
    assert_eq!(envelope.as_object().map(|e| e.len()), Some(9), "{envelope}");
}

#[tokio::test]
async fn absent_data_is_null() {
    let server = Server::start().await;
    let mut socket = server.socket("acme", "kim").await;
    server.publish("acme", json!({"type": "call.incoming"})).await;
    let event = socket.expect_event("call.incoming").await;
    assert!(event.as_object().is_some_and(|e| e.contains_key("data")) && event["data"].is_null(), "{event}");
}

#[tokio::test]
async fn an_array_is_answered_per_item_and_arrives_in_order() {
    let server = Server::start().await;
    let mut socket = server.socket("acme", "kim").await;
    let events: Vec<Value> = (0..20).map(|n| json!({"type": "call.ended", "data": n})).collect();
    let reply = server.service("acme").post("/api/v1/events", json!(events)).await.expect(202);
    let answers = items(&reply.body);
    assert_eq!(answers.len(), 20);
    for (n, answer) in answers.iter().enumerate() {
        let event = socket.expect_event("call.ended").await;
        assert_eq!((&event["data"], &event["id"]), (&json!(n), &answer["id"]));
    }
}

#[tokio::test]
async fn one_bad_item_of_an_array_fails_alone() {
    let server = Server::start().await;
    let mut socket = server.socket("acme", "kim").await;
    let events = json!([{"type": "call.ended"}, {"type": "Not A Type"}, {"type": "call.missed"}]);
    let reply = server.service("acme").post("/api/v1/events", events).await.expect(202);
    let answers = items(&reply.body);
    assert_eq!(answers[0]["duplicate"], false, "{}", reply.text);
    assert_eq!(answers[2]["duplicate"], false, "{}", reply.text);
    assert!(answers[1]["duplicate"].is_null(), "the bad item must not look accepted: {}", reply.text);
    assert!(answers[1].to_string().contains("type"), "the bad item says what is wrong: {}", reply.text);
    socket.expect_event("call.ended").await;
    socket.expect_event("call.missed").await;
}

#[tokio::test]
async fn ndjson_is_answered_per_line_and_one_bad_line_fails_alone() {
    let server = Server::start().await;
    let mut socket = server.socket("acme", "kim").await;
    let lines = b"{\"type\":\"call.ended\"}\n{broken\n\n{\"type\":\"call.missed\",\"data\":1.50}\n".to_vec();
    let reply =
        server.service("acme").post_bytes("/api/v1/events", "application/x-ndjson", lines, &[]).await.expect(202);
    let answers = items(&reply.body);
    assert_eq!(answers.len(), 3, "an empty line is no event: {}", reply.text);
    assert!(answers[1]["duplicate"].is_null(), "{}", reply.text);
    socket.expect_event("call.ended").await;
    assert!(socket.expect_frame("call.missed").await.text.contains("1.50"));
}

#[tokio::test]
async fn a_type_that_is_none_is_refused() {
    let server = Server::start().await;
    let long = "a".repeat(129);
    let bad =
        ["", "Call.Incoming", "call..incoming", ".call", "call.", "call incoming", "call.*", "*", "call\u{0}x", &long];
    for name in bad {
        server.service("acme").post("/api/v1/events", json!({"type": name})).await.expect_invalid("type");
    }
    server.publish("acme", json!({"type": "a".repeat(128)})).await;
    server.publish("acme", json!({"type": "any.type_of.ours2"})).await;
}

#[tokio::test]
async fn control_words_are_refused_as_types() {
    let server = Server::start().await;
    for word in ["welcome", "subscribed", "gap", "bye", "auth_ok", "auth_expiring"] {
        server.service("acme").post("/api/v1/events", json!({"type": word})).await.expect_invalid("type");
    }
}

#[tokio::test]
async fn an_id_that_is_none_is_refused() {
    let server = Server::start().await;
    for id in ["", "with space", "with/slash", "nul\u{0}", "ümlaut", &"i".repeat(65)] {
        let event = json!({"type": "call.ended", "id": id});
        server.service("acme").post("/api/v1/events", event).await.expect_invalid("id");
    }
    assert_eq!(server.publish("acme", json!({"type": "call.ended", "id": "i".repeat(64)})).await, "i".repeat(64));
}

#[tokio::test]
async fn another_tenants_name_in_an_event_is_403() {
    let server = Server::start().await;
    let event = json!({"type": "call.ended", "tenant_id": "other"});
    server.service("acme").post("/api/v1/events", event).await.expect_problem(403);
    server.publish("acme", json!({"type": "call.ended", "tenant_id": "acme"})).await;
}
