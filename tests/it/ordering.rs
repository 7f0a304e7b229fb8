//! `ordering: key`: one delivery at a time of each key, in the order of publishing; no key waits for another.

use crate::support::{Answer, Database, Received, Receiver, Server, guests, on_every_database};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

on_every_database! { relaxed:
    order_holds_for_arrays_many_publishers_and_a_receiver_that_fails_now_and_then,
    a_failing_head_blocks_its_own_key_only,
    order_survives_kill_9,
    a_head_whose_event_is_gone_lets_the_next_go,
    a_replay_keeps_the_order_too,
    keys_that_differ_little_are_different_keys,
    a_deleted_webhook_is_owed_nothing_behind_its_keys_either,
}

fn event(key: &str, n: usize) -> Value {
    json!({"type": "call.ended", "key": key, "data": {"n": n}})
}

fn key_and_n(request: &Received) -> (String, u64) {
    let body = request.json();
    (body["key"].as_str().unwrap_or_default().to_owned(), body["data"]["n"].as_u64().expect("a number"))
}

/// What came for one key, repeats too.
fn of_key(requests: &[Received], key: &str) -> Vec<u64> {
    requests.iter().map(key_and_n).filter(|(of, _)| of == key).map(|(_, n)| n).collect()
}

async fn order_holds_for_arrays_many_publishers_and_a_receiver_that_fails_now_and_then(database: Database) {
    let server = Server::with().database(&database).env("WEBHOOK_RETRY_SCHEDULE", "20ms").start().await;
    let receiver = Receiver::start().await;
    let failed = std::sync::Mutex::new(std::collections::HashSet::new());
    receiver.answer_by(move |request| {
        let (key, n) = key_and_n(request);
        let fails = n % 4 == 1 && failed.lock().expect("no handler panics").insert((key, n));
        Answer::status(if fails { 500 } else { 200 })
    });
    let webhook = server.webhook_with("acme", &receiver.url(), json!({"ordering": "key"})).await;
    assert_eq!(webhook.shown().await["ordering"], "key");
    let publishers = (0..5).map(|publisher| {
        let client = server.service("acme");
        tokio::spawn(async move {
            let key = format!("call-{publisher}");
            for n in (0..20).step_by(4) {
                let array: Vec<Value> = (n..n + 3).map(|n| event(&key, n)).collect();
                client.post("/api/v1/events", array.into()).await.expect(202);
                client.post("/api/v1/events", event(&key, n + 3)).await.expect(202);
            }
        })
    });
    for publisher in publishers.collect::<Vec<_>>() {
        publisher.await.expect("every publish was answered");
    }
    webhook.expect_count("delivered", 100).await;
    // What failed comes twice in a row, with nothing of its key in between.
    let expected: Vec<u64> = (0..20).flat_map(|n| vec![n; if n % 4 == 1 { 2 } else { 1 }]).collect();
    for publisher in 0..5 {
        assert_eq!(of_key(&receiver.all(), &format!("call-{publisher}")), expected);
    }
}

async fn a_failing_head_blocks_its_own_key_only(database: Database) {
    let server = Server::with().database(&database).env("WEBHOOK_RETRY_SCHEDULE", "200ms").start().await;
    let receiver = Receiver::start().await;
    let mended = Arc::new(AtomicBool::new(false));
    let is_mended = mended.clone();
    receiver.answer_by(move |request| {
        let fails = key_and_n(request) == ("a".to_owned(), 0) && !is_mended.load(Ordering::SeqCst);
        Answer::status(if fails { 500 } else { 200 })
    });
    let webhook = server.webhook_with("acme", &receiver.url(), json!({"ordering": "key", "retry_count": 20})).await;
    for (key, n) in [("a", 0), ("a", 1), ("b", 0), ("b", 1)] {
        server.publish("acme", event(key, n)).await;
    }
    server.publish("acme", json!({"type": "call.ended", "data": {"n": 0}})).await;
    webhook.expect_count("delivered", 3).await;
    let seen = receiver.expect("two attempts of the head", |all| of_key(all, "a").len() >= 2).await;
    assert_eq!((of_key(&seen, "b"), of_key(&seen, "")), (vec![0, 1], vec![0]));
    assert!(!of_key(&seen, "a").contains(&1), "the second must wait for the first");
    mended.store(true, Ordering::SeqCst);
    webhook.expect_count("delivered", 5).await;
    let of_a = of_key(&receiver.all(), "a");
    assert_eq!(of_a.iter().position(|n| *n == 1), Some(of_a.len() - 1), "{of_a:?}");
}

