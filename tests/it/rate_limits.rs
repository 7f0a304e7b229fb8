//! `rate_limit`: so many deliveries a second and no more, whatever waits and however the receiver stalls.

use crate::support::databases::Kind;
use crate::support::{Answer, Database, Received, Receiver, Server, eventually, items};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// What the way to the receiver may squeeze together, and its clock be late.
const JITTER: Duration = Duration::from_millis(500);

fn events(count: usize) -> Value {
    (0..count).map(|n| json!({"type": "call.ended", "data": {"n": n}})).collect()
}

/// Any `rate + 1` in a row take a second.
#[track_caller]
fn assert_never_exceeded(all: &[Received], rate: usize) {
    for (n, window) in all.windows(rate + 1).enumerate() {
        let took = window[rate].at - window[0].at;
        assert!(took + JITTER >= Duration::from_secs(1), "{} from number {n} on came within {took:?}", rate + 1);
    }
}

#[tokio::test]
async fn a_rate_limit_is_not_exceeded_in_any_second() {
    let server = Server::start().await;
    let mut receiver = Receiver::start().await;
    let webhook = server.webhook_with("acme", &receiver.url(), json!({"rate_limit": 20})).await;
    assert_eq!(webhook.shown().await["rate_limit"], 20);
    server.service("acme").post("/api/v1/events", events(51)).await.expect(202);
    let all = receiver.expect_deliveries(51).await;
    let took = all[50].at - all[0].at;
    assert!(took + JITTER >= Duration::from_millis(2500) && took < Duration::from_millis(4500), "{took:?}");
    assert_never_exceeded(&all, 20);
}

#[tokio::test]
async fn retries_count_as_much_as_first_attempts() {
    let server = Server::with().env("WEBHOOK_RETRY_SCHEDULE", "1ms").start().await;
    let mut receiver = Receiver::start().await;
    let asked = AtomicUsize::new(0);
    receiver.answer_by(move |_| {
        Answer::status(if asked.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) { 500 } else { 200 })
    });
    server.webhook_with("acme", &receiver.url(), json!({"rate_limit": 10})).await;
    server.service("acme").post("/api/v1/events", events(12)).await.expect(202);
    let all = receiver.expect_deliveries(24).await;
    assert_never_exceeded(&all, 10);
}

/// While the receiver keeps the only slot busy, time passes that must not be caught up with.
#[tokio::test]
async fn what_a_stalled_receiver_held_up_does_not_come_in_a_burst() {
    let server = Server::with().env("WEBHOOK_MAX_IN_FLIGHT_PER_ENDPOINT", "1").start().await;
    let mut receiver = Receiver::start().await;
    receiver.answer_with(Answer::never());
    server.webhook_with("acme", &receiver.url(), json!({"rate_limit": 10, "timeout": 2})).await;
    server.service("acme").post("/api/v1/events", events(26)).await.expect(202);
    assert_never_exceeded(&receiver.expect_deliveries(26).await[1..], 10);
}

/// What waits in memory already came without a limit, or with another one.
#[tokio::test]
async fn a_new_limit_counts_for_what_waits_already() {
    let server = Server::with().env("WEBHOOK_MAX_IN_FLIGHT_PER_ENDPOINT", "1").start().await;
    let mut receiver = Receiver::start().await;
    receiver.answer_with(Answer::never());
    let webhook = server.webhook_with("acme", &receiver.url(), json!({"timeout": 1, "retry_count": 0})).await;
    server.service("acme").post("/api/v1/events", events(24)).await.expect(202);
    receiver.expect_delivery().await;
    webhook.change(json!({"rate_limit": 10})).await;
    assert_never_exceeded(&receiver.expect_deliveries(23).await, 10);
}

#[tokio::test]
async fn a_restart_is_no_way_around_a_limit() {
    let mut server = Server::start().await;
    let mut receiver = Receiver::start().await;
    server.webhook_with("acme", &receiver.url(), json!({"rate_limit": 2})).await;
    server.service("acme").post("/api/v1/events", events(6)).await.expect(202);
    receiver.expect_deliveries(2).await;
    server.kill();
    server.restart().await;
    receiver.expect_deliveries(4).await;
    assert_never_exceeded(&receiver.all(), 2);
}

#[tokio::test]
async fn two_nodes_share_a_limit() {
    let database = Database::relaxed(Kind::Postgres).await;
    let (a, b) = (Server::on(&database).await, Server::on(&database).await);
    let mut receiver = Receiver::start().await;
    let webhook = a.webhook_with("acme", &receiver.url(), json!({"rate_limit": 20})).await;
    eventually("the other node to know the webhook", || async {
        let listed = items(&b.admin("acme").get("/api/v1/webhooks").await.expect(200).body);
        listed.iter().any(|shown| shown["id"] == webhook.id).then_some(())
    })
    .await;
    for server in [&a, &b] {
        server.service("acme").post("/api/v1/events", events(31)).await.expect(202);
    }
    assert_never_exceeded(&receiver.expect_deliveries(62).await, 20);
}

#[tokio::test]
async fn null_takes_the_limit_away() {
    let server = Server::start().await;
    let mut receiver = Receiver::start().await;
    let webhook = server.webhook_with("acme", &receiver.url(), json!({"rate_limit": 1})).await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    receiver.expect_delivery().await;
    webhook.change(json!({"rate_limit": null})).await;
    assert_eq!(webhook.shown().await["rate_limit"], Value::Null);
    server.service("acme").post("/api/v1/events", events(20)).await.expect(202);
    let all = receiver.expect_deliveries(20).await;
    assert!(all[19].at - all[0].at < Duration::from_secs(3), "{:?}", all[19].at - all[0].at);
}

#[tokio::test]
async fn a_limit_out_of_range_is_refused() {
    let server = Server::start().await;
    let webhook = server.webhook("acme", "http://127.0.0.1:9/hook").await;
    for wrong in [json!(0), json!(-1), json!(1.5), json!("5"), json!(10_001)] {
        server.admin("acme").put(&webhook.path(), json!({"rate_limit": wrong})).await.expect_invalid("rate_limit");
    }
    for right in [json!(1), json!(10_000)] {
        webhook.change(json!({"rate_limit": right})).await;
    }
}
