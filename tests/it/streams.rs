//! Contract, section 3: server-sent events with the frames and rights of a socket.

use crate::support::stream::{Block, EventStream, Listening};
use crate::support::{Server, Token, eventually};
use serde_json::{Value, json};
use std::time::Duration;

const PATH: &str = "/api/v1/events/stream";

fn agent(user: &str) -> Token {
    Token::of("acme").user(user).role("agent")
}

fn listen(server: &Server, token: &Token, query: &str) -> Listening {
    Listening::new(server.port(), &format!("{PATH}{query}")).bearer(&token.clone().sign())
}

/// Welcomed; answers the welcome too.
async fn listening(server: &Server, token: &Token, query: &str) -> (EventStream, Block) {
    let mut stream = listen(server, token, query).open().await;
    let welcome = stream.message().await;
    assert_eq!(welcome.json()["type"], "welcome", "{welcome:?}");
    (stream, welcome)
}

fn id(block: &Block) -> &str {
    block.id.as_deref().unwrap_or_else(|| panic!("it has an id: {block:?}"))
}

async fn publish(server: &Server, n: u32) {
    server.publish("acme", json!({"type": "call.incoming", "data": {"n": n}})).await;
}

async fn expect_numbered(stream: &mut EventStream, numbers: std::ops::Range<u32>) -> Block {
    let mut last = Block::default();
    for n in numbers {
        last = stream.message().await;
        assert_eq!(last.json()["data"]["n"], n, "{last:?}");
    }
    last
}

#[tokio::test]
async fn a_listener_gets_the_frames_of_a_socket_with_their_places() {
    let server = Server::start().await;
    let mut socket = server.socket("acme", "kim").await;
    let (mut stream, welcome) = listening(&server, &agent("kim"), "").await;
    for header in ["content-type: text/event-stream", "cache-control: no-store"] {
        assert!(stream.head.contains(header), "{header} in {}", stream.head);
    }
    let (said, epoch) = (welcome.json(), welcome.json()["epoch"].as_str().expect("an epoch").to_owned());
    assert_eq!(id(&welcome), format!("{epoch}:{}", said["offset"]));
    assert_eq!((&said["user_id"], &said["tenant_id"]), (&json!("kim"), &json!("acme")));
    for name in ["call.incoming", "chat.typing", "agent.login"] {
        server.publish("acme", json!({"type": name, "data": {"a": 1.50}})).await;
        let frame = socket.expect_frame(name).await;
        let message = stream.message().await;
        assert_eq!(message.data.as_deref(), Some(frame.text.as_str()), "the same JSON");
        let place = (name != "chat.typing").then(|| format!("{epoch}:{}", frame.value["offset"]));
        assert_eq!(message.id, place);
    }
}

#[tokio::test]
async fn a_listener_sees_what_its_token_and_its_query_let_through() {
    let server = Server::start().await;
    let token = agent("kim").events(&["call.*", "notification"]);
    let (mut stream, welcome) = listening(&server, &token, "?events=call.ringing,notification,agent.*").await;
    server.publish("other", json!({"type": "call.ringing"})).await;
    for (name, user) in [("call.hold", None), ("agent.login", None), ("notification", Some("lee"))] {
        server.publish("acme", json!({"type": name, "user_id": user})).await;
    }
    server.publish("acme", json!({"type": "notification", "user_id": "kim"})).await;
    assert_eq!(stream.expect("notification").await["user_id"], "kim");
    let mut back = listen(&server, &token, "?events=notification").header("last-event-id", id(&welcome)).open().await;
    back.expect("welcome").await;
    assert_eq!(back.expect("notification").await["user_id"], "kim", "in a replay too");
}

