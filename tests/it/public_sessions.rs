//! A visitor's chat: no token, one session, small rights, and an end.

use crate::support::{Server, Socket, items};
use serde_json::json;

const SESSION: &str = "session-0123456789abcdef";

async fn opened(server: &Server) -> Socket {
    server.publish("acme", json!({"type": "chat.session.created", "session_id": SESSION})).await;
    visitor(server).await
}

async fn visitor(server: &Server) -> Socket {
    let mut socket = server.dial(&format!("/ws/public/{SESSION}")).open().await;
    socket.expect_welcome().await;
    socket
}

#[tokio::test]
async fn a_session_exists_from_its_event_on() {
    let server = Server::start().await;
    assert_eq!(server.dial(&format!("/ws/public/{SESSION}")).refused().await, 404);
    opened(&server).await;
}

#[tokio::test]
async fn a_session_made_over_http_has_an_id_that_cannot_be_guessed() {
    let server = Server::start().await;
    let made = server.service("acme").post("/api/v1/chat/sessions", json!({})).await.expect(201);
    let id = made.body["session_id"].as_str().unwrap_or_else(|| panic!("no session_id in {}", made.text));
    assert!(id.len() >= 22, "128 bits need 22 characters or more: {id}");
    let mut visitor = server.dial(&format!("/ws/public/{id}")).open().await;
    visitor.expect_welcome().await;
}

#[tokio::test]
async fn a_visitors_message_reaches_the_agents_and_an_answer_the_visitor() {
    let server = Server::start().await;
    let mut agent = server.socket("acme", "kim").await;
    let mut visitor = opened(&server).await;
    agent.expect_event("chat.session.created").await;
    visitor.send(json!({"type": "chat.message", "data": {"from": "visitor", "text": "hello"}})).await;
    let message = agent.expect_event("chat.message").await;
    assert_eq!((&message["session_id"], &message["data"]["text"]), (&json!(SESSION), &json!("hello")));
    assert_eq!(message["tenant_id"], "acme");

    visitor.expect_event("chat.message").await;
    let answer = json!({"type": "chat.message", "session_id": SESSION, "data": {"from": "kim", "text": "hi"}});
    agent.send(answer).await;
    assert_eq!(visitor.expect_event("chat.message").await["data"]["text"], "hi");
}

#[tokio::test]
async fn a_visitor_sees_nothing_but_its_own_sessions_chat() {
    let server = Server::start().await;
    let mut visitor = opened(&server).await;
    let other = "session-fedcba9876543210";
    server.publish("acme", json!({"type": "call.incoming"})).await;
    server.publish("acme", json!({"type": "call.ended", "session_id": SESSION})).await;
    server.publish("acme", json!({"type": "chat.message", "data": {"from": "a", "text": "to all"}})).await;
    server.publish("acme", json!({"type": "chat.session.created", "session_id": other})).await;
    server.publish("acme", json!({"type": "chat.message", "session_id": other, "data": {"text": "theirs"}})).await;
    server.publish("acme", json!({"type": "chat.agent.assigned", "session_id": SESSION})).await;
    visitor.expect_silence_until("chat.agent.assigned").await;
}

#[tokio::test]
async fn a_visitor_may_not_send_what_is_not_chat_nor_subscribe_to_more() {
    let server = Server::start().await;
    for frame in [json!({"type": "call.incoming"}), json!({"type": "chat.session.ended"})] {
        server.publish("acme", json!({"type": "chat.session.created", "session_id": SESSION})).await;
        let mut visitor = visitor(&server).await;
        visitor.send(frame).await;
        visitor.expect_refusal(&[4400, 4403]).await;
    }
}

#[tokio::test]
async fn a_visitor_cannot_speak_in_another_session() {
    let server = Server::start().await;
    let mut agent = server.socket("acme", "kim").await;
    let mut visitor = opened(&server).await;
    agent.expect_event("chat.session.created").await;
    let forged = json!({"type": "chat.message", "session_id": "session-fedcba9876543210", "data": {"text": "boo"}});
    visitor.send(forged).await;
    visitor.send(json!({"type": "chat.message", "data": {"text": "mine"}})).await;
    // Either the forged message is refused, or it is the visitor's own session that it lands in.
    assert_eq!(agent.expect_event("chat.message").await["session_id"], SESSION);
}

#[tokio::test]
async fn the_end_closes_4404_and_later_visitors_get_404() {
    let server = Server::start().await;
    let mut visitor = opened(&server).await;
    server.publish("acme", json!({"type": "chat.session.ended", "session_id": SESSION})).await;
    assert_eq!(visitor.expect_close().await, 4404);
    assert_eq!(server.dial(&format!("/ws/public/{SESSION}")).refused().await, 404);
}

