//! Contract, sections 3, 5 and 6: a tenant is told who of its users came and went, once each and in turn, on one server.

use crate::support::socket::Socket;
use crate::support::{Receiver, Server, items, within};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::time::{Duration, Instant};

pub const ONLINE: &str = "agent.presence.online";
pub const OFFLINE: &str = "agent.presence.offline";
/// Whoever is back so soon was never away.
const DEBOUNCE: Duration = Duration::from_secs(3);

/// The next event about this user, whose presence must be told by it.
async fn told(observer: &mut Socket, user: &str) -> Value {
    within(Duration::from_secs(30), &format!("presence of {user} to be told"), async {
        loop {
            let frame = observer.read().await.expect("the observer stays").value;
            let is_presence = frame["type"].as_str().is_some_and(|word| word.starts_with("agent.presence."));
            if is_presence && frame["data"]["user_id"] == user {
                assert_eq!(frame["user_id"], Value::Null, "the tenant sees it: {frame}");
                return frame;
            }
        }
    })
    .await
}

async fn expect_told(observer: &mut Socket, user: &str, event_type: &str, reason: &str) -> Value {
    let event = told(observer, user).await;
    assert_eq!((&event["type"], &event["data"]["reason"]), (&json!(event_type), &json!(reason)), "{event}");
    event
}

/// What a tenant was told about each user, oldest first, as the database has it.
pub async fn histories(server: &Server, tenant: &str) -> HashMap<String, Vec<String>> {
    let mut told = Vec::new();
    for event_type in [ONLINE, OFFLINE] {
        let mut cursor = String::new();
        loop {
            let path = format!("/api/v1/events?type={event_type}&limit=200{cursor}");
            let page = server.service(tenant).get(&path).await.expect(200).body;
            for event in items(&page) {
                let text = |value: &Value| value.as_str().expect("a text").to_owned();
                told.push((text(&event["timestamp"]), event_type.to_owned(), text(&event["data"]["user_id"])));
            }
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
    }
    told.sort();
    let mut histories: HashMap<String, Vec<String>> = HashMap::new();
    told.into_iter().for_each(|(_, event_type, user)| histories.entry(user).or_default().push(event_type));
    histories
}

pub async fn history(server: &Server, tenant: &str, user: &str) -> Vec<String> {
    histories(server, tenant).await.remove(user).unwrap_or_default()
}

#[tokio::test]
async fn two_connections_of_a_user_are_told_once() {
    let server = Server::start().await;
    let mut observer = server.socket("acme", "boss").await;
    let (desk, phone) = (server.socket("acme", "kim").await, server.socket("acme", "kim").await);
    expect_told(&mut observer, "kim", ONLINE, "connected").await;
    desk.close().await;
    let listed = server.agent("acme").get("/ws/users/online").await.expect(200).body;
    assert_eq!(listed["users"], json!(["boss", "kim"]), "the phone is still there");
    let left = Instant::now();
    phone.close().await;
    expect_told(&mut observer, "kim", OFFLINE, "disconnected").await;
    assert!(left.elapsed() >= DEBOUNCE, "too soon: {:?}", left.elapsed());
    assert_eq!(history(&server, "acme", "kim").await, [ONLINE, OFFLINE]);
    let shown = server.agent("acme").get("/ws/users/kim/online").await.expect(200).body;
    assert_eq!((&shown["online"], &shown["connections"]), (&json!(false), &json!(0)));
}

#[tokio::test]
async fn who_reloads_a_page_was_never_away() {
    let server = Server::start().await;
    let mut observer = server.socket("acme", "boss").await;
    let mut kim = server.socket("acme", "kim").await;
    expect_told(&mut observer, "kim", ONLINE, "connected").await;
    for _ in 0..3 {
        kim.close().await;
        kim = server.socket("acme", "kim").await;
    }
    // A connection that is cut, not closed.
    drop(kim);
    let kim = server.socket("acme", "kim").await;
    let lee = server.socket("acme", "lee").await;
    expect_told(&mut observer, "lee", ONLINE, "connected").await;
    lee.close().await;
    // Lee left after kim did last: by then kim's debounce is over, too.
    expect_told(&mut observer, "lee", OFFLINE, "disconnected").await;
    assert_eq!(history(&server, "acme", "kim").await, [ONLINE]);
    drop(kim);
    expect_told(&mut observer, "kim", OFFLINE, "disconnected").await;
}

/// The next start finds who does not come back, and says so once.
#[tokio::test]
async fn who_does_not_come_back_after_a_crash_is_told_offline() {
    let mut server = Server::start().await;
    let mut observer = server.socket("acme", "boss").await;
    let (kim, lee) = (server.socket("acme", "kim").await, server.socket("acme", "lee").await);
    expect_told(&mut observer, "kim", ONLINE, "connected").await;
    expect_told(&mut observer, "lee", ONLINE, "connected").await;
    server.kill();
    drop((kim, lee));
    server.restart().await;
    let mut observer = server.socket("acme", "boss").await;
    let _lee = server.socket("acme", "lee").await;
    expect_told(&mut observer, "kim", OFFLINE, "lost").await;
    let kim = server.socket("acme", "kim").await;
    expect_told(&mut observer, "kim", ONLINE, "connected").await;
    kim.close().await;
    expect_told(&mut observer, "kim", OFFLINE, "disconnected").await;
    assert_eq!(history(&server, "acme", "kim").await, [ONLINE, OFFLINE, ONLINE, OFFLINE]);
    assert_eq!(history(&server, "acme", "lee").await, [ONLINE], "lee was back in time");
    assert_eq!(history(&server, "acme", "boss").await, [ONLINE]);
}

#[tokio::test]
async fn webhooks_are_told_and_tenants_do_not_mix() {
    let server = Server::start().await;
    let (mut ours, theirs) = (Receiver::start().await, Receiver::start().await);
    server.webhook_with("acme", &ours.url(), json!({"events": ["agent.presence.*"]})).await;
    server.webhook_with("other", &theirs.url(), json!({"events": ["agent.presence.*", "call.ended"]})).await;
    let kim = server.socket("acme", "kim").await;
    let event = ours.expect_delivery().await.json();
    assert_eq!(
        (&event["type"], &event["tenant_id"], &event["data"]["user_id"]),
        (&json!(ONLINE), &json!("acme"), &json!("kim"))
    );
    kim.close().await;
    let event = ours.expect_delivery().await.json();
    assert_eq!((&event["type"], &event["data"]["reason"]), (&json!(OFFLINE), &json!("disconnected")));

    let here = server.agent("other").get("/ws/users/kim/online").await.expect(200).body;
    assert_eq!((&here["online"], &here["last_seen"]), (&json!(false), &Value::Null), "another tenant's kim");
    server.publish("other", json!({"type": "call.ended"})).await;
    let mut theirs = theirs;
    theirs.expect_silence_until("call.ended").await;
    let kim = server.socket("other", "kim").await;
    assert_eq!(theirs.expect_delivery().await.json()["tenant_id"], "other");
    assert_eq!(server.agent("acme").get("/ws/users/online").await.expect(200).body["users"], json!([]));
    kim.close().await;
}
