//! Contract, section 7: tenants' own plugins, from the upload to the end.

use crate::support::client::{Client, Reply};
use crate::support::guests::transformer;
use crate::support::{Receiver, Server, items};
use serde_json::{Value, json};

pub const SLACKISH: &str = "/api/v1/plugins/slackish";

/// Uploads a component for `acme`.
pub async fn upload(server: &Server, path: &str, component: Vec<u8>) -> Reply {
    put(&server.admin("acme"), path, component).await
}

pub async fn put(client: &Client, path: &str, component: Vec<u8>) -> Reply {
    client.put_bytes(path, "application/wasm", component).await
}

#[tokio::test]
async fn a_plugin_is_uploaded_used_followed_by_a_newer_one_rolled_back_and_deleted() {
    let server = Server::start().await;
    let admin = server.admin("acme");
    let first = upload(&server, SLACKISH, transformer("1").bytes()).await.expect(201).body;
    assert_eq!((&first["name"], &first["version"], &first["active"]), (&json!("slackish"), &json!(1), &json!(true)));
    assert_eq!(first["exports"], json!(["jackfield:plugin/lifecycle@1.0.0", "jackfield:plugin/transformer@1.0.0"]));
    assert!(first["compile_ms"].is_u64() && first["size_bytes"].is_u64(), "{first}");

    let mut receiver = Receiver::start().await;
    let webhook = server.webhook_with("acme", &receiver.url(), json!({"chain": [{"plugin": "slackish"}]})).await;
    let mut version_now = async || {
        server.publish("acme", json!({"type": "call.ended", "data": 1})).await;
        receiver.expect_delivery().await.json()["version"].clone()
    };
    assert_eq!(version_now().await, "1");
    assert_eq!(upload(&server, SLACKISH, transformer("2").bytes()).await.expect(201).body["version"], 2);
    assert_eq!(version_now().await, "2");
    admin.put(&format!("{SLACKISH}/active"), json!({"version": 1})).await.expect(200);
    assert_eq!(version_now().await, "1");

    let used = admin.delete(SLACKISH).await.expect_problem(409);
    assert!(used["detail"].to_string().contains(&format!("webhook {}", webhook.id)), "{used}");
    webhook.change(json!({"chain": []})).await;
    admin.delete(SLACKISH).await.expect(204);
    admin.get(SLACKISH).await.expect_problem(404);
    let listed = items(&admin.get("/api/v1/plugins").await.expect(200).body);
    assert!(listed.iter().all(|plugin: &Value| plugin["name"] != "slackish"), "{listed:?}");
    let again = upload(&server, SLACKISH, transformer("1").bytes()).await.expect(201).body;
    assert_eq!(again["version"], 3, "no number is given twice");
}
