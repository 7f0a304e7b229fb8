//! Contract, section 5: a client that comes back is shown what it missed, once and in order, or is told of a gap.

use crate::support::{Server, Socket, Token, items};
use serde_json::{Value, json};
use std::collections::HashSet;

const SESSION: &str = "session-0123456789abcdef";

fn agent(user: &str) -> Token {
    Token::of("acme").user(user).role("agent")
}

/// Where a client is that was just welcomed.
fn place(welcome: &Value) -> String {
    format!("{}:{}", welcome["epoch"].as_str().expect("an epoch"), welcome["offset"])
}

/// Joins, leaves, and answers where that was.
async fn been_here(server: &Server, token: &Token) -> String {
    let mut socket = server.dial("/ws").bearer(&token.clone().sign()).open().await;
    let place = place(&socket.expect_welcome().await);
    socket.close().await;
    place
}

async fn back(server: &Server, token: &Token, since: &str, more: &str) -> Socket {
    server.socket_with(token.clone(), &format!("/ws?since={since}{more}")).await
}

async fn publish_numbered(server: &Server, numbers: std::ops::Range<u32>) {
    let events: Vec<Value> = numbers.map(|n| json!({"type": "call.incoming", "data": {"n": n}})).collect();
    server.service("acme").post("/api/v1/events", json!(events)).await.expect(202);
}

async fn expect_numbered(socket: &mut Socket, numbers: std::ops::Range<u32>) {
    for n in numbers {
        assert_eq!(socket.expect_event("call.incoming").await["data"]["n"], n);
    }
}

#[tokio::test]
async fn what_was_missed_comes_first_then_what_comes() {
    let server = Server::start().await;
    let since = been_here(&server, &agent("kim")).await;
    publish_numbered(&server, 0..300).await;
    let mut socket = back(&server, &agent("kim"), &since, "").await;
    publish_numbered(&server, 300..310).await;
    expect_numbered(&mut socket, 0..310).await;
}

#[tokio::test]
async fn whoever_missed_nothing_is_shown_nothing() {
    let server = Server::start().await;
    publish_numbered(&server, 0..5).await;
    let since = been_here(&server, &agent("kim")).await;
    let mut socket = back(&server, &agent("kim"), &since, "").await;
    let (epoch, offset) = since.split_once(':').expect("a position");
    let offset: u64 = offset.parse().expect("an offset");
    socket.send(json!({"type": "resume", "epoch": epoch, "offset": offset})).await;
    socket.send(json!({"type": "ping"})).await;
    socket.expect_control("pong").await;
    publish_numbered(&server, 5..6).await;
    expect_numbered(&mut socket, 5..6).await;
}

/// Live ones that came before it are not shown again, and those that come after it wait for their turn.
#[tokio::test]
async fn resume_in_a_socket_shows_what_was_before_it() {
    let server = Server::start().await;
    let since = been_here(&server, &agent("kim")).await;
    publish_numbered(&server, 0..200).await;
    let mut socket = server.socket("acme", "kim").await;
    publish_numbered(&server, 200..210).await;
    expect_numbered(&mut socket, 200..205).await;
    let (epoch, offset) = since.split_once(':').expect("a position");
    let offset: u64 = offset.parse().expect("an offset");
    socket.send(json!({"type": "resume", "epoch": epoch, "offset": offset})).await;
    let mut seen: Vec<u64> = Vec::new();
    publish_numbered(&server, 210..220).await;
    while seen.len() < 215 {
        seen.push(socket.expect_event("call.incoming").await["data"]["n"].as_u64().expect("a number"));
    }
    let all: HashSet<u64> = seen.iter().copied().collect();
    assert_eq!(all.len(), 215, "each once: {seen:?}");
    let missed: Vec<u64> = seen.iter().copied().filter(|n| *n < 200).collect();
    let live: Vec<u64> = seen.iter().copied().filter(|n| *n >= 200).collect();
    assert_eq!((missed, live), ((0..200).collect(), (205..220).collect()), "each part in order");
}

