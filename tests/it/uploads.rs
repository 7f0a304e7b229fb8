//! Contract, section 7: tenants' own plugins, from the upload to the end.

use crate::support::client::{Client, Reply};
use crate::support::guests::{Setup, component_of_another_world, not_a_component, transformer};
use crate::support::wait::{PATIENCE, within};
use crate::support::{Receiver, Server, items};
use serde_json::{Value, json};

pub const SLACKISH: &str = "/api/v1/plugins/slackish";

/// Uploads a component for `acme`.
pub async fn upload(server: &Server, path: &str, component: Vec<u8>) -> Reply {
    put(&server.admin("acme"), path, component).await
}

pub async fn put(client: &Client, path: &str, component: Vec<u8>) -> Reply {
    client.put_bytes(path, "application/wasm", component).await
}

#[tokio::test]
async fn a_plugin_is_uploaded_used_followed_by_a_newer_one_rolled_back_and_deleted() {
    let server = Server::start().await;
    let admin = server.admin("acme");
    let first = upload(&server, SLACKISH, transformer("1").bytes()).await.expect(201).body;
    assert_eq!((&first["name"], &first["version"], &first["active"]), (&json!("slackish"), &json!(1), &json!(true)));
    assert_eq!(first["exports"], json!(["jackfield:plugin/lifecycle@1.0.0", "jackfield:plugin/transformer@1.0.0"]));
    assert!(first["compile_ms"].is_u64() && first["size_bytes"].is_u64(), "{first}");

    let mut receiver = Receiver::start().await;
    let webhook = server.webhook_with("acme", &receiver.url(), json!({"chain": [{"plugin": "slackish"}]})).await;
    let mut version_now = async || {
        server.publish("acme", json!({"type": "call.ended", "data": 1})).await;
        receiver.expect_delivery().await.json()["version"].clone()
    };
    assert_eq!(version_now().await, "1");
    assert_eq!(upload(&server, SLACKISH, transformer("2").bytes()).await.expect(201).body["version"], 2);
    assert_eq!(version_now().await, "2");
    admin.put(&format!("{SLACKISH}/active"), json!({"version": 1})).await.expect(200);
    assert_eq!(version_now().await, "1");

    let used = admin.delete(SLACKISH).await.expect_problem(409);
    assert!(used["detail"].to_string().contains(&format!("webhook {}", webhook.id)), "{used}");
    webhook.change(json!({"chain": []})).await;
    admin.delete(SLACKISH).await.expect(204);
    admin.get(SLACKISH).await.expect_problem(404);
    let listed = items(&admin.get("/api/v1/plugins").await.expect(200).body);
    assert!(listed.iter().all(|plugin: &Value| plugin["name"] != "slackish"), "{listed:?}");
    let again = upload(&server, SLACKISH, transformer("1").bytes()).await.expect(201).body;
    assert_eq!(again["version"], 3, "no number is given twice");
}

/// What a webhook of `acme` waits with that was fixed to version 1: five events, at one a second, of which it is switched
/// off soon.
async fn waiting_with_version_1(server: &Server, receiver: &mut Receiver) -> crate::support::webhooks::Webhook {
    upload(server, SLACKISH, transformer("1").bytes()).await.expect(201);
    let fields = json!({"rate_limit": 1, "chain": [{"plugin": "slackish"}]});
    let webhook = server.webhook_with("acme", &receiver.url(), fields).await;
    let events: Vec<Value> = (0..5).map(|n| json!({"type": "call.ended", "data": n})).collect();
    server.service("acme").post("/api/v1/events", json!(events)).await.expect(202);
    receiver.expect_delivery().await;
    webhook.change(json!({"is_active": false})).await;
    webhook
}

