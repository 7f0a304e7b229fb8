//! Chains: what plugins change, choose and refuse on the way to webhooks and sockets.

use crate::support::guests::{only_what_is_addressed_to_a_user, transformer};
use crate::support::{Receiver, Server, items};
use serde_json::{Value, json};

fn step(plugin: &str) -> Value {
    json!({"plugin": format!("shared/{plugin}")})
}

/// A server with one plugin, `shared/guest`, serving.
async fn server_with(component: Vec<u8>) -> Server {
    let server = Server::with().plugin_file("guest.wasm", &component).start().await;
    server.plugin_serving("guest", &component).await;
    server
}

#[tokio::test]
async fn plugins_of_the_folder_are_listed() {
    let component = transformer("1").bytes();
    let server = server_with(component).await;
    let plugin = server.plugin("guest").await.expect("it is listed");
    assert!(plugin["last_error"].is_null(), "{plugin}");
    assert!(plugin["exports"].to_string().contains("transformer"), "{plugin}");
}

#[tokio::test]
async fn a_webhooks_chain_makes_the_body() {
    let server = server_with(transformer("1").bytes()).await;
    let mut receiver = Receiver::start().await;
    let config = json!({"channel": "#calls"});
    let chain = json!([{"plugin": "shared/guest", "config": config}]);
    let webhook = server.webhook_with("acme", &receiver.url(), json!({"chain": chain})).await;
    let id = server.publish("acme", json!({"type": "call.ended", "data": {"n": 1}})).await;
    let delivery = receiver.expect_delivery().await;
    assert_eq!(delivery.json(), json!({"version": "1", "config": config, "event": id, "data": {"n": 1}}));
    crate::support::verify::by_the_official_library(&delivery, &webhook.signing_secret).await;
}

