//! Why and how the server closes a socket.

use crate::support::raw::DeafSocket;
use crate::support::{Server, Token, eventually};
use serde_json::json;
use std::time::Duration;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

#[tokio::test]
async fn a_token_about_to_expire_is_announced_at_once() {
    let server = Server::start().await;
    let mut socket = server.socket_with(Token::of("acme").role("agent").expires_in(30), "/ws").await;
    socket.expect_control("auth_expiring").await;
    server.publish("acme", json!({"type": "call.incoming"})).await;
    socket.expect_event("call.incoming").await;
}

/// Takes 26 s: the contract gives a client 25 s after `exp`.
#[tokio::test]
async fn an_expired_token_closes_the_socket_4419_and_not_before_its_grace() {
    let server = Server::start().await;
    let mut socket = server.socket_with(Token::of("acme").role("agent").expires_in(1), "/ws").await;
    let mut renewed = server.socket_with(Token::of("acme").role("agent").expires_in(1), "/ws").await;
    renewed.expect_control("auth_expiring").await;
    renewed.send(json!({"type": "auth", "token": Token::of("acme").role("agent").expires_in(600).sign()})).await;
    renewed.expect_control("auth_ok").await;
    let opened = std::time::Instant::now();
    assert_eq!(socket.expect_close_within(Duration::from_secs(35)).await, 4419);
    assert!(opened.elapsed() > Duration::from_secs(23), "closed after {:?}", opened.elapsed());
    server.publish("acme", json!({"type": "call.incoming"})).await;
    renewed.expect_event("call.incoming").await;
}

#[tokio::test]
async fn auth_with_a_new_token_keeps_the_socket() {
    let server = Server::start().await;
    let mut socket = server.socket_with(Token::of("acme").user("kim").role("agent").expires_in(30), "/ws").await;
    socket.expect_control("auth_expiring").await;
    let fresh = Token::of("acme").user("kim").role("agent").expires_in(600).sign();
    socket.send(json!({"type": "auth", "token": fresh})).await;
    let left = socket.expect_control("auth_ok").await["expires_in_ms"].as_i64().unwrap_or_default();
    assert!((590_000..=600_000).contains(&left), "{left}");
}

#[tokio::test]
async fn a_new_tokens_patterns_count_from_then_on() {
    let server = Server::start().await;
    let mut socket = server.socket_with(Token::of("acme").user("kim").role("agent"), "/ws").await;
    let narrower = Token::of("acme").user("kim").role("agent").events(&["call.*"]).sign();
    socket.send(json!({"type": "auth", "token": narrower})).await;
    socket.expect_control("auth_ok").await;
    server.publish("acme", json!({"type": "agent.login"})).await;
    server.publish("acme", json!({"type": "call.incoming"})).await;
    socket.expect_silence_until("call.incoming").await;
}

#[tokio::test]
async fn a_token_with_much_time_left_is_not_announced() {
    let server = Server::start().await;
    let mut socket = server.socket_with(Token::of("acme").role("agent").expires_in(90), "/ws").await;
    socket.send(json!({"type": "ping"})).await;
    socket.expect_next_control("pong").await;
}

#[tokio::test]
async fn auth_with_another_users_or_no_good_token_is_refused() {
    let server = Server::start().await;
    let mut socket = server.socket("acme", "kim").await;
    let kim = || Token::of("acme").user("kim").role("agent");
    let others = [
        kim().user("lee").sign(),
        Token::of("other").user("kim").sign(),
        kim().expires_in(-60).sign(),
        kim().sign_with_another_key(),
    ];
    for other in others {
        socket.send(json!({"type": "auth", "token": other, "ref": "r"})).await;
        let error = socket.expect_next_control("error").await;
        assert_eq!((&error["code"], &error["ref"]), (&json!("invalid_token"), &json!("r")));
    }
    server.publish("acme", json!({"type": "call.incoming"})).await;
    socket.expect_event("call.incoming").await;
}