#[tokio::test]
async fn a_delivery_fixed_to_a_version_that_was_deleted_fails_and_says_so() {
    let (server, mut receiver) = (Server::start().await, Receiver::start().await);
    let webhook = waiting_with_version_1(&server, &mut receiver).await;
    webhook.change(json!({"chain": []})).await;
    server.admin("acme").delete(SLACKISH).await.expect(204);
    upload(&server, SLACKISH, transformer("2").bytes()).await.expect(201);
    webhook.change(json!({"is_active": true, "rate_limit": null, "chain": [{"plugin": "slackish"}]})).await;
    let failed = webhook.expect_failed().await;
    assert_eq!(failed["state"], "plugin_failed", "{failed}");
    let reason = failed["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("slackish version 1") && reason.contains("deleted"), "{failed}");
    webhook.retry(failed["id"].as_str().expect("an id")).await.expect(202);
    receiver.expect("a delivery by version 2", |all| all.iter().any(|r| r.json()["version"] == "2")).await;
}

#[tokio::test]
async fn fifty_versions_are_kept_and_those_that_something_is_fixed_to() {
    let (server, mut receiver) = (Server::start().await, Receiver::start().await);
    let webhook = waiting_with_version_1(&server, &mut receiver).await;
    for n in 2..=53 {
        upload(&server, SLACKISH, transformer(&n.to_string()).bytes()).await.expect(201);
    }
    let shown = server.admin("acme").get(SLACKISH).await.expect(200).body;
    let kept: Vec<u64> = items(&shown["versions"]).iter().filter_map(|version| version["version"].as_u64()).collect();
    let expected: Vec<u64> = (5..=53).rev().chain([1]).collect();
    assert_eq!(kept, expected, "the oldest went, but for the one that deliveries are fixed to");
    webhook.change(json!({"is_active": true, "rate_limit": null})).await;
    let all = receiver.expect("all five", |all| all.len() == 5).await;
    assert!(all.iter().all(|request| request.json()["version"] == "1"), "each by the version of its commit");
}

// --- who sees what -------------------------------------------------------------------------------------------------

#[tokio::test]
async fn tenants_do_not_learn_of_each_others_plugins() {
    let server = Server::start().await;
    upload(&server, SLACKISH, transformer("acme").bytes()).await.expect(201);
    let (acme, other) = (server.admin("acme"), server.admin("other"));
    other.get(SLACKISH).await.expect_problem(404);
    other.delete(SLACKISH).await.expect_problem(404);
    other.put(&format!("{SLACKISH}/active"), json!({"version": 1})).await.expect_problem(404);
    assert!(items(&other.get("/api/v1/plugins").await.expect(200).body).is_empty());
    let chain = json!([{"plugin": "slackish"}]);
    let refused = other.put("/api/v1/sockets/chain", chain.clone()).await.expect_invalid("chain[0].plugin");
    assert!(refused.contains("there is no plugin"), "{refused}");

    // The same name is another plugin, with numbers of its own.
    assert_eq!(put(&other, SLACKISH, transformer("other").bytes()).await.expect(201).body["version"], 1);
    for (tenant, client) in [("acme", &acme), ("other", &other)] {
        client.put("/api/v1/sockets/chain", chain.clone()).await.expect(200);
        let mut socket = server.socket(tenant, "kim").await;
        let id = server.publish(tenant, json!({"type": "call.ended"})).await;
        assert_eq!(socket.expect_event("call.ended").await["data"]["version"], tenant);
        let trace = client.get(&format!("/api/v1/events/{id}")).await.expect(200).text;
        assert!(trace.contains(r#""plugin":"slackish""#), "{trace}");
    }
    other.put("/api/v1/sockets/chain", json!([])).await.expect(200);
    other.delete(SLACKISH).await.expect(204);
    assert_eq!(acme.get(SLACKISH).await.expect(200).body["active_version"], 1);
    let used = acme.delete(SLACKISH).await.expect_problem(409);
    assert!(used["detail"].to_string().contains("the sockets chain"), "{used}");
}

#[tokio::test]
async fn only_admins_change_plugins_and_nobody_the_shared_ones() {
    let server = Server::start().await;
    server.install("guest", &transformer("1").bytes()).await;
    let component = transformer("2").bytes();
    put(&server.service("acme"), SLACKISH, component.clone()).await.expect_problem(403);
    put(&server.anonymous(), SLACKISH, component.clone()).await.expect_problem(401);
    let admin = server.admin("acme");
    let shared = "/api/v1/plugins/shared/guest";
    for refused in [
        put(&admin, shared, component).await,
        admin.delete(shared).await,
        admin.put(&format!("{shared}/active"), json!({"version": 1})).await,
    ] {
        let problem = refused.expect_problem(403);
        assert!(problem["detail"].to_string().contains("PLUGIN_DIR"), "{problem}");
    }
    let shown = admin.get(shared).await.expect(200).body;
    assert_eq!((&shown["active_version"], &shown["versions"][0]["active"]), (&json!(1), &json!(true)), "{shown}");
}

// --- what is refused -----------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_component_that_cannot_serve_is_refused_with_what_to_do() {
    let server = Server::with().env("PLUGIN_MAX_SIZE", "64KiB").start().await;
    let wasi = r#"(component (import "wasi:cli/environment@0.2.0"
        (instance (export "get-environment" (func (result (list string)))))))"#;
    let wasi = wat::parse_str(wasi).expect("valid text");
    for (component, code, words) in [
        (not_a_component(), "not_a_component", "jackfield plugin build"),
        (b"<html>".to_vec(), "not_a_component", "jackfield plugin build"),
        (wasi, "imports_refused", "--stub-wasi"),
        (component_of_another_world(), "no_known_world", "transform-plugin"),
        (transformer("1").setting_up(Setup::TrapsInDescribe).bytes(), "describe_failed", "describe"),
    ] {
        let problem = upload(&server, SLACKISH, component).await.expect_problem(422);
        assert_eq!(problem["code"], code, "{problem}");
        assert!(problem["detail"].to_string().contains(words), "{problem}");
    }
    let large = upload(&server, SLACKISH, vec![0; 64 * 1024 + 1]).await.expect_problem(413);
    assert!(large["detail"].to_string().contains("PLUGIN_MAX_SIZE"), "{large}");
    let admin = server.admin("acme");
    let component = transformer("1").bytes();
    admin.put_bytes(SLACKISH, "application/octet-stream", component.clone()).await.expect_problem(415);
    for name in ["run", "logs", "active", "Slackish", &"x".repeat(65)] {
        upload(&server, &format!("/api/v1/plugins/{name}"), component.clone()).await.expect_invalid("name");
    }
    upload(&server, &format!("{SLACKISH}?activate=maybe"), component.clone()).await.expect_invalid("activate");
    upload(&server, &format!("{SLACKISH}?x=1"), component.clone()).await.expect_invalid("x");
    admin.get(SLACKISH).await.expect_problem(404);

    upload(&server, SLACKISH, component).await.expect(201);
    let active = format!("{SLACKISH}/active");
    let unknown = admin.put(&active, json!({"version": 7})).await.expect_problem(404);
    assert!(unknown["detail"].to_string().contains("no version 7"), "{unknown}");
    admin.put(&active, json!({"version": 0})).await.expect_invalid("version");
    admin.put(&active, json!({"version": 1, "x": 1})).await.expect_invalid("x");
}

