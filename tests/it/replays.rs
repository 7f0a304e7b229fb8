//! A replay: a job that delivers again what a webhook got, or did not get, in some time.

use crate::support::webhooks::Webhook;
use crate::support::{Answer, Database, Received, Receiver, Server, eventually, guests, items, on_every_database};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

on_every_database! { relaxed:
    states_types_and_times_choose_what_is_replayed,
}

/// A webhook that is owed nothing more after its first attempts: calls that end in `missed` have failed.
async fn webhook_with_a_past(server: &Server, receiver: &mut Receiver, failed: usize, delivered: usize) -> Webhook {
    receiver.answer_by(|request| {
        Answer::status(if request.header("x-webhook-event") == "call.missed" { 500 } else { 200 })
    });
    let webhook = server.webhook_with("acme", &receiver.url(), json!({"retry_count": 0})).await;
    // Turn by turn, so that no ten in a row open the circuit.
    let types = |n: usize| if n < failed { vec!["call.missed", "call.ended"] } else { vec!["call.ended"] };
    let names: Vec<&str> = (0..failed.max(delivered)).flat_map(types).collect();
    for (n, name) in names.iter().enumerate() {
        server.publish("acme", json!({"type": name, "data": {"n": n}})).await;
        receiver.expect_delivery().await;
    }
    webhook.expect_count("failed", failed as u64).await;
    webhook.expect_count("delivered", delivered as u64).await;
    receiver.answer_always(200);
    webhook
}

async fn replay(server: &Server, webhook: &Webhook, fields: Value) -> Value {
    server.admin("acme").post(&format!("{}/replay", webhook.path()), fields).await.expect(202).body
}

async fn count(server: &Server, webhook: &Webhook, mut fields: Value) -> u64 {
    fields["dry_run"] = json!(true);
    let counted = server.admin("acme").post(&format!("{}/replay", webhook.path()), fields).await.expect(200).body;
    counted["matches"].as_u64().unwrap_or_else(|| panic!("no count: {counted}"))
}

async fn expect_done(server: &Server, webhook: &Webhook, job: &Value) -> Value {
    let path = format!("{}/replays/{}", webhook.path(), job["id"].as_str().expect("a job has an id"));
    eventually("the replay to be done", || async {
        let shown = server.admin("acme").get(&path).await.expect(200).body;
        (shown["state"] == "done").then_some(shown)
    })
    .await
}

/// How often each delivery came.
fn repeats(all: &[Received]) -> BTreeMap<String, usize> {
    let mut repeats = BTreeMap::new();
    for request in all {
        *repeats.entry(request.header("webhook-id").to_owned()).or_default() += 1;
    }
    repeats
}

#[tokio::test]
async fn a_replay_sends_what_failed_once_more_with_the_same_ids() {
    let server = Server::start().await;
    let mut receiver = Receiver::start().await;
    let webhook = webhook_with_a_past(&server, &mut receiver, 4, 4).await;
    let before: Vec<_> =
        receiver.all().iter().filter(|r| r.header("x-webhook-event") == "call.missed").cloned().collect();
    assert_eq!(count(&server, &webhook, json!({})).await, 4);
    assert_eq!(receiver.all().len(), 8, "a dry run sends nothing");

    let job = replay(&server, &webhook, json!({})).await;
    assert_eq!((&job["matches"], &job["webhook_id"]), (&json!(4), &json!(webhook.id)), "{job}");
    let done = expect_done(&server, &webhook, &job).await;
    assert_eq!((&done["matches"], &done["done"]), (&json!(4), &json!(4)), "{done}");
    assert!(done["ended_at"].is_string(), "{done}");
    let again = receiver.expect_deliveries(4).await;
    for first in &before {
        let second = again.iter().find(|r| r.header("webhook-id") == first.header("webhook-id")).expect("each again");
        assert_eq!(second.body, first.body);
    }
    assert_eq!(count(&server, &webhook, json!({})).await, 0);
    let jobs = server.admin("acme").get(&format!("{}/replays", webhook.path())).await.expect(200);
    assert_eq!(items(&jobs.body), [done]);
}

