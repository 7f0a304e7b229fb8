//! Connections that write: opened with this project's settings, kept, and opened again when the database was away.

use std::{
    path::PathBuf,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use sqlx::{
    ConnectOptions, Connection as _, MySqlConnection, PgConnection, SqliteConnection,
    mysql::{MySqlConnectOptions, MySqlPoolOptions},
    postgres::{PgConnectOptions, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{
    StoreError,
    sql::{Connection, Dialect, Pool},
};

const READERS: u32 = 4;
/// Statements kept prepared: 20 lengths of each of the few that are written in batches.
const STATEMENTS: usize = 300;
/// 32 MiB a connection (negative: KiB).
const CACHE_SIZE: &str = "-32768";
/// The write-ahead log is brought home every 32 MiB: seldom enough not to show in every tenth commit.
const CHECKPOINT_PAGES: &str = "8000";
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A database that says nothing for so long is given up, and asked anew.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// How often a transaction is begun anew that the database ended for another one's sake.
const MAX_TRIES: u32 = 8;

/// Where the data is.
#[derive(Clone)]
pub enum Location {
    Sqlite(PathBuf),
    MySql(Box<MySqlConnectOptions>),
    Postgres(Box<PgConnectOptions>),
}

impl std::fmt::Debug for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

/// Without the password.
impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "{path:?}"),
            Self::MySql(options) => {
                let name = options.get_database().unwrap_or_default();
                write!(f, "the MySQL database {name:?} on {}:{}", options.get_host(), options.get_port())
            }
            Self::Postgres(options) => {
                let name = options.get_database().unwrap_or_default();
                write!(f, "the Postgres database {name:?} on {}:{}", options.get_host(), options.get_port())
            }
        }
    }
}

impl Location {
    /// Reads `sqlite:`, `mysql:`, `mariadb:` and `postgres:` URLs.
    ///
    /// # Errors
    /// What to write instead.
    pub fn parse(url: &str) -> Result<Self, String> {
        let scheme = url.split(':').next().unwrap_or_default();
        let wrong = |error: sqlx::Error| format!("cannot be read: {error}");
        match scheme {
            "sqlite" => {
                let rest = &url["sqlite:".len()..];
                let path = rest.strip_prefix("//").unwrap_or(rest).split('?').next().unwrap_or_default();
                if path.is_empty() || path == ":memory:" {
                    return Err("names no file: use sqlite://folder/name.db, or sqlite:///absolute/name.db".to_owned());
                }
                Ok(Self::Sqlite(path.into()))
            }
            "mysql" | "mariadb" => {
                let options: MySqlConnectOptions = url.parse().map_err(wrong)?;
                match options.get_database() {
                    Some(_) => Ok(Self::MySql(Box::new(options))),
                    None => Err("names no database: use mysql://user:password@host:3306/name".to_owned()),
                }
            }
            "postgres" | "postgresql" => Ok(Self::Postgres(Box::new(url.parse().map_err(wrong)?))),
            _ => Err(format!(
                "has the scheme {scheme:?}: use sqlite://folder/name.db, mysql://user:password@host:3306/name or \
                 postgres://user:password@host:5432/name"
            )),
        }
    }

    /// From the parts that an older deployment names one by one.
    pub fn mysql(host: &str, port: u16, user: &str, password: &str, name: &str) -> Self {
        let options = MySqlConnectOptions::new().host(host).port(port).username(user).database(name);
        let options = if password.is_empty() { options } else { options.password(password) };
        Self::MySql(Box::new(options))
    }

