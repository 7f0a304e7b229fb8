//! Plugins that loop, trap, allocate, flood or overflow cost their own tenant one failed event, and nobody else anything.

use crate::support::guests::{Guest, Setup, transformer};
use crate::support::wait::eventually;
use crate::support::{Receiver, Server};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// `hostile` runs the guest on its webhook and sockets; `neighbour` has a good plugin and must not notice.
async fn survives(guest: Guest) {
    let server = Server::start().await;
    server.install("hostile", &guest.bytes()).await;
    server.install("good", &transformer("1").bytes()).await;
    let (mut theirs, mut ours) = (Receiver::start().await, Receiver::start().await);
    let hostile = json!({"events": ["call.ended"], "chain": [{"plugin": "shared/hostile"}]});
    let webhook = server.webhook_with("hostile", &theirs.url(), hostile).await;
    server.webhook_with("neighbour", &ours.url(), json!({"chain": [{"plugin": "shared/good"}]})).await;

    for n in 0..5 {
        server.publish("hostile", json!({"type": "call.ended", "data": n})).await;
        server.publish("neighbour", json!({"type": "call.ended", "data": n})).await;
    }
    for delivery in ours.expect_deliveries(5).await {
        assert_eq!(delivery.json()["version"], "1");
    }
    webhook.expect_count("plugin_failed", 5).await;
    let failed = webhook.expect_failed().await;
    assert_eq!(failed["state"], "plugin_failed", "{failed}");

    // The tenant itself goes on as soon as the plugin is out of the way.
    webhook.change(json!({"chain": [], "events": ["*"]})).await;
    server.publish("hostile", json!({"type": "marker"})).await;
    theirs.expect_silence_until("marker").await;
}

#[tokio::test]
async fn a_guest_that_loops_costs_one_failed_delivery_each() {
    survives(transformer("1").looping()).await;
}

#[tokio::test]
async fn a_guest_that_traps_costs_one_failed_delivery_each() {
    survives(transformer("1").trapping()).await;
}

#[tokio::test]
async fn a_guest_that_allocates_without_end_costs_one_failed_delivery_each() {
    survives(transformer("1").hogging()).await;
}

#[tokio::test]
async fn a_guest_that_answers_ten_megabytes_costs_one_failed_delivery_each() {
    survives(transformer("1").flooding()).await;
}

#[tokio::test]
async fn a_guest_that_overflows_its_stack_costs_one_failed_delivery_each() {
    survives(transformer("1").overflowing()).await;
}

#[tokio::test]
async fn a_guest_that_copies_memory_without_end_costs_one_failed_delivery_each() {
    survives(transformer("1").copying()).await;
}

#[tokio::test]
async fn a_guest_that_sets_a_forbidden_header_costs_one_failed_delivery_each() {
    survives(transformer("1").setting_header("authorization", "Basic eA==")).await;
}

/// `shared/hostile` serves nothing, and no chain takes it; the plugins beside it do not notice.
#[tokio::test]
async fn a_guest_that_cannot_be_used_is_refused_with_words() {
    let server = Server::start().await;
    server.install("good", &transformer("1").bytes()).await;
    let log = transformer("1").logging("info", "hello");
    let refused = [
        ("start", transformer("1").setting_up(Setup::TrapsAtStart).bytes(), "trapped"),
        ("describe", transformer("1").setting_up(Setup::TrapsInDescribe).bytes(), "describe trapped"),
        ("log", log.bytes_where("jackfield:plugin/log@1.0.0", "jackfield:plugin/log@2.0.0"), "log@2.0.0"),
        (
            "field",
            transformer("1").bytes_where("\"time-ms\" u64", "\"time-ms\" u32"),
            "type mismatch for field time-ms",
        ),
    ];
    for (name, component, words) in refused {
        std::fs::write(server.plugin_path(name), component).expect("the plugin folder takes files");
        let error = server.plugin_error(name).await;
        assert!(error.contains(words), "{name}: {error}");
        let chain = json!([{"plugin": format!("shared/{name}")}]);
        server.admin("acme").put("/api/v1/sockets/chain", chain).await.expect_problem(422);
    }
    server.admin("acme").put("/api/v1/sockets/chain", json!([{"plugin": "shared/good"}])).await.expect(200);
}

