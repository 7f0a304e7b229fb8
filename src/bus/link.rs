//! The two connections to Redis, one for commands and one that listens: made, watched by a probe, and made again.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use redis::{
    AsyncConnectionConfig, Client, PushInfo, PushKind, RedisError, Value,
    aio::{AsyncPushSender, MultiplexedConnection, SendError},
};
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{RedisLocation, keys};

/// A Redis that does not answer in this time is away.
const ANSWER: Duration = Duration::from_secs(1);
const CONNECT: Duration = Duration::from_secs(2);
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// Probes that do not come back for this long: we hear nothing.
const DEAF_AFTER: Duration = Duration::from_secs(4);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// What may wait to be taken up: messages, and their bytes.
const MAX_MESSAGES: usize = 16_384;
const MAX_MESSAGE_BYTES: usize = 64 * 1024 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkState {
    /// Not there, or not yet; or it takes no writes.
    Away,
    /// The number of this connection.
    Up(u64),
    /// Commands are answered, and nothing is heard.
    Deaf,
}

/// A message on a channel that we listen to.
#[derive(Debug)]
pub struct Message {
    pub channel: String,
    pub payload: Bytes,
}

/// The end that takes messages up.
pub struct Messages {
    queue: mpsc::Receiver<Message>,
    waiting: Arc<Waiting>,
}

/// Bytes that wait, and whether any had to be left out.
#[derive(Default)]
struct Waiting {
    bytes: AtomicUsize,
    overflowed: AtomicBool,
}

impl Messages {
    /// The next message; none when the server stops.
    pub async fn next(&mut self) -> Option<Message> {
        let message = self.queue.recv().await?;
        self.waiting.bytes.fetch_sub(message.payload.len(), Ordering::Relaxed);
        Some(message)
    }

    /// Whether some had to be left out since the last look.
    pub fn overflowed(&self) -> bool {
        self.waiting.overflowed.swap(false, Ordering::Relaxed)
    }
}

pub struct Link {
    location: RedisLocation,
    probe: String,
    state: watch::Sender<LinkState>,
    /// Locked for moments, to copy the handles.
    connections: Mutex<Option<Connections>>,
    sender: Pushes,
    generations: AtomicU64,
    /// Somebody had a command fail: look at once.
    suspect: Notify,
}

#[derive(Clone)]
struct Connections {
    commands: MultiplexedConnection,
    listener: MultiplexedConnection,
}

/// Takes up what Redis pushes. Must not block: what finds no room is left out, and whoever listens is told.
#[derive(Clone)]
struct Pushes {
    queue: mpsc::Sender<Message>,
    waiting: Arc<Waiting>,
    probe: Arc<str>,
    heard: Arc<Mutex<Instant>>,
    broken: Arc<Notify>,
}

