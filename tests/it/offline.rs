//! Contract, sections 5 and 6: an event for a user who is away waits, is shown when the user comes, and leaves the list only
//! when it has certainly been read. On one server, and in Redis.

use crate::cluster::{Pair, redis_is, shared};
use crate::support::databases::Kind;
use crate::support::raw::DeafSocket;
use crate::support::socket::Socket;
use crate::support::{Database, Redis, Server, Token, eventually, within};
use serde_json::{Value, json};
use std::time::Duration;

const KEY: &str = "callcenter:offline:acme:kim";

fn kim() -> Token {
    Token::of("acme").user("kim").role("agent")
}

fn call(n: u64) -> Value {
    json!({"id": format!("call-{n}"), "type": "call.incoming", "user_id": "kim", "data": {"n": n}})
}

async fn publish(server: &Server, numbers: std::ops::Range<u64>) {
    let events: Vec<Value> = numbers.map(call).collect();
    server.service("acme").post("/api/v1/events", json!(events)).await.expect(202);
}

/// Connects; answers the socket and its welcome.
async fn come(server: &Server, path: &str) -> (Socket, Value) {
    let mut socket = server.dial(path).bearer(&kim().sign()).open().await;
    let welcome = socket.expect_welcome().await;
    (socket, welcome)
}

/// Connects, and reads so many events from the list, then one more to make sure that there were no others.
async fn shown(server: &Server, path: &str, numbers: impl IntoIterator<Item = u64>) -> Socket {
    let numbers: Vec<u64> = numbers.into_iter().collect();
    let (mut socket, welcome) = come(server, path).await;
    assert_eq!(welcome["offline"], numbers.len(), "{welcome}");
    expect_shown(&mut socket, numbers).await;
    socket
}

async fn expect_shown(socket: &mut Socket, numbers: impl IntoIterator<Item = u64>) {
    for n in numbers {
        let event = socket.expect_event("call.incoming").await;
        assert_eq!((&event["data"]["n"], &event["offline"]), (&json!(n), &json!(true)), "{event}");
        assert!(event.get("offset").is_none() && event.get("epoch").is_none(), "it moves no position: {event}");
    }
}

/// Nothing more is shown than what was read: an event published now is the next.
async fn expect_no_more(server: &Server, socket: &mut Socket) {
    let marker = server.publish("acme", json!({"type": "queue.stats.updated"})).await;
    assert_eq!(socket.expect_event("queue.stats.updated").await["id"], marker.as_str());
}

/// Its pings have been answered, and what that confirms has been taken off.
async fn expect_waiting(server: &Server, count: u64) {
    eventually(&format!("{count} events to wait"), || async {
        // It reads nothing and closes nothing cleanly: it takes nothing away.
        let (socket, welcome) = come(server, "/ws?events=never.seen").await;
        drop(socket);
        (welcome["offline"] == count).then_some(())
    })
    .await;
}

// --- one server ----------------------------------------------------------------------------------------------------

#[tokio::test]
async fn events_wait_over_a_crash_and_are_shown_once_read_no_more() {
    let mut server = Server::start().await;
    publish(&server, 0..3).await;
    server.kill();
    server.restart().await;
    publish(&server, 3..5).await;
    let mut socket = shown(&server, "/ws", 0..5).await;
    expect_no_more(&server, &mut socket).await;
    socket.close().await;
    let socket = shown(&server, "/ws", []).await;
    socket.close().await;
}

#[tokio::test]
async fn what_no_pong_confirms_waits_on() {
    let server = Server::start().await;
    publish(&server, 0..2).await;
    let deaf = DeafSocket::open(server.port(), &kim().sign()).await;
    publish(&server, 2..3).await;
    drop(deaf);
    eventually("kim to be gone", || async {
        let shown = server.agent("acme").get("/ws/users/kim/online").await.expect(200).body;
        (shown["online"] == false).then_some(())
    })
    .await;
    // Also what it was sent live.
    let mut socket = shown(&server, "/ws", 0..3).await;
    expect_no_more(&server, &mut socket).await;
    // Its pong is answered before anything that it says later.
    socket.send(json!({"type": "ping"})).await;
    socket.expect_control("pong").await;
    drop(socket);
    shown(&server, "/ws?events=call.incoming", []).await.close().await;
}

#[tokio::test]
async fn a_filter_leaves_what_it_hides() {
    let server = Server::start().await;
    publish(&server, 0..2).await;
    let note = json!({"type": "notification", "user_id": "kim", "data": {"text": "hi"}});
    server.publish("acme", note).await;
    publish(&server, 2..3).await;
    let (mut socket, welcome) = come(&server, "/ws?events=notification").await;
    assert_eq!(welcome["offline"], 4);
    assert_eq!(socket.expect_event("notification").await["offline"], true);
    socket.close().await;
    shown(&server, "/ws", 0..3).await.close().await;
}

#[tokio::test]
async fn two_devices_do_not_both_get_them() {
    let server = Server::start().await;
    publish(&server, 0..3).await;
    let mut deaf = DeafSocket::open(server.port(), &kim().sign()).await;
    deaf.expect_messages(4).await;
    let (mut second, _) = come(&server, "/ws").await;
    expect_no_more(&server, &mut second).await;
    second.close().await;
    drop(deaf);
    expect_waiting(&server, 3).await;
}

#[tokio::test]
async fn a_full_list_drops_the_oldest() {
    let server = Server::with().env("OFFLINE_MAX", "5").start().await;
    publish(&server, 0..8).await;
    publish(&server, 8..9).await;
    shown(&server, "/ws", 4..9).await.close().await;
}

