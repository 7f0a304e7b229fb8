//! Contract, section 6: Redis away. Sockets stay, publishing answers 202, and what cannot be shown is told as a gap.

use crate::cluster::{Pair, TYPES, redis_is, shared};
use crate::support::load::{Load, Plan, WhenItBreaks};
use crate::support::redis_wire::Wire;
use crate::support::watcher::Watcher;
use crate::support::{Database, Redis, Server, databases::Kind, eventually};
use serde_json::json;
use std::time::{Duration, Instant};

/// The longest that a publisher may wait while Redis goes away or comes back.
const SLOWEST: Duration = Duration::from_millis(4500);
const PLAN: Plan = Plan { when_it_breaks: WhenItBreaks::End, types: TYPES, pause: Some(Duration::from_millis(15)) };

/// Two nodes with two sockets each, one of them of another tenant, and publishers at each node.
pub struct Story {
    pub watchers: Vec<Watcher>,
    idle: Vec<Watcher>,
    pub load: Load,
    begun: Instant,
    /// How long a publisher may wait.
    patience: Duration,
}

impl Story {
    pub async fn begin(nodes: &[Server; 2]) -> Story {
        let (mut watchers, mut idle) = (Vec::new(), Vec::new());
        for (n, node) in nodes.iter().enumerate() {
            watchers.push(Watcher::on(node, "acme", &format!("kim{n}")).await);
            watchers.push(Watcher::on(node, "acme", &format!("lee{n}")).await);
            idle.push(Watcher::on(node, "other", "kim").await);
        }
        let publishers = nodes.iter().flat_map(|node| [node.service("acme"), node.service("acme")]).collect();
        let load = Load::planned("o", publishers, PLAN);
        load.accept_more(60).await;
        Story { watchers, idle, load, begun: Instant::now(), patience: SLOWEST }
    }

    /// Publishes on for a while, and judges: answers how many events, of all sockets, a gap stands for.
    pub async fn end(self, nodes: &[Server; 2]) -> usize {
        for node in nodes {
            shared(node).await;
        }
        self.load.accept_more(60).await;
        let (refused, slowest) = (self.load.refused(), self.load.slowest());
        let ids = self.load.end().await;
        let mut markers = Vec::new();
        for node in nodes {
            markers.push(node.publish("acme", json!({"type": "marker"})).await);
            node.publish("other", json!({"type": "marker"})).await;
        }
        let mut missing = 0;
        for watcher in &self.watchers {
            missing += watcher.expect_or_gap(&ids, &markers, self.begun).await;
            watcher.check();
            watcher.stayed();
        }
        Watcher::agree(&self.watchers);
        for watcher in &self.idle {
            watcher.stayed();
            eventually("the other tenant's markers", || async { (watcher.ids().len() == 2).then_some(()) }).await;
        }
        let gaps: Vec<_> = self.watchers[0].gaps().into_iter().map(|gap| gap.reason).collect();
        println!(
            "{} events, slowest answer {slowest:?}, {missing} missing at {} sockets, gaps of one: {gaps:?}",
            ids.len(),
            self.watchers.len()
        );
        assert_eq!(refused, 0, "every publish is answered 202");
        assert!(slowest < self.patience, "a publisher waited {slowest:?}");
        missing
    }
}

/// Waits until these nodes go on without Redis, or have never been with it.
async fn alone(nodes: &[Server]) {
    for node in nodes {
        redis_is(node, "unavailable").await;
        eventually("a node to go on alone", || async {
            let turns = |line: &&String| line.contains("shares its events") || line.contains("goes on alone");
            let last = node.log().iter().rfind(turns).cloned();
            last.is_none_or(|line| line.contains("alone")).then_some(())
        })
        .await;
    }
}

// --- Redis ends ----------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_redis_that_is_killed_and_comes_back_empty() {
    let mut pair = Pair::start().await;
    let story = Story::begin(&pair.nodes).await;
    pair.redis.kill();
    alone(&pair.nodes).await;
    story.load.accept_more(100).await;
    pair.redis.start_again().await;
    // Each node has its own events, and the others' backlog; but what Redis had answered and told nobody is lost with it.
    let missing = story.end(&pair.nodes).await;
    assert!(missing <= 4 * 4, "{missing} are missing: more than were under way");
}

#[tokio::test]
async fn a_redis_that_is_killed_and_comes_back_as_it_was() {
    let mut pair = Pair::meeting_in(Redis::keeping().await).await;
    let story = Story::begin(&pair.nodes).await;
    pair.redis.kill();
    alone(&pair.nodes).await;
    story.load.accept_more(100).await;
    pair.redis.start_again().await;
    assert_eq!(story.end(&pair.nodes).await, 0);
}

