//! The keys in force, and when their source is read again: every five minutes, when its file changes, and when a token
//! names a key that is not known.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use futures_util::FutureExt;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::{
    jwk::{self, Key, Keys},
    source::{DEADLINE, KeySourceError, Location, Source, Stamp},
};

/// Between two readings of a source that answers.
const REFRESH_EVERY: Duration = Duration::from_secs(300);
/// Between two readings at least, when tokens name unknown keys; and after one that failed.
const PAUSE: Duration = Duration::from_secs(10);

/// How long a token may wait for its key: a reading with all that goes with it.
const PATIENCE: Duration = DEADLINE.saturating_add(Duration::from_secs(1));

/// What is known of a `kid`.
pub enum Lookup {
    Found(Arc<Key>),
    /// The source was asked a moment ago and has no such key.
    Unknown,
    /// The source cannot be read: it may have one.
    Unavailable,
}

pub struct KeyRing {
    location: Location,
    source: Source,
    /// Replaced whole at each reading, read by each token.
    keys: ArcSwap<Keys>,
    progress: watch::Sender<Progress>,
    /// Somebody asks for a key that is not known.
    wanted: Notify,
}

/// Where the readings are: written by the one task that reads, watched by those who wait for a key.
#[derive(Debug, Clone, Default)]
struct Progress {
    rounds: u64,
    under_way: bool,
    started: Option<Instant>,
    stamp: Stamp,
    /// Why the last one failed.
    failure: Option<String>,
    skipped: Vec<String>,
}

impl KeyRing {
    /// A ring without keys: [`KeyRing::read`] fills it.
    ///
    /// # Errors
    /// When the system's certificates cannot be read.
    pub fn new(location: Location) -> Result<Self, KeySourceError> {
        let source = Source::new(location.clone())?;
        let progress = watch::Sender::new(Progress::default());
        Ok(Self { location, source, keys: ArcSwap::default(), progress, wanted: Notify::new() })
    }

    /// The key of this name; one that is not known is looked for, for 6 s at most.
    pub async fn find(&self, kid: &str) -> Lookup {
        let known = || self.keys.load().get(kid).cloned();
        if let Some(key) = known() {
            return Lookup::Found(key);
        }
        self.look().await;
        match known() {
            Some(key) => Lookup::Found(key),
            None if self.progress.borrow().failure.is_some() => Lookup::Unavailable,
            None => Lookup::Unknown,
        }
    }

    /// Has the source read again, and waits for it unless it was read a moment ago: then it is read later, once.
    async fn look(&self) {
        let mut progress = self.progress.subscribe();
        let seen = progress.borrow_and_update().clone();
        self.wanted.notify_one();
        if !seen.under_way && seen.started.is_some_and(|at| at.elapsed() < PAUSE) {
            return;
        }
        let read = progress.wait_for(|now| now.rounds > seen.rounds);
        // Nobody reads any more once the server stops.
        let _ = tokio::time::timeout(PATIENCE, read).await;
    }

    /// Keeps the keys fresh, until the server stops.
    pub async fn keep_fresh(self: Arc<Self>, stopping: CancellationToken) {
        loop {
            let Progress { started, stamp, failure, .. } = self.progress.borrow().clone();
            let started = started.unwrap_or_else(Instant::now);
            let pause = if failure.is_some() { PAUSE } else { REFRESH_EVERY };
            let asked = async {
                self.wanted.notified().await;
                tokio::time::sleep_until((started + PAUSE).into()).await;
            };
            tokio::select! {
                () = stopping.cancelled() => return,
                () = tokio::time::sleep_until((started + pause).into()) => {}
                () = asked => {}
                () = self.source.changed(stamp) => {}
            }
            self.read().await;
        }
    }

    /// Reads the source once. What cannot be read leaves the keys as they are, with a warning.
    pub async fn read(&self) {
        self.progress.send_modify(|progress| {
            progress.under_way = true;
            progress.started = Some(Instant::now());
        });
        let stamp = self.source.stamp().await;
        let document = match self.source.read().await {
            Ok(text) => jwk::parse(&text),
            Err(why) => Err(why),
        };
        let before = self.progress.borrow().clone();
        let (failure, skipped) = match document {
            Ok(document) => {
                let count = document.keys.len();
                self.keys.store(Arc::new(document.keys));
                if before.failure.is_some() || before.rounds == 0 {
                    tracing::info!("{count} keys for tokens are read from {}", self.location);
                }
                (None, document.skipped)
            }
            Err(why) => (Some(why), before.skipped.clone()),
        };
        // Each is told once, not at every reading.
        if let Some(why) = &failure
            && before.failure != failure
        {
            let kept = self.keys.load().len();
            tracing::warn!("keys for tokens cannot be read from {}: {why}; {kept} known keys stay", self.location);
        }
        for why in skipped.iter().filter(|why| !before.skipped.contains(why)) {
            tracing::warn!("a key for tokens is left out: {} in {}", why, self.location);
        }
        // Those who asked so far are answered by this reading.
        let _ = self.wanted.notified().now_or_never();
        self.progress.send_modify(|progress| {
            *progress = Progress {
                rounds: progress.rounds + 1,
                under_way: false,
                started: progress.started,
                stamp,
                failure,
                skipped,
            };
        });
    }
}