async fn states_types_and_times_choose_what_is_replayed(database: Database) {
    let server = Server::on(&database).await;
    let mut receiver = Receiver::start().await;
    let webhook = webhook_with_a_past(&server, &mut receiver, 2, 3).await;
    let timestamps: Vec<String> =
        receiver.all().iter().map(|r| r.json()["timestamp"].as_str().expect("a time").to_owned()).collect();
    for (fields, matches) in [
        (json!({}), 2),
        (json!({"state": "delivered"}), 3),
        (json!({"state": ["failed", "delivered"]}), 5),
        (json!({"state": "dropped"}), 0),
        (json!({"state": ["failed", "delivered"], "event_types": ["call.ended"]}), 3),
        (json!({"state": ["failed", "delivered"], "event_types": ["call.*"]}), 5),
        (json!({"state": ["failed", "delivered"], "event_types": ["agent.*", "call.missed"]}), 2),
        (json!({"state": ["failed", "delivered"], "event_types": ["*"]}), 5),
        (json!({"state": ["failed", "delivered"], "since": "2001-01-01T00:00:00Z"}), 5),
        (json!({"state": ["failed", "delivered"], "until": "2001-01-01T00:00:00Z"}), 0),
    ] {
        assert_eq!(count(&server, &webhook, fields.clone()).await, matches, "{fields}");
    }
    let both = |fields: Value| {
        let mut fields = fields;
        fields["state"] = json!(["failed", "delivered"]);
        fields
    };
    let since = count(&server, &webhook, both(json!({"since": timestamps[2]}))).await;
    let until = count(&server, &webhook, both(json!({"until": timestamps[2]}))).await;
    assert_eq!(since + until, 5, "each is on one side of a moment");
    assert!(since >= 3 && until >= 1, "{since} {until}");

    let job = replay(&server, &webhook, json!({"state": "delivered", "event_types": ["call.ended"]})).await;
    expect_done(&server, &webhook, &job).await;
    let again = receiver.expect_deliveries(3).await;
    assert!(again.iter().all(|r| r.header("x-webhook-event") == "call.ended"));
}

