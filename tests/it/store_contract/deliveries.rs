//! Deliveries: owed, tried again, recorded and listed.

use crate::support::pending::{claim, fill};
use crate::support::{Answer, Database, Receiver, Server, eventually, find, items, on_every_database};
use serde_json::json;

on_every_database! { relaxed:
    an_event_is_delivered_signed_and_counted,
    a_retry_has_the_same_id_and_bytes,
    a_receivers_words_are_recorded_whatever_bytes_they_are,
    what_failed_for_good_is_listed_page_by_page,
    logs_and_statistics_tell_what_happened,
    a_deleted_webhooks_deliveries_are_cancelled,
    a_row_inserted_by_plain_sql_is_a_webhook,
    a_row_changed_and_deleted_by_plain_sql_is_so_here,
    a_claim_finds_what_is_due_by_its_index_whatever_else_waits,
}

fn impatient(database: &Database) -> crate::support::server::Builder {
    Server::with().database(database).env("WEBHOOK_RETRY_SCHEDULE", "50ms")
}

async fn an_event_is_delivered_signed_and_counted(database: Database) {
    let server = Server::on(&database).await;
    let mut receiver = Receiver::start().await;
    let webhook = server.webhook("acme", &receiver.url()).await;
    let id = server.publish("acme", json!({"type": "call.ended", "user_id": "kim", "data": {"n": 1.50}})).await;
    let delivery = receiver.expect_delivery().await;
    assert_eq!(delivery.json()["id"], id.as_str());
    crate::support::verify::by_the_official_library(&delivery, &webhook.signing_secret).await;
    webhook.expect_count("delivered", 1).await;
    let delivered = database.texts("SELECT id FROM jf_deliveries WHERE state = 'delivered'").await;
    assert_eq!(delivered, [delivery.header("webhook-id")]);
}

async fn a_retry_has_the_same_id_and_bytes(database: Database) {
    let server = impatient(&database).start().await;
    let mut receiver = Receiver::start().await;
    receiver.answer(500);
    receiver.answer(503);
    let webhook = server.webhook("acme", &receiver.url()).await;
    server.publish("acme", json!({"type": "call.ended", "data": {"n": 1.0e5}})).await;
    let attempts = receiver.expect_deliveries(3).await;
    for attempt in &attempts[1..] {
        assert_eq!(attempt.header("webhook-id"), attempts[0].header("webhook-id"));
        assert_eq!(attempt.body, attempts[0].body);
    }
    webhook.expect_count("delivered", 1).await;
}

/// NUL is no text to Postgres, and bytes that are no UTF-8 are none to anybody.
async fn a_receivers_words_are_recorded_whatever_bytes_they_are(database: Database) {
    let server = impatient(&database).start().await;
    let mut receiver = Receiver::start().await;
    let bodies: [&[u8]; 4] = [b"a\0b", b"\xff\xfe\0", "🤖\u{7f}\u{1}".as_bytes(), b"\xf0\x9f\x92"];
    let webhook = server.webhook("acme", &receiver.url()).await;
    for (n, body) in bodies.into_iter().enumerate() {
        receiver.answer_with(Answer::status(500).body(body.to_vec()));
        server.publish("acme", json!({"type": "call.ended"})).await;
        receiver.expect_deliveries(2).await;
        webhook.expect_count("delivered", n as u64 + 1).await;
    }
    let logs = webhook.expect_attempts(2 * bodies.len()).await;
    let failed: Vec<_> = logs.iter().filter(|attempt| attempt["state"] == "failed").collect();
    assert_eq!(failed.len(), bodies.len());
    assert!(failed.iter().all(|attempt| attempt["response_body"].is_string()), "{failed:?}");
    assert!(failed[1].to_string().contains('🤖'), "what is text is kept: {}", failed[1]);
}

async fn what_failed_for_good_is_listed_page_by_page(database: Database) {
    let server = impatient(&database).start().await;
    let receiver = Receiver::start().await;
    receiver.answer_always(500);
    let webhook = server.webhook_with("acme", &receiver.url(), json!({"retry_count": 0})).await;
    let mut ids = Vec::new();
    for n in 1..=5 {
        ids.insert(0, server.publish("acme", json!({"type": "call.ended"})).await);
        webhook.expect_count("failed", n).await;
    }
    let failed = server.admin("acme").get_all("/api/v1/webhooks/failed").await;
    assert_eq!(failed.iter().map(|d| d["event_id"].as_str().unwrap_or_default()).collect::<Vec<_>>(), ids);
    assert!(failed.iter().all(|d| d["state"] == "failed" && d["webhook_id"] == webhook.id), "{failed:?}");
    assert!(items(&server.admin("other").get("/api/v1/webhooks/failed").await.expect(200).body).is_empty());
}

