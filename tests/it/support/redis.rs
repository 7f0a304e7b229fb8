//! A private Redis with a port and a folder of its own, which can be killed, frozen, emptied and put back in time.

use super::databases::{bound_to_this_process, program, signal};
use super::ports::free_port;
use super::wait::{PATIENCE, eventually, within};
use futures_util::StreamExt;
use redis::aio::{MultiplexedConnection, PubSub};
use redis::{Client, FromRedisValue};
use serde_json::Value;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

pub struct Redis {
    home: TempDir,
    port: u16,
    args: Vec<String>,
    /// None while it is dead.
    child: Option<Child>,
}

impl Redis {
    /// One that keeps nothing over its end.
    pub async fn start() -> Redis {
        Redis::with(&["--appendonly", "no"]).await
    }

    /// One that is started again with all that it has answered.
    pub async fn keeping() -> Redis {
        Redis::with(&["--appendonly", "yes", "--appendfsync", "always"]).await
    }

    pub async fn with(args: &[&str]) -> Redis {
        let mut redis = Redis::unstarted(args);
        redis.start_again().await;
        redis
    }

    /// A port and a folder, and nobody there yet.
    pub fn unstarted(args: &[&str]) -> Redis {
        let home = TempDir::with_prefix("jackfield-redis-").expect("a temporary folder can be made");
        fs::create_dir(home.path().join("data")).expect("a folder can be made");
        Redis { home, port: free_port(), args: args.iter().map(|&arg| arg.to_owned()).collect(), child: None }
    }

    /// For `REDIS_URL`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    // --- commands ------------------------------------------------------------------------------------------------

    pub async fn connection(&self) -> MultiplexedConnection {
        self.connect().await.unwrap_or_else(|e| panic!("Redis at {} does not answer: {e}", self.port))
    }

    async fn connect(&self) -> redis::RedisResult<MultiplexedConnection> {
        Client::open(self.url())?.get_multiplexed_async_connection().await
    }

    /// The answer to a command whose words have no spaces.
    pub async fn ask<T: FromRedisValue>(&self, command: &str) -> T {
        let words: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
        self.ask_bytes(&words).await
    }

    pub async fn ask_bytes<T: FromRedisValue>(&self, words: &[&[u8]]) -> T {
        let mut command = redis::Cmd::new();
        command.arg(words);
        let answer = command.query_async(&mut self.connection().await).await;
        answer.unwrap_or_else(|e| panic!("Redis refuses {:?}: {e}", words.iter().map(|w| String::from_utf8_lossy(w))))
    }

    /// What another program does: answers how many heard it.
    pub async fn publish(&self, channel: &str, message: impl AsRef<[u8]>) -> i64 {
        self.ask_bytes(&[b"PUBLISH", channel.as_bytes(), message.as_ref()]).await
    }

    /// Channels that somebody listens to now, sorted.
    pub async fn channels(&self) -> Vec<String> {
        let mut channels: Vec<String> = self.ask("PUBSUB CHANNELS").await;
        channels.sort();
        channels
    }

    /// Hears everything on all channels from now on.
    pub async fn listen(&self) -> Listener {
        let client = Client::open(self.url()).expect("a good URL");
        let mut listener = client.get_async_pubsub().await.expect("Redis answers");
        listener.psubscribe("*").await.expect("Redis lets listen");
        Listener(listener)
    }

    // --- ends ----------------------------------------------------------------------------------------------------

    /// SIGKILL.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("it was running");
        child.kill().expect("it was running");
        child.wait().expect("a killed child can be waited for");
    }

    /// Starts on the same port and folder; the process before must have been killed.
    pub async fn start_again(&mut self) {
        assert!(self.child.is_none(), "kill it first");
        let log = File::create(self.home.path().join("log")).expect("the folder takes files");
        let child = bound_to_this_process(None)
            .arg(program("redis-server"))
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(["--dir", &self.data().display().to_string()])
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be shared"))
            .stderr(log)
            .spawn()
            .expect("setpriv starts");
        self.child = Some(child);
        let log = self.home.path().join("log");
        let ended = tokio::time::timeout(PATIENCE, async {
            let mut ticks = tokio::time::interval(std::time::Duration::from_millis(10));
            while self.connect().await.is_err() {
                ticks.tick().await;
            }
        });
        if ended.await.is_err() {
            panic!("Redis does not start:\n{}", fs::read_to_string(log).unwrap_or_default());
        }
        eventually("Redis to have read its data", || async {
            let info: String = self.ask("INFO persistence").await;
            info.contains("loading:0").then_some(())
        })
        .await;
    }

    /// SIGSTOP: the kernel still takes connections and bytes for it.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    pub fn go_on(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        signal(name, &[self.child.as_ref().expect("it is running").id()]);
    }

    fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// A copy of what it keeps now.
    pub fn copy(&self) -> TempDir {
        let copy = TempDir::with_prefix("jackfield-redis-").expect("a temporary folder can be made");
        copy_folder(&self.data(), &copy.path().join("data"));
        copy
    }

    /// Puts a copy in the place of what it keeps; it must have been killed.
    pub fn roll_back(&self, copy: &TempDir) {
        assert!(self.child.is_none(), "kill it first");
        fs::remove_dir_all(self.data()).expect("an owner removes");
        copy_folder(&copy.path().join("data"), &self.data());
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn copy_folder(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").args([from, to]).status().expect("cp is there");
    assert!(status.success(), "{} cannot be copied", from.display());
}

/// Another program that listens.
pub struct Listener(PubSub);

impl Listener {
    /// The next event that is heard, and its channel; what nodes tell each other is passed over.
    pub async fn expect_event(&mut self) -> (String, Value) {
        within(PATIENCE, "an event on a channel", async {
            let mut messages = self.0.on_message();
            loop {
                let message = messages.next().await.expect("Redis goes on");
                let channel = message.get_channel_name().to_owned();
                let text: String = message.get_payload().expect("nodes say UTF-8");
                let event: Value = serde_json::from_str(&text).unwrap_or_default();
                if event["id"].is_string() && event["type"].as_str().is_some_and(|word| !word.contains(".presence.")) {
                    return (channel, event);
                }
            }
        })
        .await
    }
}
