//! The threads on which guests run: one per core and at least two, apart from the runtime's. Tenants share them by the CPU
//! time that they take, and none has all of them.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::Duration,
};

use tokio::sync::oneshot;

use super::{PluginError, engine, fair::FairQueue, instances::Instances};
use crate::event::TenantId;

/// Jobs of one tenant that may wait. Beyond it, the tenant's callers are told to come back.
const MAX_WAITING_PER_TENANT: usize = 1024;
/// Guests recurse on wasmtime's own bound, well inside this.
const STACK_BYTES: usize = 4 << 20;
/// Instances kept warm by all threads together: leaves the engine's pool room for those that are being tried.
const WARM_IN_ALL: usize = engine::MAX_INSTANCES as usize * 6 / 10;
const SWEEP: Duration = Duration::from_secs(10);

type Job = Box<dyn FnOnce(&mut Instances) + Send>;

#[derive(Clone)]
pub struct Threads {
    shared: Arc<Shared>,
}

struct Shared {
    /// Held for a push or a pop only.
    waiting: Mutex<Waiting>,
    wake: Condvar,
}

struct Waiting {
    jobs: FairQueue<TenantId, Job>,
    /// No `Threads` is left: the threads end.
    ended: bool,
}

/// Ends the threads when the last clone of their owner goes.
pub struct ThreadsOwner(Threads);

impl Drop for ThreadsOwner {
    fn drop(&mut self) {
        self.0.shared.lock().ended = true;
        self.0.shared.wake.notify_all();
    }
}

impl Threads {
    /// # Errors
    /// When the system gives no thread.
    pub fn start() -> Result<(Self, ThreadsOwner), PluginError> {
        let count = thread::available_parallelism().map_or(2, usize::from).max(2);
        let waiting = Mutex::new(Waiting { jobs: FairQueue::new(count - 1), ended: false });
        let shared = Arc::new(Shared { waiting, wake: Condvar::new() });
        for n in 0..count {
            let shared = shared.clone();
            let max_warm = (WARM_IN_ALL / count).max(1);
            thread::Builder::new()
                .name(format!("plugin-{n}"))
                .stack_size(STACK_BYTES)
                .spawn(move || shared.work(max_warm))
                .map_err(|error| PluginError::Engine(format!("cannot start a plugin thread: {error}")))?;
        }
        let threads = Self { shared };
        Ok((threads.clone(), ThreadsOwner(threads)))
    }

    /// Runs a job in the tenant's turn.
    ///
    /// # Errors
    /// [`PluginError::Busy`] when too many of the tenant's jobs wait already, or the server stops.
    pub async fn run<R: Send + 'static>(
        &self,
        tenant: &TenantId,
        job: impl FnOnce(&mut Instances) -> R + Send + 'static,
    ) -> Result<R, PluginError> {
        let (reply, answer) = oneshot::channel();
        {
            let mut waiting = self.shared.lock();
            if waiting.ended || waiting.jobs.len_of(tenant) >= MAX_WAITING_PER_TENANT {
                return Err(PluginError::Busy);
            }
            let job: Job = Box::new(move |instances| {
                // Whoever asked may have gone.
                let _ = reply.send(job(instances));
            });
            waiting.jobs.push(tenant.clone(), job);
        }
        self.shared.wake.notify_one();
        answer.await.map_err(|_| PluginError::Busy)
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, max_warm: usize) {
        let mut instances = Instances::new(max_warm);
        let mut waiting = self.lock();
        loop {
            if let Some((begun, job)) = waiting.jobs.pop() {
                drop(waiting);
                // A panic here is ours, not a guest's: it must not take the thread with it, nor leave instances half used.
                if catch_unwind(AssertUnwindSafe(|| job(&mut instances))).is_err() {
                    instances = Instances::new(max_warm);
                }
                let spent = instances.take_spent();
                instances.drop_idle();
                waiting = self.lock();
                if waiting.jobs.end(begun, spent) {
                    // This thread takes one; another may have found nothing that it may begin.
                    self.wake.notify_one();
                }
            } else if waiting.ended {
                return;
            } else {
                let (woken, timeout) = self.wake.wait_timeout(waiting, SWEEP).unwrap_or_else(PoisonError::into_inner);
                waiting = woken;
                if timeout.timed_out() {
                    drop(waiting);
                    instances.drop_idle();
                    waiting = self.lock();
                }
            }
        }
    }
}