#[tokio::test]
async fn a_third_connection_replaces_the_oldest() {
    let server = Server::start().await;
    let mut oldest = opened(&server).await;
    let mut second = visitor(&server).await;
    let mut third = visitor(&server).await;
    assert_eq!(oldest.expect_close().await, 4409);
    server.publish("acme", json!({"type": "chat.message", "session_id": SESSION, "data": {"text": "hi"}})).await;
    second.expect_event("chat.message").await;
    third.expect_event("chat.message").await;
}

#[tokio::test]
async fn a_message_over_4_kib_is_refused_and_reaches_nobody() {
    let server = Server::start().await;
    let mut agent = server.socket("acme", "kim").await;
    let mut visitor = opened(&server).await;
    agent.expect_event("chat.session.created").await;
    visitor.send(json!({"type": "chat.message", "data": {"from": "v", "text": "x".repeat(4096)}})).await;
    visitor.expect_refusal(&[1009, 4400]).await;
    server.publish("acme", json!({"type": "marker"})).await;
    agent.expect_silence_until("marker").await;
}

#[tokio::test]
async fn more_than_five_messages_a_second_are_refused() {
    let server = Server::start().await;
    let mut visitor = opened(&server).await;
    for n in 0..12 {
        visitor.send(json!({"type": "chat.message", "data": {"from": "v", "text": n.to_string()}})).await;
    }
    visitor.expect_refusal(&[4429]).await;
}

#[tokio::test]
async fn a_session_belongs_to_the_tenant_that_made_it() {
    let server = Server::start().await;
    opened(&server).await;
    let theirs = json!({"type": "chat.session.created", "session_id": SESSION});
    server.service("other").post("/api/v1/events", theirs).await.expect_problem(409);
    // Refused or taken, it must not arrive.
    let forged = json!({"type": "chat.message", "session_id": SESSION, "data": {"text": "theirs"}});
    let mut visitor = visitor(&server).await;
    server.service("other").post("/api/v1/events", forged).await;
    server.publish("acme", json!({"type": "chat.message", "session_id": SESSION, "data": {"text": "ours"}})).await;
    assert_eq!(visitor.expect_event("chat.message").await["data"]["text"], "ours");
}

#[tokio::test]
async fn a_session_id_that_can_be_guessed_is_refused() {
    let server = Server::start().await;
    let short = json!({"type": "chat.session.created", "session_id": "fifteen-letters"});
    server.service("acme").post("/api/v1/events", short).await.expect_invalid("session_id");
    let none = json!({"type": "chat.session.created"});
    server.service("acme").post("/api/v1/events", none).await.expect_invalid("session_id");
}

#[tokio::test]
async fn a_session_survives_a_restart() {
    let mut server = Server::start().await;
    opened(&server).await;
    server.kill();
    server.restart().await;
    visitor(&server).await;
}

#[tokio::test]
async fn a_session_event_for_one_user_reaches_the_session_and_that_user_only() {
    let server = Server::start().await;
    let mut visitor = opened(&server).await;
    let mut kim = server.socket("acme", "kim").await;
    let mut lee = server.socket("acme", "lee").await;
    let event = json!({"type": "chat.message", "session_id": SESSION, "user_id": "kim", "data": {"text": "hi"}});
    server.publish("acme", event).await;
    server.publish("acme", json!({"type": "marker"})).await;
    visitor.expect_event("chat.message").await;
    kim.expect_event("chat.message").await;
    lee.expect_silence_until("marker").await;
}

#[tokio::test]
async fn visitors_are_not_users_who_are_online() {
    let server = Server::start().await;
    let _visitor = opened(&server).await;
    let online = server.agent("acme").get("/ws/users/online").await.expect(200);
    assert!(items(&online.body).is_empty(), "{}", online.text);
}

#[tokio::test]
async fn a_burst_of_visitors_leaves_two() {
    let server = Server::start().await;
    opened(&server).await;
    let mut visitors = Vec::new();
    for _ in 0..6 {
        visitors.push(visitor(&server).await);
    }
    for replaced in &mut visitors[..4] {
        assert_eq!(replaced.expect_close().await, 4409);
    }
    server.publish("acme", json!({"type": "chat.message", "session_id": SESSION, "data": {"text": "hi"}})).await;
    for staying in &mut visitors[4..] {
        staying.expect_event("chat.message").await;
    }
}
