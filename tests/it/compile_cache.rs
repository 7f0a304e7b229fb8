//! PLUGIN_CACHE_DIR: what was compiled once is not compiled again, and nothing is loaded that the server did not write.

use crate::support::guests::transformer;
use crate::support::{Server, eventually};
use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

fn folder(server: &Server) -> PathBuf {
    server.plugin_path("x").parent().and_then(|plugins| plugins.parent()).expect("a folder").join("plugin-cache")
}

/// The kept code, oldest first.
fn kept(server: &Server) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder(server)).expect("the cache's folder is there").flatten();
    let mut files: Vec<_> = entries.map(|entry| entry.path()).collect();
    files.sort_by_key(|path| fs::metadata(path).and_then(|m| m.created()).expect("times are kept"));
    files
}

fn said(server: &Server, words: &str) -> usize {
    server.log().iter().filter(|line| line.contains(words)).count()
}

fn compiled(server: &Server) -> usize {
    said(server, "a component was compiled in")
}

async fn answers(server: &Server, version: &str) {
    let mut socket = server.socket("acme", "kim").await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    assert_eq!(socket.expect_event("call.ended").await["data"]["version"], version);
}

async fn server_with_two_versions() -> Server {
    let server = Server::start().await;
    server.install("guest", &transformer("1").bytes()).await;
    server.install("guest", &transformer("2").bytes()).await;
    server.admin("acme").put("/api/v1/sockets/chain", json!([{"plugin": "shared/guest"}])).await.expect(200);
    server
}

#[tokio::test]
async fn a_restart_compiles_nothing_again() {
    let mut server = server_with_two_versions().await;
    assert_eq!(compiled(&server), 2);
    let files = kept(&server);
    assert_eq!(files.len(), 2, "{files:?}");
    let mode = |path: &PathBuf| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!((mode(&folder(&server)), mode(&files[0])), (0o700, 0o400));
    server.kill();
    server.restart().await;
    answers(&server, "2").await;
    assert_eq!((compiled(&server), said(&server, "is not loaded")), (2, 0));
}

/// The figure is printed: with the code at hand, a start loads it, and asks each plugin what it is.
#[tokio::test]
async fn long_a_start_with_200_kept_plugins_takes_half_a_second() {
    let start = (0..200).fold(Server::with(), |builder, n| {
        builder.plugin_file(&format!("guest-{n}.wasm"), &transformer(&n.to_string()).bytes())
    });
    let mut server = start.start().await;
    assert_eq!(compiled(&server), 200);
    let mut took = Vec::new();
    for _ in 0..5 {
        server.kill();
        let begun = Instant::now();
        server.restart().await;
        took.push(begun.elapsed());
    }
    took.sort_unstable();
    println!("a start with 200 kept plugins: median {:?} of {took:?}", took[2]);
    assert_eq!(compiled(&server), 200, "nothing was compiled again");
    assert!(took[2] < Duration::from_millis(500), "{took:?}");
}

#[tokio::test]
async fn what_somebody_else_wrote_into_the_cache_is_compiled_again_and_never_loaded() {
    let mut server = server_with_two_versions().await;
    let (first, second) = (kept(&server)[0].clone(), kept(&server)[1].clone());
    let (theirs, ours) = (fs::read(&first).expect("it is there"), fs::read(&second).expect("it is there"));
    let mut flipped = ours.clone();
    *flipped.last_mut().expect("it holds something") ^= 1;
    let mut in_code = ours.clone();
    let middle = ours.len() / 2;
    in_code[middle] ^= 0x10;
    let fakes =
        [flipped, in_code, theirs, ours[..ours.len() / 2].to_vec(), Vec::new(), b"#!/bin/sh\n".repeat(100).to_vec()];
    for (n, fake) in fakes.into_iter().enumerate() {
        server.kill();
        fs::remove_file(&second).expect("it was there");
        fs::write(&second, fake).expect("a test may write anywhere");
        server.restart().await;
        answers(&server, "2").await;
        assert_eq!(said(&server, "in PLUGIN_CACHE_DIR is not loaded"), n + 1);
        assert_eq!(compiled(&server), n + 3, "compiled again");
        eventually("good code in the fake's place", || async { (fs::read(&second).ok()? == ours).then_some(()) }).await;
    }
}

#[tokio::test]
async fn code_of_another_database_is_not_this_ones() {
    let mut server = server_with_two_versions().await;
    let old = fs::read(&kept(&server)[1]).expect("it is there");
    let new_key = format!("{}=", "A".repeat(43));
    server.kill();
    // With a key of another life the one in the database is sealed anew, and the code stays good.
    server.restart_with(|builder| builder.set("ENCRYPTION_KEY", &new_key)).await;
    answers(&server, "2").await;
    assert_eq!(compiled(&server), 2);
    server.kill();
    // Lost, the key is made anew: nothing that it proved is loaded.
    let lost = format!("{}E=", "B".repeat(42));
    server.restart_with(|builder| builder.set("ENCRYPTION_KEY", &lost)).await;
    answers(&server, "2").await;
    assert_eq!((said(&server, "does not open"), compiled(&server)), (1, 3));
    assert!(kept(&server).iter().all(|file| fs::read(file).expect("it is there") != old));
}

#[tokio::test]
async fn without_a_folder_to_write_the_server_serves_and_says_so_once() {
    let server = Server::with().env("PLUGIN_CACHE_DIR", "/proc/no/such/place").start().await;
    server.install("one", &transformer("1").bytes()).await;
    server.install("two", &transformer("2").bytes()).await;
    assert_eq!(said(&server, "PLUGIN_CACHE_DIR /proc/no/such/place cannot be used"), 1);
}
