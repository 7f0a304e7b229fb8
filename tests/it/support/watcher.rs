//! The account of a socket: what it was shown, in which order, and what it was told is not to be had.

use super::Server;
use super::socket::{Connecting, Frame, Socket};
use super::tokens::Token;
use super::wait::{PATIENCE, within};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// A client that reads on and on. One that roams comes back, at another node, with the place where it was.
pub struct Watcher {
    name: String,
    shared: Arc<Shared>,
    reading: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    /// Locked for looks and pushes.
    seen: Mutex<Seen>,
    more: Notify,
}

#[derive(Debug, Clone, Default)]
pub struct Seen {
    pub events: Vec<Shown>,
    pub gaps: Vec<Gap>,
    /// Codes of its connections' ends.
    pub closes: Vec<u16>,
}

#[derive(Debug, Clone)]
pub struct Shown {
    pub id: String,
    /// None: it moves no position.
    pub place: Option<(String, u64)>,
}

#[derive(Debug, Clone)]
pub struct Gap {
    pub reason: String,
    pub at: Instant,
    /// So many events came before it.
    pub after: usize,
}

impl Watcher {
    /// Stays where it is: a close is its end.
    pub async fn on(node: &Server, tenant: &str, user: &str) -> Watcher {
        Watcher::start(&[node], tenant, user).await
    }

    /// Goes from node to node, beginning at the first.
    pub async fn start(nodes: &[&Server], tenant: &str, user: &str) -> Watcher {
        let ports: Vec<u16> = nodes.iter().map(|node| node.port()).collect();
        let token = Token::of(tenant).user(user).role("agent").sign();
        let mut place = Place::default();
        let socket = place.take_up(ports[0], &token).await.expect("the node takes sockets");
        let shared = Arc::<Shared>::default();
        let reader = Reader { shared: shared.clone(), ports, token, place };
        let name = format!("{user}@{}", nodes[0].port());
        Watcher { name, shared, reading: tokio::spawn(reader.read(socket)) }
    }

    pub fn seen(&self) -> Seen {
        self.shared.seen().clone()
    }

    pub fn ids(&self) -> Vec<String> {
        self.shared.seen().events.iter().map(|event| event.id.clone()).collect()
    }

    pub fn gaps(&self) -> Vec<Gap> {
        self.shared.seen().gaps.clone()
    }

    /// Waits until it has seen each of these, and makes sure that it saw nothing twice nor out of order.
    pub async fn expect(&self, ids: &[String]) {
        let missing = self.missing_after(ids, PATIENCE * 2).await;
        assert!(
            missing.is_empty(),
            "{}: {} of {} events never came: {:?}…; {} came, gaps: {:?}, closed: {:?}",
            self.name,
            missing.len(),
            ids.len(),
            &missing[..missing.len().min(5)],
            self.seen().events.len(),
            self.gaps(),
            self.seen().closes
        );
        self.check();
    }

    /// The same, but what never came may be covered by a gap that was told after `since`; answers how many those were.
    pub async fn expect_or_gap(&self, ids: &[String], markers: &[String], since: Instant) -> usize {
        self.expect(markers).await;
        let missing = self.missing_after(ids, Duration::ZERO).await;
        let told = self.gaps().iter().any(|gap| gap.at >= since);
        assert!(
            missing.is_empty() || told,
            "{}: {} of {} events never came, and no gap says so: {:?}…",
            self.name,
            missing.len(),
            ids.len(),
            &missing[..missing.len().min(5)]
        );
        missing.len()
    }

    /// Those that were not seen in this time.
    async fn missing_after(&self, ids: &[String], limit: Duration) -> Vec<String> {
        let mut missing: HashSet<&String> = ids.iter().collect();
        let mut looked_at = 0;
        let mut look = |missing: &mut HashSet<&String>| {
            let seen = self.shared.seen();
            for event in &seen.events[looked_at..] {
                missing.remove(&event.id);
            }
            looked_at = seen.events.len();
            missing.is_empty()
        };
        let all = async {
            loop {
                let more = self.shared.more.notified();
                if look(&mut missing) {
                    return;
                }
                more.await;
            }
        };
        // What is not there in time is the answer.
        let _ = tokio::time::timeout(limit, all).await;
        let mut missing: Vec<String> = missing.into_iter().cloned().collect();
        missing.sort();
        missing
    }

    pub async fn expect_gap(&self, what: impl Fn(&Gap) -> bool) -> Gap {
        self.until("a gap to be told", |seen| seen.gaps.iter().find(|gap| what(gap)).cloned()).await
    }

    async fn until<T>(&self, what: &str, look: impl Fn(&Seen) -> Option<T>) -> T {
        within(PATIENCE, &format!("{what} to {}", self.name), async {
            loop {
                let more = self.shared.more.notified();
                if let Some(found) = look(&self.shared.seen()) {
                    return found;
                }
                more.await;
            }
        })
        .await
    }

