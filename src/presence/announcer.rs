//! Tells each tenant who of its users came and went, once, and in turn.
//!
//! A user is due when somebody says that something changed. For those who are due it asks who is online and what was
//! announced, and publishes where the two differ. An event and its generation are one transaction, so of two nodes that say
//! the same one has a duplicate, and after a crash nothing is half said. Whoever was announced is looked at once more: a
//! change in between, on whatever node, is not missed.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sha2::{Digest, Sha256};
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    due::{Due, Look, Offline},
    reconcile,
};
use crate::{
    event::{EventId, TenantId, UserId},
    store::{Announces, Store, StoreError, says_online},
};

/// Users looked at together.
const BATCH: usize = 500;
/// Within this time the clients of a node that stops come back, elsewhere.
const RETURN: Duration = Duration::from_secs(5);
/// A view that says nothing for so long is away.
const VIEW_PATIENCE: Duration = Duration::from_secs(10);

/// A user of a tenant.
pub(super) type Who = (TenantId, UserId);

/// Who is online, over all nodes.
pub trait OnlineView: Send + Sync + 'static {
    /// Whether each of these users has a connection anywhere, in their order.
    ///
    /// # Errors
    /// Why nobody knows now. A view that may be incomplete, as one that was just emptied, must say so: whoever it leaves out
    /// is announced offline.
    fn online(&self, users: &[(TenantId, UserId)]) -> impl Future<Output = Result<Vec<bool>, String>> + Send;

    /// The users who have a connection to this node.
    fn here(&self) -> Vec<(TenantId, UserId)>;
}

/// News of a user's presence, to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// The same for the same news of one database, whoever tells it and however often.
    pub id: EventId,
    pub tenant: TenantId,
    pub announces: Announces,
    /// `connected`, `disconnected`, or `lost` where nobody saw the connection go.
    pub reason: &'static str,
}

impl Announcement {
    pub fn is_online(&self) -> bool {
        says_online(self.announces.from + 1)
    }
}

/// The times of an announcer.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Who is back so soon was never away.
    pub debounce: Duration,
    /// Between two rounds that look for what nobody said, a quarter more or less.
    pub round: Duration,
    /// Before the first of them: clients of a server that starts again come back first.
    pub grace: Duration,
    /// Before what failed is tried again.
    pub pause: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        let round = Duration::from_secs(10);
        Self { debounce: Duration::from_secs(3), round, grace: round, pause: Duration::from_secs(1) }
    }
}

pub struct Announcer {
    pub(super) store: Store,
    pub(super) pace: Pace,
    database: String,
    /// Locked for moments.
    due: Mutex<Due>,
    woken: Notify,
}

impl Announcer {
    /// # Errors
    /// The database does not tell its id.
    pub async fn new(store: Store, pace: Pace) -> Result<Self, StoreError> {
        let database = store.database_id().await?;
        Ok(Self { store, pace, database, due: Mutex::default(), woken: Notify::new() })
    }

    /// A user's first connection has come: looked at at once.
    pub fn joined(&self, tenant: &TenantId, user: &UserId) {
        self.due().look((tenant.clone(), user.clone()), Instant::now());
        self.woken.notify_one();
    }

    /// A user's last connection has gone: looked at when the debounce is over.
    pub fn left(&self, tenant: &TenantId, user: &UserId) {
        self.look_later((tenant.clone(), user.clone()), self.pace.debounce, "disconnected");
    }

    /// A user's last connection has gone with another node, which told it when to come back.
    pub fn left_with_its_node(&self, tenant: &TenantId, user: &UserId) {
        self.look_later((tenant.clone(), user.clone()), RETURN + self.pace.debounce, "disconnected");
    }

    /// Who has left, and may still come back before it is told.
    pub(super) fn leaving(&self) -> Vec<Who> {
        self.due().leaving()
    }

    /// A user's last connection has been gone for a while, unseen: looked at at once.
    pub fn lost(&self, tenant: &TenantId, user: &UserId) {
        self.look_later((tenant.clone(), user.clone()), Duration::ZERO, "lost");
    }

    /// Announces until the server stops; what is due then, the next start finds, or another node. `publish` publishes
    /// announcements and answers for each whether it was a duplicate, or why it was not published.
    pub async fn run<V, P, F>(self: Arc<Self>, view: Arc<V>, publish: P, stopping: CancellationToken)
    where
        V: OnlineView,
        P: Fn(Vec<Announcement>) -> F,
        F: Future<Output = Vec<Result<bool, String>>>,
    {
        let announce = async {
            let mut fails = false;
            loop {
                let looks = self.next().await;
                match self.announce(&*view, &publish, looks).await {
                    Ok(()) if fails => {
                        tracing::info!("presence is announced again");
                        fails = false;
                    }
                    Ok(()) => {}
                    Err(reason) => {
                        if !fails {
                            tracing::warn!("presence cannot be announced now, and is tried again: {reason}");
                        }
                        fails = true;
                        tokio::time::sleep(self.pace.pause).await;
                    }
                }
            }
        };
        tokio::select! {
            () = stopping.cancelled() => {}
            () = announce => {}
            () = reconcile::run(&self, &*view) => {}
        }
    }

