//! Private databases: a SQLite file, or a real MariaDB or Postgres server with a port and data of its own, which ends with
//! its owner. Knows nothing of Jackfield, and of the tests only [`ports`], so that benchmarks can include both files.

use super::ports::free_port;
use sqlx::{AssertSqlSafe, Connection, MySqlConnection, PgConnection, Row, SqliteConnection};
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const USER: &str = "jackfield";
/// With what has a meaning in a URL, where it must be escaped.
pub const PASSWORD: &str = "hush@/#%41";
const PASSWORD_IN_URL: &str = "hush%40%2F%23%2541";
const NAME: &str = "jackfield";

/// A server is there after a fifth of a second, or after its recovery from a kill; this is for a machine under load.
const START_LIMIT: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Sqlite,
    MariaDb,
    Postgres,
}

/// What a commit is worth while the machine stands; a killed process loses nothing either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Durability {
    /// The server's own defaults, in memory and log sizes too: for crash tests and figures.
    AsInstalled,
    /// Nothing is forced to disk, and less memory is taken: for all other tests.
    Relaxed,
}

pub struct Database {
    kind: Kind,
    durability: Durability,
    home: TempDir,
    port: u16,
    /// None where the database is a file.
    child: Option<Child>,
}

impl Database {
    /// The path of a SQLite file that is not there yet, in a folder of its own.
    pub fn sqlite() -> Database {
        Database { kind: Kind::Sqlite, durability: Durability::AsInstalled, home: folder(), port: 0, child: None }
    }

    /// An empty database in a MariaDB of its own.
    pub async fn mariadb() -> Database {
        Database::start(Kind::MariaDb, Durability::AsInstalled).await
    }

    /// An empty database in a Postgres of its own.
    pub async fn postgres() -> Database {
        Database::start(Kind::Postgres, Durability::AsInstalled).await
    }

    /// One that is set as it is installed.
    pub async fn durable(kind: Kind) -> Database {
        Database::start(kind, Durability::AsInstalled).await
    }

    /// One that forces nothing to disk.
    pub async fn relaxed(kind: Kind) -> Database {
        Database::start(kind, Durability::Relaxed).await
    }

