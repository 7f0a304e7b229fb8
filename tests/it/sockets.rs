//! Contract, section 5: who gets in, what is said first, and which events are seen.

use crate::support::{Server, Token};
use serde_json::json;

#[tokio::test]
async fn a_silent_client_sees_every_event_of_its_tenant() {
    let server = Server::start().await;
    let mut socket = server.socket("acme", "kim").await;
    for name in ["call.incoming", "agent.login", "anything.of.ours"] {
        server.publish("acme", json!({"type": name, "data": {"n": 1}})).await;
        let event = socket.expect_event(name).await;
        assert_eq!(event["data"], json!({"n": 1}));
    }
}

#[tokio::test]
async fn welcome_says_who_and_how_long() {
    let server = Server::with().env("WS_PING_INTERVAL", "7s").start().await;
    let token = Token::of("acme").user("kim").role("agent").expires_in(300).sign();
    let mut socket = server.dial("/ws").bearer(&token).open().await;
    let welcome = socket.expect_welcome().await;
    assert_eq!((&welcome["user_id"], &welcome["tenant_id"]), (&json!("kim"), &json!("acme")));
    assert!(welcome["connection_id"].as_str().is_some_and(|id| !id.is_empty()), "{welcome}");
    assert_eq!(welcome["ping_interval_ms"], 7000);
    let left = welcome["expires_in_ms"].as_i64().unwrap_or_default();
    assert!((290_000..=300_000).contains(&left), "{welcome}");
    for field in ["epoch", "offset", "offline"] {
        assert!(!welcome[field].is_null(), "welcome has {field}: {welcome}");
    }
}

#[tokio::test]
async fn a_token_comes_by_header_by_subprotocol_or_by_query() {
    let server = Server::start().await;
    let token = Token::of("acme").user("kim").role("agent").sign();
    let ways = [
        server.dial("/ws").bearer(&token),
        server.dial("/ws").subprotocol(&token),
        server.dial(&format!("/ws?token={token}")),
        server.dial("/api/v1/ws").bearer(&token),
    ];
    for way in ways {
        let mut socket = way.open().await;
        assert_eq!(socket.expect_welcome().await["user_id"], "kim");
    }
}

#[tokio::test]
async fn of_the_offered_subprotocols_only_ours_is_echoed() {
    let server = Server::start().await;
    let socket = server.dial("/ws").subprotocol(&Token::of("acme").sign()).open().await;
    assert_eq!(socket.subprotocol.as_deref(), Some("jackfield.v1"));
}

#[tokio::test]
async fn a_refused_browser_is_upgraded_and_told_4401() {
    let server = Server::start().await;
    let mut socket = server.dial("/ws").subprotocol("rubbish").open().await;
    assert_eq!(socket.subprotocol.as_deref(), Some("jackfield.v1"));
    assert_eq!(socket.expect_close().await, 4401);
}

#[tokio::test]
async fn subscribe_narrows_to_patterns_and_can_be_changed() {
    let server = Server::start().await;
    let mut socket = server.socket("acme", "kim").await;
    let answer = socket.subscribe(&["call.*", "agent.login"]).await;
    assert_eq!((&answer["ref"], &answer["events"]), (&json!(1), &json!(["call.*", "agent.login"])));
    for name in ["queue.stats.updated", "agent.logout", "callback.wanted", "call.recording.available"] {
        server.publish("acme", json!({"type": name})).await;
    }
    socket.expect_silence_until("call.recording.available").await;
    server.publish("acme", json!({"type": "agent.login"})).await;
    socket.expect_event("agent.login").await;

    socket.subscribe(&["*"]).await;
    server.publish("acme", json!({"type": "queue.stats.updated"})).await;
    socket.expect_event("queue.stats.updated").await;
}

#[tokio::test]
async fn a_pattern_that_is_none_is_an_error_frame_and_changes_nothing() {
    let server = Server::start().await;
    let mut socket = server.socket("acme", "kim").await;
    for pattern in ["", "call.", "*.incoming", "call.*.x", "Call.*", "call *"] {
        socket.send(json!({"type": "subscribe", "events": [pattern], "ref": "r7"})).await;
        let error = socket.expect_control("error").await;
        assert_eq!(error["ref"], "r7", "{error}");
        assert!(error["code"].is_string() && error["message"].is_string(), "{error}");
    }
    server.publish("acme", json!({"type": "call.incoming"})).await;
    socket.expect_event("call.incoming").await;
}