impl AsyncPushSender for Pushes {
    fn send(&self, info: PushInfo) -> Result<(), SendError> {
        match info.kind {
            PushKind::Disconnection => self.broken.notify_one(),
            PushKind::Message => {
                let mut data = info.data.into_iter();
                if let (Some(Value::BulkString(channel)), Some(Value::BulkString(payload))) = (data.next(), data.next())
                {
                    self.take(&channel, payload);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Pushes {
    fn take(&self, channel: &[u8], payload: Vec<u8>) {
        let Ok(channel) = std::str::from_utf8(channel) else { return };
        if channel == &*self.probe {
            *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            return;
        }
        let len = payload.len();
        let message = Message { channel: channel.to_owned(), payload: payload.into() };
        let full = self.waiting.bytes.fetch_add(len, Ordering::Relaxed) + len > MAX_MESSAGE_BYTES;
        if full || self.queue.try_send(message).is_err() {
            self.waiting.bytes.fetch_sub(len, Ordering::Relaxed);
            self.waiting.overflowed.store(true, Ordering::Relaxed);
        }
    }

    fn heard(&self) -> Instant {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn config() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(Some(ANSWER))
}

async fn in_time<T>(dialling: impl Future<Output = Result<T, RedisError>>) -> Result<T, RedisError> {
    let timed_out = |_| Err(RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut)));
    tokio::time::timeout(CONNECT, dialling).await.unwrap_or_else(timed_out)
}

impl Link {
    pub fn new(location: RedisLocation, node: &str) -> (Self, Messages) {
        let (queue, received) = mpsc::channel(MAX_MESSAGES);
        let waiting = Arc::<Waiting>::default();
        let probe = keys::probe(node);
        let sender = Pushes {
            queue,
            waiting: waiting.clone(),
            probe: probe.as_str().into(),
            heard: Arc::new(Mutex::new(Instant::now())),
            broken: Arc::default(),
        };
        let link = Self {
            location,
            probe,
            state: watch::Sender::new(LinkState::Away),
            connections: Mutex::default(),
            sender,
            generations: AtomicU64::new(0),
            suspect: Notify::new(),
        };
        (link, Messages { queue: received, waiting })
    }

    pub fn state(&self) -> watch::Receiver<LinkState> {
        self.state.subscribe()
    }

    /// The connection for commands, where there is one.
    pub fn commands(&self) -> Option<MultiplexedConnection> {
        self.connections().map(|connections| connections.commands)
    }

    /// The connection that listens, where there is one.
    pub fn listener(&self) -> Option<MultiplexedConnection> {
        self.connections().map(|connections| connections.listener)
    }

    /// A command failed: the probe looks at once instead of in a while.
    pub fn suspect(&self) {
        self.suspect.notify_one();
    }

    fn connections(&self) -> Option<Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, connections: Option<Connections>, state: LinkState) {
        *self.connections.lock().unwrap_or_else(PoisonError::into_inner) = connections;
        self.state.send_replace(state);
    }

    /// Connects once.
    ///
    /// # Errors
    /// Why not.
    pub async fn connect(&self) -> Result<(), RedisError> {
        let (client, commands) = match in_time(self.dial()).await {
            Ok(dialled) => dialled,
            Err(error) => {
                self.set(None, LinkState::Away);
                return Err(error);
            }
        };
        match in_time(self.listen(&client)).await {
            Ok(listener) => {
                let generation = self.generations.fetch_add(1, Ordering::Relaxed) + 1;
                self.set(Some(Connections { commands, listener }), LinkState::Up(generation));
                Ok(())
            }
            Err(error) => {
                self.set(None, LinkState::Deaf);
                Err(error)
            }
        }
    }

    async fn dial(&self) -> Result<(Client, MultiplexedConnection), RedisError> {
        let client = self.location.client().await?;
        let mut commands = client.get_multiplexed_async_connection_with_config(&config()).await?;
        self.probe(&mut commands).await?;
        Ok((client, commands))
    }

    async fn listen(&self, client: &Client) -> Result<MultiplexedConnection, RedisError> {
        let config = config().set_push_sender(self.sender.clone());
        let mut listener = client.get_multiplexed_async_connection_with_config(&config).await?;
        listener.subscribe(&[self.probe.as_str(), keys::EVENTS, keys::CONTROL][..]).await?;
        *self.sender.heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        Ok(listener)
    }

    /// Writes, and says something that we are to hear: a full memory, a full disk and a replica answer, and take nothing.
    async fn probe(&self, commands: &mut MultiplexedConnection) -> Result<(), RedisError> {
        let mut both = redis::pipe();
        both.cmd("SET").arg(&self.probe).arg("1").arg("EX").arg(60).ignore();
        both.cmd("PUBLISH").arg(&self.probe).arg("1").ignore();
        both.query_async(commands).await
    }

    /// Keeps the connections up until the server stops.
    pub async fn keep(&self, stopping: CancellationToken) {
        let mut pause = FIRST_PAUSE;
        loop {
            let up = matches!(*self.state.borrow(), LinkState::Up(_));
            let waited = tokio::select! {
                biased;
                () = stopping.cancelled() => {
                    self.set(None, LinkState::Away);
                    return;
                }
                () = self.watch(), if up => false,
                () = tokio::time::sleep(pause.mul_f64(0.5 + rand::random::<f64>())), if !up => true,
            };
            if !waited {
                pause = FIRST_PAUSE;
            }
            match self.connect().await {
                Ok(()) => {
                    pause = FIRST_PAUSE;
                    tracing::info!("Redis connected successfully");
                }
                Err(error) => {
                    if !waited {
                        tracing::warn!("{} does not answer: {error}", self.location);
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Returns when the connections are good for nothing any more.
    async fn watch(&self) {
        let mut every = tokio::time::interval(PROBE_EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = every.tick() => {}
                () = self.suspect.notified() => {}
                () = self.sender.broken.notified() => {
                    tracing::warn!("the connection to {} broke", self.location);
                    self.set(None, LinkState::Away);
                    return;
                }
            }
            let Some(mut commands) = self.commands() else { return };
            if let Err(error) = self.probe(&mut commands).await {
                tracing::warn!("{} is good for nothing: {error}", self.location);
                self.set(None, LinkState::Away);
                return;
            }
            if self.sender.heard().elapsed() > DEAF_AFTER {
                tracing::warn!(
                    "{} answers, but nothing is heard from it: the connections are made anew",
                    self.location
                );
                self.set(None, LinkState::Deaf);
                return;
            }
        }
    }
}
