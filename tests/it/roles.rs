//! Contract, section 2: who may do what.

use crate::support::{Server, Token};
use serde_json::json;

#[tokio::test]
async fn a_service_and_an_admin_publish_and_an_agent_does_not() {
    let server = Server::start().await;
    let event = json!({"type": "call.incoming"});
    server.service("acme").post("/api/v1/events", event.clone()).await.expect(202);
    server.admin("acme").post("/api/v1/events", event.clone()).await.expect(202);
    server.agent("acme").post("/api/v1/events", event).await.expect_problem(403);
}

#[tokio::test]
async fn no_role_and_an_unknown_role_are_an_agents() {
    let server = Server::start().await;
    for token in [Token::of("acme").without("role"), Token::of("acme").role("emperor")] {
        let client = server.client(&token.sign());
        client.post("/api/v1/events", json!({"type": "call.incoming"})).await.expect_problem(403);
        client.get("/ws/stats").await.expect(200);
    }
}

#[tokio::test]
async fn webhooks_and_chains_are_for_admins() {
    let server = Server::start().await;
    for client in [server.agent("acme"), server.service("acme")] {
        client.get("/api/v1/webhooks").await.expect_problem(403);
        let webhook = json!({"name": "n", "url": "http://127.0.0.1:9/", "events": ["*"]});
        client.post("/api/v1/webhooks", webhook).await.expect_problem(403);
        client.put("/api/v1/sockets/chain", json!([])).await.expect_problem(403);
    }
    server.admin("acme").get("/api/v1/webhooks").await.expect(200);
}
