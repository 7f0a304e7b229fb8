//! Opening: the file and its lock, or the server's database; tables brought up to date; the writer started.

use std::{
    fs::{File, TryLockError},
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicI64},
};

use sqlx::migrate::{MigrateError, Migrator};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::{
    Store,
    adopt::{adopt_webhooks, come_back, step_aside},
    events::WAITING_KIB,
    link::{Links, Location, explain},
    sql::{Connection, Dialect},
    writer::Writer,
};

static SQLITE: Migrator = sqlx::migrate!("migrations/sqlite");
static MYSQL: Migrator = sqlx::migrate!("migrations/mysql");
static POSTGRES: Migrator = sqlx::migrate!("migrations/postgres");

/// Requests that may wait for the writer. Beyond it, callers wait.
const WRITER_QUEUE: usize = 8192;
/// Transactions besides the group commit that may be under way at once, where the database takes several.
const LINKS: usize = 8;

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot make the folder {path:?}: {source}")]
    Folder { path: PathBuf, source: std::io::Error },
    #[error("cannot open {path:?}: {source}; the server needs to write this file and its folder")]
    LockFile { path: PathBuf, source: std::io::Error },
    #[error("{path:?} is in use by another jackfield server: one server per database file")]
    HeldByServer { path: PathBuf },
    #[error("cannot use {location}: {reason}")]
    Database { location: String, reason: String },
}

/// Keeps the writer running; to be closed after the last [`Store`] is done.
pub struct StoreTask {
    writers: Vec<tokio::task::JoinHandle<()>>,
    closing: CancellationToken,
    /// Held while the server lives: one server per file.
    _lock: Option<File>,
}

impl StoreTask {
    /// Writes what waits, then closes. The writer closes last: only the last connection to a file brings the write-ahead
    /// log home, and one that may only read cannot.
    pub async fn close(self, store: &Store) {
        store.readers.close().await;
        self.closing.cancel();
        for writer in self.writers {
            if let Err(error) = writer.await {
                tracing::error!("a database writer ended badly: {error}");
            }
        }
        store.links.close().await;
    }
}

impl Store {
    /// Opens or makes the database, brings its tables up to date and starts the writer.
    ///
    /// # Errors
    /// [`OpenError`], each with the place and the reason.
    pub async fn open(location: &Location) -> Result<(Self, StoreTask), OpenError> {
        let lock = prepare(location)?;
        let connection = up_to_date(location).await?;
        let failed = |error: sqlx::Error| database(location, explain(&error));
        let readers = location.readers().await.map_err(failed)?;
        let closing = CancellationToken::new();
        let (slot, in_doubt) = (Arc::new(AtomicI64::new(0)), Arc::new(Notify::new()));
        let mut writers = Vec::new();
        let mut write_on = |links: Arc<Links>| {
            let (sender, receiver) = mpsc::channel(WRITER_QUEUE);
            let writer = Writer { links, slot: slot.clone(), in_doubt: in_doubt.clone() };
            writers.push(tokio::spawn(writer.run(receiver, closing.clone())));
            sender
        };
        let (links, commits, outcomes) = match location.dialect() {
            // One connection that writes is all there may be.
            Dialect::Sqlite => {
                let links = Arc::new(Links::new(location.clone(), connection, 1));
                let writer = write_on(links.clone());
                (links, writer.clone(), writer)
            }
            // A server works on two at once: what is published does not wait for what was delivered.
            _ => {
                let (first, second) = (location.connect().await, location.connect().await);
                let own = |connection| Arc::new(Links::new(location.clone(), connection, 1));
                let commits = write_on(own(first.map_err(failed)?));
                let outcomes = write_on(own(second.map_err(failed)?));
                (Arc::new(Links::new(location.clone(), connection, LINKS)), commits, outcomes)
            }
        };
        let room = Arc::new(Semaphore::new(WAITING_KIB as usize));
        let store = Self { readers, links, commits, outcomes, room, slot, in_doubt };
        Ok((store, StoreTask { writers, closing, _lock: lock }))
    }
}

/// Brings the tables up to date and does nothing else.
///
/// # Errors
/// As [`Store::open`].
pub async fn migrate(location: &Location) -> Result<(), OpenError> {
    let _lock = prepare(location)?;
    let connection = up_to_date(location).await?;
    connection.close().await.map_err(|error| database(location, explain(&error)))
}

fn database(location: &Location, reason: String) -> OpenError {
    OpenError::Database { location: location.to_string(), reason }
}

/// Makes the folder of a file, and holds it for this server.
fn prepare(location: &Location) -> Result<Option<File>, OpenError> {
    let Location::Sqlite(path) = location else { return Ok(None) };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder {
        std::fs::create_dir_all(folder).map_err(|source| OpenError::Folder { path: folder.to_owned(), source })?;
    }
    lock(path).map(Some)
}

async fn up_to_date(location: &Location) -> Result<Connection, OpenError> {
    let failed = |error: sqlx::Error| database(location, explain(&error));
    let mut connection = location.connect().await.map_err(failed)?;
    if connection.dialect() == Dialect::Sqlite {
        step_aside(&mut connection).await.map_err(failed)?;
    }
    // The migrator's own lock lets one node at a time in.
    let migrated = match &mut connection {
        Connection::Sqlite(connection) => SQLITE.run(connection).await,
        Connection::MySql(connection) => MYSQL.run(connection).await,
        Connection::Postgres(connection) => POSTGRES.run(connection).await,
    };
    migrated.map_err(|error| match error {
        MigrateError::Execute(error) => failed(error),
        other => database(location, other.to_string()),
    })?;
    if connection.dialect() == Dialect::Sqlite {
        come_back(&mut connection).await.map_err(failed)?;
    }
    adopt_webhooks(&mut connection).await.map_err(failed)?.map_err(|difference| database(location, difference))?;
    // SQLite opens a read-only file without complaint: ask for the write lock once.
    connection.begin().await.map_err(failed)?;
    connection.control("COMMIT").await.map_err(failed)?;
    Ok(connection)
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
