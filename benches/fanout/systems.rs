//! The three systems, each a fresh process of its own: Jackfield's release binary, nginx with nchan, and nats-server.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, bail};
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::json;
use tempfile::TempDir;

use super::{ports::free_port, until, window};

const SECRET: &str = "the-bench-signs-its-tokens-with-this";
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Jackfield,
    Nchan,
    Nats,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Jackfield => "Jackfield",
            Self::Nchan => "nchan",
            Self::Nats => "nats-server",
        })
    }
}

pub const KINDS: [Kind; 3] = [Kind::Jackfield, Kind::Nchan, Kind::Nats];

/// Where a system is spoken to.
#[derive(Debug, Clone, Copy)]
pub struct Door {
    pub kind: Kind,
    pub subscribe: SocketAddr,
    pub publish: SocketAddr,
}

pub struct System {
    pub door: Door,
    child: Child,
    home: TempDir,
}

impl System {
    /// Starts it; it takes connections when this returns.
    ///
    /// # Errors
    /// When it is not installed or does not get ready, with what it said.
    pub async fn start(kind: Kind) -> anyhow::Result<Self> {
        // Not the system's temporary folder, which may be in memory.
        let home = TempDir::with_prefix_in("fanout-bench-", env!("CARGO_TARGET_TMPDIR"))?;
        let subscribe = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let publish = match kind {
            Kind::Nats => SocketAddr::from((Ipv4Addr::LOCALHOST, free_port())),
            Kind::Jackfield | Kind::Nchan => subscribe,
        };
        let door = Door { kind, subscribe, publish };
        let mut command = match kind {
            Kind::Jackfield => jackfield(door, home.path())?,
            Kind::Nchan => nchan(door, home.path())?,
            Kind::Nats => nats(door, home.path())?,
        };
        let log = File::create(home.path().join("log"))?;
        let child = command
            .current_dir(home.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("{kind} does not start: scripts/setup installs it"))?;
        let system = Self { door, child, home };
        let deadline = Instant::now() + PATIENCE;
        while [subscribe, publish].iter().any(|address| TcpStream::connect(address).is_err()) {
            if Instant::now() > deadline {
                bail!("{kind} is not ready after {} s; it said:\n{}", PATIENCE.as_secs(), system.log());
            }
            until(Instant::now() + LOOK_AGAIN).await;
        }
        Ok(system)
    }

    /// CPU seconds until now, of all its processes.
    ///
    /// # Errors
    /// When it has ended.
    pub fn cpu_seconds(&self) -> anyhow::Result<f64> {
        self.processes()?.into_iter().map(|process| Ok(window::cpu_seconds(process)?)).sum()
    }

    /// What all its processes have resident now, KiB.
    ///
    /// # Errors
    /// When it has ended.
    pub fn memory_kib(&self) -> anyhow::Result<f64> {
        self.processes()?.into_iter().map(|process| Ok(window::resident_memory_mib(process)? * 1024.0)).sum()
    }

    /// nginx works in a child.
    fn processes(&self) -> anyhow::Result<Vec<u32>> {
        let own = self.child.id();
        let children = fs::read_to_string(format!("/proc/{own}/task/{own}/children"))
            .with_context(|| format!("{} has ended; it said:\n{}", self.door.kind, self.log()))?;
        Ok(children.split_whitespace().filter_map(|child| child.parse().ok()).chain([own]).collect())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.home.path().join("log")).unwrap_or_default()
    }
}

impl Drop for System {
    fn drop(&mut self) {
        if self.door.kind == Kind::Nchan {
            // Its child would outlive a kill.
            let _ = Command::new("kill").arg(self.child.id().to_string()).status();
            let deadline = Instant::now() + PATIENCE;
            while self.child.try_wait().is_ok_and(|ended| ended.is_none()) && Instant::now() < deadline {
                std::thread::sleep(LOOK_AGAIN);
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Door {
    /// A token for a user of the tenant `bench`; only Jackfield asks for one.
    pub fn token(&self, user: &str, role: &str) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let claims = json!({"sub": user, "tenant_id": "bench", "role": role, "iat": now, "exp": now + 3600});
        encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap_or_default()
    }
}

fn jackfield(door: Door, home: &Path) -> anyhow::Result<Command> {
    fs::create_dir(home.join("plugins"))?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_jackfield"));
    command
        .arg("serve")
        .env("SERVER_HOST", door.publish.ip().to_string())
        .env("SERVER_PORT", door.publish.port().to_string())
        .env("DATABASE_URL", format!("sqlite://{}", home.join("bench.db").display()))
        .env("JWT_SECRET", SECRET)
        .env("PLUGIN_DIR", home.join("plugins"))
        .env("WS_MAX_CONNECTIONS_PER_TENANT", "20000");
    Ok(command)
}

fn nchan(door: Door, home: &Path) -> anyhow::Result<Command> {
    let module = ["/usr/lib/nginx/modules", "/usr/lib64/nginx/modules"]
        .map(|folder| Path::new(folder).join("ngx_nchan_module.so"))
        .into_iter()
        .find(|path| path.exists())
        .context("nginx has no nchan: scripts/setup installs libnginx-mod-nchan")?;
    let conf = format!(
        "worker_processes 1; daemon off; pid nginx.pid; error_log nginx.err warn; worker_rlimit_nofile 32768;
load_module {};
events {{ worker_connections 32768; }}
http {{ access_log off; nchan_shared_memory_size 256M; keepalive_requests 1000000; client_body_temp_path body;
  server {{ listen {};
    location ~ ^/sub/(\\w+)$ {{ nchan_subscriber websocket; nchan_channel_id $1; nchan_subscriber_first_message newest;
      nchan_websocket_ping_interval 30; }}
    location ~ ^/pub/(\\w+)$ {{ nchan_publisher http; nchan_channel_id $1; nchan_message_buffer_length 10;
      nchan_message_timeout 10s; }} }} }}\n",
        module.display(),
        door.subscribe
    );
    fs::write(home.join("nchan.conf"), conf)?;
    let nginx = ["/usr/sbin/nginx", "/usr/bin/nginx"].into_iter().find(|path| Path::new(path).exists());
    let mut command = Command::new(nginx.unwrap_or("nginx"));
    command.arg("-p").arg(home).arg("-c").arg(home.join("nchan.conf"));
    Ok(command)
}

fn nats(door: Door, home: &Path) -> anyhow::Result<Command> {
    let conf = format!(
        "listen: {}\nmax_connections: 64K\nwrite_deadline: \"10s\"\nmax_pending: 64MB\n\
         websocket {{ listen: \"{}\", no_tls: true, compression: false }}\n",
        door.publish, door.subscribe
    );
    fs::write(home.join("nats.conf"), conf)?;
    // scripts/bench says where.
    let cache = std::env::var_os("JACKFIELD_CACHE").map(PathBuf::from).unwrap_or_default();
    let mut command = Command::new(cache.join("venv/bin/nats-server"));
    command.arg("-c").arg(home.join("nats.conf"));
    Ok(command)
}
