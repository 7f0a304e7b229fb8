//! Other programs write the table `webhooks` with plain SQL: a good row works, a bad one harms nobody.

use crate::support::{Database, Receiver, Server, eventually};
use serde_json::json;

async fn insert(database: &Database, name: &str, url: &str, is_active: &str) {
    let columns = "tenant_id, name, url, events, secret, is_active";
    let values = format!("'acme', '{name}', '{url}', '[\"call.*\"]', 'plain', '{is_active}'");
    database.execute(&format!("INSERT INTO webhooks ({columns}) VALUES ({values})")).await;
}

#[tokio::test]
async fn a_row_with_only_the_old_columns_gets_events_within_five_seconds() {
    let database = Database::sqlite();
    let server = Server::with().database(&database).start().await;
    let mut receiver = Receiver::start().await;
    insert(&database, "by sql", &receiver.url(), "1").await;
    eventually("the row to be a webhook", || async {
        let listed = server.admin("acme").get("/api/v1/webhooks").await.expect(200);
        listed.text.contains("by sql").then_some(())
    })
    .await;
    server.publish("acme", json!({"type": "call.incoming"})).await;
    let delivery = receiver.expect_delivery().await;
    assert_eq!(delivery.json()["type"], "call.incoming");
    crate::support::verify::by_the_official_library(&delivery, "whsec_cGxhaW4=").await;
}

/// SQLite's columns take values of any kind.
#[tokio::test]
async fn a_row_that_makes_no_sense_is_left_out_and_stops_nobody_else() {
    let database = Database::sqlite();
    let mut server = Server::with().database(&database).env("WEBHOOK_RETRY_SCHEDULE", "200ms").start().await;
    let mut receiver = Receiver::start().await;
    let webhook = server.webhook("acme", &receiver.url()).await;
    insert(&database, "of the wrong kind", "http://127.0.0.1:9/", "true").await;
    insert(&database, "of a wrong url", "no url", "1").await;
    eventually("both rows to be complained of", || async {
        let complaints = server.log().iter().filter(|line| line.contains("is left out")).count();
        (complaints >= 2).then_some(())
    })
    .await;
    // Retries need the claimer, which reads that table.
    receiver.answer(500);
    server.publish("acme", json!({"type": "call.incoming"})).await;
    receiver.expect_deliveries(2).await;
    webhook.expect_count("delivered", 1).await;
    assert_eq!(server.terminate().await, Some(0));
    server.restart().await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    receiver.expect_delivery().await;
}
