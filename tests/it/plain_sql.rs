//! Other programs write the table `webhooks` with plain SQL: a good row works, a bad one harms nobody.

use crate::support::{Receiver, Server, eventually};
use serde_json::json;
use sqlx::{Connection, SqliteConnection};

async fn insert(server: &Server, name: &str, url: &str, is_active: &str) {
    let home = server.plugin_path("x").parent().and_then(|plugins| plugins.parent()).expect("a home").to_owned();
    let path = home.join("jackfield.db");
    let mut database =
        SqliteConnection::connect(&format!("sqlite://{}", path.display())).await.expect("the file opens");
    sqlx::query(
        "INSERT INTO webhooks (tenant_id, name, url, events, secret, is_active) VALUES ('acme', ?, ?, '[\"call.*\"]', 'plain', ?)",
    )
    .bind(name)
    .bind(url)
    .bind(is_active)
    .execute(&mut database)
    .await
    .expect("a row can be inserted");
}

#[tokio::test]
async fn a_row_with_only_the_old_columns_gets_events_within_five_seconds() {
    let server = Server::start().await;
    let mut receiver = Receiver::start().await;
    insert(&server, "by sql", &receiver.url(), "1").await;
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
    let mut server = Server::with().env("WEBHOOK_RETRY_SCHEDULE", "200ms").start().await;
    let mut receiver = Receiver::start().await;
    let webhook = server.webhook("acme", &receiver.url()).await;
    insert(&server, "of the wrong kind", "http://127.0.0.1:9/", "true").await;
    insert(&server, "of a wrong url", "no url", "1").await;
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
