//! A receiver that misbehaves costs its own webhook a failed attempt, and nobody else anything.

use crate::support::peer::{Peer, answer, request, reset_after, write_for_ever};
use crate::support::tls::Authority;
use crate::support::webhooks::Webhook;
use crate::support::{Answer, Receiver, Server};
use serde_json::{Value, json};
use std::process::Command;
use std::time::Duration;

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n";
const FAILING_HEAD: &str = "HTTP/1.1 500 Oh\r\ncontent-type: text/plain\r\n";

/// A webhook that gives its receiver one attempt of at most two seconds.
async fn impatient(server: &Server, url: &str) -> Webhook {
    server.webhook_with("acme", url, json!({"timeout": 2, "retry_count": 0})).await
}

/// The webhook's one attempt at a new event, while another tenant's webhook is delivered to as ever.
async fn attempt_beside_a_healthy_one(server: &Server, webhook: &Webhook) -> Value {
    let mut healthy = Receiver::start().await;
    server.webhook("calm", &healthy.url()).await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    server.publish("calm", json!({"type": "call.ended"})).await;
    healthy.expect_delivery().await;
    webhook.expect_attempt().await
}

fn expect_failed(attempt: &Value, words: &str) {
    assert_eq!((&attempt["state"], &attempt["response_status"]), (&json!("failed"), &json!(null)), "{attempt}");
    assert!(attempt["error"].as_str().is_some_and(|error| error.contains(words)), "{words:?} is not said: {attempt}");
}

fn expect_delivered(attempt: &Value) {
    assert_eq!((&attempt["state"], &attempt["response_status"]), (&json!("succeeded"), &json!(200)), "{attempt}");
    let kept = attempt["response_body"].as_str().unwrap_or_default().len();
    assert!(kept <= 4096, "{kept} bytes of the body are kept");
}

#[tokio::test]
async fn headers_that_come_a_byte_a_second_for_ever_cost_the_webhooks_own_timeout() {
    let server = Server::start().await;
    let slow = Peer::start(async |mut stream| {
        request(&mut stream).await;
        write_for_ever(&mut stream, HEAD, b"x", Some(Duration::from_secs(1))).await;
    });
    let slow = slow.await;
    let webhook = impatient(&server, &slow.url()).await;
    expect_failed(&attempt_beside_a_healthy_one(&server, &webhook).await, "within 2 s");
    slow.expect_end().await;
}

/// The status was the answer: how the body ends says nothing more.
#[tokio::test]
async fn a_body_that_comes_a_byte_a_second_for_ever_is_delivered_at_the_timeout() {
    let server = Server::start().await;
    let slow = Peer::start(async |mut stream| {
        request(&mut stream).await;
        write_for_ever(&mut stream, &format!("{HEAD}\r\n"), b"x", Some(Duration::from_secs(1))).await;
    });
    let slow = slow.await;
    let webhook = impatient(&server, &slow.url()).await;
    let attempt = attempt_beside_a_healthy_one(&server, &webhook).await;
    expect_delivered(&attempt);
    assert!(attempt["error"].as_str().is_some_and(|error| error.contains("within 2 s")), "{attempt}");
    slow.expect_end().await;
}

#[tokio::test]
async fn of_an_endless_body_a_little_is_read_and_the_delivery_is_done() {
    let server = Server::start().await;
    let endless = Peer::start(async |mut stream| {
        request(&mut stream).await;
        write_for_ever(&mut stream, &format!("{HEAD}\r\n"), &[b'x'; 60_000], None).await;
    });
    let endless = endless.await;
    let webhook = server.webhook_with("acme", &endless.url(), json!({"timeout": 60, "retry_count": 0})).await;
    let attempt = attempt_beside_a_healthy_one(&server, &webhook).await;
    expect_delivered(&attempt);
    assert_eq!((&attempt["response_body"], &attempt["error"]), (&json!("x".repeat(4096)), &json!(null)));
    // Long before the timeout: it was not read on.
    endless.expect_end().await;
}

