//! Contract, section 7: a dry run shows what a version would make of events, given or recorded, beside the active one, and
//! sends nothing.

use crate::support::client::Client;
use crate::support::guests::{Guest, transformer};
use crate::support::{Receiver, Server, items};
use crate::uploads::{SLACKISH, put};
use serde_json::{Value, json};

const RUN: &str = "/api/v1/plugins/slackish/run";

async fn install(admin: &Client, guest: Guest, activate: bool) -> Value {
    put(admin, &format!("{SLACKISH}?activate={activate}"), guest.bytes()).await.expect(201).body
}

fn call() -> Value {
    json!({"type": "call.ended", "data": {"n": 1}})
}

#[tokio::test]
async fn an_event_that_was_never_published_is_shaped_and_nothing_is_sent() {
    let server = Server::start().await;
    let admin = server.admin("acme");
    install(&admin, transformer("1"), true).await;
    let mut receiver = Receiver::start().await;
    server.webhook_with("acme", &receiver.url(), json!({"chain": [{"plugin": "slackish"}]})).await;

    let report = admin.post(RUN, json!({"event": call(), "config": {"a": 1}})).await.expect(200).body;
    assert_eq!(
        (&report["plugin"], &report["version"], &report["against"]),
        (&json!("slackish"), &json!(1), &Value::Null)
    );
    let ran = items(&report);
    assert_eq!((ran.len(), &ran[0]["verdict"], &ran[0]["type"]), (1, &json!("emit"), &json!("call.ended")), "{report}");
    let body: Value = serde_json::from_str(ran[0]["output"]["body"].as_str().unwrap()).unwrap();
    assert_eq!((&body["version"], &body["config"]), (&json!("1"), &json!({"a": 1})), "{body}");
    assert!(ran[0]["microseconds"].is_u64() && ran[0]["memory_bytes"].as_u64() > Some(0), "{report}");
    assert!(ran[0]["logs"].is_array(), "{report}");

    // Neither delivered nor recorded: what comes is published after it.
    server.publish("acme", json!({"type": "marker"})).await;
    receiver.expect_silence_until("marker").await;
    assert_eq!(items(&server.service("acme").get("/api/v1/events").await.expect(200).body).len(), 1);
}

#[tokio::test]
async fn a_candidate_is_compared_with_the_active_version_over_recorded_events() {
    let server = Server::start().await;
    let admin = server.admin("acme");
    install(&admin, transformer("1"), true).await;
    install(&admin, transformer("2"), false).await;
    install(&admin, transformer("3").dropping(), false).await;
    install(&admin, transformer("4").looping(), false).await;
    for n in 0..3 {
        server.publish("acme", json!({"id": format!("e-{n}"), "type": "call.ended", "data": n})).await;
    }

    let run = async |body: Value| admin.post(RUN, body).await.expect(200).body;
    let changed = run(json!({"last": 2, "version": 2})).await;
    assert_eq!((&changed["version"], &changed["against"]), (&json!(2), &json!(1)));
    let ids: Vec<_> = items(&changed).iter().map(|event| event["event_id"].clone()).collect();
    assert_eq!(ids, ["e-2", "e-1"], "newest first");
    assert_eq!((&changed["summary"]["events"], &changed["summary"]["changed"]), (&json!(2), &json!(2)), "{changed}");
    assert!(changed["data"][0]["against"]["output"]["body"].as_str().unwrap().contains("\"1\""), "{changed}");

    let dropped = run(json!({"event_id": "e-0", "version": 3})).await;
    assert_eq!((&dropped["data"][0]["verdict"], &dropped["data"][0]["change"]), (&json!("drop"), &json!("dropped")));
    let failed = run(json!({"event_id": "e-0", "version": 4})).await;
    assert_eq!(failed["data"][0]["failure"]["code"], "deadline", "{failed}");
    assert_eq!(failed["summary"]["failed"], 1, "{failed}");
    let same = run(json!({"last": 3, "version": 1, "against": 1})).await;
    assert_eq!((&same["summary"]["same"], &same["summary"]["changed"]), (&json!(3), &json!(0)), "{same}");
    // Rehearsing changes nothing of what serves.
    assert_eq!(admin.get(SLACKISH).await.expect(200).body["active_version"], 1);
}

#[tokio::test]
async fn what_cannot_be_rehearsed_is_told_by_its_field() {
    let server = Server::start().await;
    let admin = server.admin("acme");
    install(&admin, transformer("1").understanding(&["call.*"]), true).await;
    install(&admin, transformer("2").refusing_configuration("no channel"), false).await;

    let skipped = admin.post(RUN, json!({"event": {"type": "chat.message"}})).await.expect(200).body;
    assert_eq!(skipped["data"][0]["verdict"], "skip", "{skipped}");
    let words = admin.post(RUN, json!({"event": call(), "version": 2})).await.expect_invalid("config");
    assert!(words.contains("no channel"), "{words}");
    for (body, field) in [
        (json!({}), "event"),
        (json!({"event": call(), "last": 3}), "event"),
        (json!({"last": 0}), "last"),
        (json!({"last": 201}), "last"),
        (json!({"event": {"type": "Not a type"}}), "type"),
        (json!({"event": call(), "evnt": 1}), "evnt"),
        (json!({"event": call(), "to": "nowhere"}), "to"),
    ] {
        admin.post(RUN, body).await.expect_invalid(field);
    }
    admin.post(RUN, json!({"event": call(), "version": 9})).await.expect_problem(404);
    admin.post(RUN, json!({"event_id": "never-seen"})).await.expect_problem(404);
    admin.post("/api/v1/plugins/nobody/run", json!({"event": call()})).await.expect_problem(404);
    server.service("acme").post(RUN, json!({"event": call()})).await.expect_problem(403);
    // Another tenant's plugin is none.
    server.admin("other").post(RUN, json!({"event": call()})).await.expect_problem(404);
}
