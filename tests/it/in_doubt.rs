//! A commit whose answer is lost on the way: it was written, and the server cannot know.

use crate::support::relay::Relay;
use crate::support::webhooks::all_is_finished_and_counted_once;
use crate::support::{Database, Receiver, Server, eventually, on_every_database};
use serde_json::json;

on_every_database! { servers relaxed:
    a_publisher_whose_commit_is_in_doubt_sends_it_again_and_it_is_one_event,
    an_outcome_whose_commit_is_in_doubt_is_counted_once,
    a_retry_whose_claim_is_in_doubt_goes_on,
    a_retry_by_hand_whose_commit_is_in_doubt_goes_on,
    a_retry_by_hand_goes_on_when_its_client_does_not_wait,
    a_replay_whose_commits_are_in_doubt_sends_each_once_and_is_done,
}

/// A word of an event's data, by which its way through the wire is seen.
const NEEDLE: &str = "needle-in-a-haystack";

async fn server_behind(database: &Database) -> (Server, Relay) {
    let relay = Relay::to(database.address()).await;
    let server = Server::with()
        .env("DATABASE_URL", &database.url_at(relay.port()))
        .env("WEBHOOK_RETRY_SCHEDULE", "300ms")
        .start()
        .await;
    (server, relay)
}

async fn cut(relay: &Relay) {
    eventually("the wire to be cut", || async { relay.has_cut().then_some(()) }).await;
}

async fn a_publisher_whose_commit_is_in_doubt_sends_it_again_and_it_is_one_event(database: Database) {
    let (server, relay) = server_behind(&database).await;
    let mut receiver = Receiver::start().await;
    let webhook = server.webhook("acme", &receiver.url()).await;
    let event = json!({"id": "in-doubt", "type": "call.ended", "data": NEEDLE});
    relay.cut_after_the_commit_of(|transaction| transaction.said.contains(NEEDLE));
    let problem = server.service("acme").post("/api/v1/events", event.clone()).await.expect_problem(503);
    assert!(relay.has_cut());
    assert_eq!(problem["code"], "commit_in_doubt");
    let again = server.service("acme").post("/api/v1/events", event).await.expect(202);
    assert_eq!(again.body, json!({"id": "in-doubt", "duplicate": true}), "it was written");
    assert_eq!(receiver.expect_delivery().await.json()["id"], "in-doubt");
    all_is_finished_and_counted_once(&database, &[webhook]).await;
    assert_eq!(receiver.count(), 1);
}

async fn an_outcome_whose_commit_is_in_doubt_is_counted_once(database: Database) {
    let (server, relay) = server_behind(&database).await;
    let mut receiver = Receiver::start().await;
    let webhook = server.webhook("acme", &receiver.url()).await;
    receiver.answer(500);
    relay.cut_after_the_commit_of(|transaction| {
        transaction.said.contains("failed") && says_an_attempt(&transaction.said)
    });
    server.publish("acme", json!({"type": "call.ended", "data": 1})).await;
    receiver.expect_deliveries(2).await;
    cut(&relay).await;
    all_is_finished_and_counted_once(&database, std::slice::from_ref(&webhook)).await;

    relay.cut_after_the_commit_of(|transaction| {
        transaction.said.contains("succeeded") && says_an_attempt(&transaction.said)
    });
    server.publish("acme", json!({"type": "call.ended", "data": 2})).await;
    receiver.expect_delivery().await;
    cut(&relay).await;
    all_is_finished_and_counted_once(&database, std::slice::from_ref(&webhook)).await;
    let totals = webhook.stats().await;
    assert_eq!((&totals["deliveries"]["delivered"], &totals["retries"]), (&json!(2), &json!(1)), "{totals}");
    assert_eq!(receiver.count(), 3);
}

/// Outcomes tell what happened to the event's type.
fn says_an_attempt(said: &str) -> bool {
    said.contains("call.ended")
}

async fn a_retry_whose_claim_is_in_doubt_goes_on(database: Database) {
    let (server, relay) = server_behind(&database).await;
    let mut receiver = Receiver::start().await;
    let webhook = server.webhook("acme", &receiver.url()).await;
    receiver.answer(500);
    relay.cut_after_the_commit_of(|transaction| transaction.heard.contains(NEEDLE));
    server.publish("acme", json!({"type": "call.ended", "data": NEEDLE})).await;
    receiver.expect_delivery().await;
    cut(&relay).await;
    receiver.expect_delivery().await;
    all_is_finished_and_counted_once(&database, &[webhook]).await;
}