#[tokio::test]
async fn a_restart_is_a_gap_before_the_next_event() {
    let mut server = Server::start().await;
    let since = been_here(&server, &agent("kim")).await;
    server.kill();
    server.restart().await;
    let mut socket = back(&server, &agent("kim"), &since, "").await;
    publish_numbered(&server, 0..1).await;
    let gap = socket.expect_next_control("gap").await;
    assert_eq!((&gap["from"], &gap["reason"]), (&json!(1), &json!("epoch_changed")));
    assert_ne!(gap["epoch"], since.split(':').next().expect("an epoch"), "the gap names the new epoch");
    expect_numbered(&mut socket, 0..1).await;

    let ahead = format!("{}:9999", gap["epoch"].as_str().expect("an epoch"));
    let mut socket = back(&server, &agent("kim"), &ahead, "").await;
    assert_eq!(socket.expect_next_control("gap").await["reason"], "unknown_offset");
    socket.send(json!({"type": "resume", "epoch": "another", "offset": 3})).await;
    assert_eq!(socket.expect_next_control("gap").await["reason"], "epoch_changed");
}

#[tokio::test]
async fn what_is_no_longer_kept_is_a_gap_and_the_rest_follows() {
    let server = Server::start().await;
    let since = been_here(&server, &agent("kim")).await;
    let first: u64 = since.split_once(':').expect("a position").1.parse().expect("an offset");
    for batch in 0..12 {
        publish_numbered(&server, batch * 1000..(batch + 1) * 1000).await;
    }
    let mut socket = back(&server, &agent("kim"), &since, "").await;
    let gap = socket.expect_next_control("gap").await;
    assert_eq!((&gap["from"], &gap["reason"]), (&json!(first + 1), &json!("trimmed")));
    let kept = socket.expect_event("call.incoming").await["data"]["n"].as_u64().expect("a number") as u32;
    assert!((1..=2000).contains(&kept), "10,000 events are kept, the first is {kept}");
    expect_numbered(&mut socket, kept + 1..12_000).await;
}

#[tokio::test]
async fn a_replay_shows_no_more_than_the_socket_would_have_shown() {
    let server = Server::start().await;
    let token = agent("kim").events(&["call.*", "notification"]);
    let since = been_here(&server, &token).await;
    server.publish("other", json!({"type": "call.incoming", "data": "another tenant's"})).await;
    server.publish("acme", json!({"type": "notification", "user_id": "lee"})).await;
    server.publish("acme", json!({"type": "call.ended", "session_id": SESSION, "user_id": "lee"})).await;
    server.publish("acme", json!({"type": "agent.login", "data": "the token does not let it through"})).await;
    server.publish("acme", json!({"type": "call.hold", "data": "not asked for"})).await;
    server.publish("acme", json!({"type": "notification", "user_id": "kim"})).await;
    server.publish("acme", json!({"type": "call.ringing"})).await;
    let mut socket = back(&server, &token, &since, "&events=call.ringing,notification,agent.*").await;
    assert_eq!(socket.expect_event("notification").await["user_id"], "kim");
    socket.expect_event("call.ringing").await;
    server.publish("acme", json!({"type": "call.ringing", "data": "live"})).await;
    assert_eq!(socket.expect_event("call.ringing").await["data"], "live");

    // Equal epochs do not let one tenant into another's events.
    let mut theirs = server.socket_with(Token::of("other").user("kim"), &format!("/ws?since={since}")).await;
    assert_eq!(theirs.expect_event("call.incoming").await["tenant_id"], "other");
}

#[tokio::test]
async fn ephemeral_events_have_no_offset_and_are_not_replayed() {
    let server = Server::start().await;
    let since = been_here(&server, &agent("kim")).await;
    let mut live = server.socket("acme", "lee").await;
    for name in ["chat.typing", "call.incoming", "ping"] {
        server.publish("acme", json!({"type": name})).await;
        let event = live.expect_event(name).await;
        assert_eq!(event.get("offset").is_some(), name == "call.incoming", "{event}");
    }
    let mut socket = back(&server, &agent("kim"), &since, "").await;
    socket.expect_event("call.incoming").await;
    server.publish("acme", json!({"type": "marker"})).await;
    socket.expect_silence_until("marker").await;
}

