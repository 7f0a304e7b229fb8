//! Tokens that must not be taken, over HTTP and on sockets.

use crate::support::{Server, Token};
use serde_json::json;

fn bad_tokens() -> Vec<(&'static str, String)> {
    let good = || Token::of("acme").role("admin");
    vec![
        ("expired", good().expires_in(-60).sign()),
        ("expired beyond five seconds of leeway", good().expires_in(-7).sign()),
        ("without exp", good().without("exp").sign()),
        ("signed with another key", good().sign_with_another_key()),
        ("alg none", good().unsigned()),
        ("labelled RS256", good().labelled_rs256()),
        ("signed with HS512", good().sign_with_hs512()),
        ("without a tenant", good().without("tenant_id").sign()),
        ("with a tenant that is none", good().claim("tenant_id", json!("../etc")).sign()),
        ("not a token", "rubbish".to_owned()),
        ("cut short", good().sign()[..40].to_owned()),
    ]
}

#[tokio::test]
async fn no_token_is_401() {
    let server = Server::start().await;
    server.anonymous().get("/api/v1/webhooks").await.expect_problem(401);
    server.anonymous().post("/api/v1/events", json!({"type": "call.incoming"})).await.expect_problem(401);
    assert_eq!(server.dial("/ws").refused().await, 401);
}

#[tokio::test]
async fn a_bad_token_is_401_over_http() {
    let server = Server::start().await;
    for (what, token) in bad_tokens() {
        let reply = server.client(&token).get("/api/v1/webhooks").await;
        assert_eq!(reply.status, 401, "a token {what} was answered {}", reply.text);
        reply.expect_problem(401);
    }
}

#[tokio::test]
async fn a_bad_token_is_401_at_the_handshake() {
    let server = Server::start().await;
    for (what, token) in bad_tokens() {
        assert_eq!(server.dial("/ws").bearer(&token).refused().await, 401, "a token {what}");
    }
}

#[tokio::test]
async fn tokens_do_not_reach_the_log() {
    let server = Server::with().env("LOG_LEVEL", "debug").start().await;
    let token = Token::of("acme").sign();
    let mut socket = server.dial(&format!("/ws?token={token}")).open().await;
    socket.expect_welcome().await;
    let signature = token.rsplit('.').next().expect("a token has a signature");
    assert!(!server.log().join("\n").contains(signature), "the query's token must be redacted");
}
