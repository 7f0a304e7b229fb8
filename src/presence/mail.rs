//! What waits for a user without a connection: in Redis where that is there, in the database otherwise.
//!
//! A connection claims a user's letters, so that two do not get them at once; they wait on until it is sure that they were
//! read. A letter that is being put is waited for by whoever claims: an event is either seen live, or found waiting.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::Mailbox;
use crate::{
    bus::{Away, Bus, LinkState},
    event::{EventType, TenantId, UserId},
    store::{OfflineItem, OfflineRow, StoreError},
};

/// How long a claim waits for letters that are being put.
const PUT_PATIENCE: Duration = Duration::from_secs(2);
/// How often letters of the database are brought to Redis, and how many at once.
const MOVE_EVERY: Duration = Duration::from_secs(10);
const MOVE_BATCH: u64 = 500;
/// Events that are looked through for those which wait already.
const MAX_COMPARED: u64 = 10_000;
/// Redis is back for this long before: until then it may not know who is there.
const SETTLED_AFTER: Duration = Duration::from_secs(35);

fn place(row: OfflineRow) -> (Option<String>, Option<u64>) {
    (row.item.epoch, row.item.offset)
}

#[derive(Debug, thiserror::Error)]
enum MoveError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Away(#[from] Away),
}

/// An event that waits: its message as it is on the channels, with the place that it had.
#[derive(Debug, Clone)]
pub struct Letter {
    pub text: String,
    /// Its row, where the database has it.
    row: Option<i64>,
}

/// What waits of an event: `open` is its frame without the closing brace, and the place is the one that it had.
pub fn letter(tenant: &TenantId, user: &UserId, event_type: &EventType, open: &str, place: (&str, u64)) -> OfflineItem {
    let (epoch, offset) = place;
    OfflineItem {
        tenant: tenant.clone(),
        user: user.clone(),
        event_type: event_type.clone(),
        frame: format!(r#"{open},"epoch":"{epoch}","offset":{offset}}}"#),
        epoch: Some(epoch.to_owned()),
        offset: Some(offset),
    }
}

type Key = (TenantId, UserId);

/// How far a connection has looked: what it may not see stays, and is passed over.
#[derive(Debug, Clone, Copy, Default)]
pub struct Passed {
    row: i64,
    in_redis: usize,
}

impl Passed {
    /// Passes over a letter that stays.
    pub fn pass(&mut self, letter: &Letter) {
        match letter.row {
            Some(_) => {}
            None => self.in_redis += 1,
        }
    }
}

pub struct Mail {
    rows: Mailbox,
    bus: Option<Bus>,
    state: Mutex<State>,
    /// A letter has been put.
    put: Notify,
    /// Where Redis has the letters, the database is asked only after it had some.
    may_have_rows: AtomicBool,
}

/// Locked for moments.
#[derive(Default)]
struct State {
    /// Which connection is shown the rows of a user.
    claims: HashMap<Key, String>,
    /// Letters that may be put at this moment.
    putting: HashMap<Key, usize>,
}

/// An event of a user is being shown; until this is dropped it may yet become a letter.
pub struct Putting<'a> {
    mail: &'a Mail,
    key: Key,
}

impl Drop for Putting<'_> {
    fn drop(&mut self) {
        let mut state = self.mail.state();
        if let Some(count) = state.putting.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                state.putting.remove(&self.key);
            }
        }
        drop(state);
        self.mail.put.notify_waiters();
    }
}

impl Mail {
    pub fn new(rows: Mailbox, bus: Option<Bus>) -> Self {
        Self { rows, bus, state: Mutex::default(), put: Notify::new(), may_have_rows: AtomicBool::new(true) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be called before it is decided whether a user is there.
    pub fn begin(&self, tenant: &TenantId, user: &UserId) -> Putting<'_> {
        let key = (tenant.clone(), user.clone());
        *self.state().putting.entry(key.clone()).or_default() += 1;
        Putting { mail: self, key }
    }

    /// Lets events wait in the database; they are on disk when this returns.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn put(&self, items: Vec<OfflineItem>) -> Result<(), StoreError> {
        if items.is_empty() {
            return Ok(());
        }
        self.may_have_rows.store(true, Ordering::Relaxed);
        self.rows.push(items).await
    }

