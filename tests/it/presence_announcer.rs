//! The announcer of presence against a view that flips, fails and forgets, with nodes that are killed in the middle: what a
//! tenant is told of each user alternates, and ends in what is true.

use crate::support::store::{announce, open, who};
use crate::support::{Database, eventually, on_every_database};
use jackfield::app::App;
use jackfield::config::{Config, DatabaseSettings, Settings, TokenSettings};
use jackfield::event::{EventId, TenantId, UserId};
use jackfield::presence::{Announcement, Announcer, OnlineView, Pace};
use jackfield::store::{Announces, Store};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

on_every_database! { relaxed:
    what_is_told_of_a_user_alternates_and_ends_in_the_truth,
}

type Who = (TenantId, UserId);

/// The oracle: who has a connection to which node, and what fails.
#[derive(Default)]
struct World {
    connections: Mutex<BTreeSet<(usize, Who)>>,
    view_is_away: AtomicBool,
    /// Every n-th publish fails: before it is written, or after.
    fails_every: AtomicU32,
    published: AtomicU32,
}

impl World {
    fn set(&self, node: usize, who: &Who, is_connected: bool) {
        let mut connections = self.connections.lock().expect("nobody panics with it");
        match is_connected {
            true => connections.insert((node, who.clone())),
            false => connections.remove(&(node, who.clone())),
        };
    }

    fn users(&self, is_meant: impl Fn(usize) -> bool) -> BTreeSet<Who> {
        let connections = self.connections.lock().expect("nobody panics with it");
        connections.iter().filter(|(node, _)| is_meant(*node)).map(|(_, who)| who.clone()).collect()
    }
}

struct Node {
    number: usize,
    world: Arc<World>,
}

impl OnlineView for Node {
    async fn online(&self, users: &[Who]) -> Result<Vec<bool>, String> {
        // What is true when it is asked may not be when it is answered.
        let online = self.world.users(|_| true);
        tokio::task::yield_now().await;
        match self.world.view_is_away.load(Ordering::Relaxed) {
            true => Err("away".to_owned()),
            false => Ok(users.iter().map(|who| online.contains(who)).collect()),
        }
    }

    fn here(&self) -> Vec<Who> {
        self.world.users(|node| node == self.number).into_iter().collect()
    }
}

const QUICK: Pace = Pace {
    debounce: Duration::from_millis(10),
    round: Duration::from_millis(40),
    grace: Duration::from_millis(20),
    pause: Duration::from_millis(5),
};

struct Running {
    announcer: Arc<Announcer>,
    task: JoinHandle<()>,
}

async fn start(store: &Store, world: &Arc<World>, number: usize, pace: Pace) -> Running {
    let announcer = Arc::new(Announcer::new(store.clone(), pace).await.expect("the database tells its id"));
    let node = Arc::new(Node { number, world: world.clone() });
    let (store, world) = (store.clone(), world.clone());
    let publish = move |announcements: Vec<Announcement>| {
        let (store, world) = (store.clone(), world.clone());
        async move {
            let mut results = Vec::new();
            for announcement in announcements {
                results.push(publish(&store, &world, announcement).await);
            }
            results
        }
    };
    let task = tokio::spawn(announcer.clone().run(node, publish, CancellationToken::new()));
    Running { announcer, task }
}

async fn publish(store: &Store, world: &World, announcement: Announcement) -> Result<bool, String> {
    let every = world.fails_every.load(Ordering::Relaxed);
    let n = world.published.fetch_add(1, Ordering::Relaxed);
    let fails = every > 0 && n.is_multiple_of(every);
    if fails && n.is_multiple_of(2) {
        return Err("not written".to_owned());
    }
    let event_type = if announcement.is_online() { "agent.presence.online" } else { "agent.presence.offline" };
    let Announcement { id, tenant, announces, .. } = announcement;
    let is_new = announce(store, &tenant, &id, event_type, announces).await.map_err(|error| error.to_string())?;
    if fails { Err("written, and the answer was lost".to_owned()) } else { Ok(!is_new) }
}

/// What each user's tenant was told, in order.
async fn told(database: &Database) -> BTreeMap<Who, Vec<bool>> {
    let rows = database.texts("SELECT CONCAT(tenant_id, ' ', type, ' ', data) FROM jf_events ORDER BY seq").await;
    let mut told: BTreeMap<Who, Vec<bool>> = BTreeMap::new();
    for row in rows {
        let mut words = row.split(' ');
        let mut next = || words.next().expect("three words").trim_matches('"').to_owned();
        let (tenant, event_type, user) = (next(), next(), next());
        told.entry(who(&tenant, &user)).or_default().push(event_type == "agent.presence.online");
    }
    told
}

/// Waits until everybody was told what is true, and checks that it was told in turn.
async fn expect_truth(database: &Database, world: &World, hint: &str) {
    eventually(&format!("the truth to be told ({hint})"), || async {
        let online = world.users(|_| true);
        let told = told(database).await;
        for (who, told) in &told {
            let alternates = told.iter().zip([true, false].into_iter().cycle()).all(|(told, due)| *told == due);
            assert!(alternates, "{who:?} was told {told:?} ({hint})");
        }
        let told_online: BTreeSet<Who> =
            told.into_iter().filter(|(_, told)| told.last() == Some(&true)).map(|(who, _)| who).collect();
        (told_online == online).then_some(())
    })
    .await;
}