async fn logs_and_statistics_tell_what_happened(database: Database) {
    let server = impatient(&database).start().await;
    let mut receiver = Receiver::start().await;
    let webhook = server.webhook_with("acme", &receiver.url(), json!({"retry_count": 1})).await;
    for (status, event_type) in [(500, "call.ended"), (200, "call.missed"), (200, "call.ended")] {
        receiver.answer(status);
        server.publish("acme", json!({"type": event_type})).await;
        receiver.expect_deliveries(if status == 500 { 2 } else { 1 }).await;
    }
    webhook.expect_count("delivered", 3).await;
    let logs = webhook.expect_attempts(4).await;
    let paged = server.admin("acme").get_all(&format!("{}/logs", webhook.path())).await;
    assert_eq!(paged, logs, "page by page they are the same");
    let oldest = &logs[3];
    assert_eq!(
        (&oldest["state"], &oldest["response_status"], &oldest["attempt"]),
        (&json!("failed"), &json!(500), &json!(1))
    );
    for (query, count) in [("state=failed", 1), ("state=succeeded", 3), ("event_type=call.missed", 1)] {
        let chosen = server.admin("acme").get(&format!("{}/logs?{query}", webhook.path())).await.expect(200);
        assert_eq!(items(&chosen.body).len(), count, "{query}: {}", chosen.text);
    }
    let stats = webhook.stats().await;
    for name in ["p50", "p95", "p99"] {
        assert!(find(&stats, name).is_some_and(|value| value.is_number()), "{name} in {stats}");
    }
}

async fn a_deleted_webhooks_deliveries_are_cancelled(database: Database) {
    let server = Server::with().database(&database).env("WEBHOOK_RETRY_SCHEDULE", "1h").start().await;
    let mut receiver = Receiver::start().await;
    receiver.answer_always(500);
    let webhook = server.webhook("acme", &receiver.url()).await;
    for _ in 0..3 {
        server.publish("acme", json!({"type": "call.ended"})).await;
    }
    receiver.expect_deliveries(3).await;
    webhook.expect_attempts(3).await;
    server.admin("acme").delete(&webhook.path()).await.expect(204);
    let cancelled = "SELECT COUNT(*) FROM jf_deliveries WHERE state = 'cancelled'";
    eventually("three cancelled deliveries", || async { (database.count(cancelled).await == 3).then_some(()) }).await;
}

/// Another program's `INSERT`, with a boolean as each database writes it.
async fn insert(database: &Database, name: &str, url: &str) {
    database
        .execute(&format!(
            "INSERT INTO webhooks (tenant_id, name, url, events, secret, is_active) \
             VALUES ('acme', '{name}', '{url}', '[\"call.*\"]', 'plain', TRUE)"
        ))
        .await;
}

async fn a_row_inserted_by_plain_sql_is_a_webhook(database: Database) {
    let server = Server::on(&database).await;
    let mut receiver = Receiver::start().await;
    insert(&database, "by sql", &receiver.url()).await;
    eventually("the row to be a webhook", || async {
        let listed = server.admin("acme").get("/api/v1/webhooks").await.expect(200);
        listed.text.contains("by sql").then_some(())
    })
    .await;
    server.publish("acme", json!({"type": "call.incoming"})).await;
    let delivery = receiver.expect_delivery().await;
    crate::support::verify::by_the_official_library(&delivery, "whsec_cGxhaW4=").await;
    // And it is one as any other: changed, looked at, deleted.
    let listed = items(&server.admin("acme").get("/api/v1/webhooks").await.expect(200).body).remove(0);
    let path = format!("/api/v1/webhooks/{}", listed["id"]);
    server.admin("acme").put(&path, json!({"description": "ours now"})).await.expect(200);
    assert_eq!(server.admin("acme").get(&path).await.expect(200).body["description"], "ours now");
    server.admin("acme").delete(&path).await.expect(204);
    assert_eq!(database.count("SELECT COUNT(*) FROM webhooks").await, 0);
}

async fn a_row_changed_and_deleted_by_plain_sql_is_so_here(database: Database) {
    let server = Server::on(&database).await;
    let (old, mut new) = (Receiver::start().await, Receiver::start().await);
    let webhook = server.webhook("acme", &old.url()).await;
    let url = new.url();
    database.execute(&format!("UPDATE webhooks SET url = '{url}' WHERE id = {}", webhook.id)).await;
    eventually("the new url to be in force", || async { (webhook.shown().await["url"] == url.as_str()).then_some(()) })
        .await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    new.expect_delivery().await;
    assert!(old.all().is_empty());
    webhook.expect_count("delivered", 1).await;
    database.execute(&format!("DELETE FROM webhooks WHERE id = {}", webhook.id)).await;
    let client = server.admin("acme");
    eventually("the webhook to be gone", || async { (client.get(&webhook.path()).await.status == 404).then_some(()) })
        .await;
}

async fn a_claim_finds_what_is_due_by_its_index_whatever_else_waits(database: Database) {
    let mut server = Server::on(&database).await;
    let mut receiver = Receiver::start().await;
    let closed = crate::support::ports::free_port();
    server.webhook_with("bench", &format!("http://127.0.0.1:{closed}/"), json!({"events": ["dead"]})).await;
    let live = server.webhook_with("bench", &receiver.url(), json!({"events": ["live"]})).await;
    server.kill();
    fill(&database, "dead", 1, 1, 10_000).await;
    fill(&database, "live", 2, 0, 50).await;
    let plan = database.plan(&claim(database.kind())).await.join("\n");
    assert!(plan.contains("jf_deliveries_due") && !plan.to_lowercase().contains("sort"), "{plan}");
    server.restart().await;
    for _ in 0..50 {
        assert_eq!(receiver.expect_delivery().await.json()["type"], "live");
    }
    live.expect_count("delivered", 50).await;
}