#[tokio::test]
async fn a_guest_that_does_not_take_its_configuration_in_time_is_refused_with_words() {
    let server = Server::start().await;
    for (setup, words) in [
        (Setup::TrapsInConfigure, "trapped"),
        (Setup::LoopsInConfigure, "500 ms of CPU time (ten times PLUGIN_DEADLINE)"),
    ] {
        server.install("hostile", &transformer("1").setting_up(setup).bytes()).await;
        let refused = server.admin("acme").put("/api/v1/sockets/chain", json!([{"plugin": "shared/hostile"}])).await;
        assert!(refused.text.contains(words), "{}", refused.text);
        refused.expect_problem(422);
    }
}

#[tokio::test]
async fn on_sockets_a_guest_that_emits_no_json_hides_the_event_and_says_so() {
    let server = Server::start().await;
    server.install("hostile", &transformer("1").emitting("{\"open\":").bytes()).await;
    server.admin("acme").put("/api/v1/sockets/chain", json!([{"plugin": "shared/hostile"}])).await.expect(200);
    let mut socket = server.socket("acme", "kim").await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    let failed = socket.expect_event("plugin.failed").await;
    assert_eq!((&failed["data"]["code"], &failed["data"]["version"]), (&json!("not-json"), &json!(1)), "{failed}");
    let lines = server.admin("acme").get_all("/api/v1/plugins/shared/hostile/logs").await;
    assert_eq!(lines[0]["code"], "not-json", "{lines:?}");
}

/// Each call makes an instance, finds whether its fresh memory holds anything, fills it and traps: the places of the pool
/// are used again at once, by either tenant.
#[tokio::test]
async fn fresh_memory_holds_nothing_of_whoever_had_it_before() {
    let server = Server::start().await;
    server.install("scan", &transformer("1").scanning().bytes()).await;
    let receiver = Receiver::start().await;
    let tenants = ["acme", "globex"];
    let mut webhooks = Vec::new();
    for tenant in tenants {
        let chain = json!({"events": ["call.*"], "chain": [{"plugin": "shared/scan"}]});
        webhooks.push(server.webhook_with(tenant, &receiver.url(), chain).await);
    }
    for n in 0..12 {
        for tenant in tenants {
            server.publish(tenant, json!({"type": "call.ended", "data": n})).await;
        }
    }
    for (tenant, webhook) in tenants.iter().zip(&webhooks) {
        webhook.expect_count("plugin_failed", 12).await;
        let lines = server.admin(tenant).get_all("/api/v1/plugins/shared/scan/logs").await;
        let found: Vec<&Value> =
            lines.iter().filter(|line| line["code"].is_null()).map(|line| &line["message"]).collect();
        assert_eq!(found, [&json!("clean"); 12], "{tenant}: {lines:?}");
    }
}

#[tokio::test]
async fn what_a_guest_remembers_of_one_tenant_it_never_has_at_hand_for_another() {
    let server = Server::start().await;
    server.install("keeps", &transformer("1").remembering().bytes()).await;
    let receiver = Receiver::start().await;
    let tenants = ["acme", "globex", "initech"];
    let mut webhooks = Vec::new();
    for tenant in tenants {
        let chain = json!({"events": ["call.*"], "chain": [{"plugin": "shared/keeps"}]});
        webhooks.push(server.webhook_with(tenant, &receiver.url(), chain).await);
    }
    let mut published = Vec::new();
    for n in 0..10 {
        for tenant in tenants {
            published.push((tenant, server.publish(tenant, json!({"type": "call.ended", "data": n})).await));
        }
    }
    for webhook in &webhooks {
        webhook.expect_count("dropped", 10).await;
    }
    for (tenant, id) in published {
        let event = server.admin(tenant).get(&format!("/api/v1/events/{id}")).await.expect(200);
        assert!(event.text.contains(&format!("shared/keeps: {tenant}\"")), "{}", event.text);
    }
}