#[tokio::test]
async fn a_redis_that_is_started_anew_at_once() {
    for keeping in [true, false] {
        let redis = if keeping { Redis::keeping().await } else { Redis::start().await };
        let mut pair = Pair::meeting_in(redis).await;
        let story = Story::begin(&pair.nodes).await;
        for _ in 0..3 {
            pair.redis.kill();
            pair.redis.start_again().await;
            pair.shared().await;
            story.load.accept_more(40).await;
        }
        // One that Redis had answered and told nobody when it ended is lost with the stream.
        let missing = story.end(&pair.nodes).await;
        assert!(!keeping || missing == 0, "{missing} are missing that were kept");
    }
}

/// Its last events are lost, so that it would give their offsets to others.
#[tokio::test]
async fn a_redis_that_is_put_back_in_time_begins_a_new_epoch() {
    for at_once in [true, false] {
        let mut pair = Pair::meeting_in(Redis::keeping().await).await;
        let story = Story::begin(&pair.nodes).await;
        let copy = pair.redis.copy();
        story.load.accept_more(100).await;
        let token = crate::support::Token::of("acme").user("away").role("agent");
        let sign = || token.clone().sign();
        let mut away = pair.nodes[0].dial("/ws").bearer(&sign()).open().await;
        let welcome = away.expect_welcome().await;
        drop(away);
        pair.redis.kill();
        pair.redis.roll_back(&copy);
        if !at_once {
            alone(&pair.nodes).await;
        }
        pair.redis.start_again().await;
        pair.shared().await;
        story.load.accept_more(100).await;
        // Who was away must not take other events for those that it has seen.
        let since = format!("/ws?since={}:{}", welcome["epoch"].as_str().expect("an epoch"), welcome["offset"]);
        for node in &pair.nodes {
            let mut back = node.dial(&since).bearer(&sign()).open().await;
            let now = back.expect_welcome().await;
            assert_ne!(now["epoch"], welcome["epoch"], "offsets that were given twice need another epoch: {now}");
            assert_eq!(back.expect_any().await.value["type"], "gap");
        }
        for watcher in &story.watchers {
            watcher.expect_gap(|gap| gap.at >= story.begun).await;
        }
        let missing = story.end(&pair.nodes).await;
        println!("at once: {at_once}, missing {missing}: what was published before the new epoch began");
    }
}

#[tokio::test]
async fn a_redis_that_is_emptied_begins_a_new_epoch() {
    let pair = Pair::start().await;
    let story = Story::begin(&pair.nodes).await;
    for _ in 0..3 {
        pair.redis.ask::<String>("FLUSHALL").await;
        story.load.accept_more(50).await;
    }
    assert_eq!(story.end(&pair.nodes).await, 0);
}

// --- Redis is there, and no good -----------------------------------------------------------------------------------

async fn frozen(pause: Duration) -> usize {
    let pair = Pair::start().await;
    let story = Story::begin(&pair.nodes).await;
    pair.redis.freeze();
    let begun = Instant::now();
    alone(&pair.nodes).await;
    crate::support::within(pause * 2, "time to pass", async {
        while begun.elapsed() < pause {
            story.load.accept_more(20).await;
        }
    })
    .await;
    pair.redis.go_on();
    story.end(&pair.nodes).await
}

#[tokio::test]
async fn a_redis_that_does_not_answer_for_5_s() {
    assert_eq!(frozen(Duration::from_secs(5)).await, 0);
}

#[tokio::test]
async fn long_a_redis_that_does_not_answer_for_60_s() {
    frozen(Duration::from_secs(60)).await;
}

#[tokio::test]
async fn a_redis_that_stops_for_a_moment_is_waited_for() {
    let pair = Pair::start().await;
    let story = Story::begin(&pair.nodes).await;
    for _ in 0..3 {
        pair.redis.freeze();
        let begun = Instant::now();
        eventually("half a second to pass", || async { (begun.elapsed().as_millis() > 500).then_some(()) }).await;
        pair.redis.go_on();
        story.load.accept_more(40).await;
    }
    let gaps = story.watchers.iter().map(|watcher| watcher.gaps().len()).sum::<usize>();
    assert_eq!((story.end(&pair.nodes).await, gaps), (0, 0));
}

#[tokio::test]
async fn connections_that_redis_ends_are_made_again_without_a_gap() {
    let pair = Pair::start().await;
    let story = Story::begin(&pair.nodes).await;
    for kind in ["pubsub", "normal", "pubsub", "normal"] {
        pair.redis.ask::<i64>(&format!("CLIENT KILL TYPE {kind}")).await;
        story.load.accept_more(60).await;
        pair.shared().await;
    }
    let gaps = story.watchers.iter().map(|watcher| watcher.gaps().len()).sum::<usize>();
    assert_eq!((story.end(&pair.nodes).await, gaps), (0, 0));
}

