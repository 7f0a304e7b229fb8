//! Ten failures in a row open a webhook's circuit: what it is owed waits, nothing is lost, and nobody else waits with it.

use crate::support::webhooks::Webhook;
use crate::support::{Database, Receiver, Server, eventually};
use serde_json::json;
use std::time::{Duration, Instant};

/// A server on which nothing is retried by itself while a test runs.
async fn patient_server() -> Server {
    Server::with().env("WEBHOOK_RETRY_SCHEDULE", "1h").start().await
}

/// Lets ten deliveries fail; answers the circuit's state once it is open.
async fn open_circuit(server: &Server, receiver: &mut Receiver, webhook: &Webhook) {
    receiver.answer_always(500);
    for n in 0..10 {
        assert_eq!(webhook.circuit().await["state"], "closed", "after {n} failures");
        server.publish("acme", json!({"type": "call.ended", "data": {"n": n}})).await;
        receiver.expect_delivery().await;
        webhook.expect_attempts(n + 1).await;
    }
    let circuit = webhook.expect_circuit("open").await;
    assert_eq!(circuit["failures_in_a_row"], 10, "{circuit}");
    assert!(circuit["probes_at"].is_string() && circuit["failing_since"].is_string(), "{circuit}");
}

#[tokio::test]
async fn deliveries_wait_for_an_open_circuit_and_flow_when_a_retry_by_hand_succeeds() {
    let server = patient_server().await;
    let (mut receiver, mut other) = (Receiver::start().await, Receiver::start().await);
    let webhook = server.webhook_with("acme", &receiver.url(), json!({"events": ["call.ended"]})).await;
    server.webhook_with("acme", &other.url(), json!({"events": ["call.ended", "marker"]})).await;
    open_circuit(&server, &mut receiver, &webhook).await;

    receiver.answer_always(200);
    for n in 10..13 {
        server.publish("acme", json!({"type": "call.ended", "data": {"n": n}})).await;
    }
    server.publish("acme", json!({"type": "marker"})).await;
    other.expect_deliveries(14).await;
    webhook.expect_count("pending", 13).await;
    assert_eq!(receiver.all().len(), 10, "an open circuit lets nothing through");

    let first = receiver.all()[0].clone();
    webhook.retry(first.header("webhook-id")).await.expect(202);
    let again = receiver.expect_delivery().await;
    assert_eq!((again.header("webhook-id"), &again.body), (first.header("webhook-id"), &first.body));
    let backlog: Vec<_> = receiver.expect_deliveries(3).await.iter().map(|d| d.json()["data"]["n"].clone()).collect();
    assert!([10, 11, 12].iter().all(|n| backlog.contains(&json!(n))), "{backlog:?}");
    webhook.expect_count("delivered", 4).await;
    let circuit = webhook.circuit().await;
    assert_eq!((&circuit["state"], &circuit["failures_in_a_row"]), (&json!("closed"), &json!(0)), "{circuit}");
}

#[tokio::test]
async fn a_test_passes_an_open_circuit_and_says_nothing_about_it() {
    let server = patient_server().await;
    let mut receiver = Receiver::start().await;
    let webhook = server.webhook("acme", &receiver.url()).await;
    open_circuit(&server, &mut receiver, &webhook).await;
    receiver.answer(204);
    let tested = server.admin("acme").post(&format!("{}/test", webhook.path()), json!({})).await.expect(200);
    assert_eq!(tested.body["delivered"], true, "{}", tested.text);
    assert_eq!(webhook.circuit().await["state"], "open");
}

