//! Who writes what the hub queued: a few tasks, one for each core, each for its share of the connections. A wake-up of one
//! writes to all of its connections that have something, so that an event for a thousand costs a few wake-ups, and what
//! comes meanwhile goes out together.

use std::sync::{
    Arc, Mutex, PoisonError, Weak,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{sync::Notify, task::JoinHandle};

use super::Wire;
use crate::hub::Ready;

/// Connections that are written to before other tasks have their turn.
const TURN: usize = 128;

pub struct Shards {
    shards: Vec<Arc<Shard>>,
    next: AtomicUsize,
    tasks: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shard {
    /// Those that have something, each once. Locked for moments.
    ready: Mutex<Vec<Arc<Wire>>>,
    came: Notify,
}

/// Tells a shard that a connection has something.
pub struct Doorbell {
    shard: Arc<Shard>,
    wire: Weak<Wire>,
}

impl Ready for Doorbell {
    fn ready(&self) {
        // The session has ended otherwise.
        let Some(wire) = self.wire.upgrade() else { return };
        let first = {
            let mut ready = self.shard.ready.lock().unwrap_or_else(PoisonError::into_inner);
            ready.push(wire);
            ready.len() == 1
        };
        if first {
            self.shard.came.notify_one();
        }
    }
}

impl Shards {
    pub fn start() -> Self {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        let shards: Vec<_> = (0..count).map(|_| Arc::<Shard>::default()).collect();
        let tasks = shards.iter().map(|shard| tokio::spawn(shard.clone().run())).collect();
        Self { shards, next: AtomicUsize::new(0), tasks }
    }

    /// What tells a shard of this connection.
    pub fn doorbell(&self, wire: &Arc<Wire>) -> Doorbell {
        let next = self.next.fetch_add(1, Ordering::Relaxed) % self.shards.len();
        Doorbell { shard: self.shards[next].clone(), wire: Arc::downgrade(wire) }
    }
}

impl Drop for Shards {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Shard {
    async fn run(self: Arc<Self>) {
        loop {
            let ready = std::mem::take(&mut *self.ready.lock().unwrap_or_else(PoisonError::into_inner));
            if ready.is_empty() {
                self.came.notified().await;
                continue;
            }
            for (n, wire) in ready.into_iter().enumerate() {
                // Where it is blocked or broken, its session knows.
                wire.flush();
                if n % TURN == TURN - 1 {
                    tokio::task::yield_now().await;
                }
            }
        }
    }
}
