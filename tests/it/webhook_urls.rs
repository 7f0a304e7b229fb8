//! Where a webhook may point: never into the operator's own network.

use crate::support::{Receiver, Server};
use serde_json::json;

const REFUSED: [(&str, &[&str]); 19] = [
    ("ftp://example.com/hook", &["http"]),
    ("file:///etc/passwd", &["http"]),
    ("javascript:alert(1)", &["http"]),
    ("example.com/hook", &["url", "http"]),
    ("http://user:hunter2@example.com/", &["user"]),
    ("http://user@example.com/", &["user"]),
    ("http://10.0.0.1/", PRIVATE),
    ("http://192.168.1.1:8080/", PRIVATE),
    ("http://127.0.0.1/", PRIVATE),
    ("http://127.1/", PRIVATE),
    ("http://0x7f000001/", PRIVATE),
    ("http://2130706433/", PRIVATE),
    ("http://0/", PRIVATE),
    ("http://169.254.169.254/latest/meta-data", PRIVATE),
    ("http://100.64.0.1/", PRIVATE),
    ("http://[::1]/", PRIVATE),
    ("http://[::ffff:10.0.0.1]/", PRIVATE),
    ("http://[64:ff9b::a00:1]/", PRIVATE),
    ("http://[fe80::1]/", PRIVATE),
];

const PRIVATE: &[&str] = &["private", "public", "address"];

#[tokio::test]
async fn bad_urls_are_refused_at_create_naming_the_rule() {
    let server = Server::with().without("WEBHOOK_ALLOW_NETS").start().await;
    for (url, rule) in REFUSED {
        let body = json!({"name": "n", "url": url, "events": ["*"]});
        let reply = server.admin("acme").post("/api/v1/webhooks", body).await;
        assert_eq!(reply.status, 422, "{url} was answered {}", reply.text);
        assert!(!reply.text.contains("hunter2"), "a password must not come back: {}", reply.text);
        let words = reply.expect_invalid("url").to_lowercase();
        assert!(rule.iter().any(|word| words.contains(word)), "{url}: the rule is not named: {words}");
    }
}

#[tokio::test]
async fn bad_urls_are_refused_at_put_and_the_old_one_stays() {
    let server = Server::start().await;
    let mut receiver = Receiver::start().await;
    let webhook = server.webhook("acme", &receiver.url()).await;
    for url in ["http://10.0.0.1/", "ftp://example.com/", "http://[::ffff:10.0.0.1]/"] {
        server.admin("acme").put(&webhook.path(), json!({"url": url})).await.expect_invalid("url");
    }
    server.publish("acme", json!({"type": "call.ended"})).await;
    receiver.expect_delivery().await;
}

#[tokio::test]
async fn an_allowed_net_opens_itself_and_no_other() {
    let server = Server::start().await;
    server.webhook("acme", "http://127.0.0.1:9/").await;
    let body = json!({"name": "n", "url": "http://10.0.0.1/", "events": ["*"]});
    server.admin("acme").post("/api/v1/webhooks", body).await.expect_invalid("url");
}

/// `localhost` is a name: it is vetted when it is dialled.
#[tokio::test]
async fn a_name_that_resolves_to_a_private_address_is_not_dialled() {
    let server = Server::with().without("WEBHOOK_ALLOW_NETS").start().await;
    let receiver = Receiver::start().await;
    let url = receiver.url().replace("127.0.0.1", "localhost");
    let body = json!({"name": "n", "url": url, "events": ["*"], "retry_count": 0});
    let reply = server.admin("acme").post("/api/v1/webhooks", body).await;
    if reply.status == 422 {
        reply.expect_invalid("url");
        return;
    }
    let id = reply.expect(201).body["id"].clone();
    let tested = server.admin("acme").post(&format!("/api/v1/webhooks/{id}/test"), json!({})).await;
    assert!(receiver.all().is_empty(), "a private address was dialled");
    assert!(PRIVATE.iter().any(|word| tested.text.contains(word)), "the reason is shown: {}", tested.text);
}

/// What was allowed yesterday is vetted again today, at every dial.
#[tokio::test]
async fn a_net_that_is_no_longer_allowed_is_no_longer_dialled() {
    let mut server = Server::start().await;
    let mut receiver = Receiver::start().await;
    let webhook = server.webhook_with("acme", &receiver.url(), json!({"retry_count": 0})).await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    receiver.expect_delivery().await;
    webhook.expect_count("delivered", 1).await;
    assert_eq!(server.terminate().await, Some(0));
    server.restart_with(|builder| builder.set("WEBHOOK_ALLOW_NETS", "192.0.2.0/24")).await;
    server.publish("acme", json!({"type": "call.missed"})).await;
    let failed = server.admin("acme");
    crate::support::eventually("the delivery to have failed", || async {
        let listed = failed.get("/api/v1/webhooks/failed").await.expect(200);
        (!crate::support::items(&listed.body).is_empty()).then_some(())
    })
    .await;
    assert_eq!(receiver.all().len(), 1);
}