#[tokio::test]
async fn a_tenant_has_at_most_a_hundred_plugins() {
    let server = Server::start().await;
    let component = transformer("1").bytes();
    let path = |n: usize| format!("/api/v1/plugins/p{n}?activate=false");
    for n in 0..100 {
        upload(&server, &path(n), component.clone()).await.expect(201);
    }
    let problem = upload(&server, &path(100), component.clone()).await.expect_problem(409);
    assert_eq!(problem["code"], "too_many_plugins", "{problem}");
    put(&server.admin("other"), SLACKISH, component.clone()).await.expect(201);
    server.admin("acme").delete("/api/v1/plugins/p0").await.expect(204);
    upload(&server, &path(100), component).await.expect(201);
}

// --- versions ------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn the_same_bytes_are_the_same_version() {
    let server = Server::start().await;
    let (one, two) = (transformer("1").bytes(), transformer("2").bytes());
    upload(&server, SLACKISH, one.clone()).await.expect(201);
    let second = upload(&server, &format!("{SLACKISH}?activate=false"), two.clone()).await.expect(201).body;
    assert_eq!((&second["version"], &second["active"]), (&json!(2), &json!(false)));
    let again = upload(&server, SLACKISH, two).await.expect(200).body;
    assert_eq!((&again["version"], &again["active"]), (&json!(2), &json!(true)), "it is known, and serves now");
    let back = upload(&server, SLACKISH, one).await.expect(200).body;
    assert_eq!((&back["version"], &back["active"]), (&json!(1), &json!(true)));
    let shown = server.admin("acme").get(SLACKISH).await.expect(200).body;
    let versions: Vec<_> =
        items(&shown["versions"]).iter().map(|v| (v["version"].clone(), v["active"].clone())).collect();
    assert_eq!(versions, [(json!(2), json!(false)), (json!(1), json!(true))]);
}