/// Shown by the replay with its place, and not again from the list; and waiting once, however often it was on its way.
#[tokio::test]
async fn who_resumes_sees_an_event_once() {
    // With each pong is looked again whether another connection still has the list.
    let server = Server::with().env("WS_PING_INTERVAL", "100ms").start().await;
    let (socket, welcome) = come(&server, "/ws").await;
    socket.close().await;
    publish(&server, 0..3).await;
    let since = format!("/ws?since={}:{}", welcome["epoch"].as_str().expect("an epoch"), welcome["offset"]);
    for _ in 0..2 {
        let mut deaf = DeafSocket::open_at(server.port(), &since, &kim().sign()).await;
        deaf.expect_messages(4).await;
        drop(deaf);
        expect_waiting(&server, 3).await;
    }
    let (mut socket, _) = come(&server, &since).await;
    for n in 0..3 {
        let event = socket.expect_event("call.incoming").await;
        assert_eq!((&event["data"]["n"], event.get("offline")), (&json!(n), None), "{event}");
    }
    expect_no_more(&server, &mut socket).await;
    socket.expect_pings(3).await;
    socket.close().await;
    shown(&server, "/ws", []).await.close().await;
}

#[tokio::test]
async fn a_device_that_takes_over_from_a_dead_one_is_shown_what_waits() {
    let server = Server::with().env("WS_PING_INTERVAL", "100ms").start().await;
    publish(&server, 0..2).await;
    let mut deaf = DeafSocket::open(server.port(), &kim().sign()).await;
    deaf.expect_messages(3).await;
    let (mut socket, _) = come(&server, "/ws").await;
    expect_no_more(&server, &mut socket).await;
    drop(deaf);
    expect_shown(&mut socket, 0..2).await;
    socket.close().await;
    shown(&server, "/ws", []).await.close().await;
}

// --- in Redis ------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn an_operator_reads_the_list_and_either_node_shows_it() {
    let pair = Pair::start().await;
    let [one, two] = &pair.nodes;
    publish(one, 0..2).await;
    publish(two, 2..3).await;
    let waiting: Vec<String> = pair.redis.ask(&format!("LRANGE {KEY} 0 -1")).await;
    let numbers = waiting.iter().map(|text| {
        let frame: Value = serde_json::from_str(text).expect("a frame");
        assert!(frame["epoch"].is_string() && frame["offset"].is_u64(), "{frame}");
        frame["data"]["n"].as_u64().expect("a number")
    });
    assert_eq!(numbers.collect::<Vec<_>>(), [0, 1, 2], "oldest first");
    let ttl: i64 = pair.redis.ask(&format!("TTL {KEY}")).await;
    assert!((7 * 86_400 - 60..=7 * 86_400).contains(&ttl), "{ttl}");

    let mut deaf = DeafSocket::open(one.port(), &kim().sign()).await;
    deaf.expect_messages(4).await;
    let (mut second, _) = come(two, "/ws").await;
    expect_no_more(one, &mut second).await;
    // On its way to the deaf one alone, when that is the last.
    second.close().await;
    publish(two, 3..4).await;
    drop(deaf);
    eventually("what was on its way to wait", || async {
        let waiting: u64 = pair.redis.ask(&format!("LLEN {KEY}")).await;
        (waiting == 4).then_some(())
    })
    .await;
    let mut socket = shown(two, "/ws", 0..4).await;
    // It goes on reading, and so answers.
    expect_no_more(one, &mut socket).await;
    eventually("the list to be empty", || async {
        let waiting: u64 = pair.redis.ask(&format!("LLEN {KEY}")).await;
        (waiting == 0).then_some(())
    })
    .await;
    socket.close().await;
}

#[tokio::test]
async fn a_list_in_redis_is_capped_and_counts_what_it_drops() {
    let (database, redis) = (Database::relaxed(Kind::MariaDb).await, Redis::start().await);
    let node = Server::with().env("OFFLINE_MAX", "5").database(&database).redis(&redis).start().await;
    shared(&node).await;
    publish(&node, 0..8).await;
    let waiting: u64 = redis.ask(&format!("LLEN {KEY}")).await;
    let dropped: u64 = redis.ask("GET callcenter:offline_dropped:acme").await;
    assert_eq!((waiting, dropped), (5, 3));
    let note = json!({"type": "notification", "user_id": "kim"});
    node.publish("acme", note).await;
    let (mut socket, welcome) = come(&node, "/ws?events=notification").await;
    assert_eq!(welcome["offline"], 5);
    socket.expect_event("notification").await;
    socket.close().await;
    shown(&node, "/ws", 4..8).await.close().await;
}

/// Waits up to 50 s: the nodes have told the new Redis for sure who is there.
#[tokio::test]
async fn what_waits_in_the_database_while_redis_is_away_is_moved_later() {
    let mut pair = Pair::start().await;
    pair.redis.kill();
    redis_is(&pair.nodes[0], "unavailable").await;
    publish(&pair.nodes[0], 0..3).await;
    // The database has them, for this and other nodes.
    let rows = || pair.database.count("SELECT COUNT(*) FROM jf_offline");
    assert_eq!(rows().await, 3);
    pair.redis.start_again().await;
    pair.shared().await;
    within(Duration::from_secs(70), "the events to be moved to Redis", async {
        let mut ticks = tokio::time::interval(Duration::from_millis(200));
        loop {
            ticks.tick().await;
            let waiting: u64 = pair.redis.ask(&format!("LLEN {KEY}")).await;
            if waiting == 3 && pair.database.count("SELECT COUNT(*) FROM jf_offline").await == 0 {
                return;
            }
        }
    })
    .await;
    shown(&pair.nodes[1], "/ws", 0..3).await.close().await;
    let waiting: u64 = pair.redis.ask(&format!("LLEN {KEY}")).await;
    assert_eq!(waiting, 0);
}