async fn order_survives_kill_9(database: Database) {
    let mut server = Server::on(&database).await;
    let mut receiver = Receiver::start().await;
    receiver.hang();
    let webhook = server.webhook_with("acme", &receiver.url(), json!({"ordering": "key"})).await;
    for (key, n) in [("a", 0), ("a", 1), ("b", 0), ("a", 2), ("b", 1)] {
        server.publish("acme", event(key, n)).await;
    }
    receiver.expect_deliveries(2).await;
    server.kill();
    assert_eq!((of_key(&receiver.all(), "a"), of_key(&receiver.all(), "b")), (vec![0], vec![0]), "one of each key");
    receiver.answer_always(200);
    server.restart().await;
    server.publish("acme", event("a", 3)).await;
    webhook.expect_count("delivered", 6).await;
    assert_eq!(of_key(&receiver.all(), "a"), [0, 0, 1, 2, 3]);
    assert_eq!(of_key(&receiver.all(), "b"), [0, 0, 1]);
}

#[tokio::test]
async fn the_next_goes_promptly_when_the_head_has_failed_for_good() {
    let server = Server::start().await;
    let mut receiver = Receiver::start().await;
    receiver.answer(500);
    server.webhook_with("acme", &receiver.url(), json!({"ordering": "key", "retry_count": 0})).await;
    for n in 0..2 {
        server.publish("acme", event("a", n)).await;
    }
    let [head, next] = receiver.expect_deliveries(2).await.try_into().expect("two of them");
    assert_eq!((key_and_n(&head).1, key_and_n(&next).1), (0, 1));
    assert!(next.at - head.at < Duration::from_secs(2), "the next came {:?} after the head", next.at - head.at);
}

/// A chain that ends the head without a POST: dropped, or plugin_failed.
#[tokio::test]
async fn the_next_goes_promptly_when_a_chain_has_ended_the_head() {
    for (guest, state) in
        [(guests::transformer("1").dropping(), "dropped"), (guests::transformer("1").failing(), "plugin_failed")]
    {
        let server = Server::start().await;
        server.install("guest", &guest.bytes()).await;
        let mut receiver = Receiver::start().await;
        let chain = json!([{"plugin": "shared/guest", "events": ["call.missed"]}]);
        let fields = json!({"ordering": "key", "chain": chain});
        let webhook = server.webhook_with("acme", &receiver.url(), fields).await;
        for (n, name) in ["call.missed", "call.ended", "call.missed", "call.missed", "call.ended"].iter().enumerate() {
            server.publish("acme", json!({"type": name, "key": "a", "data": {"n": n}})).await;
        }
        let numbers: Vec<_> = receiver.expect_deliveries(2).await.iter().map(|d| key_and_n(d).1).collect();
        assert_eq!(numbers, [1, 4]);
        webhook.expect_count(state, 3).await;
    }
}

#[tokio::test]
async fn events_without_a_key_and_webhooks_without_order_wait_for_nobody() {
    let server = Server::start().await;
    let receiver = Receiver::start().await;
    receiver.answer_by(|request| if key_and_n(request).1 == 0 { Answer::never() } else { Answer::status(200) });
    server.webhook_with("acme", &receiver.url_of("/ordered"), json!({"ordering": "key"})).await;
    server.webhook("acme", &receiver.url_of("/plain")).await;
    for n in 0..3 {
        server.publish("acme", json!({"type": "call.ended", "data": {"n": n}})).await;
        server.publish("acme", event("a", n)).await;
    }
    let came = |all: &[Received], path: &str, key: &str| {
        let all: Vec<_> = all.iter().filter(|request| request.path == path).cloned().collect();
        let mut numbers = of_key(&all, key);
        numbers.sort_unstable();
        numbers
    };
    let everything = |all: &[Received]| {
        came(all, "/ordered", "") == [0, 1, 2]
            && came(all, "/plain", "") == [0, 1, 2]
            && came(all, "/plain", "a") == [0, 1, 2]
    };
    let all = receiver.expect("all but what waits behind a key", everything).await;
    assert_eq!(came(&all, "/ordered", "a"), [0]);
}

/// Collations fold case, accents and spaces at the end; indexes have a width.
async fn keys_that_differ_little_are_different_keys(database: Database) {
    let server = Server::on(&database).await;
    let mut receiver = Receiver::start().await;
    receiver.hang();
    server.webhook_with("acme", &receiver.url(), json!({"ordering": "key"})).await;
    let long = "🧑".repeat(255);
    let keys = ["a", "A", "a ", "ä", "a\u{301}", &format!("{long}a"), &format!("{long}b")];
    for key in keys {
        for n in 0..2 {
            server.publish("acme", event(key, n)).await;
        }
    }
    let heads = receiver.expect_deliveries(keys.len()).await;
    let heads: std::collections::BTreeSet<_> = heads.iter().map(key_and_n).collect();
    assert_eq!(heads, keys.iter().map(|key| ((*key).to_owned(), 0)).collect());
    assert_eq!(receiver.all().len(), keys.len());
}

