//! `kill -9` at any moment loses no event that was answered 202.

use crate::support::{Receiver, Server};
use serde_json::json;
use std::sync::{Arc, Mutex};

#[tokio::test]
async fn a_pending_retry_survives_a_crash() {
    let mut server = Server::with().env("WEBHOOK_RETRY_SCHEDULE", "300ms").start().await;
    let mut receiver = Receiver::start().await;
    receiver.answer(500);
    let webhook = server.webhook("acme", &receiver.url()).await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    let first = receiver.expect_delivery().await;
    server.kill();
    server.restart().await;
    let second = receiver.expect_delivery().await;
    assert_eq!(second.header("webhook-id"), first.header("webhook-id"));
    assert_eq!(second.body, first.body);
    webhook.expect_count("delivered", 1).await;
}

#[tokio::test]
async fn a_crash_while_a_receiver_holds_the_post_is_delivered_again() {
    let mut server = Server::start().await;
    let mut receiver = Receiver::start().await;
    receiver.hang();
    let webhook = server.webhook("acme", &receiver.url()).await;
    server.publish("acme", json!({"type": "call.ended", "data": {"n": 1}})).await;
    let held = receiver.expect_delivery().await;
    server.kill();
    receiver.answer_always(200);
    server.restart().await;
    let again = receiver.expect_delivery().await;
    assert_eq!(again.header("webhook-id"), held.header("webhook-id"));
    assert_eq!(again.body, held.body);
    webhook.expect_count("delivered", 1).await;
}

#[tokio::test]
async fn webhooks_made_before_a_crash_are_in_force_after_it() {
    let mut server = Server::start().await;
    let mut receiver = Receiver::start().await;
    let webhook = server.webhook("acme", &receiver.url()).await;
    server.kill();
    server.restart().await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    let delivery = receiver.expect_delivery().await;
    crate::support::verify::by_the_official_library(&delivery, &webhook.signing_secret).await;
}

#[tokio::test]
async fn every_event_that_was_answered_202_under_load_is_delivered_after_kill_9() {
    let mut server = Server::start().await;
    let receiver = Receiver::start().await;
    server.webhook("acme", &receiver.url()).await;
    for round in 0..2 {
        let answered = Arc::new(Mutex::new(Vec::new()));
        let publishers: Vec<_> = (0..8)
            .map(|publisher| {
                let (client, answered) = (server.service("acme"), answered.clone());
                tokio::spawn(async move {
                    for n in 0.. {
                        let id = format!("r{round}-p{publisher}-{n}");
                        let event = json!({"id": id, "type": "call.ended", "data": {"n": n}});
                        // The first request that is not answered ends this publisher: the server is dead.
                        let Some(status) = client.try_publish(&event).await else { return };
                        assert_eq!(status, 202);
                        answered.lock().expect("no publisher panics").push(id);
                    }
                })
            })
            .collect();
        crate::support::eventually("500 answers under load", || async {
            (answered.lock().expect("no publisher panics").len() >= 500).then_some(())
        })
        .await;
        server.kill();
        for publisher in publishers {
            publisher.await.expect("every answer was 202");
        }
        server.restart().await;
        let answered = std::mem::take(&mut *answered.lock().expect("no publisher panics"));
        receiver.expect_ids(&answered, |body| &body["id"]).await;
    }
}
