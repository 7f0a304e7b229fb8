//! The stock plugins as they are shipped: each golden file, through a webhook's chain in the real server.

use crate::support::{Receiver, Server, repository, stock_plugin};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// One golden file; the plugins' own tests run the same natively. Raw values keep the text of numbers.
#[derive(serde::Deserialize)]
struct Case {
    name: String,
    config: Option<Box<RawValue>>,
    event: BTreeMap<String, Box<RawValue>>,
    expect: Value,
}

#[tokio::test]
async fn every_golden_case_of_slack_is_answered_as_written() {
    run("slack").await;
}

#[tokio::test]
async fn every_golden_case_of_match_is_answered_as_written() {
    run("match").await;
}

#[tokio::test]
async fn every_golden_case_of_discord_is_answered_as_written() {
    run("discord").await;
}

#[tokio::test]
async fn every_golden_case_of_teams_is_answered_as_written() {
    run("teams").await;
}

#[tokio::test]
async fn every_golden_case_of_redact_is_answered_as_written() {
    run("redact").await;
}

#[tokio::test]
async fn every_golden_case_of_reshape_is_answered_as_written() {
    run("reshape").await;
}

#[tokio::test]
async fn every_golden_case_of_cloudevents_is_answered_as_written() {
    run("cloudevents").await;
}

