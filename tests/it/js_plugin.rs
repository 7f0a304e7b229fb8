//! `shared/js`: a tenant pastes a script into a chain, and what the script does wrong stays the tenant's and names its line.

use crate::support::{Receiver, Server, stock_plugin};
use serde_json::{Value, json};

async fn server_with_js() -> Server {
    let component = stock_plugin("js");
    let server = Server::with().plugin_file("js.wasm", &component).start().await;
    server.plugin_serving("js", &component).await;
    server
}

fn scripted(script: &str) -> Value {
    json!([{"plugin": "shared/js", "config": {"script": script}}])
}

const LABEL: &str = "// For the support channel.
const label = (call) => `Call from ${call.caller}`;

export function transform(event, to) {
  return { text: label(event.data), to: to.name };
}";

#[tokio::test]
async fn a_pasted_script_makes_the_body_and_a_mistake_is_refused_with_its_line() {
    let server = server_with_js().await;
    let mut receiver = Receiver::start().await;
    let fields = json!({"name": "support", "chain": scripted(LABEL)});
    let webhook = server.webhook_with("acme", &receiver.url(), fields).await;
    server.publish("acme", json!({"type": "call.incoming", "data": {"caller": "+49301234567"}})).await;
    let delivery = receiver.expect_delivery().await;
    assert_eq!(delivery.json(), json!({"text": "Call from +49301234567", "to": "support"}));
    assert_eq!(delivery.header("content-type"), "application/json");
    crate::support::verify::by_the_official_library(&delivery, &webhook.signing_secret).await;

    let mistaken = LABEL.replace("to: to.name }", "to: to. }");
    let refused = server.admin("acme").put(&webhook.path(), json!({"chain": scripted(&mistaken)})).await;
    let words = "script line 5, column 45: SyntaxError: expecting field name";
    assert!(refused.text.contains(words), "{}", refused.text);
    refused.expect_invalid("chain");
    server.publish("acme", json!({"type": "call.incoming", "data": {"caller": "kim"}})).await;
    assert_eq!(receiver.expect_delivery().await.json()["text"], "Call from kim", "the script before stays");

    // A top level that never ends is refused as well, by the deadline.
    let refused = server.admin("acme").put(&webhook.path(), json!({"chain": scripted("for (;;) {}")})).await;
    assert!(refused.text.contains("deadline"), "{}", refused.text);
    refused.expect_problem(422);

    // Something other than JSON, which only `emit` says.
    let csv = "export function transform({ data }) {
  return { emit: { contentType: 'text/csv', headers: { 'x-team': 'billing' }, body: `caller\n${data.caller}\n` } };
}";
    webhook.change(json!({"chain": scripted(csv)})).await;
    server.publish("acme", json!({"type": "call.incoming", "data": {"caller": "kim"}})).await;
    let delivery = receiver.expect_delivery().await;
    assert_eq!((delivery.header("content-type"), delivery.header("x-team")), ("text/csv", "billing"));
    assert_eq!(delivery.text(), "caller\nkim\n");
    webhook
        .change(json!({"chain": scripted("export default () => ({ emit: { body: new Uint8Array([104, 105]) } });")}))
        .await;
    server.publish("acme", json!({"type": "call.incoming"})).await;
    let delivery = receiver.expect_delivery().await;
    assert_eq!((delivery.header("content-type"), delivery.text()), ("application/octet-stream", "hi".to_owned()));
}

const FAILING: &str = "let seen = 0;
export function transform(event) {
  seen += 1;
  if (event.data.loop) for (;;) {}
  if (event.data.deep) return (function deeper(n) { return deeper(n + 1) + 1; })(0);
  if (event.data.grow) { const all = []; for (;;) all.push(new Uint8Array(1e6)); }
  if (event.data.flood) return { text: 'x'.repeat(3e6) };
  return { name: event.data.customer.name, seen };
}";

#[tokio::test]
async fn a_script_that_fails_costs_one_event_of_its_own_tenant() {
    let server = server_with_js().await;
    let (mut theirs, mut ours) = (Receiver::start().await, Receiver::start().await);
    let fields = json!({"events": ["call.*"], "retry_count": 0, "chain": scripted(FAILING)});
    let webhook = server.webhook_with("hostile", &theirs.url(), fields).await;
    server.webhook_with("neighbour", &ours.url(), json!({"chain": scripted(LABEL)})).await;
    let failures = [
        (json!({}), "script-error: line 8, column 18: TypeError: cannot read property 'name' of undefined"),
        (json!({"loop": true}), "deadline"),
        (json!({"deep": true}), "stack-overflow"),
        (json!({"grow": true}), "memory"),
        (json!({"flood": true}), "output-too-large"),
    ];
    for (n, (data, reason)) in (1..).zip(failures) {
        server.publish("hostile", json!({"type": "call.ended", "data": data})).await;
        webhook.expect_count("plugin_failed", n).await;
        let failed = webhook.expect_failed().await;
        assert!(failed.to_string().contains(reason), "{reason} is missing: {failed}");
        // The next event of the same script, and the neighbour's, go through.
        server.publish("hostile", json!({"type": "call.ended", "data": {"customer": {"name": "kim"}}})).await;
        assert_eq!(theirs.expect_delivery().await.json()["name"], "kim");
        server.publish("neighbour", json!({"type": "call.ended", "data": {"caller": "lee"}})).await;
        assert_eq!(ours.expect_delivery().await.json()["text"], "Call from lee");
    }
}

/// Leaves traces wherever a script can, and answers with all that it finds.
const TRACES: &str = "const seen = [];
export function transform(event) {
  seen.push(event.tenant);
  globalThis.everyone = [...(globalThis.everyone ?? []), event.tenant];
  Array.prototype.mark = (Array.prototype.mark ?? '') + event.tenant;
  console.mark = (console.mark ?? '') + event.tenant;
  JSON.mark = (JSON.mark ?? '') + event.tenant;
  return { tenant: event.tenant, found: [seen, globalThis.everyone, [].mark, console.mark, JSON.mark].join() };
}";

#[tokio::test]
async fn two_tenants_with_the_same_script_never_see_each_other() {
    let server = server_with_js().await;
    let mut receiver = Receiver::start().await;
    let tenants = ["acme", "other"];
    for tenant in tenants {
        server.webhook_with(tenant, &receiver.url(), json!({"chain": scripted(TRACES)})).await;
    }
    for n in 0..20 {
        server.publish(tenants[n % 2], json!({"type": "call.ended"})).await;
    }
    let mut kept = false;
    for delivery in receiver.expect_deliveries(20).await {
        let body = delivery.json();
        let (own, found) = (body["tenant"].as_str().expect("it says whose it is"), body["found"].to_string());
        let neighbour = tenants.into_iter().find(|tenant| *tenant != own).expect("there are two");
        assert!(found.contains(own) && !found.contains(neighbour), "{own} found {found}");
        kept |= found.matches(own).count() > 5;
    }
    assert!(kept, "no instance served two events: the test shows nothing");
}
