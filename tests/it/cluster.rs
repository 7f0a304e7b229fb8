//! Contract, section 6: nodes that meet in one Redis are one server, to sockets as to webhooks.

use crate::support::guests;
use crate::support::load::{Load, Plan, WhenItBreaks};
use crate::support::receiver::Receiver;
use crate::support::watcher::Watcher;
use crate::support::{Database, Redis, Server, Token, databases::Kind, eventually};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// What is changed through one node is in force on the others within this time, where there is Redis.
const IN_FORCE: Duration = Duration::from_secs(1);
/// Of all three channels.
pub const TYPES: &[&str] = &["call.ended", "agent.login", "queue.stats.updated", "call.hold"];

/// Two nodes of one database and one Redis.
pub struct Pair {
    pub nodes: [Server; 2],
    pub redis: Redis,
    pub database: Database,
}

impl Pair {
    pub async fn start() -> Pair {
        Pair::meeting_in(Redis::start().await).await
    }

    pub async fn meeting_in(redis: Redis) -> Pair {
        let database = Database::relaxed(Kind::MariaDb).await;
        let first = Server::with().database(&database).redis(&redis).start().await;
        let second = Server::with().database(&database).redis(&redis).start().await;
        let pair = Pair { nodes: [first, second], redis, database };
        pair.shared().await;
        pair
    }

    /// Waits until both nodes are one.
    pub async fn shared(&self) {
        for node in &self.nodes {
            shared(node).await;
        }
    }
}

pub async fn shared(node: &Server) {
    redis_is(node, "ok").await;
}

/// Waits until `/readyz` says this of Redis, with this status.
pub async fn redis_is(node: &Server, word: &str) {
    eventually(&format!("a node to say that Redis is {word}"), || async {
        let ready = node.anonymous().get("/readyz").await;
        let status = if word == "deaf" { 503 } else { 200 };
        (ready.body["parts"]["redis"] == word && ready.status == status).then_some(())
    })
    .await;
}

// --- events --------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn an_event_of_either_node_reaches_the_sockets_of_both_once_and_in_one_order() {
    let pair = Pair::start().await;
    let [one, two] = &pair.nodes;
    let watchers = [
        Watcher::on(one, "acme", "kim").await,
        Watcher::on(two, "acme", "lee").await,
        Watcher::on(two, "acme", "max").await,
    ];
    let publishers = pair.nodes.iter().flat_map(|node| [node.service("acme"), node.service("acme")]).collect();
    let plan = Plan { when_it_breaks: WhenItBreaks::End, types: TYPES, pause: None };
    let load = Load::planned("all", publishers, plan);
    load.accept_many(1500).await;
    let ids = load.end().await;
    for watcher in &watchers {
        watcher.expect(&ids).await;
        assert_eq!(watcher.ids().len(), ids.len(), "and nothing else");
        assert!(watcher.gaps().is_empty());
    }
    let order = watchers[0].ids();
    assert!(watchers.iter().all(|watcher| watcher.ids() == order), "all see one order");
    Watcher::agree(&watchers);
}

#[tokio::test]
async fn an_array_is_seen_in_its_order_by_all() {
    let pair = Pair::start().await;
    let [one, two] = &pair.nodes;
    let watchers = [Watcher::on(one, "acme", "kim").await, Watcher::on(two, "acme", "lee").await];
    let ids: Vec<String> = (0..300).map(|n| format!("a-{n}")).collect();
    let typed = ids.iter().zip(TYPES.iter().cycle());
    let events: Vec<Value> = typed.map(|(id, event_type)| json!({"id": id, "type": event_type})).collect();
    two.service("acme").post("/api/v1/events", json!(events)).await.expect(202);
    for watcher in &watchers {
        watcher.expect(&ids).await;
        assert_eq!(watcher.ids(), ids);
    }
}