#[tokio::test]
async fn a_redacted_event_is_redacted_for_every_step_after_it_and_on_sockets() {
    let server = Server::start().await;
    for plugin in ["redact", "reshape"] {
        server.install(plugin, &stock_plugin(plugin)).await;
    }
    let redact = json!({"plugin": "shared/redact", "config": {"mask": ["/caller"], "drop": ["/note"]}});
    let reshape =
        json!({"plugin": "shared/reshape", "config": {"body": {"from": {"$": "/caller"}, "note": {"$": "/note"}}}});
    server.admin("acme").put("/api/v1/sockets/chain", json!([redact])).await.expect(200);
    let mut receiver = Receiver::start().await;
    server.webhook_with("acme", &receiver.url(), json!({"chain": [redact, reshape]})).await;
    let mut socket = server.socket("acme", "kim").await;
    server.publish("acme", json!({"type": "call.missed", "data": {"caller": "+12125550123", "note": "angry"}})).await;
    assert_eq!(receiver.expect_delivery().await.text(), r#"{"from":"***","note":null}"#);
    assert_eq!(socket.expect_event("call.missed").await["data"], json!({"caller": "***"}));
}

#[tokio::test]
async fn a_cloudevent_sent_to_another_jackfield_arrives_as_it_was() {
    let (server, other) = (Server::start().await, Server::start().await);
    server.install("cloudevents", &stock_plugin("cloudevents")).await;
    let mut socket = other.socket("acme", "kim").await;
    for mode in ["structured", "binary"] {
        let mut receiver = Receiver::start().await;
        let chain = json!([{"plugin": "shared/cloudevents", "config": {"mode": mode}}]);
        server.webhook_with("acme", &receiver.url(), json!({"chain": chain, "events": [format!("call.{mode}")]})).await;
        let event = json!({"type": format!("call.{mode}"), "key": "call 77 é%", "source": "pbx-1", "user_id": "kim", "data": {"n": 1}});
        server.publish("acme", event.clone()).await;
        let sent = receiver.expect_delivery().await;
        let attributes = sent.headers.iter().filter(|(name, _)| name.as_str().starts_with("ce-"));
        let attributes: Vec<(&str, &str)> =
            attributes.map(|(name, value)| (name.as_str(), value.to_str().expect("it is ASCII"))).collect();
        assert_eq!(attributes.is_empty(), mode == "structured");
        let (content_type, body) = (sent.header("content-type"), sent.text().as_bytes().to_vec());
        other.service("acme").post_bytes("/api/v1/events", content_type, body, &attributes).await.expect(202);
        let came = socket.expect_event(event["type"].as_str().unwrap_or_default()).await;
        for field in ["type", "key", "source", "user_id", "data"] {
            assert_eq!(came[field], event[field], "{field} of the {mode} form");
        }
    }
}

#[tokio::test]
async fn every_golden_case_of_js_is_answered_as_written() {
    run("js").await;
}

#[tokio::test]
async fn match_drops_on_a_webhook_and_hides_on_sockets() {
    let server = Server::start().await;
    server.install("match", &stock_plugin("match")).await;
    let chain = json!([{"plugin": "shared/match", "config": {"all": [{"pointer": "/queue", "eq": "sales"}]}}]);
    server.admin("acme").put("/api/v1/sockets/chain", chain.clone()).await.expect(200);
    let mut receiver = Receiver::start().await;
    let webhook = server.webhook_with("acme", &receiver.url(), json!({"chain": chain})).await;
    let mut socket = server.socket("acme", "kim").await;
    server.publish("acme", json!({"type": "call.missed", "data": {"queue": "support"}})).await;
    server.publish("acme", json!({"type": "call.ended", "data": {"queue": "sales"}})).await;
    receiver.expect_silence_until("call.ended").await;
    socket.expect_silence_until("call.ended").await;
    webhook.expect_count("dropped", 1).await;
}

#[tokio::test]
async fn match_before_slack_sends_only_what_matters() {
    let server = Server::start().await;
    server.install("match", &stock_plugin("match")).await;
    server.install("slack", &stock_plugin("slack")).await;
    let chain = json!([
        {"plugin": "shared/match", "config": {"all": [{"pointer": "/queue", "eq": "sales"}]}},
        {"plugin": "shared/slack", "events": ["call.*"], "config": {"channel": "#sales"}},
    ]);
    let mut receiver = Receiver::start().await;
    server.webhook_with("acme", &receiver.url(), json!({"chain": chain})).await;
    server.publish("acme", json!({"type": "call.missed", "data": {"queue": "support"}})).await;
    server.publish("acme", json!({"type": "call.ended", "data": {"queue": "sales"}})).await;
    let delivery = receiver.expect_delivery().await;
    assert_eq!(delivery.header("x-webhook-event"), "call.ended");
    let message = delivery.json();
    assert!(message["blocks"].is_array() && message["channel"] == "#sales", "{message}");
}

async fn run(plugin: &str) {
    let component = stock_plugin(plugin);
    let server = Server::with().plugin_file(&format!("{plugin}.wasm"), &component).start().await;
    server.plugin_serving(plugin, &component).await;
    answers_every_case(&server, plugin, &repository().join("plugins").join(plugin).join("golden")).await;
}

/// `shared/<plugin>` answers each golden file of the folder as written.
pub async fn answers_every_case(server: &Server, plugin: &str, folder: &Path) {
    for (n, (path, case)) in golden(folder).into_iter().enumerate() {
        eprintln!("{}: {}", path.display(), case.name);
        // As long as the tenant of most cases, so that a text cut to a length is cut at the same place.
        answer(server, plugin, &format!("golden-{n:03}"), &case).await;
    }
}

async fn answer(server: &Server, plugin: &str, tenant: &str, case: &Case) {
    let mut receiver = Receiver::start().await;
    let config = case.config.as_ref().map_or("{}", |c| c.get());
    // Not for every type: a failure is an event of its own.
    let body = format!(
        r#"{{"name":"golden","url":"{}","events":[{}],"retry_count":0,"chain":[{{"plugin":"shared/{plugin}","config":{config}}}]}}"#,
        receiver.url(),
        case.event["type"]
    );
    let made = server.admin(tenant).post_text("/api/v1/webhooks", &body).await;
    let expect = &case.expect;
    if let Some(words) = expect["configure_error"].as_str() {
        assert_eq!(made.status, 422, "{}", made.text);
        let shown = made.body.to_string();
        let escaped = json!(words).to_string();
        assert!(shown.contains(escaped.trim_matches('"')), "the plugin's words are missing: {words} in {shown}");
        return;
    }
    let id = made.expect(201).body["id"].clone();
    server.service(tenant).post_text("/api/v1/events", &publishable(case)).await.expect(202);
    let delivered = expect["verdict"] == "emit" || expect["verdict"] == "pass" || expect["matches"] == true;
    if !delivered {
        expect_undelivered(server, tenant, &id, expect).await;
        assert!(receiver.all().is_empty());
        return;
    }
    let delivery = receiver.expect_delivery().await;
    if expect["verdict"] == "emit" {
        assert_eq!(delivery.header("content-type"), expect["content_type"].as_str().unwrap_or("application/json"));
        if let Some(text) = expect["text"].as_str() {
            assert_eq!(delivery.text(), text);
        } else {
            let came = as_the_golden_file_says(&delivery.json(), tenant, case);
            assert_eq!(came, without_times(&expect["body"]));
        }
        for (name, value) in expect["headers"].as_object().into_iter().flatten() {
            assert_eq!(Some(delivery.header(name)), value.as_str(), "{name}");
        }
    } else {
        let data = case.event.get("data").map_or("null", |d| d.get());
        assert!(delivery.text().contains(&format!("\"data\":{data}")), "{}", delivery.text());
    }
}

async fn expect_undelivered(server: &Server, tenant: &str, webhook: &Value, expect: &Value) {
    let (state, client) =
        (if expect.get("failure").is_some() { "plugin_failed" } else { "dropped" }, server.admin(tenant));
    crate::support::eventually(&format!("one {state} delivery"), || async {
        let stats = client.get(&format!("/api/v1/webhooks/{webhook}/stats")).await.expect(200);
        let totals = crate::support::find(&stats.body, "totals").unwrap_or(&stats.body);
        (crate::support::find(totals, state)? == 1).then_some(())
    })
    .await;
    for said in [&expect["failure"]["code"], &expect["failure"]["message"]].into_iter().filter(|said| said.is_string())
    {
        let failed = client.get("/api/v1/webhooks/failed").await.expect(200);
        assert!(failed.text.contains(said.to_string().trim_matches('"')), "{said} is not shown: {}", failed.text);
    }
}

/// The folder's `*.json`, sorted.
fn golden(folder: &Path) -> Vec<(PathBuf, Case)> {
    let files = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{} is not there: {e}", folder.display()));
    let mut paths: Vec<PathBuf> = files.map(|f| f.expect("a folder can be read").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "json"));
    paths.sort();
    assert!(!paths.is_empty(), "{} holds no golden files", folder.display());
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("a golden file can be read");
        let case = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{} is no case: {e}", path.display()));
        (path, case)
    };
    paths.into_iter().map(read).collect()
}

