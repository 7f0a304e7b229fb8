//! Secrets at rest: with ENCRYPTION_KEY the table holds none in clear, whoever wrote it; keys can be replaced and lost.

use crate::support::verify::{by_the_official_library, by_the_official_npm_package, sha256_hex};
use crate::support::{Database, Receiver, Server, eventually, items};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

const KEY: [u8; 32] = [1; 32];
const NEW_KEY: [u8; 32] = [2; 32];

fn encoded(keys: &[[u8; 32]]) -> String {
    keys.iter().map(|key| STANDARD.encode(key)).collect::<Vec<_>>().join(",")
}

fn key_id(key: &[u8; 32]) -> String {
    sha256_hex(key)[..8].to_owned()
}

async fn server_with(database: &Database, keys: &[[u8; 32]]) -> Server {
    Server::with().database(database).env("ENCRYPTION_KEY", &encoded(keys)).start().await
}

/// Everything secret in the table, one text a column.
async fn stored(database: &Database) -> Vec<String> {
    let mut stored = Vec::new();
    for column in ["secret", "ed25519_seed", "previous_secrets"] {
        stored.extend(database.texts(&format!("SELECT {column} FROM webhooks WHERE {column} IS NOT NULL")).await);
    }
    stored
}

/// Waits until this many texts are stored, and each is sealed with this key.
async fn expect_sealed(database: &Database, count: usize, key: &[u8; 32]) {
    let sealed = format!("enc:v1:{}:", key_id(key));
    eventually(&format!("{count} texts sealed with {}", key_id(key)), || async {
        let stored = stored(database).await;
        assert_eq!(stored.len(), count, "{stored:?}");
        stored.iter().all(|text| text.contains(&sealed)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn no_secret_stands_in_the_table_and_all_of_them_sign() {
    let database = Database::sqlite();
    let mut server = server_with(&database, &[KEY]).await;
    let mut receiver = Receiver::start().await;
    let webhook = server.webhook_with("acme", &receiver.url(), json!({"ed25519": true, "secret": "hush hush"})).await;
    let path = format!("{}/rotate-secret", webhook.path());
    let rotated = server.admin("acme").post(&path, json!({})).await.expect(200);
    let new = rotated.body["signing_secret"].as_str().expect("a secret").to_owned();
    let public = server.admin("acme").get(&format!("{}/public-key", webhook.path())).await.expect(200).body;
    expect_sealed(&database, 3, &KEY).await;
    let all = stored(&database).await.join("\n");
    for plain in ["hush", "whsec_", "whsk_", &new["whsec_".len()..]] {
        assert!(!all.contains(plain), "{plain} in {all}");
    }
    for _ in 0..2 {
        server.publish("acme", json!({"type": "call.ended"})).await;
        let delivery = receiver.expect_delivery().await;
        by_the_official_library(&delivery, &new).await;
        by_the_official_npm_package(&delivery, &webhook.signing_secret).await;
        assert!(delivery.header("webhook-signature").contains("v1a,"));
        let shown = server.admin("acme").get(&format!("{}/public-key", webhook.path())).await.expect(200).body;
        assert_eq!(shown, public);
        assert_eq!(server.terminate().await, Some(0));
        server.restart().await;
    }
    let log = server.log().join("\n");
    assert!(!log.contains(&encoded(&[KEY])) && !log.contains("hush hush") && !log.contains(&new));
}

#[tokio::test]
async fn without_a_key_the_start_warns_and_with_one_plain_rows_are_sealed() {
    let database = Database::sqlite();
    let mut server = Server::on(&database).await;
    assert!(server.log().iter().any(|line| line.contains("WARN") && line.contains("ENCRYPTION_KEY")));
    let mut receiver = Receiver::start().await;
    let webhook = server.webhook_with("acme", &receiver.url(), json!({"ed25519": true})).await;
    let path = format!("{}/rotate-secret", webhook.path());
    server.admin("acme").post(&path, json!({})).await.expect(200);
    assert!(stored(&database).await.join("").contains(&webhook.secret));
    assert_eq!(server.terminate().await, Some(0));
    server.restart_with(|builder| builder.set("ENCRYPTION_KEY", &encoded(&[KEY]))).await;
    expect_sealed(&database, 3, &KEY).await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    by_the_official_library(&receiver.expect_delivery().await, &webhook.signing_secret).await;
}

#[tokio::test]
async fn a_row_by_plain_sql_is_sealed_when_it_is_seen() {
    let database = Database::sqlite();
    let server = server_with(&database, &[KEY]).await;
    let mut receiver = Receiver::start().await;
    let columns = "tenant_id, name, url, events, secret, is_active";
    for (name, secret) in [("theirs", "'plain'"), ("without", "NULL")] {
        let values =
            format!("'acme', '{name}', '{}', '[\"call.*\"]', {secret}, 1", receiver.url_of(&format!("/{name}")));
        database.execute(&format!("INSERT INTO webhooks ({columns}) VALUES ({values})")).await;
    }
    eventually("both rows to be webhooks", || async {
        let listed = server.admin("acme").get("/api/v1/webhooks").await.expect(200);
        (items(&listed.body).len() == 2).then_some(())
    })
    .await;
    expect_sealed(&database, 2, &KEY).await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    let both = receiver.expect_deliveries(2).await;
    let theirs = both.iter().find(|d| d.path == "/theirs").expect("one each");
    by_the_official_library(theirs, "whsec_cGxhaW4=").await;
    // A secret changed by SQL is plain again, and taken.
    database.execute("UPDATE webhooks SET secret = 'other' WHERE name = 'theirs'").await;
    expect_sealed(&database, 2, &KEY).await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    let both = receiver.expect_deliveries(2).await;
    let theirs = both.iter().find(|d| d.path == "/theirs").expect("one each");
    by_the_official_library(theirs, "whsec_b3RoZXI=").await;
}

#[tokio::test]
async fn a_new_key_seals_everything_again_and_the_old_one_can_go() {
    let database = Database::sqlite();
    let mut server = server_with(&database, &[KEY]).await;
    let mut receiver = Receiver::start().await;
    let webhook = server.webhook_with("acme", &receiver.url(), json!({"ed25519": true})).await;
    let path = format!("{}/rotate-secret", webhook.path());
    let rotated = server.admin("acme").post(&path, json!({})).await.expect(200);
    let new = rotated.body["signing_secret"].as_str().expect("a secret").to_owned();
    for keys in [vec![NEW_KEY, KEY], vec![NEW_KEY]] {
        assert_eq!(server.terminate().await, Some(0));
        server.restart_with(|builder| builder.set("ENCRYPTION_KEY", &encoded(&keys))).await;
        expect_sealed(&database, 3, &NEW_KEY).await;
        server.publish("acme", json!({"type": "call.ended"})).await;
        let delivery = receiver.expect_delivery().await;
        by_the_official_library(&delivery, &new).await;
        by_the_official_library(&delivery, &webhook.signing_secret).await;
    }
}

#[tokio::test]
async fn a_lost_key_is_named_its_webhook_is_left_out_and_what_it_was_owed_waits() {
    let database = Database::sqlite();
    let mut server = server_with(&database, &[KEY]).await;
    let mut receiver = Receiver::start().await;
    receiver.hang();
    let lost = server.webhook("acme", &receiver.url()).await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    let id = receiver.expect_delivery().await.header("webhook-id").to_owned();
    server.kill();
    receiver.answer_always(200);
    server.restart_with(|builder| builder.set("ENCRYPTION_KEY", &encoded(&[NEW_KEY]))).await;
    eventually("a line that names the lost key", || async {
        let named = |line: &String| line.contains("is left out") && line.contains(&key_id(&KEY));
        server.log().iter().any(named).then_some(())
    })
    .await;
    let mut other = Receiver::start().await;
    server.webhook("acme", &other.url()).await;
    server.publish("acme", json!({"type": "call.missed"})).await;
    other.expect_delivery().await;
    server.admin("acme").get(&lost.path()).await.expect_problem(404);
    assert_eq!(lost.of(&server, "acme").delivery(&id).await["state"], "pending");
    assert_eq!(receiver.all().len(), 1, "what cannot be signed is not sent");

    assert_eq!(server.terminate().await, Some(0));
    server.restart_with(|builder| builder.set("ENCRYPTION_KEY", &encoded(&[NEW_KEY, KEY]))).await;
    let delivery = receiver.expect_delivery().await;
    assert_eq!(delivery.header("webhook-id"), id);
    by_the_official_library(&delivery, &lost.signing_secret).await;
    expect_sealed(&database, 2, &NEW_KEY).await;
}

#[tokio::test]
async fn a_webhook_whose_key_is_lost_gets_a_new_secret_or_is_deleted() {
    let database = Database::sqlite();
    let mut server = server_with(&database, &[KEY]).await;
    let mut receiver = Receiver::start().await;
    let (mended, deleted) =
        (server.webhook("acme", &receiver.url()).await, server.webhook("acme", &receiver.url()).await);
    server.kill();
    server.restart_with(|builder| builder.set("ENCRYPTION_KEY", &encoded(&[NEW_KEY]))).await;
    let admin = server.admin("acme");
    let secret = json!({"secret": "a new secret"});
    server.admin("other").put(&mended.path(), secret.clone()).await.expect_problem(404);
    server.admin("other").delete(&deleted.path()).await.expect_problem(404);
    admin.put(&mended.path(), secret).await.expect(200);
    admin.delete(&deleted.path()).await.expect(204);
    server.publish("acme", json!({"type": "call.ended"})).await;
    by_the_official_library(&receiver.expect_delivery().await, "whsec_YSBuZXcgc2VjcmV0").await;
    assert_eq!(database.count("SELECT COUNT(*) FROM webhooks").await, 1);
}

/// Who can write the table must not move a sealed secret to a webhook of his own.
#[tokio::test]
async fn a_sealed_secret_in_another_tenants_row_opens_nothing() {
    let database = Database::sqlite();
    let server = server_with(&database, &[KEY]).await;
    server.webhook("acme", "http://127.0.0.1:9/hook").await;
    let columns = "tenant_id, name, url, events, secret, is_active";
    let copy =
        format!("INSERT INTO webhooks ({columns}) SELECT 'other', name, url, events, secret, is_active FROM webhooks");
    database.execute(&copy).await;
    eventually("the copy to be complained of", || async {
        server.log().iter().any(|line| line.contains("is left out") && line.contains("another row")).then_some(())
    })
    .await;
    assert!(items(&server.admin("other").get("/api/v1/webhooks").await.expect(200).body).is_empty());
}