#[tokio::test]
async fn a_restart_keeps_the_version_that_was_chosen() {
    let mut server = Server::start().await;
    for version in ["1", "2", "3"] {
        upload(&server, SLACKISH, transformer(version).bytes()).await.expect(201);
    }
    let admin = server.admin("acme");
    admin.put("/api/v1/sockets/chain", json!([{"plugin": "slackish"}])).await.expect(200);
    admin.put(&format!("{SLACKISH}/active"), json!({"version": 2})).await.expect(200);
    server.kill();
    server.restart().await;
    let mut socket = server.socket("acme", "kim").await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    assert_eq!(socket.expect_event("call.ended").await["data"]["version"], "2");
}

#[tokio::test]
async fn a_chain_that_the_new_version_refuses_stays_on_the_old_one() {
    let server = Server::start().await;
    upload(&server, SLACKISH, transformer("1").bytes()).await.expect(201);
    let admin = server.admin("acme");
    admin.put("/api/v1/sockets/chain", json!([{"plugin": "slackish"}])).await.expect(200);
    let picky = transformer("2").refusing_configuration("I want a channel").bytes();
    upload(&server, SLACKISH, picky).await.expect(201);
    let mut socket = server.socket("acme", "kim").await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    assert_eq!(socket.expect_event("call.ended").await["data"]["version"], "1");
    let shown = admin.get(SLACKISH).await.expect(200).body;
    assert!(shown["last_error"].to_string().contains("I want a channel"), "{shown}");
}

// --- many at once --------------------------------------------------------------------------------------------------

/// An upload of `acme` of which the body never comes. It has its place when this returns: a server that answers
/// `100 Continue` has begun to wait for the body (RFC 9110, section 10.1.1).
async fn stalled(server: &Server) -> tokio::net::TcpStream {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let token = crate::support::Token::of("acme").role("admin").sign();
    let head = format!(
        "PUT {SLACKISH} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\ncontent-type: application/wasm\r\n\
         content-length: 1000\r\nexpect: 100-continue\r\n\r\n"
    );
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", server.port())).await.expect("the server listens");
    stream.write_all(head.as_bytes()).await.expect("a head can be sent");
    let mut answer = [0; "HTTP/1.1 100 Continue\r\n\r\n".len()];
    within(PATIENCE, "the server to ask for the body", stream.read_exact(&mut answer))
        .await
        .expect("the server answers the head");
    assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 100 Continue\r\n\r\n");
    stream
}

#[tokio::test]
async fn a_tenant_has_two_uploads_under_way_and_no_more() {
    let server = Server::start().await;
    let under_way = [stalled(&server).await, stalled(&server).await];
    let component = transformer("1").bytes();
    let again = upload(&server, SLACKISH, component.clone()).await;
    assert_eq!(again.header("retry-after"), "1");
    assert_eq!(again.expect_problem(429)["code"], "too_many_uploads");
    put(&server.admin("other"), SLACKISH, component.clone()).await.expect(201);
    drop(under_way);
    crate::support::eventually("the places to be free again", || async {
        (upload(&server, SLACKISH, component.clone()).await.status < 300).then_some(())
    })
    .await;
}