#[tokio::test]
async fn a_visitor_resumes_too_and_sees_its_own_session_only() {
    let server = Server::start().await;
    server.publish("acme", json!({"type": "chat.session.created", "session_id": SESSION})).await;
    let path = format!("/ws/public/{SESSION}");
    let mut visitor = server.dial(&path).open().await;
    let since = place(&visitor.expect_welcome().await);
    visitor.close().await;
    let other = "session-fedcba9876543210";
    server.publish("acme", json!({"type": "chat.session.created", "session_id": other})).await;
    server.publish("acme", json!({"type": "chat.message", "session_id": other, "data": "theirs"})).await;
    server.publish("acme", json!({"type": "call.incoming"})).await;
    server.publish("acme", json!({"type": "chat.message", "session_id": SESSION, "data": "mine"})).await;
    let mut visitor = server.dial(&format!("{path}?since={since}")).open().await;
    visitor.expect_welcome().await;
    assert_eq!(visitor.expect_event("chat.message").await["data"], "mine");
    let (epoch, offset) = since.split_once(':').expect("a position");
    let offset: u64 = offset.parse().expect("an offset");
    visitor.send(json!({"type": "resume", "epoch": epoch, "offset": offset})).await;
    assert_eq!(visitor.expect_event("chat.message").await["data"], "mine", "it asked for it again");
    server.publish("acme", json!({"type": "chat.agent.assigned", "session_id": SESSION})).await;
    visitor.expect_silence_until("chat.agent.assigned").await;
}

#[tokio::test]
async fn a_slow_consumer_resumes_without_loss() {
    let server = Server::with().env("WS_MAX_QUEUE_BYTES", "128KiB").start().await;
    let token = agent("slow").sign();
    let mut slow = server.dial("/ws").bearer(&token).small_receive_buffer().open().await;
    let mut last = place(&slow.expect_welcome().await);
    let text = "x".repeat(30_000);
    for n in 0..200 {
        server.publish("acme", json!({"type": "call.incoming", "data": {"n": n, "text": text}})).await;
    }
    let mut next = 0;
    let bye = loop {
        let frame = slow.expect_any().await.value;
        if frame["id"].is_null() {
            break frame;
        }
        assert_eq!(frame["data"]["n"], next);
        next += 1;
        last = format!("{}:{}", last.split(':').next().expect("an epoch"), frame["offset"]);
    };
    assert_eq!((&bye["type"], &bye["code"], &bye["reconnect"]), (&json!("bye"), &json!(4508), &json!(true)));
    assert_eq!(slow.expect_close().await, 4508);
    assert!(next < 200, "it was slow");

    // 6 MB for a queue of 128 KiB: paced by its reader.
    let mut socket = back(&server, &agent("slow"), &last, "").await;
    for n in next..200 {
        assert_eq!(socket.expect_event("call.incoming").await["data"]["n"], n);
    }
}

/// What is missed may be far longer than a queue, and its reader slow: neither is a reason to be closed.
#[tokio::test]
async fn a_replay_longer_than_the_queue_is_paced() {
    let server = Server::with().env("WS_MAX_QUEUE_BYTES", "128KiB").start().await;
    let since = been_here(&server, &agent("kim")).await;
    let text = "x".repeat(30_000);
    for n in 0..150 {
        server.publish("acme", json!({"type": "call.incoming", "data": {"n": n, "text": text}})).await;
    }
    let dial = server.dial(&format!("/ws?since={since}")).bearer(&agent("kim").sign());
    let mut slow = dial.small_receive_buffer().open().await;
    slow.expect_welcome().await;
    // While it reads nothing, others publish what comes after: the socket must not be the one to pay.
    for n in 150..200 {
        server.publish("acme", json!({"type": "call.incoming", "data": {"n": n, "text": text}})).await;
    }
    let stats = server.agent("acme").get("/ws/stats").await.expect(200);
    assert_eq!(stats.body["clients"], 1);
    for n in 0..200 {
        assert_eq!(slow.expect_event("call.incoming").await["data"]["n"], n);
    }
}

#[tokio::test]
async fn fifty_reconnects_under_a_publisher_that_never_stops_lose_and_double_nothing() {
    let server = Server::start().await;
    let client = server.service("acme");
    let mut since = been_here(&server, &agent("kim")).await;
    let publisher = tokio::spawn(async move {
        for n in 0_u64.. {
            let events: Vec<Value> =
                (0..3).map(|m| json!({"type": "call.incoming", "data": {"n": 3 * n + m}})).collect();
            let Some(reply) = client.try_post("/api/v1/events", &json!(events)).await else { return };
            assert_eq!(items(&reply.body).len(), 3, "{}", reply.text);
        }
    });
    let mut next = 0;
    for _ in 0..50 {
        let mut socket = back(&server, &agent("kim"), &since, "").await;
        for _ in 0..40 {
            let event = socket.expect_event("call.incoming").await;
            assert_eq!(event["data"]["n"], next);
            next += 1;
            since = format!("{}:{}", since.split(':').next().expect("an epoch"), event["offset"]);
        }
        // Gone without a word, with frames on their way.
        drop(socket);
    }
    publisher.abort();
}
