//! The offline lists in the database, with a group commit of their own: one task puts whatever waits into one transaction.
//! What is answered is on disk.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::{
    event::{TenantId, UserId, now_ms},
    store::{OfflineItem, OfflineRow, Store, StoreError},
};

/// Requests that may wait, and go into one transaction. Beyond it, callers wait.
const WAITING: usize = 1024;
/// KiB of frames that may wait, and go into one transaction.
const WAITING_KIB: u32 = 8 << 10;

#[derive(Debug, Clone, Copy)]
pub struct MailboxConfig {
    /// Items that a user's list keeps: the oldest go first.
    pub max: u64,
    /// A list ends so long after the last item was put into it.
    pub ttl: Duration,
}

/// A handle, cheap to clone.
#[derive(Clone)]
pub struct Mailbox {
    store: Store,
    config: MailboxConfig,
    pushes: mpsc::Sender<Push>,
    room: Arc<Semaphore>,
    dropped: Arc<AtomicU64>,
}

struct Push {
    items: Vec<OfflineItem>,
    reply: oneshot::Sender<Result<(), StoreError>>,
}

impl Mailbox {
    /// Starts the task that writes. It ends when `stopping` does, and writes what waits before.
    pub fn start(store: Store, config: MailboxConfig, stopping: CancellationToken) -> (Self, JoinHandle<()>) {
        let (pushes, received) = mpsc::channel(WAITING);
        let room = Arc::new(Semaphore::new(WAITING_KIB as usize));
        let mailbox = Self { store, config, pushes, room, dropped: Arc::default() };
        let task = tokio::spawn(mailbox.clone().write(received, stopping));
        (mailbox, task)
    }

    /// Puts items into their users' lists, in their order; they are on disk when this returns.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: none of them was put; [`StoreError::InDoubt`]; [`StoreError::Closed`].
    pub async fn push(&self, items: Vec<OfflineItem>) -> Result<(), StoreError> {
        let bytes: usize = items.iter().map(|item| item.frame.len()).sum();
        let kib = u32::try_from(bytes / 1024 + 1).unwrap_or(WAITING_KIB).min(WAITING_KIB);
        // Held until it is answered: what waits for the disk does not fill the memory.
        let _room = self.room.acquire_many(kib).await.map_err(|_| StoreError::Closed)?;
        let (reply, answer) = oneshot::channel();
        self.pushes.send(Push { items, reply }).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// How many items wait for a user.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn count(&self, tenant: &TenantId, user: &UserId) -> Result<u64, StoreError> {
        self.store.count_offline(tenant, user, self.live_since_ms()).await
    }

    /// A user's items behind the id `after`, oldest first.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn read(
        &self,
        tenant: &TenantId,
        user: &UserId,
        after: i64,
        limit: u64,
    ) -> Result<Vec<OfflineRow>, StoreError> {
        self.store.offline(tenant, user, after, limit, self.live_since_ms()).await
    }

    /// Items of whichever users.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn any(&self, limit: u64) -> Result<Vec<OfflineRow>, StoreError> {
        self.store.any_offline(limit).await
    }

    /// Takes items that were delivered out of their list.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn remove(&self, ids: Vec<i64>) -> Result<u64, StoreError> {
        self.store.remove_offline(ids).await
    }

    /// Items that went since the start because a list was full.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn live_since_ms(&self) -> i64 {
        now_ms().saturating_sub(i64::try_from(self.config.ttl.as_millis()).unwrap_or(i64::MAX))
    }

    async fn write(self, mut received: mpsc::Receiver<Push>, stopping: CancellationToken) {
        let mut batch = Vec::with_capacity(WAITING);
        loop {
            tokio::select! {
                biased;
                _ = received.recv_many(&mut batch, WAITING) => {}
                () = stopping.cancelled() => {
                    // This task holds a sender itself: without this it would never see the end.
                    received.close();
                    received.recv_many(&mut batch, WAITING).await;
                }
            }
            if batch.is_empty() {
                return;
            }
            let (items, replies): (Vec<_>, Vec<_>) = batch.drain(..).map(|push| (push.items, push.reply)).unzip();
            let items = items.into_iter().flatten().collect();
            let result = self.store.push_offline(items, self.config.max, self.live_since_ms()).await;
            if let Ok(dropped) = &result {
                self.dropped.fetch_add(*dropped, Ordering::Relaxed);
            }
            for reply in replies {
                // Whoever asked may have gone.
                let _ = reply.send(result.clone().map(|_| ()));
            }
        }
    }
}
