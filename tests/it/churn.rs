//! Issue 4: connections that came and went leave nothing behind, neither in the counts nor in the memory.

use crate::support::socket::Connecting;
use crate::support::{Server, Token, within};
use futures_util::{StreamExt, stream};
use serde_json::json;
use std::time::Duration;

/// Handshakes under way.
const AT_ONCE: usize = 64;

/// Connects so many users, and sends them all away, half of them by a cut; answers the memory afterwards.
async fn churn(server: &Server, connections: usize) -> u64 {
    let tokens = (0..connections).map(|n| Token::of("acme").user(&format!("user-{}", n % (connections / 2))).sign());
    let sockets: Vec<_> = stream::iter(tokens)
        .map(|token| async move {
            // Nobody reads: presence of thousands, told to thousands, would end them as slow consumers.
            let mut socket = Connecting::new(server.port(), "/ws?events=call.*").bearer(&token).open().await;
            socket.expect_welcome().await;
            socket
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let stats = server.agent("acme").get("/ws/stats").await.expect(200).body;
    assert_eq!((&stats["clients"], &stats["users"]), (&json!(connections), &json!(connections / 2)));
    let leaving = stream::iter(sockets.into_iter().enumerate());
    leaving
        .for_each_concurrent(AT_ONCE, |(n, socket)| async move {
            if n % 2 == 0 { socket.close().await } else { drop(socket) }
        })
        .await;
    within(Duration::from_secs(60), "all to be gone, and told so", async {
        let mut ticks = tokio::time::interval(Duration::from_millis(100));
        loop {
            ticks.tick().await;
            let stats = server.agent("acme").get("/ws/stats").await.expect(200).body;
            let listed = server.agent("acme").get("/ws/users/online").await.expect(200).body;
            if stats["clients"] == 0 && stats["users"] == 0 && listed["users"] == json!([]) {
                break;
            }
        }
    })
    .await;
    let shown = server.operator("ops").get("/ws/stats").await.expect(200).body;
    assert_eq!((&shown["clients"], &shown["users"]), (&json!(0), &json!(0)), "{shown}");
    server.memory_bytes()
}

async fn returns_to_where_it_was(connections: usize) {
    let limit = (connections + 100).to_string();
    let server = Server::with().env("WS_MAX_CONNECTIONS_PER_TENANT", &limit).start().await;
    // Two to warm up: allocators keep what they will need again.
    churn(&server, connections).await;
    let before = churn(&server, connections).await;
    churn(&server, connections).await;
    let after = churn(&server, connections).await;
    println!("{connections} connections: {} KiB, then {} KiB", before / 1024, after / 1024);
    assert!(after * 100 <= before * 125, "memory grows: {before} bytes, then {after}");
}

#[tokio::test]
async fn a_thousand_connections_leave_nothing_behind() {
    returns_to_where_it_was(1_000).await;
}

#[tokio::test]
async fn long_fifteen_thousand_connections_leave_nothing_behind() {
    returns_to_where_it_was(15_000).await;
}
