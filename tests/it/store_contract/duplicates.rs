//! The same id, or the same `Idempotency-Key`, is stored once, also when many ask at once, on one node or on two.

use crate::support::{Database, Receiver, Server, on_every_database};
use futures_util::future::join_all;
use serde_json::{Value, json};

on_every_database! { relaxed:
    an_id_is_stored_once_also_after_a_crash,
    an_idempotency_key_is_stored_once_also_after_a_crash,
    of_many_at_once_exactly_one_is_first,
}

async fn with_key(server: &Server, key: &str, event: Value) -> Value {
    let body = event.to_string().into_bytes();
    let headers = [("idempotency-key", key)];
    server.service("acme").post_bytes("/api/v1/events", "application/json", body, &headers).await.expect(202).body
}

async fn an_id_is_stored_once_also_after_a_crash(database: Database) {
    let mut server = Server::on(&database).await;
    let mut receiver = Receiver::start().await;
    server.webhook("acme", &receiver.url()).await;
    let event = json!({"id": "order-1", "type": "call.ended"});
    server.publish("acme", event.clone()).await;
    receiver.expect_delivery().await;
    for _ in 0..2 {
        let again = server.service("acme").post("/api/v1/events", event.clone()).await.expect(202);
        assert_eq!(again.body, json!({"id": "order-1", "duplicate": true}));
        server.kill();
        server.restart().await;
    }
    assert_eq!(database.count("SELECT COUNT(*) FROM jf_deliveries").await, 1);
}

async fn an_idempotency_key_is_stored_once_also_after_a_crash(database: Database) {
    let mut server = Server::on(&database).await;
    let longest = "k".repeat(255);
    let event = json!({"type": "call.ended"});
    let first = with_key(&server, &longest, event.clone()).await;
    assert_eq!(first["duplicate"], false);
    server.kill();
    server.restart().await;
    let again = with_key(&server, &longest, event.clone()).await;
    assert_eq!((&again["id"], &again["duplicate"]), (&first["id"], &json!(true)));
    let shorter = with_key(&server, &longest[1..], event).await;
    assert_eq!(shorter["duplicate"], false, "a key counts to its last character");
}

async fn of_many_at_once_exactly_one_is_first(database: Database) {
    let server = Server::on(&database).await;
    let client = server.service("acme");
    let by_id =
        join_all((0..20).map(|n| client.post("/api/v1/events", json!({"id": "r", "type": "call.ended", "data": n}))));
    let by_key = join_all((0..20).map(|_| with_key(&server, "race", json!({"type": "call.missed"}))));
    let (by_id, by_key) = tokio::join!(by_id, by_key);
    let by_id: Vec<Value> = by_id.into_iter().map(|reply| reply.expect(202).body).collect();
    for answers in [by_id, by_key] {
        assert_eq!(answers.iter().filter(|a| a["duplicate"] == false).count(), 1, "{answers:?}");
        assert!(answers.iter().all(|a| a["id"] == answers[0]["id"]), "{answers:?}");
    }
    assert_eq!(database.count("SELECT COUNT(*) FROM jf_events").await, 2);
}
