//! Events: stored before they are answered, byte for byte, listed page by page.

use crate::support::{Database, Receiver, Server, items, on_every_database};
use serde_json::{Value, json};

on_every_database! { relaxed:
    data_is_kept_byte_for_byte,
    a_quarter_of_a_mebibyte_is_kept,
    a_request_of_nearly_16_mib_is_stored_in_one_piece,
    one_bad_and_one_known_item_of_an_array_stop_no_other,
    a_socket_sees_an_event_only_when_it_is_committed,
    events_are_listed_newest_first_page_by_page,
}

const DATA: [&str; 6] = [
    r#"{"z": 1, "a":1.0e5,"n":12345678901234567890,"m":0.10,"minus":-0,"dup":1,"dup":2}"#,
    r#""\u00e9\/\u0000\ud83d\ude00\\""#,
    r#"{"ü":[ ],"☎":"🤖 'quoted' \"twice\" \\ `ticks` %s ? $1 :name"}"#,
    "1E400",
    "[1,\n\t2]",
    "null",
];

/// Neither a socket nor the hand-over from a publish hides what the database made of it.
async fn data_is_kept_byte_for_byte(database: Database) {
    let mut server = Server::on(&database).await;
    let mut receiver = Receiver::start().await;
    receiver.hang();
    server.webhook("acme", &receiver.url()).await;
    let mut ids = Vec::new();
    for data in DATA {
        let event = format!(r#"{{"type":"call.incoming","data":{data}}}"#);
        let reply = server.service("acme").post_text("/api/v1/events", &event).await.expect(202);
        ids.push(reply.body["id"].as_str().unwrap_or_default().to_owned());
    }
    receiver.expect_deliveries(DATA.len()).await;
    server.kill();
    receiver.answer_always(200);
    server.restart().await;
    for (id, data) in ids.iter().zip(DATA) {
        let shown = server.service("acme").get(&format!("/api/v1/events/{id}")).await.expect(200);
        assert!(shown.text.contains(&format!("\"data\":{data}")), "{data} is not in {}", shown.text);
    }
    let texts: Vec<String> = receiver.expect_deliveries(DATA.len()).await.iter().map(|d| d.text()).collect();
    for data in DATA {
        assert!(texts.iter().any(|text| text.contains(&format!("\"data\":{data}"))), "{data} is not in {texts:?}");
    }
}

/// More than MySQL's TEXT holds, and in characters of four bytes.
async fn a_quarter_of_a_mebibyte_is_kept(database: Database) {
    let mut server = Server::on(&database).await;
    let mut receiver = Receiver::start().await;
    receiver.answer_always(500);
    server.webhook("acme", &receiver.url()).await;
    let data = "☎️🤖".repeat(250_000 / "☎️🤖".len());
    let id = server.publish("acme", json!({"type": "call.ended", "data": data})).await;
    receiver.expect_delivery().await;
    server.kill();
    receiver.answer_always(200);
    server.restart().await;
    assert_eq!(receiver.expect_delivery().await.json()["data"], data.as_str());
    let shown = server.service("acme").get(&format!("/api/v1/events/{id}")).await.expect(200);
    assert_eq!(shown.body["data"], data.as_str());
}

/// A statement of so many bytes is more than a packet of MariaDB takes, and its placeholders more than Postgres does.
async fn a_request_of_nearly_16_mib_is_stored_in_one_piece(database: Database) {
    let server = Server::on(&database).await;
    let receiver = Receiver::start().await;
    server.webhook("acme", &receiver.url()).await;
    let text = "x".repeat(16_500);
    let events: Value = (0..1000).map(|n| json!({"id": format!("e{n}"), "type": "call.ended", "data": text})).collect();
    let reply = server.service("acme").post("/api/v1/events", events).await.expect(202);
    assert!(items(&reply.body).iter().all(|answer| answer["duplicate"] == false), "each of them is new");
    let ids: Vec<String> = (0..1000).map(|n| format!("e{n}")).collect();
    receiver.expect_ids(&ids, |body| &body["id"]).await;
    assert_eq!(database.count("SELECT COUNT(*) FROM jf_events").await, 1000);
}

/// A failed statement breaks a transaction of Postgres.
async fn one_bad_and_one_known_item_of_an_array_stop_no_other(database: Database) {
    let server = Server::on(&database).await;
    server.publish("acme", json!({"id": "known", "type": "call.ended"})).await;
    let events = json!([
        {"id": "new-1", "type": "call.ended"}, {"type": "No Type"}, {"id": "known", "type": "call.ended"},
        {"id": "new-1", "type": "call.ended"}, {"id": "new-2", "type": "call.ended"},
    ]);
    let reply = server.service("acme").post("/api/v1/events", events).await.expect(202);
    let duplicates: Vec<Value> = items(&reply.body).iter().map(|answer| answer["duplicate"].clone()).collect();
    assert_eq!(duplicates, [json!(false), Value::Null, json!(true), json!(true), json!(false)], "{}", reply.text);
    assert_eq!(database.count("SELECT COUNT(*) FROM jf_events").await, 3);
}

async fn a_socket_sees_an_event_only_when_it_is_committed(database: Database) {
    let server = Server::on(&database).await;
    let mut socket = server.socket("acme", "kim").await;
    let client = server.service("acme");
    for n in 0..20 {
        let id = format!("e{n}");
        let event = json!({"id": id, "type": "call.ended"});
        let publishing = client.try_publish(&event);
        let seeing = async {
            assert_eq!(socket.expect_event("call.ended").await["id"], id.as_str());
            database.count(&format!("SELECT COUNT(*) FROM jf_events WHERE id = '{id}'")).await
        };
        let (status, stored) = tokio::join!(publishing, seeing);
        assert_eq!((status, stored), (Some(202), 1), "{id} was seen before it was stored");
    }
}

async fn events_are_listed_newest_first_page_by_page(database: Database) {
    let server = Server::on(&database).await;
    let mut ids = Vec::new();
    // Neither alphabetical nor in the order of bytes.
    for id in ["b", "B", "a", "_x", "-y", "A", "10", "9"] {
        ids.insert(0, server.publish("acme", json!({"id": id, "type": "call.ended"})).await);
    }
    let listed = server.service("acme").get_all("/api/v1/events").await;
    assert_eq!(listed.iter().map(|e| e["id"].as_str().unwrap_or_default()).collect::<Vec<_>>(), ids);
}
