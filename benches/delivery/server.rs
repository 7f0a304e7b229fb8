//! The server under test: the release binary in a process of its own.

use std::{
    fs::File,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use tempfile::TempDir;

use super::{
    databases::{Database, signal},
    publisher::{post, until},
    wire::Connection,
};

const BINARY: &str = env!("CARGO_BIN_EXE_jackfield");
const SECRET: &str = "the-bench-signs-its-tokens-with-this";
const TENANT: &str = "bench";
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

pub struct Server {
    pub address: SocketAddr,
    pub token: String,
    child: Child,
    home: TempDir,
}

impl Server {
    /// Starts it on a database; it is ready when this returns.
    ///
    /// # Errors
    /// When it does not get ready, with what it said.
    pub async fn start(database: &Database) -> anyhow::Result<Self> {
        // Not the system's temporary folder, which may be in memory.
        let home = TempDir::with_prefix_in("delivery-bench-", folder())?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        std::fs::create_dir(home.path().join("plugins"))?;
        let child = Command::new(BINARY)
            .arg("serve")
            .env("SERVER_HOST", address.ip().to_string())
            .env("SERVER_PORT", port.to_string())
            .env("DATABASE_URL", database.url())
            .env("JWT_SECRET", SECRET)
            .env("WEBHOOK_ALLOW_NETS", "127.0.0.0/8")
            .env("PLUGIN_DIR", home.path().join("plugins"))
            .current_dir(home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(home.path().join("log"))?)
            .spawn()
            .context("the server does not start")?;
        let server = Self { address, token: token()?, child, home };
        let deadline = Instant::now() + PATIENCE;
        while !server.is_ready().await {
            if Instant::now() > deadline {
                bail!("the server is not ready after {} s; it said:\n{}", PATIENCE.as_secs(), server.log());
            }
            until(Instant::now() + LOOK_AGAIN).await;
        }
        Ok(server)
    }

    async fn is_ready(&self) -> bool {
        let request = format!("GET /readyz HTTP/1.1\r\nhost: {}\r\n\r\n", self.address);
        let Ok(mut connection) = Connection::open(self.address).await else { return false };
        connection.ask(request.as_bytes()).await.is_ok_and(|answer| answer.has_status("200"))
    }

    /// A webhook for every event of the tenant.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn subscribe(&self, receiver: SocketAddr) -> anyhow::Result<()> {
        self.webhook(receiver, "*").await
    }

    /// A webhook for the events of a pattern.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn webhook(&self, receiver: SocketAddr, pattern: &str) -> anyhow::Result<()> {
        let body = format!(r#"{{"name":"bench","url":"http://{receiver}/hook","events":["{pattern}"]}}"#);
        let mut connection = Connection::open(self.address).await?;
        let answer = connection.ask(&post(self.address, "/api/v1/webhooks", &self.token, &body)).await?;
        if !answer.has_status("201") {
            bail!("the webhook was refused: {}", String::from_utf8_lossy(answer.body));
        }
        Ok(())
    }

    /// Stops it in order.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        signal("TERM", &[self.child.id()]);
        let deadline = Instant::now() + PATIENCE;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                bail!("the server does not stop");
            }
            until(Instant::now() + LOOK_AGAIN).await;
        }
        Ok(())
    }

    pub fn process(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.home.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn token() -> anyhow::Result<String> {
    let made = Command::new(BINARY)
        .args(["token", "--tenant", TENANT, "--role", "admin"])
        .env("JWT_SECRET", SECRET)
        .output()
        .context("no token could be made")?;
    Ok(String::from_utf8(made.stdout)?.trim().to_owned())
}

fn folder() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

/// The kind of file system that a folder is on.
pub fn file_system(folder: &Path) -> String {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mount = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (at, kind) = (words.next()?, words.next()?);
        folder.starts_with(at).then_some((at.len(), kind))
    });
    mount.max_by_key(|(length, _)| *length).map_or("an unknown file system", |(_, kind)| kind).to_owned()
}
