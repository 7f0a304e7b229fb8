//! An administrator puts a user out: sockets close, on every node, and the tokens that the user has are good for none.

use crate::cluster::Pair;
use crate::support::client::Reply;
use crate::support::stream::Listening;
use crate::support::tokens::now;
use crate::support::{Database, Redis, Server, Socket, Token, eventually, on_every_database};
use serde_json::json;
use std::time::Duration;

/// On the other nodes, with Redis and without.
const A_SECOND: Duration = Duration::from_secs(1);
const FIVE: Duration = Duration::from_secs(5);

on_every_database! { servers relaxed:
    without_redis_the_other_nodes_follow_within_5_s,
    who_has_come_back_with_a_new_token_stays_though_another_node_hears_late,
}

/// A token of a while ago.
fn old() -> Token {
    Token::of("acme").user("kim").role("agent").issued_in(-10)
}

/// One of now: a revocation is of whole seconds.
fn new() -> Token {
    Token::of("acme").user("kim").role("agent")
}

async fn revoke(server: &Server, user: &str) -> Reply {
    server.admin("acme").delete(&format!("/ws/users/{user}")).await.expect(200)
}

async fn expect_refused(server: &Server, token: Token) {
    let token = token.sign();
    assert_eq!(server.dial("/ws").bearer(&token).refused().await, 401);
    let mut socket = server.dial("/ws").subprotocol(&token).open().await;
    assert_eq!(socket.expect_control("bye").await["reason"], "revoked");
    assert_eq!(socket.expect_close().await, 4423);
}

async fn expect_closed(socket: &mut Socket, limit: Duration) {
    assert_eq!(socket.expect_close_within(limit).await, 4423);
}

// --- on one node ---------------------------------------------------------------------------------------------------

#[tokio::test]
async fn all_connections_of_the_user_are_closed_4423_and_nobody_elses() {
    let server = Server::start().await;
    let mut theirs = [server.socket_with(old(), "/ws").await, server.socket_with(new(), "/ws").await];
    let mut stream = Listening::new(server.port(), "/api/v1/events/stream").bearer(&old().sign()).open().await;
    stream.expect("welcome").await;
    let mut others = [server.socket("acme", "sam").await, server.socket("other", "kim").await];
    let reply = revoke(&server, "kim").await;
    assert_eq!((&reply.body["user_id"], &reply.body["closed"]), (&json!("kim"), &json!(3)));
    for socket in &mut theirs {
        let bye = socket.expect_control("bye").await;
        assert_eq!((&bye["code"], &bye["reconnect"]), (&json!(4423), &json!(false)));
        expect_closed(socket, A_SECOND).await;
    }
    assert_eq!(stream.expect("bye").await["code"], 4423);
    stream.expect_end().await;
    for (socket, tenant) in others.iter_mut().zip(["acme", "other"]) {
        server.publish(tenant, json!({"type": "marker"})).await;
        socket.expect_event("marker").await;
    }
    assert_eq!(revoke(&server, "nobody").await.body["closed"], 0);
}

#[tokio::test]
async fn tokens_issued_before_open_no_socket_and_later_ones_do() {
    let server = Server::start().await;
    // Of the second before, whenever the revocation comes.
    let earlier = new().issued_in(-1);
    revoke(&server, "kim").await;
    expect_refused(&server, old()).await;
    expect_refused(&server, earlier).await;
    expect_refused(&server, new().without("iat")).await;
    expect_refused(&server, new().claim("iat", json!("lately"))).await;
    let refused = server.client(&old().sign()).get("/api/v1/events/stream").await.expect_problem(401);
    assert_eq!(refused["code"], "revoked");
    server.socket_with(new(), "/ws").await;
    server.socket_with(old().user("sam"), "/ws").await;
    // It is sockets that are closed to them.
    server.client(&old().sign()).get("/ws/stats").await.expect(200);
}

#[tokio::test]
async fn a_socket_of_a_later_token_does_not_go_on_with_an_earlier_one() {
    let server = Server::start().await;
    revoke(&server, "kim").await;
    let mut socket = server.socket_with(new(), "/ws").await;
    socket.send(json!({"type": "auth", "token": old().sign(), "ref": 7})).await;
    let error = socket.expect_control("error").await;
    assert_eq!((&error["code"], &error["ref"]), (&json!("invalid_token"), &json!(7)));
    socket.send(json!({"type": "auth", "token": new().sign()})).await;
    socket.expect_control("auth_ok").await;
}

