//! The real binary as a child process, with a folder, a port and a database of its own; killed when dropped.

use super::client::{Client, connections};
use super::databases::Database;
use super::ports::free_port;
use super::process::Log;
use super::redis::Redis;
use super::socket::{Connecting, Socket};
use super::tokens::{SECRET, Token};
use super::wait::{PATIENCE, eventually, within};
use super::{find, items, verify};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// What a server is started with.
pub struct Builder {
    home: TempDir,
    port: u16,
    env: BTreeMap<String, String>,
    args: Vec<String>,
    /// A program that the binary is started through, e.g. one that lowers its limits.
    wrapper: Vec<String>,
}

pub struct Server {
    builder: Builder,
    child: Child,
    log: Log,
    /// Made anew with every process, so that no client finds a dead one's connection.
    http: reqwest::Client,
}

/// A process that was expected to end by itself.
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Server {
    /// A server with the tests' settings, ready to answer.
    pub async fn start() -> Server {
        Server::with().start().await
    }

    /// The same on a database that it may share.
    pub async fn on(database: &Database) -> Server {
        Server::with().database(database).start().await
    }

    pub fn with() -> Builder {
        Builder::new()
    }

    pub fn port(&self) -> u16 {
        self.builder.port
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port())
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything the server has said on stderr, in order.
    pub fn log(&self) -> Vec<String> {
        self.log.all()
    }

    /// The most memory that the process has held so far.
    pub fn peak_memory_bytes(&self) -> u64 {
        self.memory("VmHWM:")
    }

    /// The memory that the process holds now.
    pub fn memory_bytes(&self) -> u64 {
        self.memory("VmRSS:")
    }

    fn memory(&self, which: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("the server runs");
        let held = status.lines().find_map(|line| line.strip_prefix(which)).expect("the kernel counts memory");
        held.trim().trim_end_matches(" kB").parse::<u64>().expect("a number of kB") * 1024
    }

    // --- clients -------------------------------------------------------------------------------------------------

    /// A client with the token of an admin of `tenant`.
    pub fn admin(&self, tenant: &str) -> Client {
        self.role(tenant, "admin")
    }

    pub fn service(&self, tenant: &str) -> Client {
        self.role(tenant, "service")
    }

    pub fn agent(&self, tenant: &str) -> Client {
        self.role(tenant, "agent")
    }

    pub fn operator(&self, tenant: &str) -> Client {
        self.role(tenant, "operator")
    }

    fn role(&self, tenant: &str, role: &str) -> Client {
        self.client(&Token::of(tenant).role(role).sign())
    }

    /// A client that brings this token, whatever it is worth.
    pub fn client(&self, token: &str) -> Client {
        Client::new(&self.http, &self.url(""), Some(token))
    }

    pub fn anonymous(&self) -> Client {
        Client::new(&self.http, &self.url(""), None)
    }

    /// Publishes one event for `tenant`; answers its id, after the server has promised to keep it.
    pub async fn publish(&self, tenant: &str, event: Value) -> String {
        let reply = self.service(tenant).post("/api/v1/events", event).await.expect(202);
        reply.body["id"].as_str().unwrap_or_else(|| panic!("no id in {}", reply.text)).to_owned()
    }

    // --- sockets -------------------------------------------------------------------------------------------------

    /// The socket of `user`, an agent of `tenant`, welcomed.
    pub async fn socket(&self, tenant: &str, user: &str) -> Socket {
        self.socket_with(Token::of(tenant).user(user).role("agent"), "/ws").await
    }

    /// A welcomed socket with this token and path.
    pub async fn socket_with(&self, token: Token, path: &str) -> Socket {
        let mut socket = self.dial(path).bearer(&token.sign()).open().await;
        socket.expect_welcome().await;
        socket
    }

    /// A handshake in the making.
    pub fn dial(&self, path: &str) -> Connecting {
        Connecting::new(self.port(), path)
    }

    // --- plugins -------------------------------------------------------------------------------------------------

    pub fn plugin_path(&self, name: &str) -> PathBuf {
        self.builder.plugins().join(format!("{name}.wasm"))
    }

    /// Writes a plugin's file and waits until the server says that exactly this component serves as `shared/<name>`.
    pub async fn install(&self, name: &str, component: &[u8]) {
        std::fs::write(self.plugin_path(name), component).expect("the plugin folder takes files");
        self.plugin_serving(name, component).await;
    }

    pub async fn plugin_serving(&self, name: &str, component: &[u8]) {
        let sha256 = verify::sha256_hex(component);
        eventually(&format!("plugin shared/{name} to serve {sha256}"), || async {
            let listed = self.plugin(name).await?;
            (find(&listed, "sha256")? == &Value::String(sha256.clone())).then_some(())
        })
        .await;
    }

    /// The plugin as it is listed now.
    pub async fn plugin(&self, name: &str) -> Option<Value> {
        self.plugin_seen_by("observer", name).await
    }

    /// The plugin as a tenant sees it listed now.
    pub async fn plugin_seen_by(&self, tenant: &str, name: &str) -> Option<Value> {
        let listed = self.admin(tenant).get("/api/v1/plugins").await.expect(200);
        let name = format!("shared/{name}");
        items(&listed.body).iter().find(|p| p["name"] == name.as_str()).cloned()
    }

    /// Waits until the plugin is listed with a `last_error`, and answers its words.
    pub async fn plugin_error(&self, name: &str) -> String {
        self.plugin_error_seen_by("observer", name).await
    }

    pub async fn plugin_error_seen_by(&self, tenant: &str, name: &str) -> String {
        eventually(&format!("shared/{name} to show its last_error"), || async {
            match self.plugin_seen_by(tenant, name).await?["last_error"].clone() {
                Value::Null => None,
                words => Some(words.to_string()),
            }
        })
        .await
    }

    // --- ends ----------------------------------------------------------------------------------------------------

    /// SIGKILL: nothing is flushed, nobody is told.
    pub fn kill(&mut self) {
        self.child.kill().expect("the server was running");
        self.child.wait().expect("a killed child can be waited for");
    }

    /// SIGTERM, without waiting.
    pub fn ask_to_stop(&self) {
        self.signal("TERM");
    }

    /// SIGSTOP: it does nothing until it may go on, and finds that time has passed.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    pub fn go_on(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id();
        let status = Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status().expect("sh is there");
        assert!(status.success(), "the server was not there to get a SIG{name}");
    }

    /// Waits at most `limit` for the process to end.
    pub async fn ended_within(&mut self, limit: Duration) -> ExitStatus {
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        within(limit, "the server to end", async {
            loop {
                ticks.tick().await;
                if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                    return status;
                }
            }
        })
        .await
    }

    /// SIGTERM, and the exit code of an orderly stop.
    pub async fn terminate(&mut self) -> Option<i32> {
        self.ask_to_stop();
        self.ended_within(Duration::from_secs(8)).await.code()
    }

    /// Starts the binary again on the same data; the process before must have ended.
    pub async fn restart(&mut self) {
        self.restart_with(|_| ()).await;
    }

    /// The same with changed settings.
    pub async fn restart_with(&mut self, change: impl FnOnce(&mut Builder)) {
        assert!(self.child.try_wait().expect("a child can be waited for").is_some(), "kill or terminate it first");
        change(&mut self.builder);
        self.child = self.builder.spawn();
        self.http = connections();
        self.log.follow(&mut self.child);
        self.ready().await;
    }

    async fn ready(&mut self) {
        let started = format!("Starting server on 127.0.0.1:{}", self.port());
        // A restart finds its predecessor's line in the log: `readyz` is what counts then.
        let anonymous = self.anonymous();
        let log = self.log.clone();
        let child = &mut self.child;
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        within(PATIENCE * 2, "the server to start", async {
            loop {
                ticks.tick().await;
                if let Some(status) = child.try_wait().expect("a child can be waited for") {
                    panic!("the server ended at start with {status}:\n{}", log.all().join("\n"));
                }
                if log.count(&started) > 0 && anonymous.try_get("/readyz").await == Some(200) {
                    return;
                }
            }
        })
        .await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the server said ---\n{}\n--- end ---", self.log().join("\n"));
        }
    }
}