/// A full memory, a disk that cannot be written, or a replica: it answers, and refuses.
#[tokio::test]
async fn a_redis_that_refuses_writes_is_away() {
    let pair = Pair::start().await;
    let story = Story::begin(&pair.nodes).await;
    for (refuse, again) in [
        ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0"),
        ("CONFIG SET min-replicas-to-write 1", "CONFIG SET min-replicas-to-write 0"),
        ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE"),
    ] {
        pair.redis.ask::<String>(refuse).await;
        alone(&pair.nodes).await;
        story.load.accept_more(60).await;
        pair.redis.ask::<String>(again).await;
        pair.shared().await;
        story.load.accept_more(60).await;
    }
    assert_eq!(story.end(&pair.nodes).await, 0);
}

// --- the wire ------------------------------------------------------------------------------------------------------

/// One node by a wire, the other without.
async fn wired() -> (Pair, Wire) {
    let redis = Redis::start().await;
    let wire = Wire::to(redis.address()).await;
    let database = Database::relaxed(Kind::MariaDb).await;
    let first = Server::with().database(&database).env("REDIS_URL", &wire.url()).start().await;
    let second = Server::with().database(&database).redis(&redis).start().await;
    let pair = Pair { nodes: [first, second], redis, database };
    pair.shared().await;
    (pair, wire)
}

#[tokio::test]
async fn a_node_that_is_cut_off_shows_its_own_and_is_shown_the_others_later() {
    let (pair, wire) = wired().await;
    let story = Story::begin(&pair.nodes).await;
    wire.cut();
    alone(&pair.nodes[..1]).await;
    redis_is(&pair.nodes[1], "ok").await;
    story.load.accept_more(200).await;
    wire.mend();
    assert_eq!(story.end(&pair.nodes).await, 0);
}

#[tokio::test]
async fn a_node_that_is_cut_off_for_a_moment_has_no_gap() {
    let (pair, wire) = wired().await;
    let story = Story::begin(&pair.nodes).await;
    for _ in 0..4 {
        wire.cut();
        story.load.accept_more(20).await;
        wire.mend();
        story.load.accept_more(20).await;
        pair.shared().await;
    }
    let missing = story.end(&pair.nodes).await;
    assert_eq!(missing, 0);
}

/// What it has brought comes back to it with what the others published, much later than it was shown.
#[tokio::test]
async fn a_node_that_is_cut_off_again_while_it_brings_what_it_kept_shows_nothing_twice() {
    const KEPT: i64 = 5_000;
    let (pair, wire) = wired().await;
    let begun = Instant::now();
    let watchers = [Watcher::on(&pair.nodes[0], "acme", "kim").await, Watcher::on(&pair.nodes[1], "acme", "lee").await];
    wire.cut();
    alone(&pair.nodes[..1]).await;
    let (publisher, mut ids) = (pair.nodes[0].service("acme"), Vec::new());
    for batch in 0..KEPT / 1_000 {
        let batch: Vec<String> = (0..1_000).map(|n| format!("kept-{batch}-{n}")).collect();
        let events: Vec<_> = batch.iter().map(|id| json!({"id": id, "type": "call.ended", "data": 1})).collect();
        publisher.post("/api/v1/events", json!(events)).await.expect(202);
        ids.extend(batch);
    }
    let placed = || pair.redis.ask::<i64>("XLEN callcenter:stream:acme");
    wire.mend();
    eventually("some of it to be brought", || async { (placed().await > 400).then_some(()) }).await;
    wire.cut();
    alone(&pair.nodes[..1]).await;
    assert!(placed().await < KEPT, "all of it was brought at once");
    wire.mend();
    pair.shared().await;
    let markers = [pair.nodes[1].publish("acme", json!({"type": "marker"})).await];
    for watcher in &watchers {
        assert_eq!(watcher.expect_or_gap(&ids, &markers, begun).await, 0);
        watcher.check();
        watcher.stayed();
    }
    Watcher::agree(&watchers);
}

#[tokio::test]
async fn a_node_that_hears_nothing_says_that_it_is_deaf_and_heals() {
    let (pair, wire) = wired().await;
    let story = Story::begin(&pair.nodes).await;
    wire.deafen();
    redis_is(&pair.nodes[0], "deaf").await;
    redis_is(&pair.nodes[1], "ok").await;
    story.load.accept_more(100).await;
    redis_is(&pair.nodes[0], "deaf").await;
    wire.mend();
    redis_is(&pair.nodes[0], "ok").await;
    assert_eq!(story.end(&pair.nodes).await, 0);
}

#[tokio::test]
async fn a_server_that_starts_without_redis_joins_when_it_is_there() {
    let mut redis = Redis::unstarted(&["--appendonly", "no"]);
    let database = Database::relaxed(Kind::MariaDb).await;
    let first = Server::with().database(&database).redis(&redis).start().await;
    let second = Server::with().database(&database).redis(&redis).start().await;
    assert!(first.log().iter().any(|line| line.contains("single-server mode")), "{:?}", first.log());
    let nodes = [first, second];
    alone(&nodes).await;
    let story = Story::begin(&nodes).await;
    redis.start_again().await;
    // What the first to join had published is behind the place where the second one joins: a gap stands for it.
    let missing = story.end(&nodes).await;
    println!("{missing} missing");
}
