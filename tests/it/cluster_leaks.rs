//! What other programs put on the channels: an event of the right tenant is shown, by every node once; whatever else it
//! is, nobody sees it, and nothing is lost for it.

use crate::cluster::Pair;
use crate::support::{Socket, guests};
use serde_json::{Value, json};

const CALLS: &str = "callcenter:calls:acme";
const EVENTS: &str = "callcenter:events";

/// A pair, with a socket of each tenant's user of one name at each node.
async fn with_sockets() -> (Pair, Vec<Socket>, Vec<Socket>) {
    let pair = Pair::start().await;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for node in &pair.nodes {
        ours.push(node.socket("acme", "kim").await);
        theirs.push(node.socket("other", "kim").await);
    }
    (pair, ours, theirs)
}

/// Publishes the last event of all for a tenant, and makes sure that its sockets see nothing before it.
async fn nothing_before_the_marker(pair: &Pair, tenant: &str, sockets: &mut [Socket]) {
    pair.nodes[1].publish(tenant, json!({"type": "marker"})).await;
    for socket in sockets {
        let frame = socket.expect_any().await;
        assert_eq!(frame.value["type"], "marker", "{}", frame.text);
    }
}

#[tokio::test]
async fn tenants_that_share_a_users_name_share_no_event() {
    let (pair, mut ours, mut theirs) = with_sockets().await;
    for (n, event_type) in ["call.ended", "agent.login", "notification", "chat.typing"].iter().enumerate() {
        let node = &pair.nodes[n % 2];
        node.publish("acme", json!({"type": event_type, "user_id": "kim"})).await;
        for socket in &mut ours {
            assert_eq!(socket.expect_event(event_type).await["tenant_id"], "acme");
        }
    }
    nothing_before_the_marker(&pair, "other", &mut theirs).await;
}

/// Names that would run together in a key or a pattern.
#[tokio::test]
async fn a_users_name_is_that_users_alone_whatever_is_in_it() {
    let pair = Pair::start().await;
    let [one, two] = &pair.nodes;
    let names = ["kim", "kim:*", "*", "kim|lee", "{kim}", "kim:", "k?m", "[k]im", "KIM", "kim\u{e9}"];
    let mut sockets = Vec::new();
    for name in names {
        sockets.push(two.socket("acme", name).await);
    }
    for name in names {
        one.publish("acme", json!({"type": "notification", "user_id": name, "data": {"title": name}})).await;
    }
    one.publish("acme", json!({"type": "marker"})).await;
    for (name, socket) in names.iter().zip(&mut sockets) {
        assert_eq!(socket.expect_event("notification").await["user_id"], *name);
        socket.expect_silence_until("marker").await;
    }
}

