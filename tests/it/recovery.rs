//! Delivering again by hand, and the list of what failed.

use crate::support::webhooks::Webhook;
use crate::support::{Database, Receiver, Server, eventually, guests, items, on_every_database};
use serde_json::json;

on_every_database! { relaxed:
    what_a_chain_ended_runs_through_the_chain_as_it_is_now,
    the_failed_are_listed_newest_first_by_webhook_state_type_and_time,
}

/// A webhook whose only delivery has failed for good; with the delivery's id.
async fn failed(server: &Server, receiver: &mut Receiver) -> (Webhook, String) {
    receiver.answer(500);
    let webhook = server.webhook_with("acme", &receiver.url(), json!({"retry_count": 0})).await;
    server.publish("acme", json!({"type": "call.ended", "data": {"b": 1.50, "a": "☎"}})).await;
    let id = receiver.expect_delivery().await.header("webhook-id").to_owned();
    webhook.expect_state(&id, "failed").await;
    (webhook, id)
}

#[tokio::test]
async fn a_failed_delivery_is_sent_again_with_the_same_id_and_bytes() {
    let server = Server::start().await;
    let mut receiver = Receiver::start().await;
    let (webhook, id) = failed(&server, &mut receiver).await;
    let taken = webhook.retry(&id).await.expect(202);
    assert_eq!(taken.body["id"], id, "{}", taken.text);
    let again = receiver.expect_delivery().await;
    assert_eq!((again.header("webhook-id"), &again.body), (id.as_str(), &receiver.all()[0].body));
    crate::support::verify::by_the_official_library(&again, &webhook.signing_secret).await;
    let shown = webhook.expect_state(&id, "delivered").await;
    let attempts: Vec<_> =
        items(&shown["attempts"]).iter().map(|a| (a["attempt"].clone(), a["state"].clone())).collect();
    assert_eq!(attempts, [(json!(1), json!("failed")), (json!(2), json!("succeeded"))]);
    assert_eq!((&shown["attempt_count"], &shown["event_type"]), (&json!(2), &json!("call.ended")), "{shown}");
    assert!(shown["ended_at"].is_string() && shown["reason"].is_null(), "{shown}");
    webhook.expect_count("delivered", 1).await;
    webhook.expect_count("failed", 0).await;
}

/// And one that was delivered: the receiver may have lost it. Each wish is followed.
#[tokio::test]
async fn a_delivered_one_is_sent_again_as_often_as_asked() {
    let server = Server::start().await;
    let mut receiver = Receiver::start().await;
    let webhook = server.webhook("acme", &receiver.url()).await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    let first = receiver.expect_delivery().await;
    let id = first.header("webhook-id");
    for _ in 0..2 {
        webhook.expect_state(id, "delivered").await;
        webhook.retry(id).await.expect(202);
        let again = receiver.expect_delivery().await;
        assert_eq!((again.header("webhook-id"), &again.body), (id, &first.body));
    }
}

#[tokio::test]
async fn a_retry_has_a_schedule_of_its_own() {
    let server = Server::with().env("WEBHOOK_RETRY_SCHEDULE", "20ms").start().await;
    let mut receiver = Receiver::start().await;
    receiver.answer_always(500);
    let webhook = server.webhook_with("acme", &receiver.url(), json!({"retry_count": 1})).await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    let id = receiver.expect_deliveries(2).await[0].header("webhook-id").to_owned();
    webhook.expect_state(&id, "failed").await;
    webhook.retry(&id).await.expect(202);
    receiver.expect_deliveries(2).await;
    let shown = webhook.expect_state(&id, "failed").await;
    assert_eq!(shown["attempt_count"], 4, "{shown}");
}

async fn what_a_chain_ended_runs_through_the_chain_as_it_is_now(database: Database) {
    for (guest, state) in
        [(guests::transformer("1").dropping(), "dropped"), (guests::transformer("1").failing(), "plugin_failed")]
    {
        let server = Server::on(&database).await;
        server.install("guest", &guest.bytes()).await;
        let mut receiver = Receiver::start().await;
        let chain = json!([{"plugin": "shared/guest"}]);
        let webhook = server.webhook_with("acme", &receiver.url(), json!({"chain": chain})).await;
        let event = server.publish("acme", json!({"type": "call.ended"})).await;
        webhook.expect_count(state, 1).await;
        let shown = server.service("acme").get(&format!("/api/v1/events/{event}")).await.expect(200).body;
        // The database still has the webhook of the round before.
        let deliveries = items(&shown["trace"]["deliveries"]);
        let delivery = deliveries.into_iter().find(|d| d["webhook_id"] == webhook.id).expect("one for this webhook");
        assert_eq!(delivery["state"], state, "{delivery}");
        assert!(delivery["reason"].is_string() && delivery["plugins"].is_array(), "{delivery}");

        server.install("guest", &guests::transformer("2").bytes()).await;
        let id = delivery["id"].as_str().expect("an id");
        webhook.retry(id).await.expect(202);
        let sent = receiver.expect_delivery().await;
        assert_eq!((sent.header("webhook-id"), &sent.json()["version"]), (id, &json!("2")));
        webhook.expect_state(id, "delivered").await;
    }
}

