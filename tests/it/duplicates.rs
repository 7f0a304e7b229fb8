//! The same id, or the same `Idempotency-Key`, is answered the first result and does nothing.

use crate::support::{Receiver, Server, items};
use futures_util::future::join_all;
use serde_json::json;

#[tokio::test]
async fn the_same_id_again_is_a_duplicate_and_delivers_nothing() {
    let server = Server::start().await;
    let mut receiver = Receiver::start().await;
    server.webhook("acme", &receiver.url()).await;
    let event = json!({"id": "order-1", "type": "call.ended"});
    server.publish("acme", event.clone()).await;
    let again = server.service("acme").post("/api/v1/events", event).await.expect(202);
    assert_eq!(again.body, json!({"id": "order-1", "duplicate": true}));
    receiver.expect_delivery().await;
    server.publish("acme", json!({"type": "marker"})).await;
    receiver.expect_silence_until("marker").await;
}

#[tokio::test]
async fn the_same_idempotency_key_answers_the_first_id() {
    let server = Server::start().await;
    let publish = |key: &'static str| {
        let client = server.service("acme");
        async move {
            let body = json!({"type": "call.ended"}).to_string().into_bytes();
            let headers = [("idempotency-key", key)];
            client.post_bytes("/api/v1/events", "application/json", body, &headers).await.expect(202).body
        }
    };
    let first = publish("attempt-1").await;
    let second = publish("attempt-1").await;
    assert_eq!((&second["id"], &second["duplicate"]), (&first["id"], &json!(true)));
    let other = publish("attempt-2").await;
    assert_ne!(other["id"], first["id"]);
    assert_eq!(other["duplicate"], false);
}

#[tokio::test]
async fn an_array_with_an_idempotency_key_is_stored_once() {
    let server = Server::start().await;
    let client = server.service("acme");
    let body = json!([{"type": "call.ended"}, {"type": "call.missed"}]).to_string().into_bytes();
    let headers = [("idempotency-key", "batch-1")];
    let first = client.post_bytes("/api/v1/events", "application/json", body.clone(), &headers).await.expect(202);
    let again = client.post_bytes("/api/v1/events", "application/json", body, &headers).await.expect(202);
    for (first, again) in items(&first.body).iter().zip(items(&again.body)) {
        assert_eq!((&again["id"], &again["duplicate"]), (&first["id"], &json!(true)));
    }
}

#[tokio::test]
async fn one_id_twice_in_an_array_is_stored_once() {
    let server = Server::start().await;
    let events = json!([{"id": "twin", "type": "call.ended"}, {"id": "twin", "type": "call.ended"}]);
    let reply = server.service("acme").post("/api/v1/events", events).await.expect(202);
    let duplicates: Vec<_> = items(&reply.body).iter().map(|i| i["duplicate"].clone()).collect();
    assert_eq!(duplicates, [json!(false), json!(true)]);
}

#[tokio::test]
async fn of_many_at_once_with_one_id_exactly_one_is_first() {
    let server = Server::start().await;
    let mut receiver = Receiver::start().await;
    server.webhook("acme", &receiver.url()).await;
    let client = server.service("acme");
    let replies = join_all(
        (0..20).map(|n| client.post("/api/v1/events", json!({"id": "race", "type": "call.ended", "data": n}))),
    )
    .await;
    let first = replies.into_iter().map(|r| r.expect(202).body).filter(|b| b["duplicate"] == false).count();
    assert_eq!(first, 1);
    receiver.expect_delivery().await;
    server.publish("acme", json!({"type": "marker"})).await;
    receiver.expect_silence_until("marker").await;
}

#[tokio::test]
async fn of_many_at_once_with_one_idempotency_key_exactly_one_is_first() {
    let server = Server::start().await;
    let client = server.service("acme");
    let body = json!({"type": "call.ended"}).to_string().into_bytes();
    let headers = [("idempotency-key", "race")];
    let replies =
        join_all((0..20).map(|_| client.post_bytes("/api/v1/events", "application/json", body.clone(), &headers)))
            .await;
    let bodies: Vec<_> = replies.into_iter().map(|r| r.expect(202).body).collect();
    assert_eq!(bodies.iter().filter(|b| b["duplicate"] == false).count(), 1, "{bodies:?}");
    assert!(bodies.iter().all(|b| b["id"] == bodies[0]["id"]), "{bodies:?}");
}

#[tokio::test]
async fn a_duplicate_is_known_after_a_crash() {
    let mut server = Server::start().await;
    server.publish("acme", json!({"id": "order-1", "type": "call.ended"})).await;
    server.kill();
    server.restart().await;
    let again = server.service("acme").post("/api/v1/events", json!({"id": "order-1", "type": "call.ended"})).await;
    assert_eq!(again.expect(202).body["duplicate"], true);
}

#[tokio::test]
async fn ids_and_keys_of_two_tenants_do_not_meet() {
    let server = Server::start().await;
    for tenant in ["acme", "Acme", "other"] {
        let event = json!({"id": "order-1", "type": "call.ended"}).to_string().into_bytes();
        let headers = [("idempotency-key", "k")];
        let client = server.service(tenant);
        let reply = client.post_bytes("/api/v1/events", "application/json", event, &headers).await.expect(202);
        assert_eq!(reply.body["duplicate"], false, "tenant {tenant}");
    }
    let upper = server.service("acme").post("/api/v1/events", json!({"id": "Order-1", "type": "call.ended"})).await;
    assert_eq!(upper.expect(202).body["duplicate"], false, "ids differ by case");
}