    /// Nothing twice; offsets of one epoch grow; what one publisher sent one after the other came so, unless a gap was told
    /// where it should have come.
    pub fn check(&self) {
        let seen = self.shared.seen();
        let mut ids = HashSet::new();
        let mut last: HashMap<&str, u64> = HashMap::new();
        let mut turns: HashMap<&str, BTreeMap<(u64, u64), usize>> = HashMap::new();
        for (at, event) in seen.events.iter().enumerate() {
            assert!(ids.insert(&event.id), "{}: {} came twice; gaps: {:?}", self.name, event.id, seen.gaps);
            if let Some((epoch, offset)) = &event.place {
                let before = last.insert(epoch, *offset).unwrap_or_default();
                assert!(before < *offset, "{}: {epoch}:{offset} after {before}; gaps: {:?}", self.name, seen.gaps);
            }
            if let Some((publisher, turn)) = turn(&event.id) {
                let turns = turns.entry(publisher).or_default();
                if let Some(later) = turns.range(turn..).map(|(_, at)| *at).min() {
                    let before = turns.range(..turn).rev().map(|(_, at)| *at).find(|at| *at < later).unwrap_or(0);
                    let told = seen.gaps.iter().any(|gap| (before..=later).contains(&gap.after));
                    let (name, gaps) = (&self.name, &seen.gaps);
                    assert!(told, "{name}: {} at {at}, what came after it at {later}; gaps: {gaps:?}", event.id);
                }
                turns.insert(turn, at);
            }
        }
    }

    /// A place is one event's, wherever it is seen.
    pub fn agree<'a>(watchers: impl IntoIterator<Item = &'a Watcher>) {
        let mut places: HashMap<(String, u64), String> = HashMap::new();
        for watcher in watchers {
            for event in watcher.seen().events {
                let Some(place) = event.place else { continue };
                let first = places.entry(place.clone()).or_insert_with(|| event.id.clone());
                assert_eq!(*first, event.id, "{}: another event at {place:?}", watcher.name);
            }
        }
    }

    /// It was never closed.
    pub fn stayed(&self) {
        assert!(self.seen().closes.is_empty(), "{} was closed: {:?}", self.name, self.seen().closes);
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("no reader panics")
    }
}

/// `name-publisher-turn-item` as a load numbers its events.
fn turn(id: &str) -> Option<(&str, (u64, u64))> {
    let (rest, item) = id.rsplit_once('-')?;
    let (publisher, turn) = rest.rsplit_once('-')?;
    Some((publisher, (turn.parse().ok()?, item.parse().ok()?)))
}

/// Where a client is, as it keeps it.
#[derive(Default)]
struct Place {
    epoch: String,
    offset: u64,
}

impl Place {
    /// Connects, with the place where there is one, and reads the welcome; none where the node does not take it.
    async fn take_up(&mut self, port: u16, token: &str) -> Option<Socket> {
        let since =
            if self.epoch.is_empty() { String::new() } else { format!("?since={}:{}", self.epoch, self.offset) };
        let mut socket = Connecting::new(port, &format!("/ws{since}")).bearer(token).attempt().await?;
        let welcome = socket.read().await.ok()?;
        if welcome.value["type"] != "welcome" {
            return None;
        }
        let epoch = welcome.value["epoch"].as_str().expect("a welcome names its epoch");
        if self.epoch.is_empty() {
            self.offset = welcome.value["offset"].as_u64().expect("a welcome has an offset");
            epoch.clone_into(&mut self.epoch);
        }
        Some(socket)
    }
}

struct Reader {
    shared: Arc<Shared>,
    ports: Vec<u16>,
    token: String,
    place: Place,
}

impl Reader {
    async fn read(mut self, mut socket: Socket) {
        let mut at = 0;
        loop {
            let mut after_ms = 100;
            loop {
                match socket.read().await {
                    Ok(frame) if frame.value["type"] == "bye" && frame.value["id"].is_null() => {
                        after_ms = frame.value["after_ms"].as_u64().unwrap_or(after_ms);
                    }
                    Ok(frame) => self.take(&frame),
                    Err(code) => {
                        self.shared.seen().closes.push(code);
                        self.shared.more.notify_waiters();
                        break;
                    }
                }
            }
            if self.ports.len() == 1 {
                return;
            }
            // As it was told to, then a little later each time.
            let mut pause = tokio::time::interval(Duration::from_millis(100));
            pause.reset_after(Duration::from_millis(after_ms));
            socket = loop {
                pause.tick().await;
                at = (at + 1) % self.ports.len();
                if let Some(socket) = self.place.take_up(self.ports[at], &self.token).await {
                    break socket;
                }
            };
        }
    }

    fn take(&mut self, frame: &Frame) {
        let text = |name: &str| frame.value[name].as_str().unwrap_or_default().to_owned();
        let mut seen = self.shared.seen();
        match (frame.value["id"].as_str(), frame.value["type"].as_str()) {
            (Some(_), Some(word)) if word.starts_with("agent.presence.") => {
                self.place.offset = frame.value["offset"].as_u64().unwrap_or(self.place.offset);
            }
            (Some(id), Some(_)) => {
                let offset = frame.value["offset"].as_u64();
                self.place.offset = offset.unwrap_or(self.place.offset);
                let place = offset.map(|offset| (self.place.epoch.clone(), offset));
                seen.events.push(Shown { id: id.to_owned(), place });
            }
            (None, Some("gap")) => {
                self.place.epoch = text("epoch");
                self.place.offset = frame.value["from"].as_u64().expect("a gap says from where").saturating_sub(1);
                let after = seen.events.len();
                seen.gaps.push(Gap { reason: text("reason"), at: Instant::now(), after });
            }
            _ => {}
        }
        drop(seen);
        self.shared.more.notify_waiters();
    }
}