async fn a_retry_by_hand_whose_commit_is_in_doubt_goes_on(database: Database) {
    let (server, relay) = server_behind(&database).await;
    let mut receiver = Receiver::start().await;
    let webhook = server.webhook_with("acme", &receiver.url(), json!({"retry_count": 0})).await;
    receiver.answer(500);
    server.publish("acme", json!({"type": "call.ended", "data": NEEDLE})).await;
    let first = receiver.expect_delivery().await;
    let failed = webhook.expect_failed().await;
    relay.cut_after_the_commit_of(|transaction| transaction.heard.contains(NEEDLE));
    let path = format!("/api/v1/deliveries/{}/retry", failed["id"].as_str().expect("it has an id"));
    let problem = server.admin("acme").post(&path, json!({})).await.expect_problem(503);
    assert!(relay.has_cut());
    assert_eq!(problem["code"], "commit_in_doubt");
    let again = receiver.expect_delivery().await;
    assert_eq!(again.header("webhook-id"), first.header("webhook-id"));
    all_is_finished_and_counted_once(&database, &[webhook]).await;
}

async fn a_retry_by_hand_goes_on_when_its_client_does_not_wait(database: Database) {
    let (server, relay) = server_behind(&database).await;
    let mut receiver = Receiver::start().await;
    let webhook = server.webhook_with("acme", &receiver.url(), json!({"retry_count": 0})).await;
    receiver.answer(500);
    server.publish("acme", json!({"type": "call.ended", "data": NEEDLE})).await;
    receiver.expect_delivery().await;
    let failed = webhook.expect_failed().await;
    let held = relay.hold_the_commit_of(|transaction| transaction.heard.contains(NEEDLE));
    let path = format!("/api/v1/deliveries/{}/retry", failed["id"].as_str().expect("it has an id"));
    let admin = server.admin("acme");
    let client = tokio::spawn(async move { admin.try_post(&path, &json!({})).await });
    held.arrived().await;
    client.abort();
    assert!(client.await.is_err_and(|error| error.is_cancelled()), "it has not been answered");
    // Closed connections are seen in order: when this one is answered, that one is gone.
    server.admin("acme").get("/api/v1/webhooks").await.expect(200);
    held.let_go();
    receiver.expect_delivery().await;
    all_is_finished_and_counted_once(&database, &[webhook]).await;
}

async fn a_replay_whose_commits_are_in_doubt_sends_each_once_and_is_done(database: Database) {
    let (server, relay) = server_behind(&database).await;
    let mut receiver = Receiver::start().await;
    let webhook = server.webhook_with("acme", &receiver.url(), json!({"retry_count": 0})).await;
    for n in 0..3 {
        receiver.answer(500);
        server.publish("acme", json!({"type": "call.ended", "data": n})).await;
        receiver.expect_delivery().await;
    }
    webhook.expect_count("failed", 3).await;

    // A node reads a job when it takes it, and says where it stands when it moves it.
    relay.cut_after_the_commit_of(|transaction| transaction.heard.contains("rpl_"));
    let path = format!("{}/replay", webhook.path());
    let job = server.admin("acme").post(&path, json!({"rate": 1})).await.expect(202).body;
    cut(&relay).await;
    relay.cut_after_the_commit_of(|transaction| {
        transaction.said.contains("rpl_") && !transaction.heard.contains("rpl_")
    });
    cut(&relay).await;

    let path = format!("{}/replays/{}", webhook.path(), job["id"].as_str().expect("a job has an id"));
    let done = eventually("the replay to be done", || async {
        let shown = server.admin("acme").get(&path).await.expect(200).body;
        (shown["state"] == "done").then_some(shown)
    })
    .await;
    assert_eq!((&done["matches"], &done["done"]), (&json!(3), &json!(3)), "{done}");
    webhook.expect_count("delivered", 3).await;
    all_is_finished_and_counted_once(&database, &[webhook]).await;
    assert_eq!(receiver.count(), 6, "each once more");
}
