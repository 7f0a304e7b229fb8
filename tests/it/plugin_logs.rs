//! What a plugin logs and how it fails, as its tenant sees it; and what its calls come to.

use crate::support::guests::transformer;
use crate::support::wait::eventually;
use crate::support::{Receiver, Server};
use serde_json::{Value, json};

const LOGS: &str = "/api/v1/plugins/shared/guest/logs";

/// A webhook of the tenant with `shared/guest` before it.
async fn bind(server: &Server, receiver: &Receiver, tenant: &str) -> crate::support::webhooks::Webhook {
    let chain = json!({"events": ["call.*"], "chain": [{"plugin": "shared/guest"}]});
    server.webhook_with(tenant, &receiver.url(), chain).await
}

#[tokio::test]
async fn a_tenant_reads_what_a_plugin_logged_on_its_events_and_nobody_elses() {
    let server = Server::start().await;
    server.install("guest", &transformer("1").logging("warn", "an odd caller").bytes()).await;
    let mut receiver = Receiver::start().await;
    let (_ours, _theirs) = (bind(&server, &receiver, "acme").await, bind(&server, &receiver, "globex").await);
    let id = server.publish("acme", json!({"type": "call.ended"})).await;
    receiver.expect_delivery().await;

    let lines = server.admin("acme").get(LOGS).await.expect(200).body;
    let line = &lines["data"][0];
    assert_eq!((&line["level"], &line["message"]), (&json!("warn"), &json!("an odd caller")), "{lines}");
    assert_eq!((&line["version"], &line["event_id"], &line["code"]), (&json!(1), &json!(id), &Value::Null), "{lines}");
    assert!(line["at"].as_str().is_some_and(|at| at.ends_with('Z')), "{lines}");
    assert_eq!(server.admin("globex").get(LOGS).await.expect(200).body["data"], json!([]));
    server.service("acme").get(LOGS).await.expect_problem(403);
    server.admin("acme").get("/api/v1/plugins/shared/nobody/logs").await.expect_problem(404);
    server.admin("acme").get("/api/v1/plugins/nobody/logs").await.expect_problem(404);
}

#[tokio::test]
async fn failures_are_in_the_log_and_pages_and_levels_narrow_it() {
    let server = Server::start().await;
    server.install("guest", &transformer("1").failing().logging("chatty", "about to fail").bytes()).await;
    let receiver = Receiver::start().await;
    let webhook = bind(&server, &receiver, "acme").await;
    for _ in 0..3 {
        server.publish("acme", json!({"type": "call.ended"})).await;
    }
    webhook.expect_count("plugin_failed", 3).await;
    let admin = server.admin("acme");
    let all = admin.get_all(LOGS).await;
    assert_eq!(all.len(), 6, "{all:?}");
    let first = admin.get(&format!("{LOGS}?limit=2")).await.expect(200).body;
    let cursor = first["next_cursor"].as_str().expect("there is more");
    let next = admin.get(&format!("{LOGS}?limit=2&cursor={cursor}")).await.expect(200).body;
    assert_eq!((&first["data"], &next["data"]), (&json!(all[..2]), &json!(all[2..4])));
    assert_eq!(all[0]["message"], "this event is not understood", "newest first: {all:?}");
    assert_eq!((&all[0]["code"], &all[0]["level"]), (&json!("bad-input"), &json!("error")));
    assert_eq!((&all[1]["message"], &all[1]["level"]), (&json!("about to fail"), &json!("info")), "{all:?}");
    let errors = admin.get(&format!("{LOGS}?level=error")).await.expect(200);
    assert_eq!(errors.body["data"].as_array().map(Vec::len), Some(3), "{}", errors.text);
    admin.get(&format!("{LOGS}?level=loud")).await.expect_invalid("level");
}

#[tokio::test]
async fn what_is_over_the_bound_is_counted() {
    let server = Server::start().await;
    server.install("guest", &transformer("1").chattering().bytes()).await;
    let receiver = Receiver::start().await;
    bind(&server, &receiver, "acme").await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    // A million lines fit the deadline on a quick machine and do not on a slow one.
    let lines = eventually("the lines that were dropped", async || {
        let lines = server.admin("acme").get_all(LOGS).await;
        lines.iter().any(|line| line["dropped"].as_u64() > Some(0)).then_some(lines)
    })
    .await;
    let kept = lines.iter().filter(|line| line["message"] == "one of a million").count();
    assert_eq!(kept, 100, "{lines:?}");
}

#[tokio::test]
async fn each_tenant_sees_its_own_counters() {
    let server = Server::start().await;
    server.install("guest", &transformer("1").dropping().bytes()).await;
    let receiver = Receiver::start().await;
    let webhook = bind(&server, &receiver, "acme").await;
    for _ in 0..3 {
        server.publish("acme", json!({"type": "call.ended"})).await;
    }
    webhook.expect_count("dropped", 3).await;
    let ours = server.plugin_seen_by("acme", "guest").await.expect("it is listed");
    assert_eq!((&ours["calls"], &ours["drops"], &ours["failures"]), (&json!(3), &json!(3), &json!(0)), "{ours}");
    assert!(ours["cpu_microseconds"].as_u64() > Some(0), "{ours}");
    assert!(ours["memory_bytes"].as_u64() >= Some(2 << 16), "{ours}");
    assert_eq!(ours["breaker"], "closed");
    let theirs = server.plugin_seen_by("globex", "guest").await.expect("it is listed");
    assert_eq!((&theirs["calls"], &theirs["drops"]), (&json!(0), &json!(0)), "{theirs}");
}