#[tokio::test]
async fn fifty_kilobytes_that_would_inflate_to_fifty_megabytes_are_never_inflated() {
    let server = Server::start().await;
    let bomb = Command::new("sh").args(["-c", "head -c 52428800 /dev/zero | gzip -9n"]).output().expect("sh is there");
    let bomb = bomb.stdout;
    assert!((20_000..80_000).contains(&bomb.len()), "gzip made {} bytes", bomb.len());
    let mut receiver = Receiver::start().await;
    receiver.answer_by(move |_| Answer::status(200).header("content-encoding", "gzip").body(bomb.clone()));
    let webhook = server.webhook_with("acme", &receiver.url(), json!({"retry_count": 0})).await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    receiver.expect_delivery().await;
    webhook.expect_count("delivered", 1).await;
    let before = server.peak_memory_bytes();
    let events: Value = (0..50).map(|n| json!({"type": "call.ended", "data": n})).collect();
    server.service("acme").post("/api/v1/events", events).await.expect(202);
    receiver.expect_deliveries(50).await;
    webhook.expect_count("delivered", 51).await;
    expect_delivered(&webhook.expect_attempt().await);
    let grown = server.peak_memory_bytes() - before;
    assert!(grown < 32 << 20, "fifty bombs took {grown} bytes");
    assert!(receiver.all().iter().all(|request| request.header("accept-encoding").is_empty()));
}

#[tokio::test]
async fn ten_thousand_headers_are_a_failed_attempt() {
    let server = Server::start().await;
    let many = Peer::start(async |mut stream| {
        request(&mut stream).await;
        let headers: String = (0..10_000).map(|n| format!("x-{n}: {n}\r\n")).collect();
        answer(&mut stream, format!("{HEAD}{headers}content-length: 0\r\n\r\n").as_bytes()).await;
    });
    let many = many.await;
    let webhook = impatient(&server, &many.url()).await;
    expect_failed(&attempt_beside_a_healthy_one(&server, &webhook).await, "too large");
}

#[tokio::test]
async fn ten_thousand_headers_over_http_2_are_a_failed_attempt() {
    let authority = Authority::new();
    let server = Server::with().env("SSL_CERT_FILE", &authority.file()).start().await;
    let receiver = Receiver::start_tls(&authority).await;
    receiver.answer_by(|_| (0..10_000).fold(Answer::status(200), |answer, n| answer.header(&format!("x-{n}"), "y")));
    let webhook = impatient(&server, &receiver.url()).await;
    expect_failed(&attempt_beside_a_healthy_one(&server, &webhook).await, "stream error");
}

#[tokio::test]
async fn a_reset_in_the_middle_of_a_body_changes_nothing_after_a_2xx_status() {
    let server = Server::start().await;
    let broken = Peer::start(async |mut stream| {
        request(&mut stream).await;
        reset_after(stream, format!("{HEAD}content-length: 1000\r\n\r\nhalf").as_bytes()).await;
    });
    let broken = broken.await;
    let webhook = impatient(&server, &broken.url()).await;
    let attempt = attempt_beside_a_healthy_one(&server, &webhook).await;
    expect_delivered(&attempt);
    assert!(attempt["error"].is_string(), "the cut is told all the same: {attempt}");
    webhook.expect_count("delivered", 1).await;
}

#[tokio::test]
async fn a_reset_in_the_middle_of_a_body_after_a_500_is_a_failed_attempt() {
    let server = Server::start().await;
    let broken = Peer::start(async |mut stream| {
        request(&mut stream).await;
        reset_after(stream, format!("{FAILING_HEAD}content-length: 1000\r\n\r\nhalf").as_bytes()).await;
    });
    let broken = broken.await;
    let webhook = impatient(&server, &broken.url()).await;
    let attempt = attempt_beside_a_healthy_one(&server, &webhook).await;
    assert_eq!((&attempt["state"], &attempt["response_status"]), (&json!("failed"), &json!(500)), "{attempt}");
    webhook.expect_failed().await;
}

#[tokio::test]
async fn a_tls_handshake_that_never_ends_costs_the_webhooks_own_timeout() {
    let server = Server::start().await;
    // It waits for the end of a request that is never sent: the handshake comes first.
    let silent = Peer::start(async |mut stream| drop(request(&mut stream).await)).await;
    let webhook = impatient(&server, &silent.url().replace("http:", "https:")).await;
    expect_failed(&attempt_beside_a_healthy_one(&server, &webhook).await, "within 2 s");
    silent.expect_end().await;
}

#[tokio::test]
async fn what_is_not_http_is_a_failed_attempt() {
    let server = Server::start().await;
    let other = Peer::start(async |mut stream| {
        request(&mut stream).await;
        answer(&mut stream, b"220 mail.example.com ESMTP\r\n\r\n").await;
    });
    let other = other.await;
    let webhook = impatient(&server, &other.url()).await;
    expect_failed(&attempt_beside_a_healthy_one(&server, &webhook).await, "HTTP");
}