    pub fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::MySql(_) => Dialect::MySql,
            Self::Postgres(_) => Dialect::Postgres,
        }
    }

    /// # Errors
    /// What the database says, or that it said nothing in time.
    pub async fn connect(&self) -> Result<Connection, sqlx::Error> {
        let connect = async {
            Ok(match self {
                Self::Sqlite(path) => Connection::Sqlite(SqliteConnection::connect_with(&sqlite(path)).await?),
                Self::MySql(options) => {
                    let mut connection = MySqlConnection::connect_with(&mysql(options)).await?;
                    sqlx::raw_sql(MYSQL_SESSION).execute(&mut connection).await?;
                    Connection::MySql(connection)
                }
                Self::Postgres(options) => Connection::Postgres(PgConnection::connect_with(&postgres(options)).await?),
            })
        };
        tokio::time::timeout(CONNECT_TIMEOUT, connect).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
    }

    /// Connections that read.
    pub async fn readers(&self) -> Result<Pool, sqlx::Error> {
        Ok(match self {
            Self::Sqlite(path) => Pool::Sqlite(
                SqlitePoolOptions::new()
                    .max_connections(READERS)
                    .acquire_timeout(CONNECT_TIMEOUT)
                    .connect_with(sqlite(path).read_only(true))
                    .await?,
            ),
            Self::MySql(options) => Pool::MySql(
                MySqlPoolOptions::new()
                    .max_connections(READERS)
                    .acquire_timeout(CONNECT_TIMEOUT)
                    .connect_with(mysql(options))
                    .await?,
            ),
            Self::Postgres(options) => Pool::Postgres(
                PgPoolOptions::new()
                    .max_connections(READERS)
                    .acquire_timeout(CONNECT_TIMEOUT)
                    .connect_with(postgres(options))
                    .await?,
            ),
        })
    }
}

/// Snapshots that move with each statement: a batch must see what another node has just committed. Nobody waits for a
/// lock for ever. A node that froze or lost its network in the middle of a transaction has its locks for five seconds: all
/// others wait for them, and are to take over what it held. MySQL has no such limit but the one on all idle connections,
/// which are opened again when they are needed.
const MYSQL_SESSION: &str = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; \
                             SET SESSION innodb_lock_wait_timeout = 10 \
                             /*M!100300 , idle_transaction_timeout = 5 */ /*!80000 , wait_timeout = 5 */";
/// The same.
const POSTGRES_SESSION: [(&str, &str); 2] = [("lock_timeout", "10s"), ("idle_in_transaction_session_timeout", "5s")];

fn sqlite(path: &std::path::Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(CONNECT_TIMEOUT)
        // Savepoints and multi-row inserts keep a statement journal: not in a file of its own per commit.
        .pragma("temp_store", "MEMORY")
        .pragma("cache_size", CACHE_SIZE)
        .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
        .statement_cache_capacity(STATEMENTS)
}

fn mysql(options: &MySqlConnectOptions) -> MySqlConnectOptions {
    options.clone().charset("utf8mb4").statement_cache_capacity(STATEMENTS).disable_statement_logging()
}

fn postgres(options: &PgConnectOptions) -> PgConnectOptions {
    options
        .clone()
        .application_name("jackfield")
        .options(POSTGRES_SESSION)
        .statement_cache_capacity(STATEMENTS)
        .disable_statement_logging()
}

/// The connections that write: one for SQLite, where it is all there may be, and a few elsewhere.
pub struct Links {
    location: Location,
    /// Locked for a push or a pop.
    idle: Mutex<Vec<Connection>>,
    permits: Semaphore,
}

struct Held<'a> {
    links: &'a Links,
    _permit: SemaphorePermit<'a>,
    connection: Option<Connection>,
    /// A transaction is open on it.
    is_dirty: bool,
}