impl Builder {
    fn new() -> Builder {
        let home = TempDir::with_prefix("jackfield-it-").expect("a temporary folder can be made");
        std::fs::create_dir(home.path().join("plugins")).expect("a folder can be made");
        let port = free_port();
        let path = |name: &str| home.path().join(name).display().to_string();
        let env = [
            ("DATABASE_URL", format!("sqlite://{}", path("jackfield.db"))),
            ("SERVER_HOST", "127.0.0.1".to_owned()),
            ("SERVER_PORT", port.to_string()),
            ("JWT_SECRET", SECRET.to_owned()),
            ("PLUGIN_DIR", path("plugins")),
            ("PLUGIN_CACHE_DIR", path("plugin-cache")),
            ("WEBHOOK_ALLOW_NETS", "127.0.0.0/8".to_owned()),
        ];
        let env = env.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Builder { home, port, env, args: vec!["serve".to_owned()], wrapper: Vec::new() }
    }

    pub fn env(mut self, name: &str, value: &str) -> Builder {
        self.set(name, value);
        self
    }

    pub fn set(&mut self, name: &str, value: &str) {
        self.env.insert(name.to_owned(), value.to_owned());
    }

    /// A database that others may use too, instead of a SQLite file of its own.
    pub fn database(self, database: &Database) -> Builder {
        self.env("DATABASE_URL", &database.url())
    }

