//! An administrator puts a user out: sockets close, on every node, and the tokens that the user has are good for none.

use crate::support::Server;
use crate::support::redis::Redis;
use crate::support::tokens::{Token, now};
use serde_json::json;
use std::time::{Duration, Instant};

/// A token of a minute ago.
fn old(tenant: &str) -> Token {
    Token::of(tenant).user("kim").claim("iat", json!(now() - 60))
}

#[tokio::test]
async fn a_user_is_put_out_and_comes_back_with_a_new_token_only() {
    let mut server = Server::start().await;
    let mut first = server.socket_with(old("acme"), "/ws").await;
    let mut second = server.socket_with(old("acme"), "/api/v1/ws").await;
    let mut neighbour = server.socket_with(old("globex"), "/ws").await;

    server.agent("acme").delete("/ws/users/kim").await.expect(403);
    let answer = server.admin("acme").delete("/ws/users/kim").await.expect(200);
    assert_eq!((&answer.body["user_id"], &answer.body["closed"]), (&json!("kim"), &json!(2)));
    assert_eq!((first.expect_close().await, second.expect_close().await), (4423, 4423));
    neighbour.send(json!({"type": "ping", "ref": 1})).await;
    neighbour.expect_control("pong").await;

    refuses_old_tokens(&server).await;
    server.kill();
    server.restart().await;
    refuses_old_tokens(&server).await;
    // By HTTP the token is good until it expires: what is closed is sockets.
    server.client(&old("acme").sign()).get("/ws/stats").await.expect(200);
}

async fn refuses_old_tokens(server: &Server) {
    assert_eq!(server.dial("/ws").bearer(&old("acme").sign()).refused().await, 401);
    assert_eq!(server.dial("/ws").bearer(&old("acme").without("iat").sign()).refused().await, 401);
    assert_eq!(server.dial("/ws").subprotocol(&old("acme").sign()).open().await.expect_close().await, 4423);
    let mut socket = server.socket_with(old("acme").claim("iat", json!(now() + 1)), "/ws").await;
    socket.send(json!({"type": "auth", "token": old("acme").sign()})).await;
    assert_eq!(socket.expect_control("error").await["code"], "invalid_token", "nor is it taken in place of a new one");
    server.socket_with(old("globex"), "/ws").await;
}

#[tokio::test]
async fn on_the_other_nodes_it_takes_less_than_a_second() {
    let redis = Redis::start().await;
    let a = Server::with().redis(&redis).start().await;
    let b = Server::with().redis(&redis).start().await;
    let mut socket = b.socket_with(old("acme"), "/ws").await;
    let begun = Instant::now();
    a.admin("acme").delete("/ws/users/kim").await.expect(200);
    assert_eq!(socket.expect_close().await, 4423);
    assert!(begun.elapsed() < Duration::from_secs(1), "it took {:?}", begun.elapsed());
    assert_eq!(b.dial("/ws").bearer(&old("acme").sign()).refused().await, 401);
}