impl Links {
    pub fn new(location: Location, first: Connection, count: usize) -> Self {
        Self { location, idle: Mutex::new(vec![first]), permits: Semaphore::new(count) }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a turn, and connects where nothing is open.
    async fn hold(&self) -> Result<Held<'_>, sqlx::Error> {
        let permit = self.permits.acquire().await.map_err(|_| sqlx::Error::PoolClosed)?;
        let idle = self.idle().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self.location.connect().await?,
        };
        Ok(Held { links: self, _permit: permit, connection: Some(connection), is_dirty: false })
    }

    /// Runs one transaction; begins it anew where the database ended it for another one's sake, or was away before it
    /// began.
    pub async fn transaction<A, T, F>(&self, args: &A, run: &F) -> Result<T, Failed>
    where
        F: for<'c> Fn(&'c mut Connection, &'c A) -> BoxFuture<'c, Result<T, sqlx::Error>>,
    {
        self.transaction_if(args, run, |_| true).await
    }

    /// As [`Links::transaction`], and undoes it where its result is not to be kept.
    pub async fn transaction_if<A, T, F>(&self, args: &A, run: &F, is_kept: impl Fn(&T) -> bool) -> Result<T, Failed>
    where
        F: for<'c> Fn(&'c mut Connection, &'c A) -> BoxFuture<'c, Result<T, sqlx::Error>>,
    {
        let mut tries = 0;
        loop {
            tries += 1;
            let mut held = self.hold().await?;
            if let Err(error) = held.begin().await {
                held.lose();
                // SQLite's is a file: it does not come back by itself.
                if tries < MAX_TRIES && is_lost(&error) && self.location.dialect() != Dialect::Sqlite {
                    continue;
                }
                return Err(error.into());
            }
            let connection = held.connection();
            let committing = AtomicBool::new(false);
            let whole = async {
                let value = run(&mut *connection, args).await?;
                if is_kept(&value) {
                    committing.store(true, Ordering::Relaxed);
                    connection.commit().await?;
                }
                Ok(value)
            };
            let failed = match tokio::time::timeout(PATIENCE, whole).await {
                Ok(Ok(value)) => {
                    match committing.into_inner() {
                        true => held.is_done(),
                        false => held.undo().await,
                    }
                    return Ok(value);
                }
                Ok(Err(failed)) => failed,
                Err(_) => Failed::timed_out(committing.into_inner()),
            };
            if failed.in_doubt || is_lost(&failed.error) {
                held.lose();
            }
            held.undo().await;
            if tries >= MAX_TRIES || !is_retried(&failed.error) {
                return Err(failed);
            }
            drop(held);
            // Two in each other's way: not again at the same moment.
            tokio::time::sleep(Duration::from_millis(rand::random_range(1..10) * u64::from(tries))).await;
        }
    }

    pub async fn close(&self) {
        self.permits.close();
        let idle = std::mem::take(&mut *self.idle());
        for connection in idle {
            if let Err(error) = connection.close().await {
                tracing::warn!("the database was not closed in order: {error}");
            }
        }
    }
}

impl Held<'_> {
    fn connection(&mut self) -> &mut Connection {
        self.connection.as_mut().expect("it is lost only by those who give it back")
    }

    /// Nothing of a transaction is left on the connection.
    async fn undo(&mut self) {
        if self.connection.is_some() {
            self.roll_back().await;
        }
        self.is_dirty = false;
    }

    /// Opens a transaction. Until it is committed or undone, the connection is not given to others.
    async fn begin(&mut self) -> Result<(), sqlx::Error> {
        self.is_dirty = true;
        let begun =
            tokio::time::timeout(PATIENCE, self.connection().begin()).await.unwrap_or(Err(sqlx::Error::PoolTimedOut));
        let is_open = |error: &sqlx::Error| matches!(code(error).as_deref(), Some("1"));
        if self.links.location.dialect() != Dialect::Sqlite || !begun.as_ref().is_err_and(is_open) {
            return begun;
        }
        // A transaction that was given up may be open yet.
        self.roll_back().await;
        self.connection().begin().await
    }

    fn is_done(&mut self) {
        self.is_dirty = false;
    }

    /// Undoes what is open; a connection on which that fails is not used again.
    async fn roll_back(&mut self) {
        let connection = self.connection();
        // Fails on SQLite when the transaction has been rolled back already: then there is nothing to undo.
        if connection.control("ROLLBACK").await.is_err() && connection.dialect() != Dialect::Sqlite {
            self.lose();
        }
    }

    /// Never to be used again. The others were opened when this one was: they are looked at anew too.
    fn lose(&mut self) {
        if self.links.location.dialect() != Dialect::Sqlite {
            self.connection = None;
            self.links.idle().clear();
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // One that was left in the middle of a transaction is closed, which ends it.
        if let Some(connection) = self.connection.take().filter(|_| !self.is_dirty) {
            self.links.idle().push(connection);
        }
    }
}