/// The event as a publisher sends it: tenant and time are the server's to say.
fn publishable(case: &Case) -> String {
    let mut fields: Vec<String> = case
        .event
        .iter()
        .filter(|(name, _)| !["tenant_id", "timestamp"].contains(&name.as_str()))
        .map(|(name, value)| format!("\"{name}\":{}", value.get()))
        .collect();
    if !case.event.contains_key("id") {
        fields.push("\"id\":\"evt_golden\"".to_owned());
    }
    format!("{{{}}}", fields.join(","))
}

/// What was delivered, with the case's tenant instead of the run's, and without times.
fn as_the_golden_file_says(delivered: &Value, tenant: &str, case: &Case) -> Value {
    let named: Option<String> = case.event.get("tenant_id").and_then(|t| serde_json::from_str(t.get()).ok());
    let text = delivered.to_string().replace(tenant, named.as_deref().unwrap_or("tenant-123"));
    without_times(&serde_json::from_str(&text).expect("a name was replaced by a name"))
}

/// The same JSON with every digit of a Slack date (`<!date^…>`), a UTC time or a time alone replaced, since a run has its own clock.
fn without_times(value: &Value) -> Value {
    let is_time = |text: &str| text.len() == 24 && text.ends_with('Z') && text.get(10..11) == Some("T");
    match value {
        Value::String(text) if text.contains("<!date^") || text.contains(" UTC") || is_time(text) => {
            Value::String(text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect())
        }
        Value::Array(list) => list.iter().map(without_times).collect(),
        Value::Object(members) => members.iter().map(|(name, v)| (name.clone(), without_times(v))).collect(),
        other => other.clone(),
    }
}