async fn what_is_told_of_a_user_alternates_and_ends_in_the_truth(database: Database) {
    let (store, store_task) = open(&database).await;
    for seed in 0..6 {
        // Whoever was online in the last round is found to be gone.
        let world = Arc::new(World::default());
        let users: Vec<Who> = (0..12).map(|n| who(["acme", "other"][n % 2], &format!("user-{}", n / 2))).collect();
        let nodes = storm(&store, &world, &users, StdRng::seed_from_u64(seed)).await;
        expect_truth(&database, &world, &format!("seed {seed}")).await;
        nodes.iter().for_each(|node| node.task.abort());
    }
    store_task.close(&store).await;
}

/// Two nodes, joins and leaves of their users, and kills, and outages, which are over in the end.
async fn storm(store: &Store, world: &Arc<World>, users: &[Who], mut random: StdRng) -> [Running; 2] {
    let mut nodes = [start(store, world, 0, QUICK).await, start(store, world, 1, QUICK).await];
    let mut ticks = tokio::time::interval(Duration::from_millis(1));
    for _ in 0..400 {
        let number = random.random_range(0..nodes.len());
        let user = &users[random.random_range(0..users.len())];
        match random.random_range(0..100) {
            0..45 => {
                world.set(number, user, true);
                nodes[number].announcer.joined(&user.0, &user.1);
            }
            45..90 => {
                world.set(number, user, false);
                nodes[number].announcer.left(&user.0, &user.1);
            }
            90..93 => {
                // `kill -9`: its users are gone, and nobody says so.
                nodes[number].task.abort();
                world.users(|node| node == number).iter().for_each(|who| world.set(number, who, false));
                nodes[number] = start(store, world, number, QUICK).await;
            }
            93..96 => world.view_is_away.store(random.random(), Ordering::Relaxed),
            _ => world.fails_every.store(random.random_range(0..4), Ordering::Relaxed),
        }
        if random.random_range(0..3) == 0 {
            ticks.tick().await;
        }
    }
    world.view_is_away.store(false, Ordering::Relaxed);
    world.fails_every.store(0, Ordering::Relaxed);
    nodes
}

#[tokio::test]
async fn who_is_back_within_the_debounce_was_never_away() {
    let database = Database::sqlite();
    let (store, _store_task) = open(&database).await;
    let world = Arc::new(World::default());
    let pace = Pace { debounce: Duration::from_secs(60), ..QUICK };
    let node = start(&store, &world, 0, pace).await;
    let (kim, sam) = (who("acme", "kim"), who("acme", "sam"));
    let join = |user: &Who| {
        world.set(0, user, true);
        node.announcer.joined(&user.0, &user.1);
    };
    join(&kim);
    expect_truth(&database, &world, "kim is there").await;
    for _ in 0..3 {
        world.set(0, &kim, false);
        node.announcer.left(&kim.0, &kim.1);
        join(&kim);
    }
    join(&sam);
    expect_truth(&database, &world, "sam is there").await;
    assert_eq!(told(&database).await[&kim], [true]);
}

#[tokio::test]
async fn who_does_not_come_back_after_a_restart_is_told_offline() {
    let database = Database::sqlite();
    let (store, _store_task) = open(&database).await;
    let world = Arc::new(World::default());
    let (kim, sam) = (who("acme", "kim"), who("acme", "sam"));
    let node = start(&store, &world, 0, QUICK).await;
    for user in [&kim, &sam] {
        world.set(0, user, true);
        node.announcer.joined(&user.0, &user.1);
    }
    expect_truth(&database, &world, "both are there").await;
    node.task.abort();
    world.set(0, &kim, false);
    let _node = start(&store, &world, 0, QUICK).await;
    expect_truth(&database, &world, "sam has come back").await;
    assert_eq!(told(&database).await[&sam], [true]);
}

#[tokio::test]
async fn a_user_whose_join_nobody_told_is_announced_all_the_same() {
    let database = Database::sqlite();
    let (store, _store_task) = open(&database).await;
    let world = Arc::new(World::default());
    let _node = start(&store, &world, 0, QUICK).await;
    world.set(0, &who("acme", "kim"), true);
    expect_truth(&database, &world, "kim is there").await;
}

#[tokio::test]
async fn an_announcement_is_published_once_and_moves_the_generation() {
    let database = Database::sqlite();
    let settings = Settings {
        server_host: Some("127.0.0.1".to_owned()),
        server_port: Some(crate::support::ports::free_port().to_string()),
        database: DatabaseSettings { database_url: Some(database.url()), ..Default::default() },
        tokens: TokenSettings { jwt_secret: Some("x".repeat(32)), ..Default::default() },
        ..Settings::default()
    };
    let app = App::start(Config::parse(&settings, None).expect("the settings are in order")).await.expect("it starts");
    let (acme, kim) = who("acme", "kim");
    let announcement = |id: &str, from| Announcement {
        id: EventId::parse(id).expect("an id"),
        tenant: acme.clone(),
        announces: Announces { user: kim.clone(), from },
        reason: "connected",
    };
    let published = app.broadcaster.publish_presence(vec![announcement("e1", 0), announcement("e1", 0)]).await;
    let duplicates: Vec<_> = published.into_iter().map(|one| one.expect("it is published").duplicate).collect();
    assert_eq!(duplicates, [false, true]);
    let published = app.broadcaster.publish_presence(vec![announcement("e2", 1)]).await;
    assert!(!published[0].as_ref().expect("it is published").duplicate);
    app.stop().await;
    let events = database.texts("SELECT CONCAT(type, data, user_id) FROM jf_events ORDER BY seq").await;
    let data = r#"{"user_id":"kim","reason":"connected"}"#;
    assert_eq!(events, [format!("agent.presence.online{data}"), format!("agent.presence.offline{data}")]);
    assert_eq!(database.count("SELECT generation FROM jf_presence").await, 2);
}