#[tokio::test]
async fn a_slow_consumer_is_closed_4508_and_a_fast_one_misses_nothing() {
    let server = Server::with().env("WS_MAX_QUEUE_BYTES", "256KiB").start().await;
    let token = Token::of("acme").user("slow").role("agent").sign();
    let mut slow = server.dial("/ws").bearer(&token).small_receive_buffer().open().await;
    slow.expect_welcome().await;
    let mut fast = server.socket("acme", "fast").await;
    let text = "x".repeat(60_000);
    for n in 0..200 {
        server.publish("acme", json!({"type": "call.incoming", "data": {"n": n, "text": text}})).await;
        assert_eq!(fast.expect_event("call.incoming").await["data"]["n"], n);
    }
    assert_eq!(slow.expect_close().await, 4508);
}

/// Its goodbye cannot be written either, and must not keep the session for ever.
#[tokio::test]
async fn a_client_that_never_reads_again_is_let_go() {
    let server = Server::with().env("WS_MAX_QUEUE_BYTES", "256KiB").start().await;
    let token = Token::of("acme").user("stuck").role("agent").sign();
    let mut stuck = server.dial("/ws").bearer(&token).small_receive_buffer().open().await;
    stuck.expect_welcome().await;
    let text = "x".repeat(60_000);
    for n in 0..200 {
        server.publish("acme", json!({"type": "call.incoming", "data": {"n": n, "text": text}})).await;
    }
    eventually("the connection to be gone", || async {
        let stats = server.agent("acme").get("/ws/stats").await;
        (stats.body["clients"] == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_client_that_answers_no_ping_is_closed_4512() {
    let server = Server::with().env("WS_PING_INTERVAL", "200ms").env("WS_PONG_TIMEOUT", "500ms").start().await;
    let mut deaf = DeafSocket::open(server.port(), &Token::of("acme").role("agent").sign()).await;
    assert_eq!(deaf.expect_close().await, 4512);
}

#[tokio::test]
async fn a_client_that_answers_pings_stays() {
    let server = Server::with().env("WS_PING_INTERVAL", "200ms").env("WS_PONG_TIMEOUT", "500ms").start().await;
    let mut socket = server.socket("acme", "kim").await;
    socket.expect_pings(6).await;
    server.publish("acme", json!({"type": "call.incoming"})).await;
    socket.expect_event("call.incoming").await;
}

#[tokio::test]
async fn a_binary_frame_is_closed_1003() {
    let server = Server::start().await;
    let mut socket = server.socket("acme", "kim").await;
    socket.send_message(Message::binary(vec![1, 2, 3])).await;
    assert_eq!(socket.expect_close().await, 1003);
}

#[tokio::test]
async fn a_message_over_the_limit_is_closed_1009() {
    let server = Server::with().env("WS_MAX_MESSAGE_SIZE", "4KiB").start().await;
    let mut socket = server.socket("acme", "kim").await;
    socket.send(json!({"type": "chat.message", "data": {"from": "kim", "text": "x".repeat(5000)}})).await;
    assert_eq!(socket.expect_close().await, 1009);
}

#[tokio::test]
async fn a_killed_server_leaves_no_ghost_connections() {
    let mut server = Server::start().await;
    let _socket = server.socket("acme", "kim").await;
    server.kill();
    server.restart().await;
    assert_eq!(server.agent("acme").get("/ws/stats").await.expect(200).body["clients"], 0);
}

#[tokio::test]
async fn the_tenants_connection_limit_refuses_the_next_and_makes_room_again() {
    let server = Server::with().env("WS_MAX_CONNECTIONS_PER_TENANT", "2").start().await;
    let first = server.socket("acme", "kim").await;
    let _second = server.socket("acme", "lee").await;
    let token = Token::of("acme").user("max").role("agent").sign();
    assert!([429, 503].contains(&server.dial("/ws").bearer(&token).refused().await));
    server.socket("other", "kim").await;
    first.close().await;
    eventually("room for another connection", || async { server.dial("/ws").bearer(&token).try_open().await.ok() })
        .await;
}

/// A browser shows `wasClean: false` otherwise.
#[tokio::test]
async fn a_clients_own_close_is_answered() {
    let server = Server::start().await;
    let mut socket = server.socket("acme", "kim").await;
    let goodbye = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    socket.send_message(Message::Close(Some(goodbye))).await;
    assert_eq!(socket.expect_close().await, 1000);
}
