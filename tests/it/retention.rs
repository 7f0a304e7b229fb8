//! What is old goes, what is owed stays. Time is put back in the table; a server looks five seconds after its start.

use crate::support::databases::Kind;
use crate::support::{Database, Receiver, Server, eventually, on_every_database};
use serde_json::json;

on_every_database! { relaxed:
    what_is_old_vanishes_after_a_start_and_what_is_owed_stays,
}

const DAY_MS: i64 = 24 * 3600 * 1000;

async fn what_is_old_vanishes_after_a_start_and_what_is_owed_stays(database: Database) {
    let mut server = Server::with().database(&database).env("WEBHOOK_RETRY_SCHEDULE", "1h").start().await;
    let receiver = Receiver::start().await;
    let webhook = server.webhook_with("acme", &receiver.url(), json!({"retry_count": 0})).await;
    let patient = server.webhook_with("acme", &receiver.url(), json!({"events": ["call.missed"]})).await;
    receiver.answer_by(|request| {
        let fails = request.header("x-webhook-event") == "call.missed";
        crate::support::Answer::status(if fails { 500 } else { 200 })
    });
    // Delivered; failed for good at one webhook and pending at the other; owed to nobody.
    let delivered = server.publish("acme", json!({"type": "call.ended"})).await;
    let pending = server.publish("acme", json!({"type": "call.missed"})).await;
    let unowed = server.publish("acme", json!({"type": "agent.login"})).await;
    webhook.expect_count("delivered", 1).await;
    webhook.expect_count("failed", 1).await;
    patient.expect_attempt().await;
    assert_eq!(server.terminate().await, Some(0));
    let back = 40 * DAY_MS;
    database.execute(&format!("UPDATE jf_events SET timestamp_ms = timestamp_ms - {back}")).await;
    let times = format!("created_ms = created_ms - {back}, ended_ms = ended_ms - {back}");
    database.execute(&format!("UPDATE jf_deliveries SET {times}")).await;
    let columns =
        "id, tenant_id, webhook_id, state, since_ms, until_ms, states, event_types, rate, matches, created_ms";
    let replay = "'rpl_old', 'acme', 1, 'done', 0, 1, '[]', '[]', 1, 0, 0";
    database.execute(&format!("INSERT INTO jf_replays ({columns}, ended_ms) VALUES ({replay}, 1)")).await;
    let session = |id: &str, ended: &str| {
        format!("INSERT INTO jf_sessions (id, tenant_id, created_ms, ended_ms) VALUES ('{id}', 'acme', 1, {ended})")
    };
    let now = jackfield::event::now_ms().to_string();
    for (id, ended) in [("ended long ago", "1"), ("ended now", now.as_str()), ("live", "NULL")] {
        database.execute(&session(id, ended)).await;
    }
    let columns = "tenant_id, user_id, event_type, frame, at_ms";
    for (user, at) in [("away for long", "1"), ("away", now.as_str())] {
        let values = format!("'acme', '{user}', 'chat.message', '{{}}', {at}");
        database.execute(&format!("INSERT INTO jf_offline ({columns}) VALUES ({values})")).await;
    }
    server.restart().await;
    let young = server.publish("acme", json!({"type": "call.answered"})).await;

    let left = || async {
        let mut left = database.texts("SELECT id FROM jf_events").await;
        left.sort_unstable();
        let gone = |id: &String| !left.contains(id);
        (gone(&delivered) && gone(&unowed)).then_some(left.clone())
    };
    let mut kept = [pending.clone(), young];
    kept.sort_unstable();
    assert_eq!(eventually("the old events to vanish", left).await, kept);
    let states = database.texts("SELECT state FROM jf_deliveries ORDER BY state").await;
    assert_eq!(states, ["delivered", "pending"], "what ended long ago has gone");
    let orphans = "SELECT COUNT(*) FROM jf_attempts WHERE delivery_id NOT IN (SELECT id FROM jf_deliveries)";
    assert_eq!(database.count(orphans).await, 0);
    eventually("the old replay to vanish", || async {
        (database.count("SELECT COUNT(*) FROM jf_replays").await == 0).then_some(())
    })
    .await;
    assert_eq!(database.texts("SELECT id FROM jf_sessions ORDER BY id").await, ["ended now", "live"]);
    assert_eq!(database.texts("SELECT user_id FROM jf_offline").await, ["away"]);
    // It can still be sent.
    receiver.answer_always(200);
    let shown = server.service("acme").get(&format!("/api/v1/events/{pending}")).await.expect(200).body;
    let id = shown["trace"]["deliveries"][0]["id"].as_str().expect("the pending one").to_owned();
    let patient = patient.of(&server, "acme");
    patient.retry(&id).await.expect(202);
    patient.expect_state(&id, "delivered").await;
}