#[tokio::test]
async fn another_tenants_delivery_is_not_there() {
    let server = Server::start().await;
    let mut receiver = Receiver::start().await;
    let (webhook, id) = failed(&server, &mut receiver).await;
    let path = format!("/api/v1/deliveries/{id}");
    server.admin("other").get(&path).await.expect_problem(404);
    webhook.of(&server, "other").retry(&id).await.expect_problem(404);
    server.service("acme").post(&format!("{path}/retry"), json!({})).await.expect_problem(403);
    for unknown in ["nonsense", "dlv_00000000000000000000000000"] {
        webhook.retry(unknown).await.expect_problem(404);
    }
    assert_eq!(webhook.delivery(&id).await["state"], "failed");
}

#[tokio::test]
async fn what_is_under_way_or_would_only_wait_is_a_conflict() {
    let server = Server::start().await;
    let mut receiver = Receiver::start().await;
    receiver.hang();
    let webhook = server.webhook("acme", &receiver.url()).await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    let id = receiver.expect_delivery().await.header("webhook-id").to_owned();
    assert_eq!(webhook.retry(&id).await.expect_problem(409)["code"], "under_way");
    webhook.change(json!({"is_active": false})).await;
    assert_eq!(webhook.retry(&id).await.expect_problem(409)["code"], "webhook_inactive");
}

#[tokio::test]
async fn a_retry_without_its_event_is_a_conflict_and_changes_nothing() {
    let database = Database::sqlite();
    let server = Server::on(&database).await;
    let mut receiver = Receiver::start().await;
    let (webhook, id) = failed(&server, &mut receiver).await;
    database.execute("DELETE FROM jf_events").await;
    assert_eq!(webhook.retry(&id).await.expect_problem(409)["code"], "event_gone");
    let shown = webhook.delivery(&id).await;
    assert_eq!((&shown["state"], items(&shown["attempts"]).len()), (&json!("failed"), 1), "{shown}");
    webhook.expect_failed().await;
}

/// A retry that was asked for is owed like anything else.
#[tokio::test]
async fn a_retry_survives_kill_9() {
    let mut server = Server::start().await;
    let mut receiver = Receiver::start().await;
    let (webhook, id) = failed(&server, &mut receiver).await;
    receiver.hang();
    webhook.retry(&id).await.expect(202);
    receiver.expect_delivery().await;
    server.kill();
    receiver.answer_always(200);
    server.restart().await;
    assert_eq!(receiver.expect_delivery().await.header("webhook-id"), id);
    webhook.of(&server, "acme").expect_state(&id, "delivered").await;
}

async fn the_failed_are_listed_newest_first_by_webhook_state_type_and_time(database: Database) {
    let server = Server::on(&database).await;
    server.install("guest", &guests::transformer("1").failing().bytes()).await;
    let receiver = Receiver::start().await;
    receiver.answer_always(500);
    let chain = json!([{"plugin": "shared/guest", "events": ["call.missed"]}]);
    let fields = json!({"retry_count": 0, "chain": chain});
    let first = server.webhook_with("acme", &receiver.url(), fields.clone()).await;
    let second = server.webhook_with("acme", &receiver.url(), fields).await;
    for name in ["call.ended", "call.missed", "call.answered"] {
        server.publish("acme", json!({"type": name})).await;
        let client = server.admin("acme");
        let many =
            2 * (1 + ["call.ended", "call.missed", "call.answered"].iter().position(|n| *n == name).unwrap_or(0));
        eventually("both to have failed", || async {
            let listed = client.get("/api/v1/webhooks/failed").await.expect(200);
            (items(&listed.body).len() == many).then_some(())
        })
        .await;
    }
    let client = server.admin("acme");
    let all = client.get_all("/api/v1/webhooks/failed").await;
    let types: Vec<_> = all.iter().map(|d| d["event_type"].as_str().unwrap_or_default()).collect();
    assert_eq!(types, ["call.answered", "call.answered", "call.missed", "call.missed", "call.ended", "call.ended"]);
    let middle = all[2]["ended_at"].as_str().expect("a time").to_owned();
    let of_second = format!("webhook_id={}", second.id);
    let count = |query: String| {
        let client = client.clone();
        async move { items(&client.get(&format!("/api/v1/webhooks/failed?{query}")).await.expect(200).body).len() }
    };
    assert_eq!(count(of_second.clone()).await, 3);
    assert_eq!(count("state=plugin_failed".to_owned()).await, 2);
    assert_eq!(count("state=failed".to_owned()).await, 4);
    assert_eq!(count("event_type=call.ended".to_owned()).await, 2);
    assert_eq!(count(format!("{of_second}&state=failed&event_type=call.ended")).await, 1);
    assert_eq!(count(format!("after={middle}")).await + count(format!("before={middle}")).await, 6);
    assert!(count(format!("before={middle}")).await >= 2 && count(format!("after={middle}")).await >= 3);
    assert_eq!(items(&server.admin("other").get("/api/v1/webhooks/failed").await.expect(200).body).len(), 0);
    for wrong in ["state=delivered", "webhook_id=x", "after=yesterday", "cursor=nonsense", "limit=0"] {
        client.get(&format!("/api/v1/webhooks/failed?{wrong}")).await.expect_problem(422);
    }
    // One that is delivered after all is no failed one any more.
    receiver.answer_always(200);
    let id = all[0]["id"].as_str().expect("an id");
    first.retry(id).await.expect(202);
    first.expect_state(id, "delivered").await;
    assert_eq!(count(String::new()).await, 5);
}
