//! A plugin is replaced under load: every event is answered by exactly one version, and none is lost.

use crate::support::guests::transformer;
use crate::support::wait::PATIENCE;
use crate::support::{Received, Receiver, Server, within};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A second from compiled to live, and as much for settling and compiling on a loaded machine.
const LIVE_WITHIN: Duration = Duration::from_secs(3);

/// Publishes for `acme` until told to stop; answers the ids that were answered 202.
struct Load {
    stop: Arc<AtomicBool>,
    publishers: Vec<tokio::task::JoinHandle<Vec<String>>>,
}

impl Load {
    fn start(server: &Server) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let publish = |publisher: usize| {
            let (client, stop) = (server.service("acme"), stop.clone());
            tokio::spawn(async move {
                let mut ids = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let id = format!("p{publisher}-{}", ids.len());
                    let event = json!({"id": id, "type": "call.ended", "data": {"n": ids.len()}});
                    assert_eq!(client.try_publish(&event).await, Some(202));
                    ids.push(id);
                }
                ids
            })
        };
        let publishers = (0..4).map(publish).collect();
        Load { stop, publishers }
    }

    async fn stop(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        let mut ids = Vec::new();
        for publisher in self.publishers {
            ids.extend(publisher.await.expect("every event was answered 202"));
        }
        ids
    }
}

fn versions(requests: &[Received]) -> HashSet<String> {
    requests.iter().filter_map(|r| Some(r.json()["version"].as_str()?.to_owned())).collect()
}

/// Every id once, each by one version that existed.
fn assert_each_answered_by_one_version(requests: &[Received], ids: &[String]) {
    let mut by_id: HashMap<String, HashSet<String>> = HashMap::new();
    for request in requests {
        let body = request.json();
        let (id, version) = (body["event"].as_str().unwrap_or_default(), body["version"].as_str().unwrap_or_default());
        assert!(!id.is_empty() && !version.is_empty(), "an event went out without its plugin: {body}");
        by_id.entry(id.to_owned()).or_default().insert(version.to_owned());
    }
    for id in ids {
        let versions = by_id.get(id).unwrap_or_else(|| panic!("{id} was lost"));
        assert_eq!(versions.len(), 1, "{id} was answered by {versions:?}");
    }
}

#[tokio::test]
async fn a_webhooks_plugin_is_swapped_under_load_without_losing_an_event() {
    let server = Server::start().await;
    server.install("guest", &transformer("1").bytes()).await;
    let receiver = Receiver::start().await;
    server.webhook_with("acme", &receiver.url(), json!({"chain": [{"plugin": "shared/guest"}]})).await;

    let load = Load::start(&server);
    receiver.expect("200 deliveries", |r| r.len() >= 200).await;
    for version in ["2", "3"] {
        let replaced = Instant::now();
        let before = receiver.all().len();
        std::fs::write(server.plugin_path("guest"), transformer(version).bytes())
            .expect("the plugin folder takes files");
        // Only the newest is looked at: under load every arrival asks again.
        let seen = receiver
            .expect(&format!("version {version}"), |r| {
                r.len() > before && r.last().is_some_and(|r| r.json()["version"] == version)
            })
            .await;
        let first = seen[before..].iter().find(|r| r.json()["version"] == version).expect("it was seen");
        assert!(first.at - replaced < LIVE_WITHIN, "version {version} came after {:?}", first.at - replaced);
    }
    let ids = load.stop().await;
    receiver.expect_ids(&ids, |body| &body["event"]).await;
    let all = receiver.all();
    assert_each_answered_by_one_version(&all, &ids);
    assert_eq!(versions(&all), ["1", "2", "3"].map(str::to_owned).into());
}

#[tokio::test]
async fn the_sockets_plugin_is_swapped_under_load_without_losing_an_event() {
    let server = Server::start().await;
    server.install("guest", &transformer("1").bytes()).await;
    server.admin("acme").put("/api/v1/sockets/chain", json!([{"plugin": "shared/guest"}])).await.expect(200);
    let mut socket = server.socket("acme", "kim").await;
    let load = Load::start(&server);
    let mut seen: HashMap<String, Value> = HashMap::new();
    let next = |event: Value, seen: &mut HashMap<String, Value>| {
        let id = event["id"].as_str().unwrap_or_default().to_owned();
        let version = event["data"]["version"].clone();
        assert!(version.is_string(), "an event went out without its plugin: {event}");
        assert!(seen.insert(id, version).is_none(), "an event came twice: {event}");
    };
    while seen.len() < 200 {
        next(socket.expect_event("call.ended").await, &mut seen);
    }
    std::fs::write(server.plugin_path("guest"), transformer("2").bytes()).expect("the plugin folder takes files");
    within(PATIENCE, "version 2 on the socket", async {
        while !seen.values().any(|v| v == "2") {
            next(socket.expect_event("call.ended").await, &mut seen);
        }
    })
    .await;
    let ids = load.stop().await;
    within(PATIENCE, "every event on the socket", async {
        while !ids.iter().all(|id| seen.contains_key(id)) {
            next(socket.expect_event("call.ended").await, &mut seen);
        }
    })
    .await;
}

#[tokio::test]
async fn two_webhooks_with_one_plugin_keep_their_own_configurations_over_swaps() {
    let server = Server::start().await;
    server.install("guest", &transformer("1").bytes()).await;
    let receivers = [Receiver::start().await, Receiver::start().await];
    for (n, receiver) in receivers.iter().enumerate() {
        let chain = json!([{"plugin": "shared/guest", "config": {"receiver": n}}]);
        server.webhook_with("acme", &receiver.url(), json!({"chain": chain})).await;
    }
    let load = Load::start(&server);
    for version in ["2", "3", "4"] {
        let component = transformer(version).bytes();
        std::fs::write(server.plugin_path("guest"), component).expect("the plugin folder takes files");
        for receiver in &receivers {
            receiver
                .expect(&format!("version {version}"), |r| r.last().is_some_and(|r| r.json()["version"] == version))
                .await;
        }
    }
    let ids = load.stop().await;
    for (n, receiver) in receivers.iter().enumerate() {
        receiver.expect_ids(&ids, |body| &body["event"]).await;
        let all = receiver.all();
        assert_each_answered_by_one_version(&all, &ids);
        for request in &all {
            assert_eq!(request.json()["config"], json!({"receiver": n}), "another webhook's configuration");
        }
    }
}

#[tokio::test]
async fn a_changed_configuration_is_in_force_when_it_is_answered() {
    let server = Server::start().await;
    server.install("guest", &transformer("1").bytes()).await;
    let mut receiver = Receiver::start().await;
    let webhook = server.webhook("acme", &receiver.url()).await;
    for n in 0..5 {
        let chain = json!([{"plugin": "shared/guest", "config": {"n": n}}]);
        webhook.change(json!({"chain": chain})).await;
        server.publish("acme", json!({"type": "call.ended"})).await;
        assert_eq!(receiver.expect_delivery().await.json()["config"], json!({"n": n}));
    }
}