    /// Waits until somebody is due.
    async fn next(&self) -> Vec<Look> {
        loop {
            let (mut looks, next_at) = {
                let mut due = self.due();
                (due.take(Instant::now(), BATCH), due.next_at())
            };
            if !looks.is_empty() {
                // In one order on all nodes: two that say the same do not lock each other's rows crosswise.
                looks.sort_by(|a, b| a.who.cmp(&b.who));
                return looks;
            }
            match next_at {
                Some(at) => tokio::select! {
                    () = self.woken.notified() => {}
                    () = tokio::time::sleep_until(at) => {}
                },
                None => self.woken.notified().await,
            }
        }
    }

    /// Looks at users; whoever could not be looked at or announced is due again.
    async fn announce<V, P, F>(&self, view: &V, publish: &P, looks: Vec<Look>) -> Result<(), String>
    where
        V: OnlineView,
        P: Fn(Vec<Announcement>) -> F,
        F: Future<Output = Vec<Result<bool, String>>>,
    {
        let users: Vec<Who> = looks.iter().map(|look| look.who.clone()).collect();
        let (online, announced) = match self.compare(view, &users).await {
            Ok(compared) => compared,
            Err(reason) => {
                looks.into_iter().for_each(|look| self.put_back(look, Instant::now()));
                return Err(reason);
            }
        };
        let (mut told, mut announcements) = (Vec::new(), Vec::new());
        for (look, is_online) in looks.into_iter().zip(online) {
            let from = announced.get(&look.who).copied().unwrap_or(0);
            let reason = match look.offline {
                _ if is_online == says_online(from) => continue,
                _ if is_online => "connected",
                Some(offline) if offline.from <= Instant::now() => offline.reason,
                // Gone again before its time, or before anybody said so.
                Some(offline) => {
                    self.put_back(look, offline.from);
                    continue;
                }
                None => {
                    self.look_later(look.who, self.pace.debounce, "disconnected");
                    continue;
                }
            };
            announcements.push(self.announcement(&look.who, from, reason));
            told.push(look);
        }
        self.tell(publish, told, announcements).await
    }

    async fn compare<V: OnlineView>(&self, view: &V, users: &[Who]) -> Result<(Vec<bool>, HashMap<Who, i64>), String> {
        let online = ask(view, users).await?;
        let announced = self.store.announced(users).await.map_err(|error| error.to_string())?;
        Ok((online, announced))
    }

    async fn tell<P, F>(&self, publish: &P, told: Vec<Look>, announcements: Vec<Announcement>) -> Result<(), String>
    where
        P: Fn(Vec<Announcement>) -> F,
        F: Future<Output = Vec<Result<bool, String>>>,
    {
        if announcements.is_empty() {
            return Ok(());
        }
        let results = publish(announcements.clone()).await;
        let (mut duplicates, mut failed) = (Vec::new(), Ok(()));
        for ((look, announcement), result) in told.into_iter().zip(announcements).zip(results) {
            match result {
                Ok(is_duplicate) => {
                    if is_duplicate {
                        duplicates.push((announcement.tenant, announcement.announces));
                    }
                    // A change since the question, on whatever node, was compared with the old generation.
                    self.due().look(look.who, Instant::now());
                }
                Err(reason) => {
                    self.put_back(look, Instant::now());
                    failed = Err(reason);
                }
            }
        }
        if !duplicates.is_empty() {
            // Another node's generation has moved with its event. Where somebody took the rows away, it moves now.
            self.store.note_announced(duplicates).await.map_err(|error| error.to_string())?;
        }
        failed
    }

    fn announcement(&self, (tenant, user): &Who, from: i64, reason: &'static str) -> Announcement {
        let announces = Announces { user: user.clone(), from };
        let of = format!("{tenant}\n{user}\n{}\n{}", from + 1, self.database);
        let digest = hex::encode(Sha256::digest(of));
        let id = EventId::parse(&format!("evt_presence_{}", &digest[..32])).expect("hex digits are an id's characters");
        Announcement { id, tenant: tenant.clone(), announces, reason }
    }

    /// A user who is announced online is gone, as it seems: looked at when the debounce is over.
    pub(super) fn missing(&self, who: Who) {
        self.look_later(who, self.pace.debounce, "lost");
    }

    fn look_later(&self, who: Who, wait: Duration, reason: &'static str) {
        let now = Instant::now();
        self.due().look_later(who, Offline { from: now + wait, reason }, now);
        self.woken.notify_one();
    }

    fn put_back(&self, look: Look, at: Instant) {
        self.due().put_back(look, at);
    }

    fn due(&self) -> MutexGuard<'_, Due> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// # Errors
/// The view does not know, or does not answer.
pub(super) async fn ask<V: OnlineView>(view: &V, users: &[Who]) -> Result<Vec<bool>, String> {
    match tokio::time::timeout(VIEW_PATIENCE, view.online(users)).await {
        Ok(Ok(online)) if online.len() == users.len() => Ok(online),
        Ok(Ok(_)) => Err("the view of who is online answered for others".to_owned()),
        Ok(Err(reason)) => Err(reason),
        Err(_) => Err("the view of who is online does not answer".to_owned()),
    }
}
