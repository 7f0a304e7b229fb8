//! Bodies that are too large, too deep, too many or not text: a clear answer each, and the server goes on.

use crate::support::{Server, Token, raw};
use serde_json::{Value, json};

fn nested(depth: usize) -> String {
    format!(r#"{{"type":"call.ended","data":{}{}}}"#, "[".repeat(depth), "]".repeat(depth))
}

#[tokio::test]
async fn data_may_be_nested_128_deep_and_no_deeper() {
    let server = Server::start().await;
    let mut socket = server.socket("acme", "kim").await;
    server.service("acme").post_text("/api/v1/events", &nested(129)).await.expect_invalid("data");
    server.service("acme").post_text("/api/v1/events", &nested(100_000)).await.expect_invalid("data");
    server.service("acme").post_text("/api/v1/events", &nested(128)).await.expect(202);
    let text = socket.expect_text("call.ended").await;
    assert!(text.contains(&"[".repeat(128)), "{text}");
}

#[tokio::test]
async fn an_event_may_have_256_kib_and_no_more() {
    let server = Server::start().await;
    let event = |size: usize| json!({"type": "call.ended", "data": "x".repeat(size)});
    server.service("acme").post("/api/v1/events", event(255 * 1024)).await.expect(202);
    server.service("acme").post("/api/v1/events", event(256 * 1024)).await.expect_problem(413);
}

#[tokio::test]
async fn a_request_over_16_mib_is_413() {
    let server = Server::start().await;
    let body = vec![b' '; 16 * 1024 * 1024 + 1];
    let head = format!(
        "POST /api/v1/events HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n",
        Token::of("acme").sign(),
        body.len()
    );
    assert_eq!(raw::status_of(server.port(), &head, body).await, 413);
    server.publish("acme", json!({"type": "call.ended"})).await;
}

#[tokio::test]
async fn a_thousand_items_are_taken_and_more_are_refused_whole() {
    let server = Server::start().await;
    let events = |from: usize, count: usize| -> Value {
        (from..from + count).map(|n| json!({"id": format!("item-{n}"), "type": "call.ended"})).collect()
    };
    for (from, count) in [(10_000, 1001), (20_000, 10_000)] {
        let reply = server.service("acme").post("/api/v1/events", events(from, count)).await;
        assert!([413, 422].contains(&reply.status), "{count} items: {} {}", reply.status, reply.text);
        let status = reply.status;
        reply.expect_problem(status);
        let first = json!({"id": format!("item-{from}"), "type": "call.ended"});
        let first = server.service("acme").post("/api/v1/events", first).await.expect(202);
        assert_eq!(first.body["duplicate"], false, "no item of a refused array may be stored");
    }
    server.service("acme").post("/api/v1/events", events(0, 1000)).await.expect(202);
}

#[tokio::test]
async fn bytes_that_are_no_text_are_400() {
    let server = Server::start().await;
    for body in [&b"{\"type\":\"call.ended\",\"data\":\"\xff\xfe\"}"[..], b"{\"type\":\"call.ended\"\0}", b"\0"] {
        let client = server.service("acme");
        client.post_bytes("/api/v1/events", "application/json", body.to_vec(), &[]).await.expect_problem(400);
    }
}

#[tokio::test]
async fn nul_in_names_is_refused_and_in_data_is_data() {
    let server = Server::start().await;
    for field in ["id", "key", "source", "user_id", "session_id"] {
        let mut event = json!({"type": "call.ended"});
        event[field] = json!("a\u{0}b");
        server.service("acme").post("/api/v1/events", event).await.expect_invalid(field);
    }
    server.publish("acme", json!({"type": "call.ended", "data": "a\u{0}b"})).await;
}

#[tokio::test]
async fn fields_of_the_wrong_kind_are_refused_by_name() {
    let server = Server::start().await;
    for (field, value) in [("type", json!(7)), ("user_id", json!(["kim"])), ("key", json!({})), ("id", json!(1.5))] {
        let mut event = json!({"type": "call.ended"});
        event[field] = value;
        let reply = server.service("acme").post("/api/v1/events", event).await;
        assert!([400, 422].contains(&reply.status), "{}", reply.text);
        assert!(reply.text.contains(field), "{field} is not named: {}", reply.text);
    }
}

#[tokio::test]
async fn a_flood_of_lines_is_refused_before_any_is_looked_at() {
    let server = Server::start().await;
    let lines = "1\n".repeat(50_001);
    let client = server.service("acme");
    let reply = client.post_bytes("/api/v1/events", "application/x-ndjson", lines.into_bytes(), &[]).await;
    reply.expect_invalid("events");
}