    /// Lets events of one user wait in the database that were on their way to a connection. Some may have waited all the
    /// time: they were shown to it by a replay.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn put_back(
        &self,
        tenant: &TenantId,
        user: &UserId,
        mut items: Vec<OfflineItem>,
    ) -> Result<(), StoreError> {
        if items.is_empty() {
            return Ok(());
        }
        let waiting: HashSet<_> = self.rows.read(tenant, user, 0, MAX_COMPARED).await?.into_iter().map(place).collect();
        items.retain(|item| !waiting.contains(&(item.epoch.clone(), item.offset)));
        self.put(items).await
    }

    /// How many wait in the database.
    pub async fn count(&self, tenant: &TenantId, user: &UserId) -> u64 {
        self.settled(tenant, user).await;
        if !self.has_rows() {
            return 0;
        }
        self.rows.count(tenant, user).await.unwrap_or_else(|error| {
            tracing::warn!("it is not known what waits for a user: {error}");
            0
        })
    }

    /// The next letters of a user, for one of its connections; nothing where another one is shown them.
    pub async fn claim(
        &self,
        tenant: &TenantId,
        user: &UserId,
        connection: &str,
        passed: &mut Passed,
        limit: usize,
    ) -> Option<Vec<Letter>> {
        self.settled(tenant, user).await;
        if let Some(bus) = &self.bus
            && let Ok(texts) = bus.claim_waiting(tenant, user, connection, passed.in_redis, limit).await
        {
            let texts = texts?;
            if !texts.is_empty() {
                return Some(texts.into_iter().map(|text| Letter { text, row: None }).collect());
            }
        }
        if !self.has_rows() {
            return Some(Vec::new());
        }
        {
            let mut state = self.state();
            let owner = state.claims.entry((tenant.clone(), user.clone())).or_insert_with(|| connection.to_owned());
            if owner != connection {
                return None;
            }
        }
        let rows = self.rows.read(tenant, user, passed.row, u64::try_from(limit).unwrap_or(u64::MAX)).await;
        let rows = rows.unwrap_or_else(|error| {
            tracing::warn!("what waits for a user cannot be read now: {error}");
            Vec::new()
        });
        match rows.last() {
            Some(last) => passed.row = last.id,
            None => self.release(tenant, user, connection),
        }
        Some(rows.into_iter().map(|row| Letter { text: row.item.frame, row: Some(row.id) }).collect())
    }

    /// These have been read for certain; they wait no more.
    pub async fn remove(&self, tenant: &TenantId, user: &UserId, connection: &str, letters: &[Letter]) {
        let rows: Vec<i64> = letters.iter().filter_map(|letter| letter.row).collect();
        let texts: Vec<String> =
            letters.iter().filter(|letter| letter.row.is_none()).map(|letter| letter.text.clone()).collect();
        if !rows.is_empty()
            && let Err(error) = self.rows.remove(rows).await
        {
            tracing::warn!("events that a user has read are shown again: {error}");
        }
        if let (Some(bus), false) = (&self.bus, texts.is_empty())
            && let Err(error) = bus.remove_waiting(tenant, user, connection, &texts).await
        {
            tracing::warn!("events that a user has read are shown again: {error}");
        }
    }

    fn has_rows(&self) -> bool {
        self.bus.is_none() || self.may_have_rows.load(Ordering::Relaxed)
    }

    /// Another connection may have what is left in the database. In Redis a claim ends with the lease of its connection.
    pub fn release(&self, tenant: &TenantId, user: &UserId, connection: &str) {
        let mut state = self.state();
        let key = (tenant.clone(), user.clone());
        if state.claims.get(&key).is_some_and(|owner| owner == connection) {
            state.claims.remove(&key);
        }
    }

    /// Waits until no letter of the user is being put.
    async fn settled(&self, tenant: &TenantId, user: &UserId) {
        let key = (tenant.clone(), user.clone());
        let settled = async {
            loop {
                let put = self.put.notified();
                tokio::pin!(put);
                put.as_mut().enable();
                if !self.state().putting.contains_key(&key) {
                    return;
                }
                put.await;
            }
        };
        if tokio::time::timeout(PUT_PATIENCE, settled).await.is_err() {
            tracing::debug!("a letter is being put for longer than a claim waits");
        }
    }

    /// Brings what the database kept to Redis when that is back, until the server stops.
    pub async fn keep_moving(self: Arc<Self>, stopping: CancellationToken) {
        let Some(bus) = self.bus.clone() else { return };
        let mut up_since = None;
        while stopping.run_until_cancelled(tokio::time::sleep(MOVE_EVERY)).await.is_some() {
            if !matches!(*bus.state().borrow(), LinkState::Up(_)) {
                up_since = None;
                continue;
            }
            let since = *up_since.get_or_insert_with(std::time::Instant::now);
            if since.elapsed() < SETTLED_AFTER {
                continue;
            }
            if let Err(error) = self.move_some(&bus).await {
                tracing::warn!("events that wait in the database stay there for now: {error}");
            }
        }
    }

    async fn move_some(&self, bus: &Bus) -> Result<(), MoveError> {
        if !self.may_have_rows.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        let rows = self.rows.any(MOVE_BATCH).await;
        if rows.as_ref().map_or(true, |rows| !rows.is_empty()) {
            self.may_have_rows.store(true, Ordering::Relaxed);
        }
        let rows = rows?;
        let mut of_user: HashMap<Key, (Vec<i64>, Vec<String>)> = HashMap::new();
        for row in rows {
            let (rows, texts) = of_user.entry((row.item.tenant, row.item.user)).or_default();
            rows.push(row.id);
            texts.push(row.item.frame);
        }
        for ((tenant, user), (rows, texts)) in of_user {
            // First there, then no more here: a stop in between lets them wait in both, and they are put once.
            bus.let_wait(&tenant, &user, &texts).await?;
            self.rows.remove(rows).await?;
        }
        Ok(())
    }
}
