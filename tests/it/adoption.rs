//! A database that has a table `webhooks` of another program already: it is adopted with its rows, or refused by name.

use crate::support::databases::Kind;
use crate::support::{Database, Receiver, Server, items, on_every_database};
use serde_json::json;

on_every_database! { relaxed:
    a_table_of_another_program_is_adopted_with_its_rows,
    a_table_that_lacks_what_a_webhook_needs_is_refused_by_the_columns_name,
    migrate_by_hand_does_the_same_and_twice_is_fine,
}

/// As a backend of the same call centre made it, in each dialect; `url` may be missing.
fn foreign_table(database: &Database, with_url: bool) -> String {
    let url = if with_url { "url VARCHAR(500) NOT NULL," } else { "" };
    let (id, events, is_active, created_at, updated_at) = match database.kind() {
        Kind::Sqlite => (
            "INTEGER PRIMARY KEY AUTOINCREMENT",
            "TEXT",
            "BOOLEAN NOT NULL DEFAULT 1",
            "TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP",
            "TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP",
        ),
        Kind::MariaDb => (
            "INT AUTO_INCREMENT PRIMARY KEY",
            "JSON",
            "TINYINT(1) DEFAULT 1",
            "TIMESTAMP DEFAULT CURRENT_TIMESTAMP",
            "TIMESTAMP DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP",
        ),
        Kind::Postgres => (
            "SERIAL PRIMARY KEY",
            "JSONB",
            "BOOLEAN DEFAULT TRUE",
            "TIMESTAMPTZ DEFAULT CURRENT_TIMESTAMP",
            "TIMESTAMPTZ DEFAULT CURRENT_TIMESTAMP",
        ),
    };
    format!(
        "CREATE TABLE webhooks (id {id}, tenant_id VARCHAR(100) NOT NULL, name VARCHAR(100) NOT NULL, {url} \
         events {events} NOT NULL, secret VARCHAR(255), is_active {is_active}, created_at {created_at}, \
         updated_at {updated_at})"
    )
}

async fn insert(database: &Database, name: &str, url: &str) {
    let columns = "tenant_id, name, url, events, secret, is_active";
    let values = format!("'acme', '{name}', '{url}', '[\"call.*\"]', 'plain', TRUE");
    database.execute(&format!("INSERT INTO webhooks ({columns}) VALUES ({values})")).await;
}

async fn a_table_of_another_program_is_adopted_with_its_rows(database: Database) {
    database.execute(&foreign_table(&database, true)).await;
    let (mut theirs, mut later, mut ours) = (Receiver::start().await, Receiver::start().await, Receiver::start().await);
    insert(&database, "theirs", &theirs.url()).await;

    let mut server = Server::on(&database).await;
    server.publish("acme", json!({"type": "call.incoming"})).await;
    let delivery = theirs.expect_delivery().await;
    crate::support::verify::by_the_official_library(&delivery, "whsec_cGxhaW4=").await;

    // The other program goes on as before, and so does the API.
    insert(&database, "later", &later.url()).await;
    let made = server.webhook_with("acme", &ours.url(), json!({"retry_count": 3})).await;
    let listed = || async { items(&server.admin("acme").get("/api/v1/webhooks").await.expect(200).body) };
    crate::support::eventually("all three webhooks", || async { (listed().await.len() == 3).then_some(()) }).await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    for receiver in [&mut theirs, &mut later, &mut ours] {
        assert_eq!(receiver.expect_delivery().await.json()["type"], "call.ended");
    }
    assert_eq!(database.count("SELECT COUNT(*) FROM webhooks WHERE created_at IS NOT NULL").await, 3);

    server.kill();
    server.restart().await;
    assert_eq!(made.id, items(&server.admin("acme").get("/api/v1/webhooks").await.expect(200).body)[0]["id"]);
    server.publish("acme", json!({"type": "call.missed"})).await;
    // Killed between a POST and its record, it sends that one again first.
    while ours.expect_delivery().await.json()["type"] != "call.missed" {}
}

async fn a_table_that_lacks_what_a_webhook_needs_is_refused_by_the_columns_name(database: Database) {
    database.execute(&foreign_table(&database, false)).await;
    for command in ["serve", "migrate"] {
        let ended = Server::with().database(&database).args(&[command]).run().await;
        assert!([Some(64), Some(69)].contains(&ended.code), "{command}: {:?} {}", ended.code, ended.stderr);
        let words = ended.stderr.to_lowercase();
        assert!(words.contains("webhooks") && words.contains("url"), "{command} names both: {}", ended.stderr);
        assert!(!words.contains("panicked"), "{}", ended.stderr);
    }
    database.execute("INSERT INTO webhooks (tenant_id, name, events) VALUES ('acme', 'untouched', '[]')").await;
    assert_eq!(database.count("SELECT COUNT(*) FROM webhooks").await, 1);
}

async fn migrate_by_hand_does_the_same_and_twice_is_fine(database: Database) {
    database.execute(&foreign_table(&database, true)).await;
    let mut receiver = Receiver::start().await;
    insert(&database, "theirs", &receiver.url()).await;
    for _ in 0..2 {
        let ended = Server::with().database(&database).args(&["migrate"]).run().await;
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert_eq!(database.count("SELECT COUNT(*) FROM jf_events").await, 0);
        assert_eq!(database.texts("SELECT name FROM webhooks").await, ["theirs"]);
    }
    let server = Server::on(&database).await;
    server.publish("acme", json!({"type": "call.incoming"})).await;
    receiver.expect_delivery().await;
}

/// What MySQL's servers were compiled with for decades. The tables must say what they need themselves.
#[tokio::test]
async fn a_mariadb_whose_default_is_latin1_keeps_every_character() {
    let database = Database::relaxed(Kind::MariaDb).await;
    database.execute("ALTER DATABASE jackfield CHARACTER SET latin1 COLLATE latin1_swedish_ci").await;
    let mut server = Server::on(&database).await;
    let mut receiver = Receiver::start().await;
    receiver.hang();
    server.webhook_with("acme", &receiver.url(), json!({"name": "🏷", "description": "Привет"})).await;
    server.publish("acme", json!({"type": "call.ended", "user_id": "Zoë 🧑", "data": "☎🤖"})).await;
    receiver.expect_delivery().await;
    server.kill();
    receiver.answer_always(200);
    server.restart().await;
    let again = receiver.expect_delivery().await.json();
    assert_eq!((&again["user_id"], &again["data"]), (&json!("Zoë 🧑"), &json!("☎🤖")));
    let listed = items(&server.admin("acme").get("/api/v1/webhooks").await.expect(200).body);
    assert_eq!((&listed[0]["name"], &listed[0]["description"]), (&json!("🏷"), &json!("Привет")));
}