    async fn start(kind: Kind, durability: Durability) -> Database {
        if kind == Kind::Sqlite {
            return Database::sqlite();
        }
        let mut database = Database { kind, durability, home: folder(), port: free_port(), child: None };
        copy(&template(kind), &database.data());
        database.restart().await;
        database
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// For `DATABASE_URL`.
    pub fn url(&self) -> String {
        self.url_at(self.port)
    }

    /// The same through another port, which leads there. A file has none.
    pub fn url_at(&self, port: u16) -> String {
        match self.kind {
            Kind::Sqlite => format!("sqlite://{}", self.data().display()),
            Kind::MariaDb => format!("mysql://{USER}:{PASSWORD_IN_URL}@127.0.0.1:{port}/{NAME}"),
            Kind::Postgres => format!("postgres://{USER}:{PASSWORD_IN_URL}@127.0.0.1:{port}/{NAME}"),
        }
    }

    /// Where its server listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// For those who want the address in parts: `DB_HOST` and so on, in the order host, port, user, password, name.
    pub fn parts(&self) -> [(&'static str, String); 5] {
        [
            ("DB_HOST", "127.0.0.1".to_owned()),
            ("DB_PORT", self.port.to_string()),
            ("DB_USER", USER.to_owned()),
            ("DB_PASSWORD", PASSWORD.to_owned()),
            ("DB_NAME", NAME.to_owned()),
        ]
    }

    // --- SQL -----------------------------------------------------------------------------------------------------

    /// Runs one or more statements.
    pub async fn execute(&self, sql: &str) {
        self.texts(sql).await;
    }

    /// The number that a query answers.
    pub async fn count(&self, sql: &str) -> i64 {
        let texts = self.texts(sql).await;
        texts.first().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no number from {sql}: {texts:?}"))
    }

    /// The first column of each row, whatever its type, as text.
    pub async fn texts(&self, sql: &str) -> Vec<String> {
        self.query(sql).await.unwrap_or_else(|e| panic!("{:?} does not take {sql}: {e}", self.kind))
    }

    /// How a query is gone about: the lines that name indexes.
    pub async fn plan(&self, select: &str) -> Vec<String> {
        let (explain, detail) = match self.kind {
            Kind::Sqlite => ("EXPLAIN QUERY PLAN", 3),
            Kind::MariaDb => ("EXPLAIN FORMAT=JSON", 0),
            Kind::Postgres => ("EXPLAIN", 0),
        };
        let texts = self.column(&format!("{explain} {select}"), detail).await;
        let texts = texts.unwrap_or_else(|e| panic!("{:?} does not explain {select}: {e}", self.kind));
        let lines = texts.iter().flat_map(|text| text.lines()).map(|line| line.trim().to_owned());
        lines
            .filter(|line| self.kind != Kind::MariaDb || line.starts_with("\"key\"") || line.contains("sort"))
            .collect()
    }

    async fn query(&self, sql: &str) -> Result<Vec<String>, sqlx::Error> {
        self.column(sql, 0).await
    }

    /// A connection of its own for each call: nothing is left open that a kill could break.
    async fn column(&self, sql: &str, column: usize) -> Result<Vec<String>, sqlx::Error> {
        let statement = sqlx::raw_sql(AssertSqlSafe(sql));
        // Rows come in the text protocol, so that a column of any type is text.
        match self.kind {
            Kind::Sqlite => {
                let mut connection = SqliteConnection::connect(&self.sqlite_mode(sql)).await?;
                let rows = statement.fetch_all(&mut connection).await?;
                connection.close().await?;
                rows.iter()
                    .map(|row| row.try_get_unchecked::<Option<String>, _>(column).map(Option::unwrap_or_default))
                    .collect()
            }
            Kind::MariaDb => {
                let mut connection = MySqlConnection::connect(&self.url()).await?;
                let rows = statement.fetch_all(&mut connection).await?;
                connection.close().await?;
                // Bytes: an id may well be stored in a binary column.
                let bytes = rows.iter().map(|row| row.try_get_unchecked::<Option<Vec<u8>>, _>(column));
                bytes.map(|b| b.map(|b| String::from_utf8_lossy(&b.unwrap_or_default()).into_owned())).collect()
            }
            Kind::Postgres => {
                let mut connection = PgConnection::connect(&self.url()).await?;
                let rows = statement.fetch_all(&mut connection).await?;
                connection.close().await?;
                rows.iter()
                    .map(|row| row.try_get_unchecked::<Option<String>, _>(column).map(Option::unwrap_or_default))
                    .collect()
            }
        }
    }

    /// A look must not write: the last connection that may write brings the write-ahead log home, and a crash test wants
    /// the server to find it as the crash left it.
    fn sqlite_mode(&self, sql: &str) -> String {
        let mode = if sql.trim_start().to_ascii_uppercase().starts_with("SELECT") { "ro" } else { "rwc" };
        format!("{}?mode={mode}", self.url())
    }

    // --- ends ----------------------------------------------------------------------------------------------------

    /// SIGKILL to the server and all its processes.
    ///
    /// # Panics
    /// On SQLite, which has no server.
    pub fn kill(&mut self) {
        let child = self.child.as_mut().expect("SQLite has no server to kill");
        let helpers = children_of(child.id());
        child.kill().expect("the database server was running");
        child.wait().expect("a killed child can be waited for");
        signal("KILL", &helpers);
    }

    /// Starts the server again on the same data and port; the process before must have ended.
    pub async fn restart(&mut self) {
        let log = File::create(self.home.path().join("log")).expect("the folder takes files");
        self.child = Some(match self.kind {
            Kind::Sqlite => panic!("SQLite has no server to start"),
            Kind::MariaDb => self.mariadbd(log),
            Kind::Postgres => self.postmaster(log),
        });
        self.ready().await;
    }

    async fn ready(&mut self) {
        let begun = Instant::now();
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        loop {
            ticks.tick().await;
            let Err(refusal) = self.query("SELECT 1").await else { return };
            let ended = self.child.as_mut().and_then(|child| child.try_wait().expect("a child can be waited for"));
            assert!(
                ended.is_none() && begun.elapsed() < START_LIMIT,
                "{:?} is not ready after {:?} ({refusal}; ended: {ended:?}):\n{}",
                self.kind,
                begun.elapsed(),
                self.log()
            );
        }
    }

    fn mariadbd(&self, log: File) -> Child {
        let path = |name: &str| self.home.path().join(name).display().to_string();
        let mut command = bound_to_this_process(None);
        command.arg(program("mariadbd")).arg("--no-defaults");
        if is_root() {
            command.arg("--user=root");
        }
        command
            .arg(format!("--datadir={}", self.data().display()))
            .args(["--bind-address=127.0.0.1", &format!("--port={}", self.port), "--skip-name-resolve"])
            .args([format!("--socket={}", path("socket")), format!("--pid-file={}", path("pid"))])
            // A server that starts deletes what it finds there: not another one's.
            .arg(format!("--tmpdir={}", self.home.path().display()));
        if self.durability == Durability::Relaxed {
            command.args(MARIADB_RELAXED);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("setpriv starts")
    }

    fn postmaster(&self, log: File) -> Child {
        let mut command = bound_to_this_process(Some("postgres"));
        command.arg(program("postgres")).arg("-D").arg(self.data()).args([
            "-p",
            &self.port.to_string(),
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "unix_socket_directories=",
        ]);
        if self.durability == Durability::Relaxed {
            command.args(["-c", "fsync=off", "-c", "full_page_writes=off", "-c", "shared_buffers=32MB"]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("setpriv starts")
    }

    /// The file, or the server's folder.
    fn data(&self) -> PathBuf {
        self.home.path().join(if self.kind == Kind::Sqlite { "jackfield.db" } else { "data" })
    }

    fn log(&self) -> String {
        fs::read_to_string(self.home.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let Some(child) = &mut self.child else { return };
        if child.try_wait().is_ok_and(|ended| ended.is_some()) {
            return;
        }
        match self.kind {
            // At once, but with its helpers, and giving back its shared memory, of which the kernel has only so many.
            Kind::Postgres => signal("QUIT", &[child.id()]),
            _ => {
                let _ = child.kill();
            }
        }
        let _ = child.wait();
    }
}

const MARIADB_RELAXED: [&str; 5] = [
    "--innodb-flush-log-at-trx-commit=2",
    "--innodb-flush-method=nosync",
    "--innodb-doublewrite=OFF",
    "--innodb-log-file-size=8M",
    "--innodb-buffer-pool-size=32M",
];

// --- data folders, made once ---------------------------------------------------------------------------------------

/// What Debian's package and the official image set: case and trailing spaces do not count in comparisons.
const MARIADB_SETUP: &str = "FLUSH PRIVILEGES;
CREATE DATABASE jackfield CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci;
CREATE USER jackfield@'127.0.0.1' IDENTIFIED BY 'hush@/#%41';
GRANT ALL ON jackfield.* TO jackfield@'127.0.0.1';
";

/// An owner of one database, as an operator makes it, and no superuser.
const POSTGRES_SETUP: &str = "CREATE ROLE jackfield LOGIN PASSWORD 'hush@/#%41';
CREATE DATABASE jackfield OWNER jackfield;
";

/// Sorts as a dictionary does, not by bytes: what an operator's database usually does.
const POSTGRES_LOCALE: [&str; 4] =
    ["--locale=C.UTF-8", "--encoding=UTF8", "--locale-provider=icu", "--icu-locale=en-US"];

/// A data folder with one empty database, made by the first test that needs it; another server version makes another.
fn template(kind: Kind) -> PathBuf {
    let shelf = Path::new(env!("CARGO_TARGET_TMPDIR"));
    fs::create_dir_all(shelf).expect("the target folder can be written");
    let lock = File::create(shelf.join(format!("{kind:?}.lock"))).expect("the target folder can be written");
    lock.lock().expect("a file can be locked");
    let template = shelf.join(format!("{kind:?}-{:016x}", fingerprint(kind)));
    if !template.exists() {
        let work = folder();
        let data = work.path().join("data");
        match kind {
            Kind::Sqlite => panic!("SQLite has no folder"),
            Kind::MariaDb => initialise_mariadb(work.path(), &data),
            Kind::Postgres => initialise_postgres(work.path(), &data),
        }
        // Under its name only when it is whole.
        let partial = shelf.join(format!("{kind:?}.partial"));
        let _ = fs::remove_dir_all(&partial);
        copy(&data, &partial);
        fs::rename(&partial, &template).expect("a folder can be renamed");
    }
    template
}

/// Of everything that goes into a template.
fn fingerprint(kind: Kind) -> u64 {
    let mut hasher = DefaultHasher::new();
    let binary = program(if kind == Kind::MariaDb { "mariadbd" } else { "postgres" });
    let about = fs::metadata(&binary).expect("the program was found");
    (binary, about.len(), about.mtime(), MARIADB_SETUP, POSTGRES_SETUP, POSTGRES_LOCALE, is_root()).hash(&mut hasher);
    hasher.finish()
}

fn initialise_mariadb(work: &Path, data: &Path) {
    let setup = work.join("setup.sql");
    fs::write(&setup, MARIADB_SETUP).expect("the folder takes files");
    let mut command = Command::new(program("mariadb-install-db"));
    command.arg("--no-defaults").args(is_root().then_some("--user=root"));
    command
        .args([format!("--datadir={}", data.display()), format!("--extra-file={}", setup.display())])
        .args(["--skip-test-db", "--skip-name-resolve", "--auth-root-authentication-method=normal"])
        .arg("--innodb-autoextend-increment=1")
        .args(MARIADB_RELAXED);
    run(&mut command, "");
}

fn initialise_postgres(work: &Path, data: &Path) {
    let password = work.join("password");
    fs::write(&password, PASSWORD).expect("the folder takes files");
    fs::set_permissions(work, fs::Permissions::from_mode(0o777)).expect("an owner sets permissions");
    let mut initdb = bound_to_this_process(Some("postgres"));
    initdb.arg(program("initdb")).arg("-D").arg(data).arg(format!("--pwfile={}", password.display()));
    run(initdb.args(["--auth=scram-sha-256", "--username=postgres", "--no-sync"]).args(POSTGRES_LOCALE), "");
    let mut alone = bound_to_this_process(Some("postgres"));
    run(alone.arg(program("postgres")).args(["--single", "-F", "-D"]).arg(data).arg("postgres"), POSTGRES_SETUP);
}

/// Runs a program to its end, which must be a good one.
fn run(command: &mut Command, input: &str) {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{command:?} does not start: {e}"));
    child.stdin.take().expect("stdin is a pipe").write_all(input.as_bytes()).expect("the program reads its input");
    let output = child.wait_with_output().expect("a child can be waited for");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{command:?} failed:\n{}", String::from_utf8_lossy(&said));
}

/// Keeps owners and permissions.
fn copy(from: &Path, to: &Path) {
    // Looking for holes takes a second in files that are not on disk yet.
    run(Command::new("cp").args(["-a", "--reflink=auto", "--sparse=never"]).args([from, to]), "");
}

// --- programs and processes ----------------------------------------------------------------------------------------

/// Not below the target folder: Postgres refuses to run as root, and the user `postgres` may not pass `/root`.
fn folder() -> TempDir {
    let folder = TempDir::with_prefix("jackfield-db-").expect("a temporary folder can be made");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("an owner sets permissions");
    folder
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// Starts its argument as a process that the kernel kills with this one, also when this one is killed. The kernel means
/// the thread that starts it: do so in the test, not in a blocking task. Root starts it as `user`.
pub fn bound_to_this_process(user: Option<&str>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    if let Some(user) = user.filter(|_| is_root()) {
        command.args([format!("--reuid={user}"), format!("--regid={user}"), "--init-groups".to_owned()]);
    }
    // The parent may have gone before the kernel was asked, and is not waited for then.
    let own = std::process::id().to_string();
    command.args(["--", "sh", "-c", "[ \"$PPID\" = \"$0\" ] && exec \"$@\"", &own]);
    command
}

/// A server's program, from PATH or from where distributions keep what users do not call.
pub fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    // Debian keeps every major version of Postgres in a folder of its own: the newest.
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path());
    let mut versions: Vec<PathBuf> = versions.collect();
    versions.sort_by_key(|path| path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok()));
    let folders = usual.chain(versions.into_iter().rev().map(|version| version.join("bin")));
    let found = folders.map(|folder| folder.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("{name} is not there: run scripts/setup"))
}

/// The processes whose parent is this one.
fn children_of(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").expect("/proc is there").flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    // After the name in brackets: state, then the parent.
    let parent_of = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse::<u32>().ok()
    };
    pids.filter(|pid| parent_of(pid) == Some(parent)).collect()
}

/// Sends a signal to processes that may have ended by themselves.
pub fn signal(name: &str, pids: &[u32]) {
    let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
    let _ = Command::new("sh").args(["-c", &format!("kill -{name} {} 2>/dev/null", pids.join(" "))]).status();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_database_is_empty_and_takes_sql() {
        for kind in [Kind::Sqlite, Kind::MariaDb, Kind::Postgres] {
            let database = Database::relaxed(kind).await;
            database.execute("CREATE TABLE t (n BIGINT, word VARCHAR(20))").await;
            database.execute("INSERT INTO t VALUES (1, 'Zoë'), (2, NULL)").await;
            assert_eq!(database.count("SELECT COUNT(*) FROM t").await, 2, "{kind:?}");
            assert_eq!(database.texts("SELECT word FROM t ORDER BY n").await, ["Zoë", ""], "{kind:?}");
            assert_eq!(database.texts("SELECT n FROM t ORDER BY n").await, ["1", "2"], "{kind:?}");
        }
    }

    #[tokio::test]
    async fn a_killed_server_is_there_again_with_its_data_on_the_same_url() {
        for mut database in [Database::mariadb().await, Database::postgres().await] {
            let kind = database.kind();
            let url = database.url();
            database.execute("CREATE TABLE t (n BIGINT)").await;
            for n in 0..5 {
                database.execute(&format!("INSERT INTO t VALUES ({n})")).await;
                database.kill();
                assert!(database.query("SELECT 1").await.is_err(), "a killed {kind:?} answers nothing");
                database.restart().await;
                assert_eq!(database.count("SELECT COUNT(*) FROM t").await, n + 1, "{kind:?}");
            }
            assert_eq!(database.url(), url);
        }
    }

    #[tokio::test]
    async fn a_dropped_server_leaves_neither_process_nor_folder() {
        for kind in [Kind::MariaDb, Kind::Postgres] {
            let database = Database::relaxed(kind).await;
            let home = database.home.path().to_owned();
            drop(database);
            let naming_it = fs::read_dir("/proc").expect("/proc is there").flatten().filter(|entry| {
                let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
                String::from_utf8_lossy(&line).contains(&*home.to_string_lossy())
            });
            assert_eq!(naming_it.count(), 0, "{kind:?}");
            assert!(!home.exists(), "{kind:?}");
        }
    }
}