async fn a_deleted_webhook_is_owed_nothing_behind_its_keys_either(database: Database) {
    let server = Server::on(&database).await;
    let mut receiver = Receiver::start().await;
    receiver.answer_with(Answer::never());
    let webhook = server.webhook_with("acme", &receiver.url(), json!({"ordering": "key", "timeout": 1})).await;
    for n in 0..3 {
        server.publish("acme", event("a", n)).await;
    }
    receiver.expect_delivery().await;
    server.admin("acme").delete(&webhook.path()).await.expect(204);
    crate::support::eventually("all of it to be cancelled", || async {
        let states = database.texts("SELECT state FROM jf_deliveries").await;
        (states == ["cancelled"; 3]).then_some(())
    })
    .await;
    assert_eq!(receiver.all().len(), 1);
}

/// What stands behind a key keeps its turn, and what comes then has none.
#[tokio::test]
async fn order_can_be_switched_off_while_some_wait() {
    let server = Server::start().await;
    let mut receiver = Receiver::start().await;
    receiver.answer_with(Answer::never());
    let fields = json!({"ordering": "key", "timeout": 2, "retry_count": 0});
    let webhook = server.webhook_with("acme", &receiver.url(), fields).await;
    for n in 0..3 {
        server.publish("acme", event("a", n)).await;
    }
    receiver.expect_delivery().await;
    webhook.change(json!({"ordering": "none"})).await;
    server.publish("acme", event("a", 3)).await;
    assert_eq!(of_key(&receiver.expect_deliveries(3).await, "a"), [3, 1, 2]);
}

#[tokio::test]
async fn only_none_and_key_are_orders() {
    let server = Server::start().await;
    let webhook = server.webhook("acme", "http://127.0.0.1:9/hook").await;
    assert_eq!(webhook.shown().await["ordering"], "none");
    for wrong in [json!("keys"), json!(true), json!("")] {
        server.admin("acme").put(&webhook.path(), json!({"ordering": wrong})).await.expect_invalid("ordering");
    }
}

/// Another program deleted the event whose turn it is: those behind it must not wait for ever.
async fn a_head_whose_event_is_gone_lets_the_next_go(database: Database) {
    let server = Server::with().database(&database).env("WEBHOOK_RETRY_SCHEDULE", "1s").start().await;
    let mut receiver = Receiver::start().await;
    receiver.answer(500);
    let webhook = server.webhook_with("acme", &receiver.url(), json!({"ordering": "key"})).await;
    let head = server.publish("acme", event("a", 0)).await;
    server.publish("acme", event("a", 1)).await;
    webhook.expect_attempt().await;
    database.execute(&format!("DELETE FROM jf_events WHERE id = '{head}'")).await;
    webhook.expect_count("delivered", 1).await;
    assert_eq!(of_key(&receiver.expect_deliveries(2).await, "a"), [0, 1]);
}

/// Somebody's wish goes past a pause, and not past the key: one of it is under way at a time.
#[tokio::test]
async fn a_retry_by_hand_waits_behind_its_key() {
    let server = Server::start().await;
    let mut receiver = Receiver::start().await;
    receiver.answer(500);
    let webhook = server.webhook_with("acme", &receiver.url(), json!({"ordering": "key", "retry_count": 0})).await;
    server.publish("acme", event("a", 0)).await;
    let id = receiver.expect_delivery().await.header("webhook-id").to_owned();
    webhook.expect_state(&id, "failed").await;
    receiver.answer_with(Answer::status(503).header("retry-after", "3600"));
    server.publish("acme", event("a", 1)).await;
    let head = receiver.expect_delivery().await.header("webhook-id").to_owned();
    webhook.expect_attempts(2).await;
    // The head has failed for good too: the key is free, and the webhook pauses.
    webhook.expect_state(&head, "failed").await;
    receiver.answer_with(Answer::never());
    webhook.retry(&head).await.expect(202);
    receiver.expect_delivery().await;
    webhook.retry(&id).await.expect(202);
    let waiting = webhook.delivery(&id).await;
    assert_eq!(waiting["waits_for"], "an earlier delivery of the same key", "{waiting}");
    assert_eq!(receiver.all().len(), 3);
}

async fn a_replay_keeps_the_order_too(database: Database) {
    let server = Server::with().database(&database).env("WEBHOOK_RETRY_SCHEDULE", "20ms").start().await;
    let receiver = Receiver::start().await;
    let webhook = server.webhook_with("acme", &receiver.url(), json!({"ordering": "key"})).await;
    for n in 0..6 {
        server.publish("acme", event("a", n)).await;
    }
    webhook.expect_count("delivered", 6).await;
    let failed = AtomicBool::new(false);
    receiver.answer_by(move |request| {
        let fails = key_and_n(request).1 == 1 && !failed.swap(true, Ordering::SeqCst);
        Answer::status(if fails { 500 } else { 200 })
    });
    let path = format!("{}/replay", webhook.path());
    server.admin("acme").post(&path, json!({"state": "delivered"})).await.expect(202);
    let all = receiver.expect("all of them again", |all| all.len() >= 13).await;
    assert_eq!(of_key(&all[6..], "a"), [0, 1, 1, 2, 3, 4, 5]);
}