/// A plugin that was broken for a while: what it ended goes through the chain as it is now.
#[tokio::test]
async fn what_a_chain_ended_runs_through_it_anew() {
    let server = Server::start().await;
    server.install("guest", &guests::transformer("1").failing().bytes()).await;
    let mut receiver = Receiver::start().await;
    let chain = json!([{"plugin": "shared/guest"}]);
    let webhook = server.webhook_with("acme", &receiver.url(), json!({"chain": chain})).await;
    for n in 0..3 {
        server.publish("acme", json!({"type": "call.ended", "data": {"n": n}})).await;
    }
    webhook.expect_count("plugin_failed", 3).await;
    server.install("guest", &guests::transformer("2").bytes()).await;
    let job = replay(&server, &webhook, json!({})).await;
    let done = expect_done(&server, &webhook, &job).await;
    assert_eq!((&done["matches"], &done["done"]), (&json!(3), &json!(3)), "{done}");
    assert!(receiver.expect_deliveries(3).await.iter().all(|sent| sent.json()["version"] == "2"));
    webhook.expect_count("delivered", 3).await;
    webhook.expect_count("plugin_failed", 0).await;
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_by_name() {
    let server = Server::start().await;
    let webhook = server.webhook("acme", "http://127.0.0.1:9/hook").await;
    let path = format!("{}/replay", webhook.path());
    let client = server.admin("acme");
    for (field, value) in [
        ("since", json!("yesterday")),
        ("state", json!("pending")),
        ("state", json!([])),
        ("event_types", json!([])),
        ("event_types", json!(["CALL"])),
        ("rate", json!(0)),
        ("rate", json!(1001)),
        ("dry_run", json!("yes")),
        ("speed", json!(1)),
    ] {
        let mut body = json!({});
        body[field] = value;
        client.post(&path, body).await.expect_invalid(field);
    }
    let times = json!({"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"});
    client.post(&path, times).await.expect_invalid("until");
    server.admin("other").post(&path, json!({})).await.expect_problem(404);
    let job = replay(&server, &webhook, json!({})).await;
    let shown = format!("{}/replays/{}", webhook.path(), job["id"].as_str().expect("an id"));
    server.admin("other").get(&shown).await.expect_problem(404);
    client.get(&format!("{}/replays/nonsense", webhook.path())).await.expect_problem(404);
    webhook.change(json!({"is_active": false})).await;
    assert_eq!(client.post(&path, json!({})).await.expect_problem(409)["code"], "webhook_inactive");
}

#[tokio::test]
async fn a_replay_keeps_its_rate() {
    let server = Server::start().await;
    let mut receiver = Receiver::start().await;
    let webhook = webhook_with_a_past(&server, &mut receiver, 0, 25).await;
    let job = replay(&server, &webhook, json!({"state": "delivered", "rate": 10})).await;
    let again = receiver.expect_deliveries(25).await;
    let took = again[24].at - again[0].at;
    // A second's worth may come at once, and what it moves goes in pieces.
    assert!(took >= Duration::from_millis(1_500) && took < Duration::from_secs(5), "25 at 10/s took {took:?}");
    expect_done(&server, &webhook, &job).await;
}

#[tokio::test]
async fn a_replay_goes_on_after_kill_9_where_it_was() {
    let mut server = Server::start().await;
    let mut receiver = Receiver::start().await;
    let webhook = webhook_with_a_past(&server, &mut receiver, 0, 30).await;
    let job = replay(&server, &webhook, json!({"state": "delivered", "rate": 20})).await;
    receiver.expect_deliveries(8).await;
    server.kill();
    let at_the_kill = receiver.all().len();
    server.restart().await;
    let done = expect_done(&server, &webhook.of(&server, "acme"), &job).await;
    assert_eq!((&done["matches"], &done["done"]), (&json!(30), &json!(30)), "{done}");
    let all =
        receiver.expect("each of them twice", |all| repeats(all).values().filter(|n| **n >= 2).count() == 30).await;
    // Only what was under way when the server died may have come once more.
    assert!(at_the_kill < 55, "the kill came after the end");
    assert!(all.len() <= 60 + 16, "{} came, {at_the_kill} before the kill", all.len());
}

#[tokio::test]
async fn fresh_work_goes_ahead_of_a_replay() {
    let server = Server::with().env("WEBHOOK_MAX_IN_FLIGHT_PER_ENDPOINT", "1").start().await;
    let mut receiver = Receiver::start().await;
    let webhook = webhook_with_a_past(&server, &mut receiver, 0, 60).await;
    // Twenty a second go; sixty wait from the first moment.
    webhook.change(json!({"rate_limit": 20})).await;
    replay(&server, &webhook, json!({"state": "delivered", "rate": 1000})).await;
    receiver.expect_delivery().await;
    server.publish("acme", json!({"type": "marker"})).await;
    let all = receiver.expect("the marker", |all| all.iter().any(|r| r.header("x-webhook-event") == "marker")).await;
    assert!(all.len() < 60 + 60, "the marker came after the whole replay");
    let before = all.iter().position(|r| r.header("x-webhook-event") == "marker").expect("it came") - 60;
    assert!(before <= 50, "{before} of 60 replayed ones came before the fresh one");
}

#[tokio::test]
async fn a_replay_of_a_deleted_webhook_ends() {
    let database = Database::sqlite();
    let server = Server::on(&database).await;
    let mut receiver = Receiver::start().await;
    let webhook = webhook_with_a_past(&server, &mut receiver, 0, 12).await;
    replay(&server, &webhook, json!({"state": "delivered", "rate": 1})).await;
    receiver.expect_delivery().await;
    server.admin("acme").delete(&webhook.path()).await.expect(204);
    eventually("the replay to be cancelled", || async {
        let states = database.texts("SELECT state FROM jf_replays").await;
        (states == ["cancelled"]).then_some(())
    })
    .await;
}
