//! Contract, section 3: CloudEvents 1.0 are published in each of their three forms, deduplicate by (source, id), and get an
//! id of ours; and the handshake of their webhook specification is answered.

use crate::support::{Receiver, Server, client::Reply, items};
use serde_json::{Value, json};

const STRUCTURED: &str = "application/cloudevents+json";
const BATCH: &str = "application/cloudevents-batch+json";
/// The attributes that a binary event needs.
const REQUIRED: [(&str, &str); 4] =
    [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/pbx/1"), ("ce-type", "call.ended")];

/// An event with the attributes that every one needs, and these.
fn event(id: &str, more: Value) -> Value {
    let mut event = json!({"specversion": "1.0", "id": id, "source": "/pbx/1", "type": "call.ended"});
    if let (Some(event), Value::Object(more)) = (event.as_object_mut(), more) {
        event.extend(more);
    }
    event
}

async fn post(server: &Server, media_type: &str, event: &Value) -> Reply {
    let body = event.to_string().into_bytes();
    server.service("acme").post_bytes("/api/v1/events", media_type, body, &[]).await
}

/// Publishes a binary event with the required headers and these, those of one name replacing the former.
async fn post_binary(server: &Server, media_type: &str, body: &[u8], more: &[(&str, &str)]) -> Reply {
    let is_replaced = |(name, _): &&(&str, &str)| more.iter().any(|(other, _)| other == name);
    let mut headers: Vec<_> = REQUIRED.iter().filter(|header| !is_replaced(header)).copied().collect();
    headers.extend(more);
    server.service("acme").post_bytes("/api/v1/events", media_type, body.to_vec(), &headers).await
}

#[tokio::test]
async fn a_structured_event_reaches_sockets_and_webhooks_as_an_event_of_ours() {
    let server = Server::start().await;
    let mut receiver = Receiver::start().await;
    server.webhook("acme", &receiver.url()).await;
    let mut socket = server.socket("acme", "kim").await;
    let more = json!({"time": "2020-01-01T00:00:00Z", "dataschema": "urn:call", "traceparent": "00-1", "userid": "kim",
                      "tenantid": "acme", "partitionkey": "call-77", "subject": "ignored", "data": {"call_id": "c1"}});
    let reply = post(&server, STRUCTURED, &event("A/1", more)).await.expect(202);
    assert_eq!(reply.body["duplicate"], false);
    assert!(reply.body["id"].as_str().is_some_and(|id| id.starts_with("evt_")), "an id of ours: {}", reply.text);

    let envelope = receiver.expect_delivery().await.json();
    let expected = json!({"id": reply.body["id"], "type": "call.ended", "tenant_id": "acme", "user_id": "kim",
                          "session_id": null, "key": "call-77", "source": "/pbx/1", "data": {"call_id": "c1"},
                          "timestamp": envelope["timestamp"]});
    assert_eq!(envelope, expected);
    assert!(!envelope["timestamp"].to_string().contains("2020"), "a timestamp is when an event was received");
    assert_eq!(socket.expect_event("call.ended").await["id"], reply.body["id"]);
}

#[tokio::test]
async fn a_binary_event_carries_its_attributes_in_headers_and_its_body_byte_for_byte() {
    let server = Server::start().await;
    let mut receiver = Receiver::start().await;
    server.webhook("acme", &receiver.url()).await;
    let more = [("ce-userid", "J%C3%BCrgen%20K"), ("ce-partitionkey", "\"a \\\"b\\\"\""), ("ce-traceparent", "00-1")];
    let body = br#"{"b":1.50, "a":[1e2]}"#;
    post_binary(&server, "application/json; charset=utf-8", body, &more).await.expect(202);

    let delivery = receiver.expect_delivery().await;
    assert!(delivery.text().contains(r#""data":{"b":1.50, "a":[1e2]}"#), "{}", delivery.text());
    let envelope = delivery.json();
    assert_eq!(envelope["user_id"], "Jürgen K", "percent-decoded");
    assert_eq!(envelope["key"], r#"a "b""#, "unquoted");
    assert_eq!(envelope["source"], "/pbx/1");
}

#[tokio::test]
async fn a_batch_is_answered_per_item_and_one_bad_item_fails_alone() {
    let server = Server::start().await;
    let mut socket = server.socket("acme", "kim").await;
    let old = event("2", json!({"specversion": "0.3"}));
    let batch = json!([event("1", json!({"data": 1})), old, 7, event("1", json!({})), event("3", json!({"data": 3}))]);
    let reply = post(&server, BATCH, &batch).await.expect(202);
    let answers = items(&reply.body);
    assert_eq!(answers.len(), 5, "{}", reply.text);
    assert_eq!(answers[0]["duplicate"], false);
    assert_eq!(answers[1]["error"]["errors"][0]["field"], "specversion", "{}", reply.text);
    assert_eq!(answers[2]["error"]["status"], 400, "{}", reply.text);
    assert_eq!((&answers[3]["id"], &answers[3]["duplicate"]), (&answers[0]["id"], &json!(true)));
    assert_eq!(answers[4]["duplicate"], false);
    for n in [1, 3] {
        assert_eq!(socket.expect_event("call.ended").await["data"], n);
    }
}

#[tokio::test]
async fn a_batch_that_is_no_array_or_too_long_is_refused_whole() {
    let server = Server::start().await;
    post(&server, BATCH, &event("1", json!({}))).await.expect_problem(400);
    post(&server, STRUCTURED, &json!([event("1", json!({}))])).await.expect_problem(400);
    post(&server, BATCH, &json!(vec![0; 1001])).await.expect_invalid("events");
    assert_eq!(post(&server, BATCH, &json!([])).await.expect(202).body, json!([]));
}

#[tokio::test]
async fn the_same_source_and_id_is_a_duplicate_in_every_form() {
    let server = Server::start().await;
    let mut receiver = Receiver::start().await;
    server.webhook("acme", &receiver.url()).await;
    let first = post(&server, STRUCTURED, &event("1", json!({}))).await.expect(202).body;
    let again = post_binary(&server, "application/json", b"", &[]).await.expect(202).body;
    assert_eq!(again, json!({"id": first["id"], "duplicate": true}));
    let keyed = post_binary(&server, "application/json", b"", &[("idempotency-key", "k")]).await.expect(202).body;
    assert_eq!(keyed["duplicate"], true, "source and id count, whatever key is sent with them");
    let batch = post(&server, BATCH, &json!([event("1", json!({}))])).await.expect(202).body;
    assert_eq!(batch, json!([again]));

    receiver.expect_delivery().await;
    server.publish("acme", json!({"type": "marker"})).await;
    receiver.expect_silence_until("marker").await;
}

#[tokio::test]
async fn another_source_or_id_or_tenant_is_another_event() {
    let server = Server::start().await;
    let long = "x".repeat(250);
    let identities = [
        ("/pbx/1", "1"),
        ("/pbx/2", "1"),
        ("/pbx/1", "2"),
        ("/PBX/1", "1"),
        ("/pbx/1", &long),
        ("/ü", "1"),
        ("/ü", "ü"),
    ];
    for (source, id) in identities {
        let reply = post(&server, STRUCTURED, &event(id, json!({"source": source}))).await.expect(202);
        assert_eq!(reply.body["duplicate"], false, "{source} {id}");
    }
    for (source, id) in identities {
        let reply = post(&server, STRUCTURED, &event(id, json!({"source": source}))).await.expect(202);
        assert_eq!(reply.body["duplicate"], true, "{source} {id}");
    }
    let body = event("1", json!({})).to_string().into_bytes();
    let other = server.service("other").post_bytes("/api/v1/events", STRUCTURED, body, &[]).await.expect(202);
    assert_eq!(other.body["duplicate"], false);
    let ours =
        server.service("acme").post("/api/v1/events", json!({"id": "1", "type": "call.ended"})).await.expect(202);
    assert_eq!(ours.body["duplicate"], false, "an id of our own form is another thing");
}

#[tokio::test]
async fn a_duplicate_cloudevent_is_known_after_a_crash() {
    let mut server = Server::start().await;
    post(&server, STRUCTURED, &event("1", json!({}))).await.expect(202);
    server.kill();
    server.restart().await;
    assert_eq!(post(&server, STRUCTURED, &event("1", json!({}))).await.expect(202).body["duplicate"], true);
}

#[tokio::test]
async fn a_missing_attribute_is_named() {
    let server = Server::start().await;
    for name in ["specversion", "id", "source", "type"] {
        let mut event = event("1", json!({}));
        event.as_object_mut().and_then(|event| event.remove(name)).expect("it is there");
        let message = post(&server, STRUCTURED, &event).await.expect_invalid(name);
        assert_eq!(message, "is required");
        let headers: Vec<_> =
            REQUIRED.into_iter().filter(|(header, _)| header.strip_prefix("ce-") != Some(name)).collect();
        let client = server.service("acme");
        client.post_bytes("/api/v1/events", "application/json", b"1".to_vec(), &headers).await.expect_invalid(name);
    }
    let body = post(&server, STRUCTURED, &json!({"data": 1})).await.expect_problem(422);
    assert_eq!(body["errors"].as_array().map(Vec::len), Some(4), "all at once: {body}");
}

#[tokio::test]
async fn another_version_of_the_specification_is_refused() {
    let server = Server::start().await;
    for version in ["0.3", "1.1", "1", ""] {
        let message =
            post(&server, STRUCTURED, &event("1", json!({"specversion": version}))).await.expect_invalid("specversion");
        assert!(message.contains("1.0"), "it says which one is read: {message}");
    }
    post(&server, STRUCTURED, &event("1", json!({"specversion": 1.0}))).await.expect_invalid("specversion");
    post_binary(&server, "application/json", b"1", &[("ce-specversion", "0.2")]).await.expect_invalid("specversion");
}

#[tokio::test]
async fn attributes_keep_the_rules_of_our_fields() {
    let server = Server::start().await;
    let message =
        post(&server, STRUCTURED, &event("1", json!({"type": "com.Example.Made"}))).await.expect_invalid("type");
    assert!(message.contains("lower case"), "{message}");
    for (name, value) in [("source", ""), ("id", ""), ("id", "a\tb"), ("userid", ""), ("sessionid", "a\nb")] {
        post(&server, STRUCTURED, &event("1", json!({name: value}))).await.expect_invalid(name);
    }
    post(&server, STRUCTURED, &event("1", json!({"id": 5}))).await.expect_invalid("id");
    post(&server, STRUCTURED, &event("1", json!({"partitionkey": "k".repeat(257)})))
        .await
        .expect_invalid("partitionkey");
    let problem = post(&server, STRUCTURED, &event("1", json!({"tenantid": "other"}))).await.expect_problem(403);
    assert!(problem["detail"].to_string().contains("tenantid"), "{problem}");
}

#[tokio::test]
async fn a_name_that_no_attribute_can_have_is_refused_rather_than_dropped() {
    let server = Server::start().await;
    post(&server, STRUCTURED, &event("1", json!({"user_id": "kim"}))).await.expect_invalid("user_id");
    post_binary(&server, "application/json", b"1", &[("ce-user_id", "kim")]).await.expect_invalid("user_id");
    post_binary(&server, "application/json", b"1", &[("ce-data", "1")]).await.expect_invalid("ce-data");
    post_binary(&server, "application/json", b"1", &[("ce-userid", "a"), ("ce-userid", "b")])
        .await
        .expect_invalid("userid");
    post_binary(&server, "application/json", b"1", &[("ce-userid", "%FF")]).await.expect_invalid("userid");
}

#[tokio::test]
async fn the_subject_is_the_key_where_no_partition_key_is() {
    let server = Server::start().await;
    let mut socket = server.socket("acme", "kim").await;
    post(&server, STRUCTURED, &event("1", json!({"subject": "call-77"}))).await.expect(202);
    assert_eq!(socket.expect_event("call.ended").await["key"], "call-77");
    post_binary(&server, "application/json", b"", &[("ce-id", "2"), ("ce-subject", "s"), ("ce-partitionkey", "p")])
        .await
        .expect(202);
    assert_eq!(socket.expect_event("call.ended").await["key"], "p");
}

#[tokio::test]
async fn a_session_is_addressed_by_sessionid() {
    let server = Server::start().await;
    let mut socket = server.socket("acme", "kim").await;
    let more = json!({"type": "chat.session.created", "sessionid": "a-session-of-ours-1", "data": {}});
    post(&server, STRUCTURED, &event("1", more)).await.expect(202);
    assert_eq!(socket.expect_event("chat.session.created").await["session_id"], "a-session-of-ours-1");
    let short = json!({"type": "chat.session.created", "sessionid": "short", "data": {}});
    post(&server, STRUCTURED, &event("2", short)).await.expect_invalid("sessionid");
}

#[tokio::test]
async fn data_that_is_not_json_arrives_as_a_string() {
    let server = Server::start().await;
    let mut socket = server.socket("acme", "kim").await;
    let cases: [(&str, &[u8], Value); 5] = [
        ("text/plain", b"say \"hi\"", json!("say \"hi\"")),
        ("application/xml", b"<a/>", json!("<a/>")),
        ("application/octet-stream", b"\xff\x00", json!("/wA=")),
        ("application/vnd.call+json", b"[1]", json!([1])),
        ("application/json", b"", Value::Null),
    ];
    for (n, (media_type, body, data)) in cases.into_iter().enumerate() {
        post_binary(&server, media_type, body, &[("ce-id", &n.to_string())]).await.expect(202);
        assert_eq!(socket.expect_event("call.ended").await["data"], data, "{media_type}");
    }
    let more = json!({"datacontenttype": "application/xml", "data": "<a/>"});
    post(&server, STRUCTURED, &event("text", more)).await.expect(202);
    assert_eq!(socket.expect_event("call.ended").await["data"], "<a/>");
    post_binary(&server, "application/json", b"<a/>", &[]).await.expect_problem(400);
    post_binary(&server, "text/plain", b"\xff", &[]).await.expect_problem(400);
}

#[tokio::test]
async fn data_in_base64_is_decoded_as_its_content_type_says() {
    let server = Server::start().await;
    let mut socket = server.socket("acme", "kim").await;
    let cases = [
        (json!({"data_base64": "eyJiIjoxLjUwfQ=="}), r#""data":{"b":1.50}"#),
        (json!({"datacontenttype": "text/plain", "data_base64": "aGk="}), r#""data":"hi""#),
        (json!({"datacontenttype": "image/png", "data_base64": "aGk="}), r#""data":"aGk=""#),
    ];
    for (n, (more, data)) in cases.into_iter().enumerate() {
        post(&server, STRUCTURED, &event(&n.to_string(), more)).await.expect(202);
        let frame = socket.expect_frame("call.ended").await;
        assert!(frame.text.contains(data), "{}", frame.text);
    }
    for bad in [json!("no base64!"), json!(5), json!("aGk="), json!("aGk")] {
        post(&server, STRUCTURED, &event("bad", json!({"data_base64": bad}))).await.expect_invalid("data_base64");
    }
    let both = json!({"data": 1, "data_base64": "MQ=="});
    post(&server, STRUCTURED, &event("both", both)).await.expect_invalid("data_base64");
}

#[tokio::test]
async fn limits_hold_for_cloudevents_too() {
    let server = Server::start().await;
    post(&server, STRUCTURED, &event("1", json!({"data": "x".repeat(256 << 10)}))).await.expect_problem(413);
    post_binary(&server, "text/plain", &vec![b'x'; (256 << 10) + 1], &[]).await.expect_problem(413);
    // Each of these bytes takes six in a JSON string.
    post_binary(&server, "text/plain", &vec![1; 60 << 10], &[]).await.expect_problem(413);
    let deep = format!("{}{}", "[".repeat(129), "]".repeat(129));
    post_binary(&server, "application/json", deep.as_bytes(), &[]).await.expect_invalid("data");
}

#[tokio::test]
async fn another_format_of_cloudevents_is_415() {
    let server = Server::start().await;
    let problem = post_binary(&server, "application/cloudevents+avro", b"x", &[]).await.expect_problem(415);
    assert!(problem["detail"].to_string().contains(STRUCTURED), "it says what is read: {problem}");
}

#[tokio::test]
async fn publishing_cloudevents_takes_the_same_role() {
    let server = Server::start().await;
    let body = event("1", json!({})).to_string().into_bytes();
    server.agent("acme").post_bytes("/api/v1/events", STRUCTURED, body.clone(), &[]).await.expect_problem(403);
    server.anonymous().post_bytes("/api/v1/events", STRUCTURED, body, &[]).await.expect_problem(401);
}

#[tokio::test]
async fn the_handshake_allows_a_sender_to_send() {
    let server = Server::start().await;
    let headers = [("webhook-request-origin", "events.example.com"), ("webhook-request-rate", "120")];
    let reply = server.anonymous().options("/api/v1/events", &headers).await.expect(200);
    assert_eq!(reply.header("webhook-allowed-origin"), "events.example.com");
    assert_eq!(reply.header("webhook-allowed-rate"), "*");
    assert!(reply.header("allow").contains("POST"), "{}", reply.header("allow"));

    let plain = server.anonymous().options("/api/v1/events", &[]).await.expect(204);
    assert_eq!(plain.header("webhook-allowed-origin"), "", "nobody asked");
}
