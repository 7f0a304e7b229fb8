//! Who is connected, counted per tenant and over all.

use crate::support::{Server, eventually, find, items};
use serde_json::json;

#[tokio::test]
async fn stats_count_clients_and_users_of_the_callers_tenant() {
    let server = Server::start().await;
    let _sockets = (
        server.socket("acme", "kim").await,
        server.socket("acme", "kim").await,
        server.socket("acme", "lee").await,
        server.socket("other", "max").await,
    );
    for path in ["/ws/stats", "/api/v1/ws/stats"] {
        let stats = server.agent("acme").get(path).await.expect(200).body;
        assert_eq!((&stats["clients"], &stats["users"]), (&json!(3), &json!(2)), "{stats}");
        assert!(stats["tenants"].is_null(), "other tenants are not an agent's to count: {stats}");
    }
}

#[tokio::test]
async fn an_operator_sees_the_whole_hub() {
    let server = Server::start().await;
    let _sockets = (server.socket("acme", "kim").await, server.socket("other", "kim").await);
    let stats = server.operator("ops").get("/ws/stats").await.expect(200).body;
    assert_eq!(stats["clients"], 2, "{stats}");
    assert!(find(&stats, "tenants").is_some(), "{stats}");
}

#[tokio::test]
async fn a_user_is_online_while_a_connection_lives() {
    let server = Server::start().await;
    let client = server.agent("acme");
    let before = client.get("/ws/users/kim/online").await.expect(200).body;
    assert_eq!(
        (&before["user_id"], &before["online"], &before["connections"]),
        (&json!("kim"), &json!(false), &json!(0))
    );

    let (desk, phone) = (server.socket("acme", "kim").await, server.socket("acme", "kim").await);
    let now = client.get("/ws/users/kim/online").await.expect(200).body;
    assert_eq!((&now["online"], &now["connections"]), (&json!(true), &json!(2)));

    desk.close().await;
    phone.close().await;
    let after = eventually("kim to be offline", || async {
        let shown = client.get("/ws/users/kim/online").await.expect(200).body;
        (shown["online"] == false).then_some(shown)
    })
    .await;
    assert_eq!(after["connections"], 0);
    assert!(after["last_seen"].is_string(), "a user who was here has been seen: {after}");
}

#[tokio::test]
async fn a_changed_state_is_remembered() {
    let server = Server::start().await;
    let state = json!({"type": "agent.state.changed", "data": {"user_id": "kim", "state": "on-break"}});
    server.publish("acme", state).await;
    let shown = server.agent("acme").get("/ws/users/kim/online").await.expect(200).body;
    assert_eq!(shown["state"], "on-break", "{shown}");
}

#[tokio::test]
async fn the_online_users_are_listed_once_each() {
    let server = Server::start().await;
    let _sockets = (
        server.socket("acme", "kim").await,
        server.socket("acme", "kim").await,
        server.socket("acme", "lee").await,
        server.socket("other", "max").await,
    );
    let listed = server.agent("acme").get("/ws/users/online").await.expect(200);
    let mut users: Vec<String> = items(&listed.body)
        .iter()
        .map(|u| u.as_str().or(u["user_id"].as_str()).unwrap_or_default().to_owned())
        .collect();
    users.sort();
    assert_eq!(users, ["kim", "lee"], "{}", listed.text);
}