    /// One of the nodes that meet in this Redis.
    pub fn redis(self, redis: &Redis) -> Builder {
        self.env("REDIS_URL", &redis.url())
    }

    pub fn without(mut self, name: &str) -> Builder {
        self.env.remove(name);
        self
    }

    /// Arguments instead of `serve`.
    pub fn args(mut self, args: &[&str]) -> Builder {
        self.args = args.iter().map(|&a| a.to_owned()).collect();
        self
    }

    /// Starts the binary through another program, which must `exec` its arguments.
    pub fn through(mut self, wrapper: &[&str]) -> Builder {
        self.wrapper = wrapper.iter().map(|&a| a.to_owned()).collect();
        self
    }

    pub fn unwrapped(&mut self) {
        self.wrapper.clear();
    }

    /// A file in PLUGIN_DIR before the start.
    pub fn plugin_file(self, file: &str, bytes: &[u8]) -> Builder {
        std::fs::write(self.plugins().join(file), bytes).expect("the plugin folder takes files");
        self
    }

    pub fn home(&self) -> &Path {
        self.home.path()
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    fn plugins(&self) -> PathBuf {
        self.home.path().join("plugins")
    }

    /// Starts and waits until `/readyz` agrees.
    pub async fn start(self) -> Server {
        let mut child = self.spawn();
        let log = Log::default();
        log.follow(&mut child);
        let mut server = Server { builder: self, child, log, http: connections() };
        server.ready().await;
        server
    }

    /// Runs a command that is expected to end, e.g. a start that must fail.
    pub async fn run(&self) -> Ended {
        let mut child = self.spawn();
        let log = Log::default();
        let stderr = log.read(child.stderr.take().expect("stderr is a pipe"));
        let stdout = child.stdout.take().expect("stdout is a pipe");
        let stdout = std::thread::spawn(move || std::io::read_to_string(stdout).unwrap_or_default());
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        let ended = tokio::time::timeout(PATIENCE, async {
            loop {
                ticks.tick().await;
                if let Some(status) = child.try_wait().expect("a child can be waited for") {
                    return status;
                }
            }
        })
        .await;
        let Ok(status) = ended else {
            let _ = child.kill();
            let _ = child.wait();
            panic!("the command did not end by itself; it said:\n{}", log.all().join("\n"));
        };
        stderr.join().expect("the reader of stderr ends with it");
        let stdout = stdout.join().expect("the reader of stdout ends with it");
        Ended { code: status.code(), stdout, stderr: log.all().join("\n") }
    }

    fn spawn(&self) -> Child {
        let binary = env!("CARGO_BIN_EXE_jackfield");
        let words: Vec<&str> = self
            .wrapper
            .iter()
            .map(String::as_str)
            .chain([binary])
            .chain(self.args.iter().map(String::as_str))
            .collect();
        let kept = ["PATH", "HOME", "TMPDIR"].map(|name| (name, std::env::var_os(name)));
        Command::new(words[0])
            .args(&words[1..])
            .env_clear()
            .envs(kept.into_iter().filter_map(|(name, value)| Some((name, value?))))
            .env("RUST_BACKTRACE", "1")
            .envs(&self.env)
            .current_dir(self.home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{} does not start: {e}", words[0]))
    }
}
