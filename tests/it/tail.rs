//! `jackfield tail`: what people and scripts listen with. It comes back from where it was, and says what it missed.

use crate::support::{Program, Server, Token, Wire, tls::Authority};
use serde_json::{Value, json};
use std::process::Command;

/// A tail of `acme`, which listens.
async fn tail(port: u16, args: &[&str]) -> Program {
    let tail = start(&format!("ws://127.0.0.1:{port}/ws"), args, &[("JACKFIELD_TOKEN", &token())]);
    tail.says("connected to ").await;
    tail
}

fn token() -> String {
    Token::of("acme").user("kim").role("agent").sign()
}

fn start(url: &str, args: &[&str], env: &[(&str, &str)]) -> Program {
    Program::start(Command::new(env!("CARGO_BIN_EXE_jackfield")).args(["tail", "--url", url]).args(args), env)
}

/// Publishes an event that can be told from all others by its word.
async fn publish(server: &Server, word: &str) {
    server.publish("acme", json!({"type": "call.incoming", "data": {"word": word}})).await;
}

#[tokio::test]
async fn an_event_is_a_line_with_what_a_person_looks_for() {
    let server = Server::start().await;
    let mut tail = tail(server.port(), &["--events", "call.*", "--count", "2"]).await;
    server.publish("acme", json!({"type": "queue.stats.updated", "data": "not this one"})).await;
    server.publish("acme", json!({"type": "call.incoming", "user_id": "kim", "data": {"call_id": "call-1"}})).await;
    let line = tail.prints("call.incoming").await;
    assert!(line.ends_with(r#"user kim  {"call_id":"call-1"}"#), "{line}");
    assert!(!line.contains('\x1b'), "no colours into a pipe: {line:?}");
    server.publish("acme", json!({"type": "call.ended"})).await;
    assert_eq!(tail.ends().await, Some(0), "two events were asked for");
    assert_eq!(tail.lines().len(), 2, "{:?}", tail.lines());
}

#[tokio::test]
async fn for_programs_every_frame_is_one_line_as_it_came() {
    let server = Server::start().await;
    let tail = tail(server.port(), &["--json"]).await;
    let body = "{\"type\":\"call.incoming\",\"data\":{\n  \"b\": 1.50,\n  \"a\": 1e3\n}}";
    server.service("acme").post_text("/api/v1/events", body).await.expect(202);
    let line = tail.prints("call.incoming").await;
    assert!(line.contains("\"b\": 1.50,") && line.contains("\"a\": 1e3"), "{line}");
    let frames: Vec<Value> = tail.lines().iter().map(|l| serde_json::from_str(l).expect("a line is a frame")).collect();
    assert_eq!(frames[0]["type"], "welcome");
}

#[tokio::test]
async fn a_cut_connection_is_resumed_and_nothing_is_lost_or_shown_twice() {
    let server = Server::start().await;
    let wire = Wire::to(server.port()).await;
    let tail = tail(wire.port(), &[]).await;
    publish(&server, "before").await;
    tail.prints("before").await;
    wire.cut();
    tail.says("trying again in").await;
    publish(&server, "meanwhile").await;
    tail.says_again("connected to ", 2).await;
    publish(&server, "afterwards").await;
    tail.prints("afterwards").await;
    assert!(tail.words().iter().all(|line| !line.contains("GAP")), "{:?}", tail.words());
    for word in ["before", "meanwhile", "afterwards"] {
        assert_eq!(tail.count(word), 1, "{word}: {:?}", tail.lines());
    }
}

#[tokio::test]
async fn what_waited_for_its_user_is_marked_and_moves_no_place() {
    let server = Server::start().await;
    server.publish("acme", json!({"type": "notification", "user_id": "kim", "data": {"word": "waited"}})).await;
    publish(&server, "not for kim alone").await;
    let mut tail = tail(server.port(), &[]).await;
    let line = tail.prints("waited").await;
    assert!(line.contains("user kim  (waited)"), "{line}");
    tail.interrupt();
    assert_eq!(tail.ends().await, Some(0));
    let place = tail.says("--since ").await;
    let moved: u64 = place.rsplit_once(':').and_then(|(_, offset)| offset.parse().ok()).expect("a place");
    assert!(moved >= 2, "the place of the welcome stays: {place}");
}

#[tokio::test]
async fn after_a_kill_of_the_server_it_comes_back_and_says_what_may_be_missing() {
    let mut server = Server::start().await;
    let tail = tail(server.port(), &[]).await;
    publish(&server, "before").await;
    tail.prints("before").await;
    server.kill();
    tail.says("trying again in").await;
    server.restart().await;
    publish(&server, "meanwhile").await;
    tail.says_again("connected to ", 2).await;
    publish(&server, "afterwards").await;
    tail.prints("afterwards").await;
    assert_eq!(tail.count("before"), 1, "{:?}", tail.lines());
    let told = tail.words().iter().any(|line| line.starts_with("GAP: "));
    assert!(told || tail.count("meanwhile") == 1, "neither shown nor told: {:?} {:?}", tail.lines(), tail.words());
}

#[tokio::test]
async fn a_server_that_stops_says_when_to_come_back() {
    let mut server = Server::start().await;
    let tail = tail(server.port(), &[]).await;
    assert_eq!(server.terminate().await, Some(0));
    tail.says("the server closed the connection (1012 drain)").await;
    server.restart().await;
    tail.says_again("connected to ", 2).await;
}

#[tokio::test]
async fn ctrl_c_ends_it_well_and_the_place_it_names_is_where_the_next_one_begins() {
    let server = Server::start().await;
    let mut first = tail(server.port(), &[]).await;
    publish(&server, "seen").await;
    first.prints("seen").await;
    first.interrupt();
    assert_eq!(first.ends().await, Some(0));
    let words = first.says("--since ").await;
    let place = words.split_whitespace().last().expect("the place is named last");
    publish(&server, "missed").await;
    let mut second = tail(server.port(), &["--since", place, "--count", "1"]).await;
    assert_eq!(second.ends().await, Some(0));
    assert_eq!((second.count("missed"), second.count("seen")), (1, 0), "{:?}", second.lines());
}

#[tokio::test]
async fn what_coming_back_does_not_mend_ends_it_with_what_to_do() {
    let server = Server::start().await;
    let url = server.url("/ws").replace("http", "ws");
    let expired = Token::of("acme").expires_in(-60).sign();
    let foreign = Token::of("acme").sign_with_another_key();
    let (nowhere, good) = (server.url("/nowhere").replace("http", "ws"), token());
    let many = vec!["a.b"; 101].join(",");
    for (url, token, args, code, words) in [
        (&url, "", vec![], 77, "JACKFIELD_TOKEN"),
        (&url, &foreign, vec![], 77, "get a new one"),
        (&url, &expired, vec![], 77, "get a new one"),
        (&nowhere, &good, vec![], 69, "no socket of Jackfield"),
        (&url, &good, vec!["--since", "here"], 64, "EPOCH:OFFSET"),
        (&url, &good, vec!["--events", &many], 64, "too many"),
        (&server.url("/ws"), &good, vec![], 64, "ws:// or wss://"),
    ] {
        let mut tail = start(url, &args, &[("JACKFIELD_TOKEN", token)]);
        assert_eq!(tail.ends().await, Some(code), "{url} {args:?}: {:?}", tail.words());
        tail.says(words).await;
    }
}

#[tokio::test]
async fn the_end_of_a_chat_session_is_its_end() {
    let server = Server::start().await;
    let session = "session-0123456789abcdef";
    server.publish("acme", json!({"type": "chat.session.created", "session_id": session})).await;
    let mut tail = start(&format!("ws://127.0.0.1:{}/ws/public/{session}", server.port()), &[], &[]);
    tail.says("connected to ").await;
    server.publish("acme", json!({"type": "chat.session.ended", "session_id": session})).await;
    assert_eq!(tail.ends().await, Some(69));
    tail.says("it has ended").await;
}

#[tokio::test]
async fn over_tls_it_trusts_whom_the_system_trusts() {
    let server = Server::start().await;
    let authority = Authority::new();
    let wire = Wire::with_tls(authority.acceptor("localhost", &[]), server.port()).await;
    let url = format!("wss://localhost:{}/ws", wire.port());
    let env = [("JACKFIELD_TOKEN", &*token()), ("SSL_CERT_FILE", &authority.file())];
    let tail = start(&url, &[], &env);
    tail.says("connected to wss://localhost").await;
    publish(&server, "hello").await;
    tail.prints("hello").await;

    let stranger = Authority::new();
    let mut wary = start(&url, &[], &[("JACKFIELD_TOKEN", &token()), ("SSL_CERT_FILE", &stranger.file())]);
    assert_eq!(wary.ends().await, Some(69));
    wary.says("no trusted connection").await;
}
