//! The account of a receiver: what came, how often, and whether a fault explains what came again.

use super::databases::Database;
use super::receiver::{Received, Receiver};
use super::wait::{PATIENCE, within};
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

/// Of each event at each path, everything that was received, in order.
#[derive(Default)]
pub struct Account {
    looked_at: usize,
    received: HashMap<(String, String), Vec<Received>>,
    faults: Vec<Fault>,
}

/// From the moment that something was killed until it was there again.
struct Fault {
    from: Instant,
    to: Instant,
}

impl Account {
    /// What was sent before the end of a fault may come again after its beginning.
    pub fn fault(&mut self, from: Instant, to: Instant) {
        self.faults.push(Fault { from, to });
    }

    pub fn take_in(&mut self, receiver: &Receiver) {
        let new = receiver.after(self.looked_at);
        self.looked_at += new.len();
        for request in new {
            let event = request.json()["id"].as_str().expect("every event has an id").to_owned();
            self.received.entry((request.path.clone(), event)).or_default().push(request);
        }
    }

    /// Waits until each of these events has come to each of these paths.
    pub async fn expect(&mut self, receiver: &Receiver, ids: &[String], paths: &[&str]) {
        let pairs = || paths.iter().flat_map(|path| ids.iter().map(|id| ((*path).to_owned(), id.clone())));
        let mut missing: HashSet<(String, String)> = pairs().collect();
        let all = async {
            loop {
                let before = self.looked_at;
                self.take_in(receiver);
                missing.retain(|pair| !self.received.contains_key(pair));
                if missing.is_empty() {
                    return;
                }
                receiver.more_than(before.max(self.looked_at)).await;
            }
        };
        if tokio::time::timeout(PATIENCE * 4, all).await.is_err() {
            let some: Vec<_> = missing.iter().take(5).collect();
            panic!(
                "of {} events that were answered 202, {} deliveries never came: {some:?}…",
                ids.len(),
                missing.len()
            );
        }
    }

    /// How many requests there were, each delivery counted as often as it came.
    pub fn requests(&self) -> usize {
        self.looked_at
    }

    /// The deliveries whose sender may know that they were received.
    fn answered(&self) -> HashSet<&str> {
        let all = self.received.values().flatten().filter(|request| request.answered().is_some());
        all.map(|request| request.header("webhook-id")).collect()
    }

    /// Makes sure that nothing is marked as delivered whose sender cannot know that it was received.
    pub async fn has_all_that_is_marked_delivered(&mut self, receiver: &Receiver, database: &Database) {
        let marked = database.texts("SELECT id FROM jf_deliveries WHERE state = 'delivered'").await;
        self.take_in(receiver);
        let answered = self.answered();
        let wrong: Vec<_> = marked.iter().filter(|id| !answered.contains(id.as_str())).take(5).collect();
        assert!(wrong.is_empty(), "marked as delivered, and never answered: {wrong:?}…");
    }

    /// Waits until each of these events has come to this path after `since`; answers how long the last one took.
    pub async fn expect_since(&mut self, receiver: &Receiver, ids: &[String], path: &str, since: Instant) -> Duration {
        let mut latest = Duration::ZERO;
        for id in ids {
            let came = |account: &Account| {
                let requests = account.received.get(&(path.to_owned(), id.clone()))?;
                requests.iter().find(|request| request.at > since).map(|request| request.at - since)
            };
            let what = format!("event {id} at {path} again");
            let took = within(PATIENCE * 2, &what, async {
                loop {
                    self.take_in(receiver);
                    if let Some(took) = came(self) {
                        return took;
                    }
                    receiver.more_than(self.looked_at).await;
                }
            });
            latest = latest.max(took.await);
        }
        latest
    }

    /// How many requests came again, after making sure of each that it is the same delivery, with the same bytes, and
    /// that a fault lies between it and the one before.
    pub fn duplicates(&self) -> usize {
        let mut duplicates = 0;
        for ((path, event), requests) in &self.received {
            for pair in requests.windows(2) {
                let (first, again) = (&pair[0], &pair[1]);
                assert_eq!(first.header("webhook-id"), again.header("webhook-id"), "event {event} at {path}");
                assert_eq!(first.body, again.body, "event {event} at {path}");
                let explained = self.faults.iter().any(|fault| first.at <= fault.to && again.at >= fault.from);
                assert!(
                    explained,
                    "event {event} came to {path} again after {:?}, and nothing had failed between",
                    again.at - first.at
                );
                duplicates += 1;
            }
        }
        duplicates
    }
}
