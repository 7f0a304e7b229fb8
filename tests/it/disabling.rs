//! A webhook whose receiver is gone is switched off, and its tenant is told; switching it on again is a new chance.

use crate::support::webhooks::Webhook;
use crate::support::{Database, Receiver, Server, Socket, Token, eventually, on_every_database};
use serde_json::json;

on_every_database! { relaxed:
    a_success_in_between_starts_the_five_days_anew,
}

/// A socket that sees what is told of webhooks.
async fn watching(server: &Server) -> Socket {
    server.socket_with(Token::of("acme").role("agent"), "/ws?events=webhook.*,marker").await
}

const SIX_DAYS_MS: i64 = 6 * 24 * 3600 * 1000;

#[tokio::test]
async fn a_410_fails_the_delivery_disables_the_webhook_and_tells_the_tenant() {
    let server = Server::start().await;
    let (mut receiver, mut watcher) = (Receiver::start().await, Receiver::start().await);
    receiver.answer(410);
    let webhook = server.webhook("acme", &receiver.url()).await;
    server.webhook_with("acme", &watcher.url(), json!({"events": ["webhook.disabled"]})).await;
    let mut socket = watching(&server).await;
    let event = server.publish("acme", json!({"type": "call.ended"})).await;
    let id = receiver.expect_delivery().await.header("webhook-id").to_owned();
    let failed = webhook.expect_state(&id, "failed").await;
    assert_eq!((&failed["event_id"], &failed["attempt_count"]), (&json!(event), &json!(1)), "{failed}");

    let seen = socket.expect_event("webhook.disabled").await;
    let sent = watcher.expect_delivery().await.json();
    for told in [&seen["data"], &sent["data"]] {
        assert_eq!(told["webhook_id"], webhook.id, "{told}");
        assert!(told["reason"].as_str().is_some_and(|reason| reason.contains("410")), "{told}");
    }
    let shown = webhook.shown().await;
    assert_eq!(shown["is_active"], false, "{shown}");
    assert!(shown["disabled_reason"].as_str().is_some_and(|reason| reason.contains("410")), "{shown}");
    server.publish("acme", json!({"type": "call.missed"})).await;
    webhook.change(json!({"is_active": true})).await;
    assert_eq!(webhook.shown().await["disabled_reason"], json!(null));
    server.publish("acme", json!({"type": "marker"})).await;
    receiver.expect_silence_until("marker").await;
}

/// A webhook that has failed twice, six days ago by the table, on a server that knows.
async fn failing_for_six_days(server: &mut Server, database: &Database, receiver: &mut Receiver) -> Webhook {
    receiver.answer_always(500);
    let webhook = server.webhook_with("acme", &receiver.url(), json!({"retry_count": 0})).await;
    for _ in 0..2 {
        server.publish("acme", json!({"type": "call.ended"})).await;
        receiver.expect_delivery().await;
    }
    webhook.expect_count("failed", 2).await;
    assert_eq!(server.terminate().await, Some(0));
    let since = "UPDATE jf_gates SET failing_since_ms = failing_since_ms -";
    database.execute(&format!("{since} {SIX_DAYS_MS}")).await;
    assert_eq!(database.count("SELECT COUNT(*) FROM jf_gates WHERE failing_since_ms > 0").await, 1);
    server.restart().await;
    let webhook = webhook.of(server, "acme");
    eventually("the streak to be known", || async {
        webhook.circuit().await["failing_since"].is_string().then_some(())
    })
    .await;
    webhook
}

#[tokio::test]
async fn five_days_of_nothing_but_failures_disable_and_switching_on_is_a_new_chance() {
    let database = Database::sqlite();
    let mut server = Server::on(&database).await;
    let mut receiver = Receiver::start().await;
    let webhook = failing_for_six_days(&mut server, &database, &mut receiver).await;
    let mut socket = watching(&server).await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    let told = socket.expect_event("webhook.disabled").await;
    assert_eq!(told["data"]["webhook_id"], webhook.id, "{told}");
    assert_eq!(webhook.shown().await["is_active"], false);

    webhook.change(json!({"is_active": true})).await;
    eventually("a new chance", || async { webhook.circuit().await["failing_since"].is_null().then_some(()) }).await;
    server.publish("acme", json!({"type": "call.missed"})).await;
    webhook.expect_count("failed", 4).await;
    server.publish("acme", json!({"type": "marker"})).await;
    webhook.expect_count("failed", 5).await;
    socket.expect_silence_until("marker").await;
    assert_eq!(webhook.shown().await["is_active"], true, "failures of before say nothing any more");
}

async fn a_success_in_between_starts_the_five_days_anew(database: Database) {
    let mut server = Server::on(&database).await;
    let mut receiver = Receiver::start().await;
    let webhook = failing_for_six_days(&mut server, &database, &mut receiver).await;
    receiver.answer(200);
    server.publish("acme", json!({"type": "call.answered"})).await;
    webhook.expect_count("delivered", 1).await;
    eventually("the table to be told", || async {
        (database.count("SELECT COUNT(*) FROM jf_gates WHERE failing_since_ms > 0").await == 0).then_some(())
    })
    .await;
    server.kill();
    server.restart().await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    let webhook = webhook.of(&server, "acme");
    webhook.expect_count("failed", 3).await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    webhook.expect_count("failed", 4).await;
    assert_eq!(webhook.shown().await["is_active"], true);
}
