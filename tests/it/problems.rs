//! Contract, section 2: every refusal is a problem document with a stable code.

use crate::support::Server;
use serde_json::json;

#[tokio::test]
async fn malformed_json_is_400() {
    let server = Server::start().await;
    for body in ["{", "", "{\"type\":\"call.ended\"} trailing", "{'type':'call.ended'}"] {
        server.service("acme").post_text("/api/v1/events", body).await.expect_problem(400);
    }
}

#[tokio::test]
async fn a_body_of_another_type_is_415() {
    let server = Server::start().await;
    let body = b"<event/>".to_vec();
    server.service("acme").post_bytes("/api/v1/events", "text/xml", body, &[]).await.expect_problem(415);
}

#[tokio::test]
async fn a_path_that_is_none_is_404() {
    let server = Server::start().await;
    server.admin("acme").get("/api/v1/no-such-thing").await.expect_problem(404);
    server.admin("acme").get("/api/v1/webhooks/987654").await.expect_problem(404);
}

#[tokio::test]
async fn unknown_fields_are_refused_by_name() {
    let server = Server::start().await;
    let event = json!({"type": "call.ended", "colour": "red"});
    server.service("acme").post("/api/v1/events", event).await.expect_invalid("colour");
    let webhook = json!({"name": "n", "url": "http://127.0.0.1:9/", "events": ["*"], "colour": "red"});
    server.admin("acme").post("/api/v1/webhooks", webhook).await.expect_invalid("colour");
}

#[tokio::test]
async fn missing_fields_are_named() {
    let server = Server::start().await;
    server.service("acme").post("/api/v1/events", json!({"data": 1})).await.expect_invalid("type");
    server.admin("acme").post("/api/v1/webhooks", json!({"name": "n", "events": ["*"]})).await.expect_invalid("url");
}

#[tokio::test]
async fn the_wrong_method_is_refused_as_a_problem() {
    let server = Server::start().await;
    server.admin("acme").delete("/api/v1/events").await.expect_problem(405);
}