#[tokio::test]
async fn a_version_that_traps_again_and_again_rests_until_another_one_serves() {
    let server = Server::start().await;
    server.install("hostile", &transformer("1").trapping().bytes()).await;
    let (theirs, mut ours) = (Receiver::start().await, Receiver::start().await);
    let chain = json!({"events": ["call.*"], "chain": [{"plugin": "shared/hostile"}]});
    let webhook = server.webhook_with("acme", &theirs.url(), chain.clone()).await;
    let mut socket = server.socket("acme", "kim").await;
    socket.subscribe(&["plugin.*"]).await;
    for n in 0..25 {
        server.publish("acme", json!({"type": "call.ended", "data": n})).await;
    }
    webhook.expect_count("plugin_failed", 25).await;
    let seen = server.plugin_seen_by("acme", "hostile").await.expect("it is listed");
    assert_eq!((&seen["breaker"], &seen["calls"]), (&json!("open"), &json!(20)), "the last five were not run: {seen}");
    let mut codes = Vec::new();
    while codes.last().is_none_or(|code| code != "breaker-open") {
        codes.push(socket.expect_event("plugin.failed").await["data"]["code"].as_str().unwrap_or_default().to_owned());
    }
    let failed = webhook.expect_failed().await;
    assert!(failed["reason"].as_str().is_some_and(|reason| reason.contains("breaker-open")), "{failed}");
    let other = server.plugin_seen_by("globex", "hostile").await.expect("it is listed");
    assert_eq!(other["breaker"], "closed", "it rests for its own tenant only: {other}");

    // As if the step were absent, without running it.
    let passes = json!([{"plugin": "shared/hostile", "on_error": "pass"}]);
    webhook.change(json!({"chain": passes, "url": ours.url()})).await;
    server.publish("acme", json!({"type": "call.missed"})).await;
    assert_eq!(ours.expect_delivery().await.json()["type"], "call.missed");

    webhook.change(chain).await;
    server.install("hostile", &transformer("2").bytes()).await;
    server.publish("acme", json!({"type": "call.hold"})).await;
    assert_eq!(ours.expect_delivery().await.json()["version"], "2");
    let seen = server.plugin_seen_by("acme", "hostile").await.expect("it is listed");
    assert_eq!(seen["breaker"], "closed", "{seen}");
}

#[tokio::test]
async fn a_version_that_was_uploaded_to_be_rolled_back_gives_way_to_the_one_before() {
    let server = Server::start().await;
    let upload = async |path: &str, guest: Guest| {
        server.admin("acme").put_bytes(path, "application/wasm", guest.bytes()).await.expect(201).body
    };
    upload("/api/v1/plugins/own", transformer("1")).await;
    let mut receiver = Receiver::start().await;
    let chain = json!({"events": ["call.*"], "chain": [{"plugin": "own"}]});
    let webhook = server.webhook_with("acme", &receiver.url(), chain).await;
    let mut socket = server.socket("acme", "kim").await;
    socket.subscribe(&["plugin.*"]).await;
    upload("/api/v1/plugins/own?roll_back=true", transformer("2").trapping()).await;
    let shown = server.admin("acme").get("/api/v1/plugins/own").await.expect(200).body;
    assert_eq!((&shown["active_version"], &shown["rolls_back_to"]), (&json!(2), &json!(1)), "{shown}");

    for n in 0..20 {
        server.publish("acme", json!({"type": "call.ended", "data": n})).await;
    }
    webhook.expect_count("plugin_failed", 20).await;
    let told = loop {
        let failed = socket.expect_event("plugin.failed").await;
        if failed["data"]["code"] == "breaker-open" {
            break failed;
        }
    };
    assert!(told["data"]["message"].to_string().contains("version 1 serves again"), "{told}");
    server.publish("acme", json!({"type": "call.hold"})).await;
    assert_eq!(receiver.expect_delivery().await.json()["version"], "1");
    let shown = server.admin("acme").get("/api/v1/plugins/own").await.expect(200).body;
    assert_eq!((&shown["active_version"], &shown["rolls_back_to"]), (&json!(1), &json!(null)), "{shown}");
}

/// Its own refusals of bad input are a plugin's right, however many they are.
#[tokio::test]
async fn a_version_that_refuses_in_its_own_words_does_not_rest() {
    let server = Server::start().await;
    server.install("strict", &transformer("1").failing().bytes()).await;
    let receiver = Receiver::start().await;
    let chain = json!({"events": ["call.*"], "chain": [{"plugin": "shared/strict"}]});
    let webhook = server.webhook_with("acme", &receiver.url(), chain).await;
    for n in 0..25 {
        server.publish("acme", json!({"type": "call.ended", "data": n})).await;
    }
    webhook.expect_count("plugin_failed", 25).await;
    let seen = server.plugin_seen_by("acme", "strict").await.expect("it is listed");
    assert_eq!((&seen["breaker"], &seen["calls"]), (&json!("closed"), &json!(25)), "{seen}");
}