#[tokio::test]
async fn the_settings_say_how_long_and_a_duplicate_is_told_for_a_day() {
    let database = Database::sqlite();
    let short = Server::with().env("EVENT_RETENTION", "1h").env("DELIVERY_RETENTION", "2h");
    let mut server = short.database(&database).start().await;
    let receiver = Receiver::start().await;
    let webhook = server.webhook("acme", &receiver.url()).await;
    for id in ["two-days", "three-hours"] {
        server.publish("acme", json!({"id": id, "type": "call.ended"})).await;
    }
    webhook.expect_count("delivered", 2).await;
    assert_eq!(server.terminate().await, Some(0));
    for (id, back) in [("two-days", 2 * DAY_MS), ("three-hours", DAY_MS / 8)] {
        database.execute(&format!("UPDATE jf_events SET timestamp_ms = timestamp_ms - {back} WHERE id = '{id}'")).await;
        let times = format!("created_ms = created_ms - {back}, ended_ms = ended_ms - {back}");
        database.execute(&format!("UPDATE jf_deliveries SET {times} WHERE event_id = '{id}'")).await;
    }
    server.restart().await;
    eventually("the event of two days ago to vanish", || async {
        (database.texts("SELECT id FROM jf_events").await == ["three-hours"]).then_some(())
    })
    .await;
    assert_eq!(database.count("SELECT COUNT(*) FROM jf_deliveries").await, 0);
    assert_eq!(database.count("SELECT COUNT(*) FROM jf_attempts").await, 0);
    let again = server.service("acme").post("/api/v1/events", json!({"id": "three-hours", "type": "call.ended"})).await;
    assert_eq!(again.expect(202).body["duplicate"], true);
}

/// One event from the future must not keep all that came after it for ever.
#[tokio::test]
async fn a_clock_that_was_ahead_for_a_while_holds_nothing_up() {
    let database = Database::sqlite();
    let mut server = Server::on(&database).await;
    let receiver = Receiver::start().await;
    let webhook = server.webhook("acme", &receiver.url()).await;
    for id in ["ahead", "old"] {
        server.publish("acme", json!({"id": id, "type": "call.ended"})).await;
    }
    webhook.expect_count("delivered", 2).await;
    assert_eq!(server.terminate().await, Some(0));
    for (id, moved) in [("ahead", 400 * DAY_MS), ("old", -40 * DAY_MS)] {
        database
            .execute(&format!("UPDATE jf_events SET timestamp_ms = timestamp_ms + {moved} WHERE id = '{id}'"))
            .await;
        let times = format!("created_ms = created_ms + {moved}, ended_ms = ended_ms + {moved}");
        database.execute(&format!("UPDATE jf_deliveries SET {times} WHERE event_id = '{id}'")).await;
    }
    server.restart().await;
    eventually("the old event to vanish", || async {
        (database.texts("SELECT id FROM jf_events").await == ["ahead"]).then_some(())
    })
    .await;
    assert_eq!(database.texts("SELECT event_id FROM jf_deliveries").await, ["ahead"]);
}

#[tokio::test]
async fn keys_that_nobody_stands_behind_are_forgotten_and_order_goes_on() {
    let database = Database::sqlite();
    let mut server = Server::on(&database).await;
    let mut receiver = Receiver::start().await;
    let webhook = server.webhook_with("acme", &receiver.url(), json!({"ordering": "key"})).await;
    server.publish("acme", json!({"type": "call.ended", "key": "done"})).await;
    webhook.expect_count("delivered", 1).await;
    receiver.expect_delivery().await;
    receiver.hang();
    for _ in 0..2 {
        server.publish("acme", json!({"type": "call.ended", "key": "waits"})).await;
    }
    receiver.expect_delivery().await;
    server.kill();
    database.execute(&format!("UPDATE jf_key_order SET touched_ms = touched_ms - {}", 2 * DAY_MS)).await;
    server.restart().await;
    eventually("the key to be forgotten", || async {
        (database.texts("SELECT order_key FROM jf_key_order").await == ["waits"]).then_some(())
    })
    .await;
    receiver.answer_always(200);
    server.publish("acme", json!({"type": "call.ended", "key": "done"})).await;
    webhook.of(&server, "acme").expect_count("delivered", 2).await;
}

#[tokio::test]
async fn migrate_finds_a_mariadb_by_its_parts() {
    let database = Database::relaxed(Kind::MariaDb).await;
    let mut migrate = Server::with().without("DATABASE_URL").args(&["migrate"]);
    for (name, value) in database.parts() {
        migrate.set(name, &value);
    }
    let ended = migrate.run().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains("up to date"), "{}", ended.stdout);
    assert!(!format!("{}{}", ended.stdout, ended.stderr).contains(crate::support::databases::PASSWORD));
    assert_eq!(database.count("SELECT COUNT(*) FROM jf_deliveries").await, 0);
}