#[tokio::test]
async fn each_event_is_on_one_channel_as_the_frame_with_its_place() {
    let pair = Pair::start().await;
    let [one, two] = &pair.nodes;
    let mut socket = two.socket("acme", "kim").await;
    let mut listener = pair.redis.listen().await;
    for (event_type, channel) in [
        ("agent.state.changed", "callcenter:agents:acme"),
        ("call.incoming", "callcenter:calls:acme"),
        ("call.recording.available", "callcenter:calls:acme"),
        ("queue.stats.updated", "callcenter:events"),
        ("callback.wanted", "callcenter:events"),
        ("agents", "callcenter:events"),
        ("chat.typing", "callcenter:events"),
        ("call.incoming", "callcenter:calls:acme"),
    ] {
        let event =
            json!({"type": event_type, "user_id": "kim", "key": "k", "data": {"n": 1, "text": "é\"\\,\"epoch\":"}});
        one.publish("acme", event).await;
        // In order, and so each once.
        let (heard_on, mut message) = listener.expect_event().await;
        assert_eq!((heard_on.as_str(), &message["type"]), (channel, &json!(event_type)));
        let frame = socket.expect_event(event_type).await;
        let members = message.as_object_mut().expect("an event");
        let epoch = members.remove("epoch").expect("the message names its epoch, or that it has none");
        assert_eq!(epoch.is_null(), event_type == "chat.typing", "what is ephemeral has no place");
        assert_eq!(message, frame, "besides, it is the frame");
    }
}

#[tokio::test]
async fn ephemeral_events_reach_all_and_have_no_place() {
    let pair = Pair::start().await;
    let [one, two] = &pair.nodes;
    let mut sockets = [one.socket("acme", "kim").await, two.socket("acme", "lee").await];
    one.publish("acme", json!({"type": "chat.typing", "data": {"from": "kim"}})).await;
    two.publish("acme", json!({"type": "chat.typing", "data": {"from": "lee"}})).await;
    for socket in &mut sockets {
        for from in ["kim", "lee"] {
            let typing = socket.expect_event("chat.typing").await;
            assert_eq!((&typing["data"]["from"], &typing["offset"]), (&json!(from), &Value::Null));
        }
    }
}