#[tokio::test]
async fn last_event_id_shows_what_was_missed_then_what_comes() {
    let server = Server::start().await;
    let (stream, welcome) = listening(&server, &agent("kim"), "").await;
    drop(stream);
    for n in 0..20 {
        publish(&server, n).await;
    }
    // Cut off before the first event: the welcome's place is enough.
    let mut stream = listen(&server, &agent("kim"), "").header("Last-Event-ID", id(&welcome)).open().await;
    let again = stream.message().await;
    assert_eq!((&again.json()["type"], &again.id), (&json!("welcome"), &None), "its place would skip what comes next");
    let at_ten = expect_numbered(&mut stream, 0..11).await;
    drop(stream);
    // What a browser says by itself is newer than what its URL says.
    let query = format!("?since={}", id(&welcome));
    let mut stream = listen(&server, &agent("kim"), &query).header("Last-Event-ID", id(&at_ten)).open().await;
    stream.expect("welcome").await;
    expect_numbered(&mut stream, 11..20).await;
    publish(&server, 20).await;
    expect_numbered(&mut stream, 20..21).await;
    let (mut stream, _) = listening(&server, &agent("kim"), &query).await;
    expect_numbered(&mut stream, 0..21).await;
}

#[tokio::test]
async fn reconnects_under_a_publisher_that_never_stops_lose_and_double_nothing() {
    let server = Server::start().await;
    let client = server.service("acme");
    let (_, welcome) = listening(&server, &agent("kim"), "").await;
    let mut last = id(&welcome).to_owned();
    let publisher = tokio::spawn(async move {
        for n in 0_u64.. {
            let events: Vec<Value> =
                (0..3).map(|m| json!({"type": "call.incoming", "data": {"n": 3 * n + m}})).collect();
            if client.try_post("/api/v1/events", &json!(events)).await.is_none() {
                return;
            }
        }
    });
    for round in 0..20 {
        let mut stream = listen(&server, &agent("kim"), "").header("Last-Event-ID", &last).open().await;
        stream.expect("welcome").await;
        last = id(&expect_numbered(&mut stream, round * 30..(round + 1) * 30).await).to_owned();
    }
    publisher.abort();
}

#[tokio::test]
async fn a_restart_is_a_gap() {
    let mut server = Server::start().await;
    let (_, welcome) = listening(&server, &agent("kim"), "").await;
    server.kill();
    server.restart().await;
    let mut stream = listen(&server, &agent("kim"), "").header("Last-Event-ID", id(&welcome)).open().await;
    stream.expect("welcome").await;
    assert_eq!(stream.expect("gap").await["reason"], "epoch_changed");
    publish(&server, 0).await;
    expect_numbered(&mut stream, 0..1).await;
}

/// JSON may be written on many lines; a browser puts them together again.
#[tokio::test]
async fn data_on_many_lines_arrives_whole() {
    let server = Server::start().await;
    let (mut stream, _) = listening(&server, &agent("kim"), "").await;
    let event = "{\"type\": \"call.incoming\", \"data\": {\r\n  \"a\": [1,\n2],\r \"b\": \"x\\ny\"\n}}";
    server.service("acme").post_text("/api/v1/events", event).await.expect(202);
    assert_eq!(stream.expect("call.incoming").await["data"], json!({"a": [1, 2], "b": "x\ny"}));
}

#[tokio::test]
async fn a_quiet_stream_is_kept_alive_by_comments() {
    let server = Server::with().env("WS_PING_INTERVAL", "100ms").start().await;
    let (mut stream, _) = listening(&server, &agent("kim"), "").await;
    stream.expect_comments(3).await;
    publish(&server, 0).await;
    expect_numbered(&mut stream, 0..1).await;
}

/// Takes 26 s: the contract gives a client 25 s after `exp`.
#[tokio::test]
async fn a_stream_ends_25_s_after_its_token_with_4419() {
    let server = Server::start().await;
    let (mut stream, _) = listening(&server, &agent("kim").expires_in(1), "").await;
    stream.expect("auth_expiring").await;
    publish(&server, 0).await;
    expect_numbered(&mut stream, 0..1).await;
    let opened = std::time::Instant::now();
    let bye = stream.message_within(Duration::from_secs(35)).await.json();
    assert_eq!((&bye["type"], &bye["code"], &bye["reconnect"]), (&json!("bye"), &json!(4419), &json!(true)));
    assert!(opened.elapsed() > Duration::from_secs(22), "closed after {:?}", opened.elapsed());
    stream.expect_end().await;
}