#[tokio::test]
async fn a_plugin_gets_data_and_configuration_byte_for_byte() {
    let server = server_with(transformer("1").bytes()).await;
    let mut receiver = Receiver::start().await;
    server.webhook_with("acme", &receiver.url(), json!({"chain": [step("guest")]})).await;
    let event = r#"{"type":"call.ended","data":{"z":1,"a":1.0e5,"n":12345678901234567890}}"#;
    server.service("acme").post_text("/api/v1/events", event).await.expect(202);
    let text = receiver.expect_delivery().await.text();
    assert!(text.ends_with(r#""data":{"z":1,"a":1.0e5,"n":12345678901234567890}}"#), "{text}");
    assert!(text.starts_with(r#"{"version":"1","config":{},"#), "no configuration is an empty object: {text}");
}

#[tokio::test]
async fn the_sockets_chain_makes_the_data() {
    let server = server_with(transformer("1").bytes()).await;
    server.admin("acme").put("/api/v1/sockets/chain", json!([step("guest")])).await.expect(200);
    let (mut ours, mut theirs) = (server.socket("acme", "kim").await, server.socket("other", "kim").await);
    let id = server.publish("acme", json!({"type": "call.ended", "data": {"n": 1}})).await;
    server.publish("other", json!({"type": "call.ended", "data": {"n": 1}})).await;
    let event = ours.expect_event("call.ended").await;
    assert_eq!(event["id"], id.as_str());
    assert_eq!(event["data"], json!({"version": "1", "config": {}, "event": id, "data": {"n": 1}}));
    assert_eq!(theirs.expect_event("call.ended").await["data"], json!({"n": 1}));

    let shown = server.admin("acme").get("/api/v1/sockets/chain").await.expect(200);
    assert_eq!(items(&shown.body)[0]["plugin"], "shared/guest");
    server.admin("acme").put("/api/v1/sockets/chain", json!([])).await.expect(200);
    server.publish("acme", json!({"type": "call.missed", "data": 7})).await;
    assert_eq!(ours.expect_event("call.missed").await["data"], 7);
}

#[tokio::test]
async fn the_next_step_sees_what_the_last_left() {
    let server = Server::start().await;
    server.install("first", &transformer("first").bytes()).await;
    server.install("second", &transformer("second").bytes()).await;
    let mut receiver = Receiver::start().await;
    let chain = json!([step("first"), step("second")]);
    server.webhook_with("acme", &receiver.url(), json!({"chain": chain})).await;
    let id = server.publish("acme", json!({"type": "call.ended", "data": 1})).await;
    let body = receiver.expect_delivery().await.json();
    assert_eq!(body["version"], "second");
    assert_eq!(body["data"], json!({"version": "first", "config": {}, "event": id, "data": 1}));
}

#[tokio::test]
async fn a_step_is_skipped_for_events_it_is_not_for() {
    let server = Server::start().await;
    server.install("guest", &transformer("1").bytes()).await;
    server.install("calls", &transformer("2").understanding(&["call.*"]).bytes()).await;
    let mut receiver = Receiver::start().await;
    let by_step = json!([{"plugin": "shared/guest", "events": ["call.*"]}]);
    let by_plugin = json!([step("calls")]);
    for chain in [by_step, by_plugin] {
        let webhook = server.webhook_with("acme", &receiver.url(), json!({"events": ["*"], "chain": chain})).await;
        server.publish("acme", json!({"type": "agent.login", "data": 1})).await;
        assert_eq!(receiver.expect_delivery().await.json()["type"], "agent.login", "the envelope, unchanged");
        server.publish("acme", json!({"type": "call.ended", "data": 1})).await;
        assert!(receiver.expect_delivery().await.json()["version"].is_string(), "the plugin's answer");
        server.admin("acme").delete(&webhook.path()).await.expect(204);
    }
}

#[tokio::test]
async fn a_failing_step_fails_the_delivery() {
    let server = server_with(transformer("1").failing().bytes()).await;
    let mut receiver = Receiver::start().await;
    let chain = json!({"events": ["call.*"], "chain": [step("guest")]});
    let webhook = server.webhook_with("acme", &receiver.url(), chain).await;
    let id = server.publish("acme", json!({"type": "call.ended"})).await;
    let failed = webhook.expect_failed().await;
    assert_eq!((&failed["state"], &failed["event_id"]), (&json!("plugin_failed"), &json!(id)), "{failed}");
    assert!(failed.to_string().contains("this event is not understood"), "the plugin's words are shown: {failed}");
    webhook.change(json!({"chain": []})).await;
    server.publish("acme", json!({"type": "call.missed"})).await;
    receiver.expect_silence_until("call.missed").await;
}

#[tokio::test]
async fn a_failing_step_with_on_error_pass_is_as_if_absent() {
    let server = server_with(transformer("1").failing().bytes()).await;
    let mut receiver = Receiver::start().await;
    let chain = json!([{"plugin": "shared/guest", "on_error": "pass"}]);
    server.webhook_with("acme", &receiver.url(), json!({"chain": chain})).await;
    server.publish("acme", json!({"type": "call.ended", "data": 1})).await;
    assert_eq!(receiver.expect_delivery().await.json()["type"], "call.ended");
}

#[tokio::test]
async fn on_sockets_a_failing_step_hides_the_event_and_says_so() {
    let server = server_with(transformer("1").failing().bytes()).await;
    let mut socket = server.socket("acme", "kim").await;
    let client = server.admin("acme");
    client.put("/api/v1/sockets/chain", json!([step("guest")])).await.expect(200);
    server.publish("acme", json!({"type": "call.ended"})).await;
    let failed = socket.expect_event("plugin.failed").await;
    assert_eq!((&failed["data"]["plugin"], &failed["data"]["code"]), (&json!("shared/guest"), &json!("bad-input")));
    assert_eq!(failed["data"]["message"], "this event is not understood");

    let pass = json!([{"plugin": "shared/guest", "on_error": "pass"}]);
    client.put("/api/v1/sockets/chain", pass).await.expect(200);
    server.publish("acme", json!({"type": "call.missed", "data": 7})).await;
    assert_eq!(socket.expect_event("call.missed").await["data"], 7);
}

#[tokio::test]
async fn a_hand_written_filter_chooses() {
    let server = server_with(only_what_is_addressed_to_a_user().bytes()).await;
    let mut receiver = Receiver::start().await;
    let webhook = server.webhook_with("acme", &receiver.url(), json!({"chain": [step("guest")]})).await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    server.publish("acme", json!({"type": "call.missed", "user_id": "kim", "data": [1, 2]})).await;
    let delivery = receiver.expect_delivery().await;
    assert_eq!(delivery.json()["type"], "call.missed");
    assert!(delivery.text().contains(r#""data":[1,2]"#), "a filter leaves the bytes alone");
    webhook.expect_count("dropped", 1).await;
}

#[tokio::test]
async fn a_dropped_delivery_shows_the_plugins_reason() {
    let server = server_with(transformer("1").dropping().bytes()).await;
    let mut receiver = Receiver::start().await;
    let webhook = server.webhook_with("acme", &receiver.url(), json!({"chain": [step("guest")]})).await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    webhook.expect_count("dropped", 1).await;
    let tested = server.admin("acme").post(&format!("{}/test", webhook.path()), json!({})).await;
    assert!(tested.text.contains("not wanted"), "a test runs the chain and shows why nothing is sent: {}", tested.text);
    webhook.change(json!({"chain": []})).await;
    server.publish("acme", json!({"type": "marker"})).await;
    receiver.expect_silence_until("marker").await;
}

#[tokio::test]
async fn a_chain_that_configure_refuses_is_422_with_the_plugins_words() {
    let server = server_with(transformer("1").refusing_configuration("no such colour").bytes()).await;
    let client = server.admin("acme");
    let webhook = server.webhook("acme", "http://127.0.0.1:9/").await;
    let refused = client.put(&webhook.path(), json!({"chain": [step("guest")]})).await;
    assert!(refused.text.contains("no such colour"), "{}", refused.text);
    refused.expect_invalid("chain");
    let refused = client.put("/api/v1/sockets/chain", json!([step("guest")])).await;
    assert!(refused.text.contains("no such colour"), "{}", refused.text);
    refused.expect_problem(422);
    assert_eq!(webhook.shown().await["chain"], json!([]), "the old chain stays");
}

#[tokio::test]
async fn chains_that_make_no_sense_are_refused_by_name() {
    let server = server_with(transformer("1").bytes()).await;
    let webhook = server.webhook("acme", "http://127.0.0.1:9/").await;
    let bad = [
        json!([{"plugin": "shared/nobody"}]),
        json!([{"plugin": "shared/../guest"}]),
        json!([{"plugin": "shared/guest", "on_error": "explode"}]),
        json!([{"plugin": "shared/guest", "events": ["call."]}]),
        json!([{"plugin": "shared/guest", "colour": "red"}]),
        json!([{"config": {}}]),
    ];
    for chain in bad {
        let reply = server.admin("acme").put(&webhook.path(), json!({"chain": chain})).await;
        assert_eq!(reply.status, 422, "{chain} was answered {}", reply.text);
        reply.expect_problem(422);
    }
}

#[tokio::test]
async fn a_chain_survives_a_restart() {
    let mut server = server_with(transformer("1").bytes()).await;
    server.admin("acme").put("/api/v1/sockets/chain", json!([step("guest")])).await.expect(200);
    let mut receiver = Receiver::start().await;
    server.webhook_with("acme", &receiver.url(), json!({"chain": [step("guest")]})).await;
    server.kill();
    server.restart().await;
    let mut socket = server.socket("acme", "kim").await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    assert_eq!(socket.expect_event("call.ended").await["data"]["version"], "1");
    assert_eq!(receiver.expect_delivery().await.json()["version"], "1");
}

#[tokio::test]
async fn a_chains_configuration_is_kept_byte_for_byte() {
    let server = server_with(transformer("1").bytes()).await;
    let config = r#"{"z":1.0e5,"a":12345678901234567890,"b":1e999}"#;
    let chain = format!(r#"[{{"plugin":"shared/guest","config":{config}}}]"#);
    let client = server.admin("acme");
    client.put_text("/api/v1/sockets/chain", &chain).await.expect(200);
    let shown = client.get("/api/v1/sockets/chain").await.expect(200);
    assert!(shown.text.contains(config), "{}", shown.text);
}