#[tokio::test]
async fn what_is_hard_to_read_reaches_the_other_node_as_it_was_sent() {
    let pair = Pair::start().await;
    let [one, two] = &pair.nodes;
    let mut socket = two.socket("acme", "kim:*|{}").await;
    let deep = format!("{}1{}", "[".repeat(127), "]".repeat(127));
    let long = format!(r#""{}""#, "x".repeat(200 * 1024));
    for data in
        [r#"{"n":1e999,"m":123456789012345678901234567890,"a":1,"a":2}"#, &deep, &long, r#""\u0000\ud83d\ude00""#]
    {
        let event = format!(r#"{{"type":"call.ended","user_id":"kim:*|{{}}","data":{data}}}"#);
        one.service("acme").post_text("/api/v1/events", &event).await.expect(202);
        let text = socket.expect_text("call.ended").await;
        assert!(text.contains(&format!(r#""data":{data}"#)), "{}", &text[..text.len().min(300)]);
    }
}

#[tokio::test]
async fn the_sockets_chain_runs_once_for_an_event_whatever_nodes_show_it() {
    let pair = Pair::start().await;
    for node in &pair.nodes {
        node.install("guest", &guests::transformer("1").bytes()).await;
    }
    let [one, two] = &pair.nodes;
    one.admin("acme").put("/api/v1/sockets/chain", json!([{"plugin": "shared/guest"}])).await.expect(200);
    let mut sockets =
        [one.socket("acme", "kim").await, two.socket("acme", "lee").await, two.socket("acme", "max").await];
    for n in 0..10 {
        one.publish("acme", json!({"type": "call.ended", "data": {"n": n}})).await;
    }
    for socket in &mut sockets {
        for n in 0..10 {
            let data = socket.expect_event("call.ended").await["data"].clone();
            assert_eq!(data["data"]["n"], n, "what the chain made of it, made once: {data}");
        }
    }
}

// --- coming back ---------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_client_that_changes_nodes_under_load_misses_nothing_and_sees_nothing_twice() {
    let pair = Pair::start().await;
    let [one, two] = &pair.nodes;
    let publishers = pair.nodes.iter().map(|node| node.service("acme")).collect();
    let plan = Plan { when_it_breaks: WhenItBreaks::End, types: TYPES, pause: Some(Duration::from_millis(10)) };
    // One stays, so that the nodes differ in how much they have of the tenant.
    let stays = Watcher::on(one, "acme", "stays").await;
    let load = Load::planned("roam", publishers, plan);
    load.accept_more(50).await;
    let mut ids = Vec::new();
    let mut place = String::new();
    for turn in 0..10 {
        let node = [one, two][turn % 2];
        let token = Token::of("acme").user("kim").role("agent").sign();
        let since = if place.is_empty() { String::new() } else { format!("?since={place}") };
        let mut socket = node.dial(&format!("/ws{since}")).bearer(&token).open().await;
        let welcome = socket.expect_welcome().await;
        for _ in 0..40 {
            let frame = socket.expect_any().await;
            let id = frame.value["id"].as_str().unwrap_or_else(|| panic!("a gap or worse: {}", frame.text));
            ids.push(id.to_owned());
            place = format!("{}:{}", welcome["epoch"].as_str().expect("an epoch"), frame.value["offset"]);
        }
        socket.close().await;
        load.accept_more(50).await;
    }
    let all = load.end().await;
    stays.expect(&all).await;
    let order = stays.ids();
    let from = order.iter().position(|id| *id == ids[0]).expect("it is among them");
    assert_eq!(ids, order[from..from + ids.len()], "each once, in order, with nothing left out");
}

// --- what is changed through one node ------------------------------------------------------------------------------

#[tokio::test]
async fn webhooks_changed_on_one_node_are_in_force_on_the_other_within_a_second() {
    let pair = Pair::start().await;
    let [one, two] = &pair.nodes;
    let (receiver, other) = (Receiver::start().await, Receiver::start().await);
    let begun = Instant::now();
    let webhook = one.webhook("acme", &receiver.url()).await;
    eventually("the other node to know a webhook", || async {
        (two.admin("acme").get(&webhook.path()).await.status == 200).then_some(())
    })
    .await;
    in_force(begun);
    two.publish("acme", json!({"type": "call.ended"})).await;
    receiver.expect("a delivery of the other node's event", |all| !all.is_empty()).await;
    let begun = Instant::now();
    webhook.change(json!({"url": other.url()})).await;
    eventually("the other node to know the new address", || async {
        let shown = two.admin("acme").get(&webhook.path()).await.expect(200).body;
        (shown["url"] == other.url().as_str()).then_some(())
    })
    .await;
    in_force(begun);
    two.publish("acme", json!({"type": "call.ended"})).await;
    other.expect("a delivery at the new address", |all| !all.is_empty()).await;
    assert_eq!(receiver.count(), 1);
}

#[tokio::test]
async fn a_chain_changed_on_one_node_is_in_force_on_the_other_within_a_second() {
    let pair = Pair::start().await;
    for node in &pair.nodes {
        node.install("guest", &guests::transformer("1").bytes()).await;
    }
    let [one, two] = &pair.nodes;
    let mut socket = one.socket("acme", "kim").await;
    for (chain, transforms) in [(json!([{"plugin": "shared/guest"}]), true), (json!([]), false)] {
        let begun = Instant::now();
        one.admin("acme").put("/api/v1/sockets/chain", chain).await.expect(200);
        loop {
            two.publish("acme", json!({"type": "call.ended", "data": {"n": 1}})).await;
            let data = socket.expect_event("call.ended").await["data"].clone();
            if (data != json!({"n": 1})) == transforms {
                break;
            }
            in_force(begun);
        }
    }
}

#[tokio::test]
async fn a_plugins_secret_changed_on_one_node_is_in_force_on_the_other_within_a_second() {
    const SECRET: &str = "/api/v1/plugin-secrets/token";
    let pair = Pair::start().await;
    let [one, two] = &pair.nodes;
    for is_set in [true, false] {
        let begun = Instant::now();
        if is_set {
            let secret = json!({"value": "xoxb-1234", "plugins": ["shared/guest"]});
            one.admin("acme").put(SECRET, secret).await.expect(200);
        } else {
            one.admin("acme").delete(SECRET).await.expect(204);
        }
        while two.admin("acme").get_all("/api/v1/plugin-secrets").await.is_empty() == is_set {
            in_force(begun);
        }
    }
}

fn in_force(since: Instant) {
    assert!(since.elapsed() <= IN_FORCE, "a change took {:?}", since.elapsed());
}

#[tokio::test]
async fn a_session_that_ends_on_one_node_closes_its_visitor_on_the_other() {
    const SESSION: &str = "session-0123456789abcdef";
    let pair = Pair::start().await;
    let [one, two] = &pair.nodes;
    one.publish("acme", json!({"type": "chat.session.created", "session_id": SESSION})).await;
    let mut visitor = two.dial(&format!("/ws/public/{SESSION}")).open().await;
    visitor.expect_welcome().await;
    let mut agent = one.socket("acme", "kim").await;
    visitor.send(json!({"type": "chat.message", "data": {"from": "visitor", "text": "hello"}})).await;
    assert_eq!(agent.expect_event("chat.message").await["session_id"], SESSION);
    agent.send(json!({"type": "chat.message", "session_id": SESSION, "data": {"from": "kim", "text": "hi"}})).await;
    for text in ["hello", "hi"] {
        assert_eq!(visitor.expect_event("chat.message").await["data"]["text"], text);
    }
    one.publish("acme", json!({"type": "chat.session.ended", "session_id": SESSION})).await;
    assert_eq!(visitor.expect_close().await, 4404);
    assert_eq!(two.dial(&format!("/ws/public/{SESSION}")).refused().await, 404);
}

// --- subscriptions -------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_node_listens_to_the_tenants_that_are_connected_to_it() {
    let pair = Pair::start().await;
    let [one, two] = &pair.nodes;
    let of = |channels: &[String]| -> Vec<String> {
        let tenants = channels.iter().filter(|channel| channel.contains("agents:") || channel.contains("calls:"));
        tenants.map(|channel| channel.trim_start_matches("callcenter:").to_owned()).collect()
    };
    assert!(of(&pair.redis.channels().await).is_empty(), "nobody is here");
    let (kim, _lee) = (one.socket("acme", "kim").await, two.socket("other", "lee").await);
    let both = ["agents:acme", "agents:other", "calls:acme", "calls:other"];
    assert_eq!(of(&pair.redis.channels().await), both, "in force with the welcome");
    let listeners: (String, i64) = pair.redis.ask("PUBSUB NUMSUB callcenter:calls:acme").await;
    assert_eq!(listeners.1, 1, "one node, not both");
    kim.close().await;
    // A tenant is listened to for a little longer: most come back at once.
    assert_eq!(of(&pair.redis.channels().await), both);
    let mut kim = one.socket("acme", "kim").await;
    two.publish("acme", json!({"type": "call.ended"})).await;
    kim.expect_event("call.ended").await;
}

#[tokio::test]
async fn long_a_tenant_that_is_gone_is_listened_to_no_more_and_comes_back_to_the_same_place() {
    let pair = Pair::start().await;
    let [one, two] = &pair.nodes;
    let token = Token::of("acme").user("kim").role("agent").sign();
    let mut socket = one.dial("/ws").bearer(&token).open().await;
    let welcome = socket.expect_welcome().await;
    socket.close().await;
    crate::support::within(Duration::from_secs(60), "the channels to be left", async {
        let mut ticks = tokio::time::interval(Duration::from_millis(200));
        while pair.redis.channels().await.iter().any(|channel| channel.ends_with(":acme")) {
            ticks.tick().await;
        }
    })
    .await;
    two.publish("acme", json!({"type": "call.ended"})).await;
    let since = format!("/ws?since={}:{}", welcome["epoch"].as_str().expect("an epoch"), welcome["offset"]);
    let mut socket = one.dial(&since).bearer(&token).open().await;
    socket.expect_welcome().await;
    assert_eq!(socket.expect_any().await.value["type"], "call.ended", "what was missed, and no gap");
}