#[tokio::test]
async fn a_new_url_and_switching_on_again_give_a_new_chance() {
    let server = patient_server().await;
    let (mut receiver, mut new) = (Receiver::start().await, Receiver::start().await);
    let webhook = server.webhook("acme", &receiver.url()).await;
    open_circuit(&server, &mut receiver, &webhook).await;
    server.publish("acme", json!({"type": "call.missed"})).await;
    webhook.change(json!({"url": new.url()})).await;
    assert_eq!(new.expect_delivery().await.header("x-webhook-event"), "call.missed");
    webhook.expect_circuit("closed").await;

    let webhook = server.webhook("acme", &receiver.url()).await;
    let mut receiver = Receiver::start().await;
    webhook.change(json!({"url": receiver.url()})).await;
    open_circuit(&server, &mut receiver, &webhook).await;
    server.publish("acme", json!({"type": "call.missed"})).await;
    webhook.change(json!({"is_active": false})).await;
    receiver.answer_always(200);
    webhook.change(json!({"is_active": true})).await;
    assert_eq!(receiver.expect_delivery().await.header("x-webhook-event"), "call.missed");
    webhook.expect_circuit("closed").await;
}

/// It was never off: its tenant says that the receiver is mended.
#[tokio::test]
async fn setting_a_webhook_active_that_is_active_gives_a_new_chance_too() {
    let server = patient_server().await;
    let mut receiver = Receiver::start().await;
    let webhook = server.webhook("acme", &receiver.url()).await;
    open_circuit(&server, &mut receiver, &webhook).await;
    receiver.answer_always(200);
    server.publish("acme", json!({"type": "call.missed"})).await;
    webhook.change(json!({"description": "says nothing of it"})).await;
    assert_eq!(webhook.circuit().await["state"], "open");
    webhook.change(json!({"is_active": true})).await;
    assert_eq!(receiver.expect_delivery().await.header("x-webhook-event"), "call.missed");
    webhook.expect_circuit("closed").await;
}

#[tokio::test]
async fn an_open_circuit_stays_open_over_a_crash() {
    let mut server = patient_server().await;
    let mut receiver = Receiver::start().await;
    let webhook = server.webhook("acme", &receiver.url()).await;
    open_circuit(&server, &mut receiver, &webhook).await;
    // Told to the table a moment after it was shown.
    let other = server.webhook("acme", "http://127.0.0.1:9/").await;
    server.admin("acme").delete(&other.path()).await.expect(204);
    server.kill();
    server.restart().await;
    webhook.of(&server, "acme").expect_circuit("open").await;
}

/// Retries are an hour away; what is fresh must not wait for them. The clock is moved in the table.
#[tokio::test]
async fn an_open_circuit_is_probed_with_what_is_due_and_one_success_closes_it() {
    let database = Database::sqlite();
    let server = Server::with().database(&database).env("WEBHOOK_RETRY_SCHEDULE", "1h").start().await;
    let mut receiver = Receiver::start().await;
    let webhook = server.webhook("acme", &receiver.url()).await;
    open_circuit(&server, &mut receiver, &webhook).await;
    receiver.answer_always(200);
    for name in ["call.missed", "call.answered"] {
        server.publish("acme", json!({"type": name})).await;
    }
    database.execute("UPDATE jf_gates SET open_until_ms = open_until_ms - 29000").await;
    let probe = receiver.expect_delivery().await;
    assert_eq!(probe.header("x-webhook-event"), "call.missed");
    receiver.expect_delivery().await;
    webhook.expect_circuit("closed").await;
}

#[tokio::test]
async fn a_dead_endpoint_does_not_delay_another() {
    let server = Server::start().await;
    let (mut dead, live) = (Receiver::start().await, Receiver::start().await);
    dead.hang();
    server.webhook("acme", &dead.url()).await;
    let webhook = server.webhook("acme", &live.url()).await;
    server.publish("acme", json!({"type": "marker"})).await;
    dead.expect_delivery().await;
    let begun = Instant::now();
    let events: serde_json::Value = (0..200).map(|n| json!({"type": "call.ended", "data": {"n": n}})).collect();
    server.service("acme").post("/api/v1/events", events).await.expect(202);
    webhook.expect_count("delivered", 201).await;
    // The dead one's slots are taken for the 30 s of its timeout.
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    eventually("the dead one's to be pending", || async { (dead.all().len() <= 16).then_some(()) }).await;
}
