//! Where Redis may be: behind TLS, and wherever its Sentinels say.

use crate::cluster::{redis_is, shared};
use crate::cluster_outages::Story;
use crate::support::tls::Authority;
use crate::support::{Database, Redis, Server, databases::Kind, eventually, ports::free_port};
use serde_json::json;

#[tokio::test]
async fn redis_behind_tls_is_trusted_by_its_authority_and_no_other() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let ((certificate, key), port) = (authority.certificate("localhost"), free_port());
    let port = port.to_string();
    let ca = authority.file();
    let tls = ["--tls-port", &port, "--tls-cert-file", &certificate, "--tls-key-file", &key, "--tls-ca-cert-file", &ca];
    let _redis = Redis::with(&[&tls[..], &["--tls-auth-clients", "no"]].concat()).await;
    let database = Database::relaxed(Kind::MariaDb).await;
    let url = format!("rediss://localhost:{port}");
    let start = async |trusted: &Authority, url: &str| {
        let server = Server::with().database(&database).env("REDIS_URL", url);
        server.env("SSL_CERT_FILE", &trusted.file()).start().await
    };
    let (one, two) = (start(&authority, &url).await, start(&authority, &url).await);
    shared(&one).await;
    shared(&two).await;
    let mut socket = one.socket("acme", "kim").await;
    two.publish("acme", json!({"type": "call.ended"})).await;
    socket.expect_event("call.ended").await;

    let misled = start(&stranger, &url).await;
    redis_is(&misled, "unavailable").await;
    let misnamed = start(&authority, &format!("rediss://127.0.0.1:{port}")).await;
    redis_is(&misnamed, "unavailable").await;
}

#[tokio::test]
async fn nodes_follow_the_sentinels_to_another_master() {
    let mut redis = Redis::start().await;
    let replica = redis.following().await;
    eventually("the replica to have all", || async {
        let role: String = replica.ask("INFO replication").await;
        role.contains("master_link_status:up").then_some(())
    })
    .await;
    // It asks at its start who follows, and then every 10 s.
    let sentinel = redis.sentinel().await;
    let master = async || {
        let address: Vec<String> = sentinel.ask("SENTINEL GET-MASTER-ADDR-BY-NAME main").await;
        address[1].parse::<u16>().expect("a port")
    };
    let before = master().await;
    eventually("the Sentinel to know the replica", || async {
        let known: String = sentinel.ask("INFO sentinel").await;
        known.contains("slaves=1").then_some(())
    })
    .await;
    let database = Database::relaxed(Kind::MariaDb).await;
    let start = async || {
        let url = format!("redis+sentinel://127.0.0.1:{}/main", sentinel.address().port());
        Server::with().database(&database).env("REDIS_URL", &url).start().await
    };
    let nodes = [start().await, start().await];
    for node in &nodes {
        shared(node).await;
    }
    let story = Story::begin(&nodes).await;
    redis.kill();
    eventually("another master", || async { (master().await != before).then_some(()) }).await;
    for node in &nodes {
        shared(node).await;
    }
    story.load.accept_more(60).await;
    // What the old master had not told the new one is covered by a gap.
    let missing = story.end(&nodes).await;
    let tenants: i64 = replica.ask("EXISTS callcenter:stream:acme").await;
    assert_eq!(tenants, 1, "the new master has the streams");
    println!("{missing} missing after a failover");
}
