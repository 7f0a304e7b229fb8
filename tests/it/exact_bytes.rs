//! `data` reaches receivers byte for byte: key order, number text, escapes and spaces are the publisher's own.

use crate::support::{Receiver, Server};
use serde_json::json;

const DATA: &str =
    r#"{"z": 1, "a":1.0e5,"n":12345678901234567890,"m":0.10,"minus":-0,"s":"\u00e9\/\u0000","dup":1,"dup":2,"ü":[ ]}"#;

#[tokio::test]
async fn data_reaches_a_socket_as_it_was_sent() {
    let server = Server::start().await;
    let mut socket = server.socket("acme", "kim").await;
    let event = format!(r#"{{"type":"call.incoming","data":{DATA}}}"#);
    server.service("acme").post_text("/api/v1/events", &event).await.expect(202);
    let frame = socket.expect_frame("call.incoming").await;
    assert!(frame.text.contains(DATA), "{}", frame.text);
}

#[tokio::test]
async fn data_reaches_a_webhook_as_it_was_sent() {
    let server = Server::start().await;
    let mut receiver = Receiver::start().await;
    server.webhook("acme", &receiver.url()).await;
    let event = format!(r#"{{"type":"call.incoming","data":{DATA}}}"#);
    server.service("acme").post_text("/api/v1/events", &event).await.expect(202);
    let delivery = receiver.expect_delivery().await;
    assert!(delivery.text().contains(DATA), "{}", delivery.text());
}

#[tokio::test]
async fn data_survives_a_restart_as_it_was_sent() {
    let mut server = Server::start().await;
    let mut receiver = Receiver::start().await;
    receiver.hang();
    server.webhook("acme", &receiver.url()).await;
    let event = format!(r#"{{"type":"call.incoming","data":{DATA}}}"#);
    server.service("acme").post_text("/api/v1/events", &event).await.expect(202);
    receiver.expect_delivery().await;
    server.kill();
    receiver.answer_always(200);
    server.restart().await;
    assert!(receiver.expect_delivery().await.text().contains(DATA));
}

#[tokio::test]
async fn data_of_an_array_and_of_ndjson_is_exact_too() {
    let server = Server::start().await;
    let mut socket = server.socket("acme", "kim").await;
    let array = format!(r#"[{{"type":"call.incoming","data":{DATA}}}]"#);
    server.service("acme").post_text("/api/v1/events", &array).await.expect(202);
    assert!(socket.expect_frame("call.incoming").await.text.contains(DATA));
    let line = format!("{{\"type\":\"call.ended\",\"data\":{DATA}}}\n").into_bytes();
    server.service("acme").post_bytes("/api/v1/events", "application/x-ndjson", line, &[]).await.expect(202);
    assert!(socket.expect_frame("call.ended").await.text.contains(DATA));
}

#[tokio::test]
async fn scalars_are_data_too() {
    let server = Server::start().await;
    let mut socket = server.socket("acme", "kim").await;
    for data in ["null", "true", "-0.0", "1E400", "\"\\ud83d\\ude00\"", "[]", "{}"] {
        let event = format!(r#"{{"type":"call.incoming","data":{data}}}"#);
        server.service("acme").post_text("/api/v1/events", &event).await.expect(202);
        let wanted = format!("\"data\":{data}");
        let text = socket.expect_text("call.incoming").await;
        assert!(text.contains(&wanted), "{wanted} is not in {text}");
    }
    server.publish("acme", json!({"type": "call.ended"})).await;
    socket.expect_silence_until("call.ended").await;
}
