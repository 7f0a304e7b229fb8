//! Who is kept from connecting, and what one connection may do to others.

use crate::support::{Server, Socket, Token};
use serde_json::{Value, json};

fn session(n: u32) -> String {
    format!("session-0123456789abcde{n}")
}

/// Sends until the server has closed; answers how often it was warned, and the close code.
async fn flood(socket: &mut Socket, frame: &Value, messages: usize) -> (usize, u16) {
    for _ in 0..messages {
        if socket.try_send(frame.clone()).await.is_err() {
            break;
        }
    }
    let mut warned = 0;
    loop {
        let said = socket.expect_any().await.value;
        match said["type"].as_str() {
            Some("error") if said["id"].is_null() => {
                assert_eq!(said["code"], "rate_limited", "{said}");
                warned += 1;
            }
            Some("bye") => break,
            _ => {}
        }
    }
    (warned, socket.expect_close().await)
}

#[tokio::test]
async fn a_member_that_floods_is_warned_then_closed_4429() {
    let server = Server::start().await;
    let mut quiet = server.socket("acme", "lee").await;
    let mut socket = server.socket("acme", "kim").await;
    assert_eq!(flood(&mut socket, &json!({"type": "ping"}), 4000).await, (20, 4429));
    quiet.send(json!({"type": "ping"})).await;
    quiet.expect_control("pong").await;
}

#[tokio::test]
async fn a_burst_of_a_member_is_taken_whole() {
    let server = Server::start().await;
    let mut socket = server.socket("acme", "kim").await;
    for n in 0..300 {
        socket.send(json!({"type": "ping", "ref": n})).await;
    }
    for n in 0..300 {
        assert_eq!(socket.expect_control("pong").await["ref"], n);
    }
}

#[tokio::test]
async fn a_visitor_that_floods_is_warned_then_closed_4429() {
    let server = Server::start().await;
    server.publish("acme", json!({"type": "chat.session.created", "session_id": session(1)})).await;
    let mut visitor = server.dial(&format!("/ws/public/{}", session(1))).open().await;
    visitor.expect_welcome().await;
    let typing = json!({"type": "chat.typing", "data": {"from": "v"}});
    assert_eq!(flood(&mut visitor, &typing, 200).await, (20, 4429));
}

#[tokio::test]
async fn visitors_leave_a_quarter_of_the_connections_to_members() {
    let server = Server::with().env("WS_MAX_CONNECTIONS_PER_TENANT", "4").start().await;
    let mut visitors = Vec::new();
    for n in 0..4 {
        server.publish("acme", json!({"type": "chat.session.created", "session_id": session(n)})).await;
        let dial = server.dial(&format!("/ws/public/{}", session(n)));
        if n == 3 {
            assert_eq!(dial.refused().await, 503);
            continue;
        }
        let mut visitor = dial.open().await;
        visitor.expect_welcome().await;
        visitors.push(visitor);
    }
    let _member = server.socket("acme", "kim").await;
    let token = Token::of("acme").user("lee").role("agent").sign();
    assert_eq!(server.dial("/ws").bearer(&token).refused().await, 503);
    let mut browser = server.dial("/ws").subprotocol(&token).open().await;
    let bye = browser.expect_next_control("bye").await;
    assert_eq!((&bye["code"], &bye["reason"]), (&json!(1013), &json!("too_many_connections")));
    assert!(bye["after_ms"].is_u64(), "{bye}");
    assert_eq!(browser.expect_close().await, 1013);
}

#[tokio::test]
async fn pages_of_other_origins_may_not_connect() {
    let server = Server::with().env("WS_ALLOWED_ORIGINS", "https://app.example, https://desk.example").start().await;
    server.publish("acme", json!({"type": "chat.session.created", "session_id": session(1)})).await;
    let token = Token::of("acme").role("agent").sign();
    let visit = || server.dial(&format!("/ws/public/{}", session(1)));
    for foreign in ["https://evil.example", "http://app.example", "https://app.example.evil.example", "null"] {
        assert_eq!(server.dial("/ws").bearer(&token).header("origin", foreign).refused().await, 403, "{foreign}");
        assert_eq!(visit().header("origin", foreign).refused().await, 403, "{foreign}");
    }
    let mut told = server.dial("/ws").subprotocol(&token).header("origin", "https://evil.example").open().await;
    assert_eq!(told.expect_close().await, 4403);
    for ours in ["https://app.example", "https://desk.example"] {
        server.dial("/ws").bearer(&token).header("origin", ours).open().await.expect_welcome().await;
        visit().header("origin", ours).open().await.expect_welcome().await;
    }
    // No browser, no origin.
    server.dial("/ws").bearer(&token).open().await.expect_welcome().await;
}
