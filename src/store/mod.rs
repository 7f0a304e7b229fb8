//! All SQL. Events, the queue of deliveries, webhooks, chains, plugin versions, sessions, nodes, presence and offline
//! lists, in SQLite, MySQL/MariaDB or Postgres: one statement per function, rendered for the database at hand.
//!
//! Entities: an *event* row, one *delivery* row per webhook it is owed to, one *attempt* row per POST. A delivery is
//! `pending` until it ends as `delivered`, `failed`, `dropped`, `plugin_failed` or `cancelled`; while a node's memory holds
//! it, it is leased.
//!
//! Guarantees: what [`Store::commit`] answered is on disk; an event and what it owes are in one transaction; outcomes are
//! fenced by the attempt number they follow. Events and outcomes go through a [`writer`], which groups whatever waits into
//! one transaction: through one and the same on SQLite, through two elsewhere. Everything else that writes is a transaction of its own; reads have connections of their own.
//!
//! Deliberately absent: any decision. Who is owed what, and when to retry, is said by the callers.

mod adopt;
mod again;
mod events;
mod gates;
mod link;
mod nodes;
mod offline;
mod open;
mod order;
mod outcomes;
mod plugin_changes;
mod plugin_secrets;
mod plugins;
mod presence;
mod queue;
mod records;
mod retention;
mod revocations;
mod sessions;
mod settings;
mod socket_chains;
mod sql;
mod webhooks;
mod writer;

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use futures_util::future::BoxFuture;
use sea_query::{Query, SelectStatement};
use tokio::sync::{Notify, Semaphore, mpsc};

pub use again::{Again, ReplayFilter, ReplayRow};
pub use events::{Committed, EventQuery, EventRow, NewDelivery, NewEvent};
pub use gates::GateRow;
pub use link::Location;
pub use nodes::NodeRow;
pub use offline::{OfflineItem, OfflineRow};
pub use open::{OpenError, StoreTask, migrate};
pub use outcomes::{Attempt, DeliveryState, Next, Outcome, StoredBody};
pub use plugin_changes::{AddedVersion, NewPluginVersion, PluginQuota};
pub use plugin_secrets::PluginSecretRow;
pub use plugins::{PluginRow, PluginVersionRow};
pub use presence::{Announces, says_online};
pub use queue::{Claim, DeliveryRow, Due};
pub use records::{AttemptCursor, AttemptRow, DeliveryInfo, FailedQuery, LogQuery, Totals};
pub use retention::Swept;
pub use revocations::Revocation;
pub use sessions::SessionState;
pub use webhooks::{UnreadableRow, WebhookRow};

use link::{Links, PATIENCE, explain};
use sql::{Connection, Dialect, Pool, Row};

#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Nothing was written; the same call may succeed later.
    #[error("the database cannot be written or read now: {0}")]
    Unavailable(String),
    /// The connection broke while the commit was under way: it may have been written.
    #[error("the database broke off during a commit: {0}")]
    InDoubt(String),
    /// The server is stopping.
    #[error("the database is closed")]
    Closed,
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::PoolClosed => Self::Closed,
            error => Self::Unavailable(explain(&error)),
        }
    }
}

/// A handle, cheap to clone.
#[derive(Clone)]
pub struct Store {
    readers: Pool,
    links: Arc<Links>,
    /// The writers' queues: one and the same on SQLite.
    commits: mpsc::Sender<writer::Write>,
    outcomes: mpsc::Sender<writer::Write>,
    /// KiB of data that may wait for the writer yet.
    room: Arc<Semaphore>,
    slot: Arc<AtomicI64>,
    in_doubt: Arc<Notify>,
}

impl Store {
    /// Runs statements in a transaction of their own; nothing of them remains when one fails. They may be run again,
    /// where the database ended the transaction for another one's sake.
    async fn write<A, T, F>(&self, args: A, statements: F) -> Result<T, StoreError>
    where
        A: Send + Sync + 'static,
        T: Send + 'static,
        F: for<'c> Fn(&'c mut Connection, &'c A) -> BoxFuture<'c, Result<T, sqlx::Error>> + Send + Sync + 'static,
    {
        let links = self.links.clone();
        // In a task of its own: whoever asked may go away, and a transaction must not be left half way.
        match tokio::spawn(async move { links.transaction(&args, &statements).await }).await {
            Ok(result) => result.map_err(|failed| failed.as_store_error()),
            Err(error) => Err(StoreError::Unavailable(format!("a transaction ended badly: {error}"))),
        }
    }

    /// As [`Store::write`], of what leases something to this node: where nobody knows whether it does, it is given back.
    async fn write_lease<A, T, F>(&self, args: A, statements: F) -> Result<T, StoreError>
    where
        A: Send + Sync + 'static,
        T: Send + 'static,
        F: for<'c> Fn(&'c mut Connection, &'c A) -> BoxFuture<'c, Result<T, sqlx::Error>> + Send + Sync + 'static,
    {
        let result = self.write(args, statements).await;
        if matches!(result, Err(StoreError::InDoubt(_))) {
            self.in_doubt.notify_one();
        }
        result
    }

    async fn read(&self, select: &SelectStatement) -> Result<Vec<Row>, sqlx::Error> {
        let rows = tokio::time::timeout(PATIENCE, self.readers.fetch(select)).await;
        rows.unwrap_or(Err(sqlx::Error::PoolTimedOut))
    }

    /// The rows of which `read` makes something.
    async fn read_all<T>(
        &self,
        select: &SelectStatement,
        read: impl Fn(&Row) -> Result<Option<T>, sqlx::Error>,
    ) -> Result<Vec<T>, StoreError> {
        let rows = self.read(select).await?;
        let read: Result<Vec<_>, _> = rows.iter().map(read).collect();
        Ok(read?.into_iter().flatten().collect())
    }

    async fn send(&self, write: writer::Write) -> Result<(), StoreError> {
        let queue = match write {
            writer::Write::Commit(..) => &self.commits,
            _ => &self.outcomes,
        };
        queue.send(write).await.map_err(|_| StoreError::Closed)
    }

    fn dialect(&self) -> Dialect {
        self.readers.dialect()
    }

    fn slot(&self) -> i64 {
        self.slot.load(Ordering::Relaxed)
    }

    fn set_slot(&self, slot: i64) {
        self.slot.store(slot, Ordering::Relaxed);
    }

    /// Whether others may be writing to the same database.
    pub fn is_shared(&self) -> bool {
        self.dialect() != Dialect::Sqlite
    }

    /// Leases may stand for this node that its memory does not hold.
    pub fn doubt(&self) {
        self.in_doubt.notify_one();
    }

    /// Waits until a commit broke off: leases may stand for this node that its memory does not hold.
    pub async fn in_doubt(&self) {
        self.in_doubt.notified().await;
    }

    /// Whether the database answers: for `/readyz`.
    ///
    /// # Errors
    /// The reason, when it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.read(Query::select().expr(1)).await?;
        Ok(())
    }
}
