//! A server in a process of its own: from an upload to the version that serves, and from a start to readiness with many
//! plugins whose compiled code is kept.

use std::{
    error::Error,
    fs::{self, File},
    net::{Ipv4Addr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_jackfield");
const SECRET: &str = "the-bench-signs-its-tokens-with-this";
const PLUGINS: usize = 200;
const UPLOADS: usize = 11;
const STARTS: usize = 5;
/// Compiling all plugins for the first time takes long.
const PATIENCE: Duration = Duration::from_secs(300);
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Prints both, with variants of one component.
pub fn measure(component: &Path) -> Result<(), Box<dyn Error>> {
    let wasm = fs::read(component)?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let home = TempDir::with_prefix_in("plugins-bench-", env!("CARGO_TARGET_TMPDIR"))?;
        fs::create_dir(home.path().join("plugins"))?;
        uploads(&home, &wasm).await?;
        starts(&home, &wasm).await
    })
}

async fn uploads(home: &TempDir, wasm: &[u8]) -> Result<(), Box<dyn Error>> {
    let server = Server::start(home).await?;
    let mut took = Vec::with_capacity(UPLOADS);
    for n in 0..UPLOADS {
        let (url, body) = (format!("{}/api/v1/plugins/own", server.base), variant(wasm, n));
        let start = Instant::now();
        let upload =
            server.http.put(url).bearer_auth(&server.token).header("content-type", "application/wasm").body(body);
        let answer = upload.send().await?;
        took.push(start.elapsed().as_secs_f64() * 1e3);
        if answer.status() != 201 {
            return Err(format!("the upload was refused: {}", answer.text().await?).into());
        }
    }
    took.sort_by(f64::total_cmp);
    let kib = wasm.len() / 1024;
    let (median, most) = (took[UPLOADS / 2], took[UPLOADS - 1]);
    println!("server: from upload to active, {kib} KiB: median {median:.0} ms, most {most:.0} ms of {UPLOADS}");
    Ok(())
}

async fn starts(home: &TempDir, wasm: &[u8]) -> Result<(), Box<dyn Error>> {
    for n in 0..PLUGINS {
        fs::write(home.path().join(format!("plugins/p{n}.wasm")), variant(wasm, UPLOADS + n))?;
    }
    // The first start compiles them.
    drop(Server::start(home).await?);
    let mut took = Vec::with_capacity(STARTS);
    for _ in 0..STARTS {
        let start = Instant::now();
        let server = Server::start(home).await?;
        took.push(start.elapsed().as_secs_f64() * 1e3);
        let serving = server.serving().await?;
        if serving <= PLUGINS {
            return Err(format!("only {serving} plugins serve").into());
        }
    }
    took.sort_by(f64::total_cmp);
    let (median, most) = (took[STARTS / 2], took[STARTS - 1]);
    println!(
        "server: from start to ready with {PLUGINS} kept plugins: median {median:.0} ms, most {most:.0} ms of {STARTS}"
    );
    Ok(())
}

/// The same component with other bytes: a custom section after it.
fn variant(wasm: &[u8], n: usize) -> Vec<u8> {
    let name = format!("variant-{n}");
    let mut bytes = wasm.to_vec();
    bytes.extend([0, name.len() as u8 + 1, name.len() as u8]);
    bytes.extend(name.as_bytes());
    bytes
}

struct Server {
    base: String,
    token: String,
    http: reqwest::Client,
    child: Child,
}

impl Server {
    /// Starts it in its folder; it is ready when this returns.
    async fn start(home: &TempDir) -> Result<Self, Box<dyn Error>> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let child = Command::new(BINARY)
            .arg("serve")
            .env("SERVER_HOST", "127.0.0.1")
            .env("SERVER_PORT", port.to_string())
            .env("DATABASE_URL", "sqlite://bench.db")
            .env("JWT_SECRET", SECRET)
            .env("PLUGIN_DIR", "plugins")
            .env("PLUGIN_CACHE_DIR", "cache")
            .current_dir(home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(home.path().join("log"))?)
            .spawn()?;
        let token = Command::new(BINARY)
            .args(["token", "--tenant", "bench", "--role", "admin"])
            .env("JWT_SECRET", SECRET)
            .output()?;
        let token = String::from_utf8(token.stdout)?.trim().to_owned();
        let server = Self { base: format!("http://127.0.0.1:{port}"), token, http: client()?, child };
        let deadline = Instant::now() + PATIENCE;
        while !server.is_ready().await {
            if Instant::now() > deadline {
                return Err(format!("not ready; it said:\n{}", fs::read_to_string(home.path().join("log"))?).into());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(server)
    }

    async fn is_ready(&self) -> bool {
        let answer = self.http.get(format!("{}/readyz", self.base)).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// Plugins that have an active version.
    async fn serving(&self) -> Result<usize, Box<dyn Error>> {
        let list = self.http.get(format!("{}/api/v1/plugins", self.base)).bearer_auth(&self.token).send().await?;
        let list: serde_json::Value = serde_json::from_str(&list.text().await?)?;
        let plugins = list["data"].as_array().cloned().unwrap_or_default();
        Ok(plugins.iter().filter(|plugin| plugin["active_version"].is_u64()).count())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn client() -> Result<reqwest::Client, reqwest::Error> {
    // Refused where there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build()
}