/// How a transaction failed.
pub struct Failed {
    pub error: sqlx::Error,
    /// The connection broke while the commit was under way: it may have been written.
    pub in_doubt: bool,
}

impl From<sqlx::Error> for Failed {
    fn from(error: sqlx::Error) -> Self {
        Self { error, in_doubt: false }
    }
}

impl Failed {
    /// Given up: in doubt only where the commit was under way.
    pub fn timed_out(was_committing: bool) -> Self {
        Self { error: sqlx::Error::PoolTimedOut, in_doubt: was_committing }
    }

    pub fn as_store_error(&self) -> StoreError {
        let reason = explain(&self.error);
        match self.error {
            _ if self.in_doubt => StoreError::InDoubt(reason),
            sqlx::Error::PoolClosed => StoreError::Closed,
            _ => StoreError::Unavailable(reason),
        }
    }
}

impl Connection {
    pub async fn commit(&mut self) -> Result<(), Failed> {
        self.control("COMMIT").await.map_err(|error| {
            // SQLite's is a file of ours: what failed was not written.
            let in_doubt = self.dialect() != Dialect::Sqlite && is_lost(&error);
            Failed { error, in_doubt }
        })
    }
}

fn code(error: &sqlx::Error) -> Option<String> {
    match error {
        sqlx::Error::Database(inner) => match inner.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>() {
            Some(mysql) => Some(mysql.number().to_string()),
            None => inner.code().map(|code| code.into_owned()),
        },
        _ => None,
    }
}

/// A deadlock, a lock that took too long, or a pause of this node that did: the same transaction may go through now.
pub fn is_retried(error: &sqlx::Error) -> bool {
    code(error)
        .is_some_and(|code| ["40001", "40P01", "55P03", "25P03", "1213", "1205", "1020"].contains(&code.as_str()))
}

/// MySQL: the server goes, or closed a connection that was idle for too long.
const GONE: [&str; 3] = ["1053", "1927", "4031"];

/// The connection is gone, or the server is going.
pub fn is_lost(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(_) => code(error)
            .is_some_and(|code| code.starts_with("57P") || code.starts_with("08") || GONE.contains(&code.as_str())),
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::WorkerCrashed => true,
        _ => false,
    }
}

/// A value that the database does not take: who sent it fails, and nobody else.
pub fn is_of_the_values(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(inner) = error else { return false };
    let code = code(error).unwrap_or_default();
    if inner.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>().is_some() {
        // Null, duplicate, too large a packet, out of range, wrong, too long.
        return ["1048", "1062", "1153", "1264", "1366", "1406"].contains(&code.as_str());
    }
    if inner.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some() {
        // Too big, constraint, mismatch.
        return code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 18..=20));
    }
    // Data exceptions and constraints of SQLSTATE.
    code.starts_with("22") || code.starts_with("23")
}

/// What the database says, with what to do about it where that is known.
pub fn explain(error: &sqlx::Error) -> String {
    let code = match error {
        sqlx::Error::Database(inner) if inner.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some() => code(error),
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
    match error {
        sqlx::Error::PoolTimedOut => format!("it does not answer within {} s", CONNECT_TIMEOUT.as_secs()),
        _ => format!("{error}{advice}"),
    }
}
