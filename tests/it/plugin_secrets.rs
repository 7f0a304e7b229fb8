//! Secrets for plugins: read by the plugins they are bound to, and by nobody who looks.

use crate::support::guests::{Telling, transformer};
use crate::support::wait::PATIENCE;
use crate::support::webhooks::Webhook;
use crate::support::{Receiver, Server};
use serde_json::{Value, json};

const SECRET: &str = "/api/v1/plugin-secrets/token";
const VALUE: &str = "xoxb-\"quoted\"-1234";

async fn server_with(telling: Telling) -> Server {
    let server = Server::start().await;
    server.install("guest", &transformer("1").telling_secret(telling, "token").bytes()).await;
    server
}

async fn bind(server: &Server, receiver: &Receiver, tenant: &str) -> Webhook {
    let chain = json!({"events": ["call.*"], "chain": [{"plugin": "shared/guest"}]});
    server.webhook_with(tenant, &receiver.url(), chain).await
}

fn bound_to(plugin: &str) -> Value {
    json!({"value": VALUE, "plugins": [plugin]})
}

#[tokio::test]
async fn a_plugin_reads_what_is_bound_to_it_and_its_log_shows_the_name() {
    let server = server_with(Telling::Emits).await;
    let mut receiver = Receiver::start().await;
    let (webhook, _theirs) = (bind(&server, &receiver, "acme").await, bind(&server, &receiver, "globex").await);
    let admin = server.admin("acme");
    let put = admin.put(SECRET, bound_to("shared/guest")).await.expect(200);
    assert_eq!((&put.body["name"], &put.body["plugins"]), (&json!("token"), &json!(["shared/guest"])));
    server.publish("globex", json!({"type": "call.ended"})).await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    let sent = receiver.expect_delivery().await.text();
    assert_eq!(sent, format!("{{\"secret\":\"{VALUE}\"}}"), "it goes out as the plugin means it");

    let listed = admin.get("/api/v1/plugin-secrets").await.expect(200);
    assert_eq!(listed.body["data"][0]["name"], "token");
    let log = admin.get("/api/v1/plugins/shared/guest/logs").await.expect(200);
    assert_eq!(log.body["data"][0]["message"], "[secret token]", "{}", log.text);
    let test = admin.post(&format!("{}/test", webhook.path()), json!({})).await.expect(200);
    assert!(test.text.contains("[secret token]"), "{}", test.text);
    for shown in [put, listed, log, test] {
        assert!(!shown.text.contains("1234"), "{}", shown.text);
    }
    assert!(!server.log().iter().any(|line| line.contains("1234")), "nor is it in the server's log");
    assert_eq!(server.admin("globex").get("/api/v1/plugin-secrets").await.expect(200).body["data"], json!([]));
}

#[tokio::test]
async fn reasons_and_failures_show_the_name_of_a_secret() {
    let receiver = Receiver::start().await;
    for (telling, state) in [(Telling::Drops, "dropped"), (Telling::Fails, "plugin_failed")] {
        let server = server_with(telling).await;
        let webhook = bind(&server, &receiver, "acme").await;
        server.admin("acme").put(SECRET, bound_to("shared/guest")).await.expect(200);
        let id = server.publish("acme", json!({"type": "call.ended"})).await;
        webhook.expect_count(state, 1).await;
        let event = server.admin("acme").get(&format!("/api/v1/events/{id}")).await.expect(200);
        assert!(event.text.contains("[secret token]") && !event.text.contains("1234"), "{}", event.text);
    }
}

#[tokio::test]
async fn a_changed_binding_is_in_force_at_once_over_restarts_and_sealed() {
    let mut server = server_with(Telling::Emits).await;
    let mut receiver = Receiver::start().await;
    let webhook = bind(&server, &receiver, "acme").await;
    server.admin("acme").put(SECRET, bound_to("shared/other")).await.expect(200);
    server.publish("acme", json!({"type": "call.ended"})).await;
    webhook.expect_count("dropped", 1).await;
    server.admin("acme").put(SECRET, bound_to("shared/guest")).await.expect(200);
    server.publish("acme", json!({"type": "call.ended"})).await;
    assert!(receiver.expect_delivery().await.text().contains("1234"));
    let other = json!({"value": "another one", "plugins": ["shared/guest"]});
    server.admin("acme").put(SECRET, other).await.expect(200);
    server.publish("acme", json!({"type": "call.ended"})).await;
    assert!(receiver.expect_delivery().await.text().contains("another one"), "the instance is made anew");

    let key = "QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI=";
    server.ask_to_stop();
    server.ended_within(PATIENCE).await;
    server.restart_with(|builder| builder.set("ENCRYPTION_KEY", key)).await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    assert!(receiver.expect_delivery().await.text().contains("another one"), "sealed at the start, and open in memory");
    server.admin("acme").delete(SECRET).await.expect(204);
    server.admin("acme").delete(SECRET).await.expect_problem(404);
    server.publish("acme", json!({"type": "call.ended"})).await;
    webhook.of(&server, "acme").expect_count("dropped", 2).await;

    server.admin("acme").put(SECRET, bound_to("shared/guest")).await.expect(200);
    server.ask_to_stop();
    server.ended_within(PATIENCE).await;
    let lost = "Q0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0M=";
    server.restart_with(|builder| builder.set("ENCRYPTION_KEY", lost)).await;
    let listed = server.admin("acme").get("/api/v1/plugin-secrets").await.expect(200);
    let error = listed.body["data"][0]["error"].as_str().unwrap_or_default();
    assert!(error.contains("ENCRYPTION_KEY"), "without the key it cannot be read: {}", listed.text);
}

#[tokio::test]
async fn what_is_no_secret_is_refused_by_field() {
    let server = Server::start().await;
    let admin = server.admin("acme");
    for (field, body) in [
        ("value", json!({"plugins": ["slackish"]})),
        ("value", json!({"value": "abc", "plugins": ["slackish"]})),
        ("value", json!({"value": "x".repeat((16 << 10) + 1), "plugins": ["slackish"]})),
        ("plugins", json!({"value": VALUE, "plugins": []})),
        ("plugins", json!({"value": VALUE, "plugins": ["a", "a"]})),
        ("plugins", json!({"value": VALUE, "plugins": ["shared/../etc"]})),
        ("colour", json!({"value": VALUE, "plugins": ["slackish"], "colour": 1})),
    ] {
        admin.put(SECRET, body).await.expect_invalid(field);
    }
    admin.put("/api/v1/plugin-secrets/a%20b", bound_to("slackish")).await.expect_invalid("name");
    server.service("acme").put(SECRET, bound_to("slackish")).await.expect_problem(403);
    for n in 0..16 {
        admin.put(&format!("/api/v1/plugin-secrets/s{n}"), bound_to("slackish")).await.expect(200);
    }
    admin.put(SECRET, bound_to("slackish")).await.expect_invalid("plugins");
    admin.put("/api/v1/plugin-secrets/s0", bound_to("slackish")).await.expect(200);
}