#[tokio::test]
async fn the_query_narrows_from_the_first_event() {
    let server = Server::start().await;
    let mut socket = server.socket_with(Token::of("acme").role("agent"), "/ws?events=call.*,agent.*").await;
    server.publish("acme", json!({"type": "queue.stats.updated"})).await;
    server.publish("acme", json!({"type": "agent.login"})).await;
    socket.expect_silence_until("agent.login").await;
}

#[tokio::test]
async fn a_bad_pattern_in_the_query_is_400() {
    let server = Server::start().await;
    let token = Token::of("acme").sign();
    assert_eq!(server.dial("/ws?events=call.,x").bearer(&token).refused().await, 400);
}

#[tokio::test]
async fn a_tokens_own_patterns_cannot_be_widened() {
    let server = Server::start().await;
    let mut socket = server.socket_with(Token::of("acme").role("agent").events(&["call.*"]), "/ws").await;
    socket.subscribe(&["*"]).await;
    server.publish("acme", json!({"type": "agent.login"})).await;
    server.publish("acme", json!({"type": "call.incoming"})).await;
    socket.expect_silence_until("call.incoming").await;
}

#[tokio::test]
async fn an_event_for_one_user_reaches_all_of_that_users_connections_and_nobody_else() {
    let server = Server::start().await;
    let mut desk = server.socket("acme", "kim").await;
    let mut phone = server.socket("acme", "kim").await;
    let mut other = server.socket("acme", "lee").await;
    server.publish("acme", json!({"type": "notification", "user_id": "kim"})).await;
    server.publish("acme", json!({"type": "marker"})).await;
    for socket in [&mut desk, &mut phone] {
        assert_eq!(socket.expect_event("notification").await["user_id"], "kim");
        socket.expect_event("marker").await;
    }
    other.expect_silence_until("marker").await;
}

#[tokio::test]
async fn offsets_grow() {
    let server = Server::start().await;
    let mut socket = server.socket("acme", "kim").await;
    let mut before = -1;
    for _ in 0..5 {
        server.publish("acme", json!({"type": "call.incoming"})).await;
        let event = socket.expect_event("call.incoming").await;
        let offset = event["offset"].as_i64().unwrap_or_else(|| panic!("an event has an offset: {event}"));
        assert!(offset > before, "{offset} after {before}");
        before = offset;
    }
}

#[tokio::test]
async fn a_ping_frame_is_answered_pong() {
    let server = Server::start().await;
    let mut socket = server.socket("acme", "kim").await;
    socket.send(json!({"type": "ping"})).await;
    socket.expect_control("pong").await;
}

#[tokio::test]
async fn an_agents_chat_message_goes_through_the_pipeline_to_its_colleagues() {
    let server = Server::start().await;
    let mut kim = server.socket("acme", "kim").await;
    let mut lee = server.socket("acme", "lee").await;
    kim.send(json!({"type": "chat.message", "user_id": "lee", "data": {"from": "kim", "text": "lunch?"}})).await;
    let message = lee.expect_event("chat.message").await;
    assert_eq!(message["data"]["text"], "lunch?");
    assert_eq!(message["tenant_id"], "acme");
}

#[tokio::test]
async fn a_frame_that_is_not_understood_is_refused() {
    let server = Server::start().await;
    let mut socket = server.socket("acme", "kim").await;
    socket.send(json!({"type": "call.incoming", "data": "forged"})).await;
    socket.expect_refusal(&[4400, 4403]).await;
    let mut socket = server.socket("acme", "kim").await;
    socket.send_message("{not json".into()).await;
    socket.expect_refusal(&[4400]).await;
}

#[tokio::test]
async fn a_socket_sees_an_event_that_a_webhook_is_owed_too() {
    let server = Server::start().await;
    let mut receiver = crate::support::Receiver::start().await;
    server.webhook("acme", &receiver.url()).await;
    let mut socket = server.socket("acme", "kim").await;
    let id = server.publish("acme", json!({"type": "call.incoming"})).await;
    assert_eq!(socket.expect_event("call.incoming").await["id"], id.as_str());
    assert_eq!(receiver.expect_delivery().await.json()["id"], id.as_str());
}
