//! Names are compared byte by byte: what differs by case, accent or a trailing space is somebody else.

use crate::support::{Database, Receiver, Server, items, on_every_database};
use serde_json::json;

on_every_database! { relaxed:
    tenants_and_ids_that_differ_by_case_do_not_meet,
    idempotency_keys_that_differ_by_case_do_not_meet,
    users_that_a_collation_folds_into_one_are_remembered_apart,
    sessions_that_a_collation_folds_into_one_are_apart,
    webhooks_and_chains_of_tenants_that_differ_by_case_are_apart,
    the_longest_names_are_kept_to_the_last_character,
}

async fn tenants_and_ids_that_differ_by_case_do_not_meet(database: Database) {
    let server = Server::on(&database).await;
    for tenant in ["acme", "Acme", "ACME", "acme_", "acme-"] {
        for id in ["a1", "A1", "a1_", "a1-"] {
            let reply = server.service(tenant).post("/api/v1/events", json!({"id": id, "type": "call.ended"})).await;
            assert_eq!(reply.expect(202).body, json!({"id": id, "duplicate": false}), "{id} of {tenant}");
        }
    }
    for tenant in ["acme", "Acme"] {
        let listed = items(&server.service(tenant).get("/api/v1/events").await.expect(200).body);
        assert_eq!(listed.len(), 4);
        assert!(listed.iter().all(|event| event["tenant_id"] == tenant), "{listed:?}");
        for id in ["a1", "A1"] {
            let shown = server.service(tenant).get(&format!("/api/v1/events/{id}")).await.expect(200).body;
            assert_eq!((&shown["id"], &shown["tenant_id"]), (&json!(id), &json!(tenant)));
        }
    }
    server.service("aCME").get("/api/v1/events/a1").await.expect_problem(404);
    server.service("acme").get("/api/v1/events/A1-").await.expect_problem(404);
}

async fn idempotency_keys_that_differ_by_case_do_not_meet(database: Database) {
    let server = Server::on(&database).await;
    for key in ["key", "Key", "key.", "k ey"] {
        let headers = [("idempotency-key", key)];
        let body = json!({"type": "call.ended"}).to_string().into_bytes();
        let reply = server.service("acme").post_bytes("/api/v1/events", "application/json", body, &headers).await;
        assert_eq!(reply.expect(202).body["duplicate"], false, "{key}");
    }
}

async fn users_that_a_collation_folds_into_one_are_remembered_apart(database: Database) {
    let mut server = Server::on(&database).await;
    let users = [("kim", "kim"), ("Kim", "Kim"), ("kim ", "kim%20"), ("kím", "k%C3%ADm"), ("kim\u{ad}", "kim%C2%AD")];
    for (n, (user, _)) in users.iter().enumerate() {
        let state = json!({"type": "agent.state.changed", "data": {"user_id": user, "state": format!("state-{n}")}});
        server.publish("acme", state).await;
    }
    server.kill();
    server.restart().await;
    for (n, (user, in_path)) in users.iter().enumerate() {
        let shown = server.agent("acme").get(&format!("/ws/users/{in_path}/online")).await.expect(200).body;
        assert_eq!((&shown["user_id"], &shown["state"]), (&json!(user), &json!(format!("state-{n}"))), "{user:?}");
    }
}

async fn sessions_that_a_collation_folds_into_one_are_apart(database: Database) {
    let server = Server::on(&database).await;
    let created = |session: &str| json!({"type": "chat.session.created", "session_id": session});
    server.publish("acme", created("session-0123456789abcdef")).await;
    // Another's: it would be 409 if they were one.
    server.publish("other", created("Session-0123456789abcdef")).await;
    server.service("other").post("/api/v1/events", created("session-0123456789abcdef")).await.expect_problem(409);
    server.publish("acme", json!({"type": "chat.session.ended", "session_id": "session-0123456789abcdef"})).await;
    assert_eq!(server.dial("/ws/public/session-0123456789abcdef").refused().await, 404);
    server.dial("/ws/public/Session-0123456789abcdef").open().await.expect_welcome().await;
}

async fn webhooks_and_chains_of_tenants_that_differ_by_case_are_apart(database: Database) {
    let mut server = Server::on(&database).await;
    let (mut lower, mut upper) = (Receiver::start().await, Receiver::start().await);
    server.webhook("acme", &lower.url()).await;
    server.webhook("Acme", &upper.url()).await;
    let guest = crate::support::guests::transformer("1").bytes();
    server.install("guest", &guest).await;
    server.admin("acme").put("/api/v1/sockets/chain", json!([{"plugin": "shared/guest"}])).await.expect(200);
    server.kill();
    server.restart().await;
    for (tenant, receiver) in [("acme", &mut lower), ("Acme", &mut upper)] {
        server.publish(tenant, json!({"type": "call.ended"})).await;
        assert_eq!(receiver.expect_delivery().await.json()["tenant_id"], tenant);
        assert_eq!(items(&server.admin(tenant).get("/api/v1/webhooks").await.expect(200).body).len(), 1);
    }
    let chain = |tenant: &'static str| async { server.admin(tenant).get("/api/v1/sockets/chain").await.expect(200) };
    assert_eq!((items(&chain("acme").await.body).len(), items(&chain("Acme").await.body).len()), (1, 0));
}

/// What an index of four-byte characters may not hold, or a column cuts off.
async fn the_longest_names_are_kept_to_the_last_character(database: Database) {
    let mut server = Server::on(&database).await;
    let mut receiver = Receiver::start().await;
    receiver.answer(500);
    let tenant = "t".repeat(64);
    let url = receiver.url_of(&format!("/{}", "p".repeat(1900)));
    let name = "🏷".repeat(100);
    server.webhook_with(&tenant, &url, json!({"events": ["*"], "name": name})).await;
    let event = json!({
        "id": "i".repeat(64), "type": "t".repeat(128), "user_id": "🧑".repeat(256), "session_id": "💬".repeat(128),
        "key": "🔑".repeat(256), "source": "📞".repeat(256), "data": 1,
    });
    server.publish(&tenant, event.clone()).await;
    receiver.expect_delivery().await;
    server.kill();
    server.restart().await;
    let again = receiver.expect_delivery().await;
    for field in ["id", "type", "user_id", "session_id", "key", "source", "data"] {
        assert_eq!(again.json()[field], event[field], "{field}");
    }
    assert_eq!(items(&server.admin(&tenant).get("/api/v1/webhooks").await.expect(200).body)[0]["name"], name.as_str());
}