#[tokio::test]
async fn no_handshake_under_way_slips_through() {
    let server = Server::start().await;
    let admin = server.admin("acme");
    for _ in 0..5 {
        let dials = (0..40).map(|_| server.dial("/ws").bearer(&old().sign()).try_open());
        let opened = futures_util::future::join_all(dials);
        let (reply, opened) = tokio::join!(admin.delete("/ws/users/kim"), opened);
        reply.expect(200);
        for socket in opened {
            match socket {
                Ok(mut socket) => expect_closed(&mut socket, FIVE).await,
                Err(status) => assert_eq!(status, 401),
            }
        }
    }
}

#[tokio::test]
async fn a_revocation_outlives_the_server() {
    let mut server = Server::start().await;
    revoke(&server, "kim").await;
    server.kill();
    server.restart().await;
    expect_refused(&server, old()).await;
    server.socket_with(new(), "/ws").await;
}

#[tokio::test]
async fn revoking_is_for_admins_of_the_tenant_and_any_user_may_be_named() {
    let server = Server::start().await;
    for client in [server.agent("acme"), server.service("acme"), server.operator("acme")] {
        client.delete("/ws/users/kim").await.expect_problem(403);
    }
    server.anonymous().delete("/ws/users/kim").await.expect_problem(401);
    server.admin("other").delete("/ws/users/kim").await.expect(200);
    server.socket_with(old(), "/ws").await;
    server.admin("acme").delete("/ws/users/a%0Ab").await.expect_invalid("user");
    for (user, path) in [("online", "online"), ("a/b ü", "a%2Fb%20%C3%BC"), ("a:*|{", "a:*%7C%7B")] {
        let mut socket = server.socket_with(old().user(user), "/ws").await;
        let reply = server.admin("acme").delete(&format!("/api/v1/ws/users/{path}")).await.expect(200);
        assert_eq!((&reply.body["user_id"], &reply.body["closed"]), (&json!(user), &json!(1)));
        expect_closed(&mut socket, A_SECOND).await;
    }
}

// --- on many nodes -------------------------------------------------------------------------------------------------

#[tokio::test]
async fn with_redis_the_sockets_of_all_nodes_are_closed_within_a_second() {
    let pair = Pair::start().await;
    let [one, two] = &pair.nodes;
    let mut here = one.socket_with(old(), "/ws").await;
    let mut there = [two.socket_with(old(), "/ws").await, two.socket_with(new(), "/ws").await];
    let mut other = two.socket("acme", "sam").await;
    assert_eq!(revoke(one, "kim").await.body["closed"], 1, "on this node");
    expect_closed(&mut here, A_SECOND).await;
    for socket in &mut there {
        expect_closed(socket, A_SECOND).await;
    }
    expect_refused(two, old()).await;
    two.socket_with(new(), "/ws").await;
    two.publish("acme", json!({"type": "marker"})).await;
    other.expect_event("marker").await;
}

async fn without_redis_the_other_nodes_follow_within_5_s(database: Database) {
    let (one, two) = (Server::on(&database).await, Server::on(&database).await);
    let mut socket = two.socket_with(old(), "/ws").await;
    let mut other = two.socket("acme", "sam").await;
    revoke(&one, "kim").await;
    expect_refused(&one, old()).await;
    expect_closed(&mut socket, FIVE).await;
    expect_refused(&two, old()).await;
    two.publish("acme", json!({"type": "marker"})).await;
    other.expect_event("marker").await;
    // A node that comes later knows it from the start.
    expect_refused(&Server::on(&database).await, old()).await;
}

async fn who_has_come_back_with_a_new_token_stays_though_another_node_hears_late(database: Database) {
    let (one, two) = (Server::on(&database).await, Server::on(&database).await);
    let mut before = two.socket_with(old(), "/ws").await;
    revoke(&one, "kim").await;
    let revoked_s = now();
    eventually("the next second", || async { (now() > revoked_s).then_some(()) }).await;
    let mut after = two.socket_with(new(), "/ws").await;
    expect_closed(&mut before, FIVE).await;
    after.send(json!({"type": "ping"})).await;
    after.expect_control("pong").await;
}

#[tokio::test]
async fn a_node_with_a_database_of_its_own_remembers_what_it_heard() {
    let redis = Redis::start().await;
    let one = Server::with().redis(&redis).start().await;
    let mut two = Server::with().redis(&redis).start().await;
    let mut socket = two.socket_with(old(), "/ws").await;
    revoke(&one, "kim").await;
    expect_closed(&mut socket, A_SECOND).await;
    two.terminate().await;
    two.restart().await;
    expect_refused(&two, old()).await;
}