#[tokio::test]
async fn a_stop_says_when_to_come_back_and_ends_the_stream() {
    let mut server = Server::start().await;
    let (mut stream, _) = listening(&server, &agent("kim"), "").await;
    server.ask_to_stop();
    let bye = stream.message().await;
    let said = bye.json();
    assert_eq!((&said["type"], &said["code"]), (&json!("bye"), &json!(1012)));
    assert_eq!(bye.retry, said["after_ms"].as_u64(), "what a browser obeys is what is said");
    assert!(bye.retry.is_some());
    stream.expect_end().await;
    server.ended_within(Duration::from_secs(8)).await;
}

#[tokio::test]
async fn a_slow_listener_is_sent_away_and_resumes_without_loss() {
    let server = Server::with().env("WS_MAX_QUEUE_BYTES", "128KiB").start().await;
    let mut slow = listen(&server, &agent("slow"), "").small_receive_buffer().open().await;
    let mut last = id(&slow.message().await).to_owned();
    let text = "x".repeat(30_000);
    for n in 0..300 {
        server.publish("acme", json!({"type": "call.incoming", "data": {"n": n, "text": text}})).await;
    }
    let mut next = 0;
    let bye = loop {
        let message = slow.message().await;
        let said = message.json();
        if said["id"].is_null() {
            break said;
        }
        assert_eq!(said["data"]["n"], next);
        (next, last) = (next + 1, id(&message).to_owned());
    };
    assert_eq!((&bye["type"], &bye["code"]), (&json!("bye"), &json!(4508)));
    slow.expect_end().await;
    assert!(next < 300, "it was slow");
    // Far more than a queue may hold, at the reader's pace.
    let mut back = listen(&server, &agent("slow"), "").header("Last-Event-ID", &last).open().await;
    back.expect("welcome").await;
    for n in next..300 {
        assert_eq!(back.expect("call.incoming").await["data"]["n"], n);
    }
}

#[tokio::test]
async fn a_listener_that_hangs_up_is_no_connection_any_more() {
    let server = Server::start().await;
    let (stream, _) = listening(&server, &agent("kim"), "").await;
    let stats = async || server.agent("acme").get("/ws/stats").await.expect(200).body["clients"].clone();
    assert_eq!(stats().await, 1, "a listener is a connection");
    drop(stream);
    eventually("the connection to be gone", || async { (stats().await == 0).then_some(()) }).await;
}

#[tokio::test]
async fn who_may_not_listen_is_told_so() {
    let server = Server::with()
        .env("WS_MAX_CONNECTIONS_PER_TENANT", "1")
        .env("WS_ALLOWED_ORIGINS", "https://app.example")
        .start()
        .await;
    let refused = async |listening: Listening| listening.try_open().await.err().expect("it is refused");
    let at = |path: &str| Listening::new(server.port(), path);
    let token = agent("kim").sign();
    assert!(refused(at(PATH)).await.starts_with("http/1.1 401"));
    assert!(refused(at(PATH).bearer("rubbish")).await.starts_with("http/1.1 401"));
    let listen = || listen(&server, &agent("kim"), "");
    assert!(refused(listen().header("Last-Event-ID", "7")).await.starts_with("http/1.1 400"));
    assert!(refused(listen().header("Origin", "https://evil.example")).await.starts_with("http/1.1 403"));
    assert!(refused(at(&format!("{PATH}?events=call.")).bearer(&token)).await.starts_with("http/1.1 400"));

    // A browser's page has no headers of its own.
    let ours = at(&format!("{PATH}?token={token}")).header("Origin", "https://app.example");
    let stream = ours.header("Last-Event-ID", "").open().await;
    assert!(stream.head.contains("access-control-allow-origin: https://app.example"), "{}", stream.head);
    let full = refused(listen()).await;
    assert!(full.starts_with("http/1.1 503") && full.contains("retry-after: "), "{full}");
}
