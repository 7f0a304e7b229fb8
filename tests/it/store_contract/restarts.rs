//! A stop and a start keep everything: what is owed, who is known, what was said.

use crate::support::{Database, Receiver, Server, guests, items, on_every_database};
use serde_json::json;

on_every_database! { relaxed:
    a_stop_and_a_start_keep_everything,
    a_sockets_chain_is_kept,
    a_chat_session_and_its_end_are_kept,
    a_start_on_the_same_database_changes_nothing,
}

async fn a_stop_and_a_start_keep_everything(database: Database) {
    let mut server = Server::with().database(&database).env("WEBHOOK_RETRY_SCHEDULE", "300ms").start().await;
    let mut receiver = Receiver::start().await;
    receiver.answer_always(500);
    let fields = json!({"description": "a ☎", "headers": {"x-team": "blue"}, "retry_count": 20, "timeout": 7});
    let webhook = server.webhook_with("acme", &receiver.url(), fields).await;
    let id = server.publish("acme", json!({"type": "call.ended", "data": {"n": 1}})).await;
    server.publish("acme", json!({"type": "agent.state.changed", "data": {"user_id": "kim", "state": "away"}})).await;
    let first = receiver.expect_delivery().await;
    let shown = webhook.shown().await;
    assert_eq!(server.terminate().await, Some(0));

    receiver.answer_always(200);
    server.restart().await;
    let webhooks = server.admin("acme").get("/api/v1/webhooks").await.expect(200);
    assert_eq!(items(&webhooks.body), [shown]);
    let all =
        receiver.expect("the delivery again", |all| all.last().is_some_and(|d| d.header("x-team") == "blue")).await;
    let last = all.last().expect("there is a last one");
    assert_eq!((last.header("webhook-id"), &last.body), (first.header("webhook-id"), &first.body));
    crate::support::verify::by_the_official_library(last, &webhook.signing_secret).await;
    let state = server.agent("acme").get("/ws/users/kim/online").await.expect(200).body;
    assert_eq!(state["state"], "away");
    let again =
        server.service("acme").post("/api/v1/events", json!({"id": id, "type": "call.ended"})).await.expect(202);
    assert_eq!(again.body["duplicate"], true);
    let logs = server.admin("acme").get(&format!("{}/logs", webhook.path())).await.expect(200);
    assert!(items(&logs.body).iter().any(|attempt| attempt["state"] == "failed"), "{}", logs.text);
}

async fn a_sockets_chain_is_kept(database: Database) {
    let mut server = Server::on(&database).await;
    server.install("guest", &guests::transformer("1").bytes()).await;
    let chain = json!([{"plugin": "shared/guest", "config": {"z": 1, "a": "☎"}}]);
    server.admin("acme").put("/api/v1/sockets/chain", chain).await.expect(200);
    for orderly in [true, false] {
        if orderly {
            assert_eq!(server.terminate().await, Some(0));
        } else {
            server.kill();
        }
        server.restart().await;
        let mut socket = server.socket("acme", "kim").await;
        server.publish("acme", json!({"type": "call.ended"})).await;
        let event = socket.expect_event("call.ended").await;
        assert_eq!((&event["data"]["version"], &event["data"]["config"]), (&json!("1"), &json!({"z": 1, "a": "☎"})));
    }
}

async fn a_chat_session_and_its_end_are_kept(database: Database) {
    let mut server = Server::on(&database).await;
    let session = "session-0123456789abcdef";
    let event = |name: &str| json!({"type": name, "session_id": session});
    server.publish("acme", event("chat.session.created")).await;
    server.kill();
    server.restart().await;
    server.dial(&format!("/ws/public/{session}")).open().await.expect_welcome().await;
    server.service("other").post("/api/v1/events", event("chat.session.created")).await.expect_problem(409);
    server.publish("acme", event("chat.session.ended")).await;
    server.kill();
    server.restart().await;
    assert_eq!(server.dial(&format!("/ws/public/{session}")).refused().await, 404);
}

/// Migrations run once.
async fn a_start_on_the_same_database_changes_nothing(database: Database) {
    let mut server = Server::on(&database).await;
    server.webhook("acme", "http://127.0.0.1:9/hook").await;
    server.publish("acme", json!({"type": "agent.login"})).await;
    for _ in 0..2 {
        assert_eq!(server.terminate().await, Some(0));
        server.restart().await;
    }
    assert_eq!(database.count("SELECT COUNT(*) FROM jf_events").await, 1);
    assert_eq!(database.count("SELECT COUNT(*) FROM webhooks").await, 1);
}
