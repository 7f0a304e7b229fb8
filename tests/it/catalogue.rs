//! The catalogue of event types: every type of the contract, with a schema of its data.

use crate::support::{Server, items};
use serde_json::Value;

#[rustfmt::skip]
const TYPES: [&str; 33] = [
    "agent.state.changed", "agent.login", "agent.logout", "agent.break.started", "agent.break.ended",
    "agent.presence.online", "agent.presence.offline",
    "call.incoming", "call.ringing", "call.answered", "call.ended", "call.transferred", "call.hold", "call.unhold",
    "call.missed", "call.recording.available",
    "queue.member.added", "queue.member.removed", "queue.stats.updated", "queue.call.joined", "queue.call.abandoned",
    "chat.message", "chat.typing", "chat.session.created", "chat.session.ended", "chat.agent.assigned",
    "notification", "error", "ping", "pong",
    "webhook.test", "webhook.disabled", "plugin.failed",
];

async fn listed(server: &Server) -> Vec<Value> {
    items(&server.agent("acme").get("/api/v1/event-types").await.expect(200).body)
}

#[tokio::test]
async fn every_type_of_the_contract_is_listed_once_with_group_meaning_and_schema() {
    let server = Server::start().await;
    let listed = listed(&server).await;
    for name in TYPES {
        let found: Vec<_> = listed.iter().filter(|t| t["name"] == name).collect();
        assert_eq!(found.len(), 1, "{name} in the catalogue");
        for field in ["group", "meaning"] {
            assert!(found[0][field].as_str().is_some_and(|text| !text.is_empty()), "{name} has no {field}");
        }
        assert!(found[0]["schema"].is_object(), "{name} has no schema: {}", found[0]);
    }
}

#[tokio::test]
async fn schemas_require_what_the_contract_requires() {
    let server = Server::start().await;
    let listed = listed(&server).await;
    let cases = [
        ("call.ended", vec!["call_id", "duration_s"], vec!["agent_id", "cause"]),
        ("agent.state.changed", vec!["user_id", "state"], vec!["previous_state", "reason"]),
        ("queue.stats.updated", vec!["queue", "waiting", "longest_wait_s", "agents_available"], vec![]),
        ("chat.message", vec!["from", "text"], vec!["attachments"]),
    ];
    for (name, required, optional) in cases {
        let schema = &listed.iter().find(|t| t["name"] == name).expect("it is listed")["schema"];
        let demanded = schema["required"].as_array().cloned().unwrap_or_default();
        for field in required {
            assert!(demanded.contains(&field.into()), "{name} requires {field}: {schema}");
        }
        for field in optional {
            assert!(!demanded.contains(&field.into()), "{name} does not require {field}: {schema}");
            assert!(schema["properties"][field].is_object(), "{name} describes {field}: {schema}");
        }
    }
}

#[tokio::test]
async fn a_schema_documents_and_does_not_enforce() {
    let server = Server::start().await;
    server.publish("acme", serde_json::json!({"type": "call.ended", "data": "not what the schema says"})).await;
}
