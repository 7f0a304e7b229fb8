//! PLUGIN_DIR: files come, change, break and go while events flow.

use crate::support::Server;
use crate::support::guests::{component_of_another_world, not_a_component, transformer};
use serde_json::json;

/// A server whose tenant `acme` sees `call.ended` through `shared/guest`, version 1, on its sockets.
async fn server_with_a_guest_on_sockets() -> Server {
    let component = transformer("1").bytes();
    let server = Server::with().plugin_file("guest.wasm", &component).start().await;
    server.plugin_serving("guest", &component).await;
    server.admin("acme").put("/api/v1/sockets/chain", json!([{"plugin": "shared/guest"}])).await.expect(200);
    server
}

async fn version_now(server: &Server) -> String {
    let mut socket = server.socket("acme", "kim").await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    let event = socket.expect_event("call.ended").await;
    event["data"]["version"].as_str().unwrap_or_else(|| panic!("no version in {event}")).to_owned()
}

#[tokio::test]
async fn a_new_file_is_served_without_a_restart() {
    let server = Server::start().await;
    assert!(server.plugin("guest").await.is_none());
    server.install("guest", &transformer("1").bytes()).await;
}

#[tokio::test]
async fn a_replaced_file_takes_over() {
    let server = server_with_a_guest_on_sockets().await;
    assert_eq!(version_now(&server).await, "1");
    server.install("guest", &transformer("2").bytes()).await;
    assert_eq!(version_now(&server).await, "2");
    server.install("guest", &transformer("1").bytes()).await;
    assert_eq!(version_now(&server).await, "1");
}

#[tokio::test]
async fn a_file_written_in_pieces_is_taken_when_it_is_whole() {
    use std::io::Write;
    let server = server_with_a_guest_on_sockets().await;
    let component = transformer("2").bytes();
    let mut file = std::fs::File::create(server.plugin_path("guest")).expect("the plugin folder takes files");
    for piece in component.chunks(component.len() / 7 + 1) {
        file.write_all(piece).expect("a file takes bytes");
        file.sync_all().expect("a file can be synced");
        assert_eq!(version_now(&server).await, "1", "half a file must not be served");
    }
    drop(file);
    server.plugin_serving("guest", &component).await;
    assert_eq!(version_now(&server).await, "2");
}

#[tokio::test]
async fn a_broken_file_leaves_the_last_good_one_serving_over_a_restart_too() {
    let mut server = server_with_a_guest_on_sockets().await;
    for broken in [not_a_component(), component_of_another_world(), b"\0asm rubbish".to_vec(), Vec::new()] {
        std::fs::write(server.plugin_path("guest"), &broken).expect("the plugin folder takes files");
        server.plugin_error("guest").await;
        assert_eq!(version_now(&server).await, "1");
    }
    server.kill();
    server.restart().await;
    server.plugin_error("guest").await;
    assert_eq!(version_now(&server).await, "1");

    server.install("guest", &transformer("3").bytes()).await;
    let shown = server.plugin("guest").await.expect("it is listed");
    assert!(shown["last_error"].is_null(), "a good file clears the error: {shown}");
    assert_eq!(version_now(&server).await, "3");
}

#[tokio::test]
async fn a_removed_file_leaves_the_last_good_one_serving_over_a_restart_too() {
    let mut server = server_with_a_guest_on_sockets().await;
    std::fs::remove_file(server.plugin_path("guest")).expect("the file was there");
    server.plugin_error("guest").await;
    assert_eq!(version_now(&server).await, "1");
    server.kill();
    server.restart().await;
    assert_eq!(version_now(&server).await, "1");
}

#[tokio::test]
async fn a_file_that_was_never_good_is_listed_with_its_error_and_no_chain_takes_it() {
    let files =
        [("core", not_a_component()), ("other", component_of_another_world()), ("rubbish", b"rubbish".to_vec())];
    let builder =
        files.iter().fold(Server::with(), |builder, (name, bytes)| builder.plugin_file(&format!("{name}.wasm"), bytes));
    let server = builder.start().await;
    for (name, _) in files {
        let words = server.plugin_error(name).await;
        assert!(words.len() > 10, "the error says what to do: {words}");
        let chain = json!([{"plugin": format!("shared/{name}")}]);
        server.admin("acme").put("/api/v1/sockets/chain", chain).await.expect_problem(422);
    }
}

#[tokio::test]
async fn a_component_over_the_size_limit_is_not_taken() {
    let server = Server::with().env("PLUGIN_MAX_SIZE", "1KiB").start().await;
    std::fs::write(server.plugin_path("guest"), transformer("1").bytes()).expect("the plugin folder takes files");
    server.plugin_error("guest").await;
}

#[tokio::test]
async fn files_that_are_no_plugins_are_left_alone() {
    let server = Server::with().plugin_file("README.txt", b"hello").plugin_file("guest.wasm.tmp", b"x").start().await;
    server.install("guest", &transformer("1").bytes()).await;
    let listed = server.admin("acme").get("/api/v1/plugins").await.expect(200);
    assert_eq!(crate::support::items(&listed.body).len(), 1, "{}", listed.text);
}

#[tokio::test]
async fn a_version_that_refuses_the_configuration_leaves_the_step_on_the_one_before() {
    let server = server_with_a_guest_on_sockets().await;
    let refusing = transformer("2").refusing_configuration("no such colour").bytes();
    std::fs::write(server.plugin_path("guest"), refusing).expect("the plugin folder takes files");
    assert!(server.plugin_error_seen_by("acme", "guest").await.contains("no such colour"));
    assert_eq!(version_now(&server).await, "1");
    let others = server.plugin_seen_by("other", "guest").await.expect("the plugin is listed");
    assert!(others["last_error"].is_null(), "what one tenant wrote is no other's to read: {others}");
}

#[tokio::test]
async fn a_file_that_is_gone_is_told_after_a_restart_too() {
    let mut server = server_with_a_guest_on_sockets().await;
    assert_eq!(server.terminate().await, Some(0));
    std::fs::remove_file(server.plugin_path("guest")).expect("the file was there");
    server.restart().await;
    assert!(server.plugin_error("guest").await.contains("removed"));
    assert_eq!(version_now(&server).await, "1");
}