/// Three hostile tenants loop on all threads; the neighbour's events wait for the loops that are under way, not for those
/// that wait.
#[tokio::test]
async fn under_a_constant_flow_of_loops_a_neighbours_events_go_through() {
    const EVENTS: usize = 40;
    let server = Server::start().await;
    server.install("good", &transformer("1").bytes()).await;
    server.install("loops", &transformer("1").looping().bytes()).await;
    let (theirs, mut ours) = (Receiver::start().await, Receiver::start().await);
    server.webhook_with("neighbour", &ours.url(), json!({"chain": [{"plugin": "shared/good"}]})).await;
    let tenants: Vec<String> = (0..3).map(|n| format!("hostile-{n}")).collect();
    for tenant in &tenants {
        let chain = json!({"events": ["call.ended"], "chain": [{"plugin": "shared/loops"}]});
        server.webhook_with(tenant, &theirs.url(), chain).await;
        // Twenty loops of 50 ms for each, until they rest: three seconds of the threads, while the neighbour publishes.
        let events: Vec<Value> = (0..100).map(|n| json!({"type": "call.ended", "data": n})).collect();
        server.service(tenant).post("/api/v1/events", json!(events)).await.expect(202);
    }
    let mut took = Vec::with_capacity(EVENTS);
    for n in 0..EVENTS {
        let began = Instant::now();
        server.publish("neighbour", json!({"type": "call.ended", "data": n})).await;
        ours.expect_delivery().await;
        took.push(began.elapsed());
    }
    took.sort();
    // Alone it is a few milliseconds; behind every loop that waits it would be seconds.
    let (p50, p99) = (took[EVENTS / 2], took[EVENTS - 1]);
    assert!(p50 < Duration::from_millis(250) && p99 < Duration::from_millis(1500), "{took:?}");
    eventually("all of them to rest", async || {
        let mut open = 0;
        for tenant in &tenants {
            open += usize::from(server.plugin_seen_by(tenant, "loops").await?["breaker"] == "open");
        }
        (open == tenants.len()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn on_sockets_a_looping_guest_hides_its_tenants_events_and_nobody_elses() {
    let server = Server::start().await;
    server.install("hostile", &transformer("1").looping().bytes()).await;
    server.admin("hostile").put("/api/v1/sockets/chain", json!([{"plugin": "shared/hostile"}])).await.expect(200);
    let (mut theirs, mut ours) = (server.socket("hostile", "kim").await, server.socket("neighbour", "kim").await);
    for _ in 0..5 {
        server.publish("hostile", json!({"type": "call.ended"})).await;
    }
    server.publish("neighbour", json!({"type": "call.ended"})).await;
    ours.expect_event("call.ended").await;
    let failed = theirs.expect_event("plugin.failed").await;
    assert_eq!(failed["data"]["plugin"], "shared/hostile", "{failed}");
}

#[tokio::test]
async fn on_error_pass_delivers_past_a_trap() {
    let server = Server::start().await;
    server.install("hostile", &transformer("1").trapping().bytes()).await;
    let mut receiver = Receiver::start().await;
    let chain = json!([{"plugin": "shared/hostile", "on_error": "pass"}]);
    server.webhook_with("acme", &receiver.url(), json!({"chain": chain})).await;
    for n in 0..3 {
        server.publish("acme", json!({"type": "call.ended", "data": n})).await;
        assert_eq!(receiver.expect_delivery().await.json()["data"], n);
    }
}

#[tokio::test]
async fn a_delivery_that_its_plugin_failed_stays_failed_over_a_crash() {
    let mut server = Server::start().await;
    server.install("hostile", &transformer("1").trapping().bytes()).await;
    let receiver = Receiver::start().await;
    let webhook = server.webhook_with("acme", &receiver.url(), json!({"chain": [{"plugin": "shared/hostile"}]})).await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    webhook.expect_failed().await;
    server.kill();
    server.restart().await;
    webhook.expect_count("plugin_failed", 1).await;
    assert!(receiver.all().is_empty());
}
