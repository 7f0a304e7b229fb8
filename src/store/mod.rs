//! All SQL. Events, the queue of deliveries, webhooks, chains, plugin versions and sessions, in one SQLite file.
//!
//! Entities: an *event* row, one *delivery* row per webhook it is owed to, one *attempt* row per POST. A delivery is
//! `pending` until it ends as `delivered`, `failed`, `dropped`, `plugin_failed` or `cancelled`; while a node's memory holds
//! it, it is leased.
//!
//! Guarantees: what [`Store::commit`] answered is on disk (WAL, `synchronous=FULL`); an event and what it owes are in one
//! transaction; outcomes are fenced by the attempt number they follow. All writes go through the one [`writer`], which
//! groups whatever waits into one transaction; reads have connections of their own.
//!
//! Deliberately absent: any decision. Who is owed what, and when to retry, is said by the callers.

mod events;
mod outcomes;
mod plugins;
mod queue;
mod records;
mod rows;
mod sessions;
mod socket_chains;
mod webhooks;
mod writer;

use std::{
    fs::{File, TryLockError},
    path::{Path, PathBuf},
    time::Duration,
};

use futures_util::future::BoxFuture;
use sqlx::{
    Connection, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

pub use events::{Committed, EventQuery, EventRow, NewDelivery, NewEvent};
pub use outcomes::{Attempt, DeliveryState, Next, Outcome, StoredBody};
pub use plugins::PluginVersionRow;
pub use queue::{DeliveryRow, Due};
pub use records::{AttemptRow, EndedRow, LogQuery, Totals};
pub use sessions::SessionState;
pub use webhooks::{UnreadableRow, WebhookRow};

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("migrations/sqlite");

/// Requests that may wait for the writer. Beyond it, callers wait.
const WRITER_QUEUE: usize = 8192;
const READERS: u32 = 4;
/// Statements kept prepared: 67 lengths of each of the few that are written in batches.
const STATEMENTS: usize = 600;
/// 32 MiB a connection (negative: KiB).
const CACHE_SIZE: &str = "-32768";
/// The write-ahead log is brought home every 32 MiB: seldom enough not to show in every tenth commit.
const CHECKPOINT_PAGES: &str = "8000";
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Nothing was written; the same call may succeed later.
    #[error("the database cannot be written or read now: {0}")]
    Unavailable(String),
    /// The server is stopping.
    #[error("the database is closed")]
    Closed,
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self::Unavailable(error.to_string())
    }
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot make the folder {path:?}: {source}")]
    Folder { path: PathBuf, source: std::io::Error },
    #[error("cannot open {path:?}: {source}; the server needs to write this file and its folder")]
    LockFile { path: PathBuf, source: std::io::Error },
    #[error("{path:?} is in use by another jackfield server: one server per database file")]
    HeldByServer { path: PathBuf },
    #[error("cannot use {path:?}: {reason}")]
    Database { path: PathBuf, reason: String },
}

/// A handle, cheap to clone.
#[derive(Clone)]
pub struct Store {
    readers: SqlitePool,
    writer: mpsc::Sender<writer::Write>,
}

/// Keeps the writer running; [`StoreTask::join`] after the last [`Store`] is dropped or told to close.
pub struct StoreTask {
    writer: tokio::task::JoinHandle<()>,
    closing: CancellationToken,
    /// Held while the server lives: one server per file.
    _lock: File,
}

impl StoreTask {
    /// Writes what waits, then closes the file. The writer closes last: only the last connection brings the write-ahead
    /// log home, and one that may only read cannot.
    pub async fn close(self, store: &Store) {
        store.readers.close().await;
        self.closing.cancel();
        if let Err(error) = self.writer.await {
            tracing::error!("the database writer ended badly: {error}");
        }
    }
}

impl Store {
    /// Opens or makes the file, brings its tables up to date and starts the writer.
    ///
    /// # Errors
    /// [`OpenError`], each with the path and the reason.
    pub async fn open(path: &Path) -> Result<(Self, StoreTask), OpenError> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder {
            std::fs::create_dir_all(folder).map_err(|source| OpenError::Folder { path: folder.to_owned(), source })?;
        }
        let lock = lock(path)?;
        let failed = |error: sqlx::Error| OpenError::Database { path: path.to_owned(), reason: explain(&error) };
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT)
            // Savepoints and multi-row inserts keep a statement journal: not in a file of its own per commit.
            .pragma("temp_store", "MEMORY")
            .pragma("cache_size", CACHE_SIZE)
            .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
            .statement_cache_capacity(STATEMENTS);
        let mut connection = SqliteConnection::connect_with(&options).await.map_err(failed)?;
        MIGRATIONS.run(&mut connection).await.map_err(|error| OpenError::Database {
            path: path.to_owned(),
            reason: match error {
                sqlx::migrate::MigrateError::Execute(error) => explain(&error),
                other => other.to_string(),
            },
        })?;
        // SQLite opens a read-only file without complaint: ask for the write lock once.
        sqlx::query("BEGIN IMMEDIATE").execute(&mut connection).await.map_err(failed)?;
        sqlx::query("COMMIT").execute(&mut connection).await.map_err(failed)?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(BUSY_TIMEOUT)
            .connect_with(options.read_only(true))
            .await
            .map_err(failed)?;
        let (sender, receiver) = mpsc::channel(WRITER_QUEUE);
        let closing = CancellationToken::new();
        let writer = tokio::spawn(writer::run(connection, receiver, closing.clone()));
        Ok((Self { readers, writer: sender }, StoreTask { writer, closing, _lock: lock }))
    }

    /// Runs statements within the next group commit; nothing of them remains when one fails.
    async fn write<T, F>(&self, statements: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, sqlx::Error>> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        self.send(writer::Write::Statements(writer::statements(statements, reply))).await?;
        // No answer: the transaction failed before these statements had their turn.
        answer.await.map_err(|_| StoreError::Unavailable("the transaction failed".to_owned()))?
    }

    async fn send(&self, write: writer::Write) -> Result<(), StoreError> {
        self.writer.send(write).await.map_err(|_| StoreError::Closed)
    }

    /// Whether the database answers: for `/readyz`.
    ///
    /// # Errors
    /// The reason, when it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1").execute(&self.readers).await?;
        Ok(())
    }
}

fn lock(path: &Path) -> Result<File, OpenError> {
    // By one name, however it was reached; it does not exist before the first start.
    let mut name = path.canonicalize().unwrap_or_else(|_| path.to_owned()).into_os_string();
    name.push(".lock");
    let lock_path = PathBuf::from(name);
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&lock_path)
        .map_err(|source| OpenError::LockFile { path: lock_path.clone(), source })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::HeldByServer { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(OpenError::LockFile { path: lock_path, source }),
    }
}

fn explain(error: &sqlx::Error) -> String {
    let code = match error {
        sqlx::Error::Database(inner) => inner.code().map(|code| code.into_owned()),
        _ => None,
    };
    // The low byte is the primary code: https://www.sqlite.org/rescode.html
    let advice = match code.and_then(|code| code.parse::<u32>().ok()).map(|code| code & 0xff) {
        Some(5 | 6) => "; another program holds a lock on it: end that program and start again",
        Some(8) => "; make the file and its folder writable for this user",
        Some(13) => "; the disk is full",
        Some(14) => "; check that the folder exists and is writable for this user",
        Some(26) => "; the file is something else than a SQLite database",
        _ => "",
    };
    format!("{error}{advice}")
}