#[tokio::test]
async fn an_event_of_another_program_reaches_the_sockets_of_all_nodes_once_and_has_no_place() {
    let (pair, mut ours, mut theirs) = with_sockets().await;
    let foreign = [
        (CALLS, json!({"id": "f-1", "type": "call.incoming", "data": {"n": 1}})),
        (CALLS, json!({"id": "f-2", "type": "call.incoming", "tenant_id": "acme", "data": {"n": 2}, "more": true})),
        ("callcenter:agents:acme", json!({"id": "f-3", "type": "agent.login", "offset": 7})),
        (EVENTS, json!({"id": "f-4", "type": "queue.stats.updated", "tenant_id": "acme"})),
        (EVENTS, json!({"id": "f-5", "type": "notification", "tenant_id": "acme", "user_id": "kim"})),
        (EVENTS, json!({"id": "f-6", "type": "notification", "tenant_id": "acme", "user_id": "lee"})),
    ];
    for (channel, event) in &foreign {
        pair.redis.publish(channel, event.to_string()).await;
    }
    pair.redis.publish(CALLS, r#"{"type":"call.ended"}"#).await;
    for socket in &mut ours {
        for (_, sent) in &foreign[..5] {
            let event = socket.expect_event(sent["type"].as_str().expect("a type")).await;
            assert_eq!(
                (&event["id"], &event["tenant_id"], &event["data"]),
                (&sent["id"], &json!("acme"), &sent["data"])
            );
            assert_eq!((&event["offset"], &event["epoch"]), (&Value::Null, &Value::Null), "it has no place: {event}");
            assert!(event["timestamp"].is_string(), "it has the whole envelope: {event}");
        }
        socket.expect_event("call.ended").await;
    }
    nothing_before_the_marker(&pair, "acme", &mut ours).await;
    nothing_before_the_marker(&pair, "other", &mut theirs).await;
}

#[tokio::test]
async fn the_sockets_chain_makes_the_data_of_another_programs_event_on_each_node() {
    let pair = Pair::start().await;
    let mut sockets = Vec::new();
    for node in &pair.nodes {
        node.install("guest", &guests::transformer("1").bytes()).await;
        sockets.push(node.socket("acme", "kim").await);
    }
    pair.nodes[0].admin("acme").put("/api/v1/sockets/chain", json!([{"plugin": "shared/guest"}])).await.expect(200);
    crate::support::eventually("the other node to know the chain", || async {
        let shown = pair.nodes[1].admin("acme").get("/api/v1/sockets/chain").await.expect(200);
        shown.text.contains("shared/guest").then_some(())
    })
    .await;
    // What a node shows is what is in force there a moment later: an event of the chain's that says so.
    for (socket, node) in sockets.iter_mut().zip(&pair.nodes) {
        loop {
            node.publish("acme", json!({"type": "agent.login", "data": 1})).await;
            if socket.expect_event("agent.login").await["data"] != 1 {
                break;
            }
        }
    }
    pair.redis.publish(CALLS, r#"{"id":"f-1","type":"call.ended","data":{"n":1}}"#).await;
    for socket in &mut sockets {
        let event = loop {
            let frame = socket.expect_any().await;
            if frame.value["type"] == "call.ended" {
                break frame.value;
            }
        };
        assert_eq!(event["data"], json!({"version": "1", "config": {}, "event": "f-1", "data": {"n": 1}}));
    }
}

#[tokio::test]
async fn what_is_no_event_or_of_another_tenant_is_seen_by_nobody() {
    let (pair, mut ours, mut theirs) = with_sockets().await;
    let huge = format!(r#"{{"type":"call.ended","data":"{}"}}"#, "x".repeat(8 << 20));
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep_data = format!(r#"{{"type":"call.ended","data":{deep}}}"#);
    let many = format!(r#"{{"type":"call.ended",{}"data":1}}"#, r#""a":1,"#.repeat(30_000));
    let messages: [(&str, &[u8]); 24] = [
        (CALLS, br#"{"type":"call.ended","tenant_id":"other"}"#),
        (CALLS, br#"{"type":"call.ended","tenant_id":"ACME"}"#),
        (CALLS, br#"{"type":"call.ended","tenant_id":7}"#),
        (CALLS, br#"{"type":"call.ended","tenant_id":"acme","tenant_id":"other"}"#),
        (EVENTS, br#"{"type":"notification"}"#),
        (EVENTS, br#"{"type":"notification","tenant_id":null}"#),
        (EVENTS, br#"{"type":"notification","tenant_id":""}"#),
        (EVENTS, br#"{"type":"notification","tenant_id":"acme:x"}"#),
        (EVENTS, br#"{"type":"notification","tenant_id":"acme","user_id":7}"#),
        (EVENTS, br#"{"type":"notification","tenant_id":"acme","user_id":""}"#),
        (CALLS, b""),
        (CALLS, b"null"),
        (CALLS, b"[]"),
        (CALLS, b"{}"),
        (CALLS, b"hello"),
        (CALLS, br#"{"type":"call.ended""#),
        (CALLS, br#"{"type":"No Type"}"#),
        (CALLS, br#"{"type":"welcome"}"#),
        (CALLS, br#"{"id":"has spaces","type":"call.ended"}"#),
        (CALLS, b"{\"type\":\"call.ended\",\"data\":\"\xff\xfe\"}"),
        (CALLS, huge.as_bytes()),
        (CALLS, deep.as_bytes()),
        (CALLS, deep_data.as_bytes()),
        ("callcenter:control", b"{\"webhooks\":"),
    ];
    for (channel, message) in messages {
        pair.redis.publish(channel, message).await;
    }
    // One that is good, if lavish, so that the words above are known to be why.
    pair.redis.publish(CALLS, &many).await;
    for socket in &mut ours {
        assert_eq!(socket.expect_any().await.value["type"], "call.ended");
    }
    nothing_before_the_marker(&pair, "acme", &mut ours).await;
    nothing_before_the_marker(&pair, "other", &mut theirs).await;
}

#[tokio::test]
async fn a_forged_place_loses_nothing() {
    let (pair, mut ours, mut theirs) = with_sockets().await;
    let mut listener = pair.redis.listen().await;
    let publish = async |n: u32| {
        pair.nodes[0].publish("acme", json!({"type": "call.ended", "data": {"n": n}})).await;
    };
    publish(0).await;
    let (_, genuine) = listener.expect_event().await;
    let (epoch, offset) = (genuine["epoch"].as_str().expect("an epoch"), genuine["offset"].as_u64().expect("one"));
    let forge = |epoch: &str, offset: &str| {
        format!(r#"{{"id":"forged","type":"call.ended","data":{{"n":-1}},"epoch":"{epoch}","offset":{offset}}}"#)
    };
    let far = u64::MAX.to_string();
    for (n, (epoch, offset)) in [
        (epoch, "0"),
        (epoch, "1"),
        (epoch, offset.to_string().as_str()),
        (epoch, (offset + 1000).to_string().as_str()),
        (epoch, far.as_str()),
        (epoch, "-1"),
        (epoch, "\"7\""),
        ("", "1"),
        ("another", "1"),
        ("another", far.as_str()),
    ]
    .into_iter()
    .enumerate()
    {
        pair.redis.publish(CALLS, forge(epoch, offset)).await;
        pair.redis.publish(EVENTS, forge(epoch, offset).replace(r#""type""#, r#""tenant_id":"acme","type""#)).await;
        publish(u32::try_from(n).expect("few") + 1).await;
    }
    // A message again, as it was.
    pair.redis.publish(CALLS, genuine.to_string()).await;
    for socket in &mut ours {
        for n in 0..=10 {
            let frame = socket.expect_any().await;
            assert_eq!(frame.value["data"]["n"], n, "{}", frame.text);
        }
    }
    nothing_before_the_marker(&pair, "acme", &mut ours).await;
    nothing_before_the_marker(&pair, "other", &mut theirs).await;
}
