//! The bounded queue between the hub and whoever writes to a connection.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::Notify;

use super::Frame;

/// A tenant's connections may have this many times the queue of one.
const FULL_QUEUES_PER_TENANT: usize = 64;
/// What an empty queue may keep, in frames.
const KEPT: usize = 32;

/// Told when an empty outbox has something: whoever writes is to take it, until it is empty again.
pub trait Ready: Send + Sync {
    fn ready(&self);
}

pub struct Outbox {
    queue: Mutex<Queue>,
    /// Bytes that wait for all connections of the tenant.
    of_tenant: Arc<AtomicUsize>,
    max_bytes: usize,
    ready: OnceLock<Box<dyn Ready>>,
    /// Where nobody is to be told: the reader waits for it.
    came: Notify,
}

#[derive(Default)]
struct Queue {
    frames: VecDeque<Frame>,
    bytes: usize,
    /// Whoever writes has been told, and has not found it empty since.
    told: bool,
}

/// Its queue is full: nothing was queued.
pub struct Full;

impl Outbox {
    pub fn new(max_bytes: usize, of_tenant: Arc<AtomicUsize>) -> Self {
        Self { queue: Mutex::default(), of_tenant, max_bytes, ready: OnceLock::new(), came: Notify::new() }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on it is told to `ready`, at once where something waits already.
    pub fn tell(&self, ready: Box<dyn Ready>) {
        if self.ready.set(ready).is_ok() {
            let waits = self.queue().told;
            if let (true, Some(ready)) = (waits, self.ready.get()) {
                ready.ready();
            }
        }
    }

    /// # Errors
    /// [`Full`].
    pub fn push(&self, frame: Frame) -> Result<(), Full> {
        let len = frame.len();
        let mut queue = self.queue();
        let tenant = self.of_tenant.fetch_add(len, Ordering::Relaxed);
        // One frame alone is no queue, however long it is.
        let full = queue.bytes > 0 && queue.bytes + len > self.max_bytes;
        // Whoever has least in its queue is not to pay for the others.
        let tenant_full = queue.bytes + len > self.max_bytes / 8
            && tenant + len > self.max_bytes.saturating_mul(FULL_QUEUES_PER_TENANT);
        if full || tenant_full {
            self.of_tenant.fetch_sub(len, Ordering::Relaxed);
            return Err(Full);
        }
        queue.bytes += len;
        queue.frames.push_back(frame);
        if std::mem::replace(&mut queue.told, true) {
            return Ok(());
        }
        drop(queue);
        match self.ready.get() {
            Some(ready) => ready.ready(),
            None => self.came.notify_one(),
        }
        Ok(())
    }

    /// Hands frames over, oldest first, until there are `limit` or they have `max_bytes`; they no longer count as queued.
    /// Answers how many those are.
    pub fn take(&self, limit: usize, max_bytes: usize, mut hand_over: impl FnMut(Frame)) -> usize {
        let mut queue = self.queue();
        let (mut count, mut bytes) = (0, 0);
        while count < limit
            && bytes < max_bytes
            && let Some(frame) = queue.frames.pop_front()
        {
            count += 1;
            bytes += frame.len();
            hand_over(frame);
        }
        queue.bytes -= bytes;
        if queue.frames.is_empty() {
            queue.told = false;
            if queue.frames.capacity() > KEPT {
                queue.frames = VecDeque::new();
            }
        }
        self.of_tenant.fetch_sub(bytes, Ordering::Relaxed);
        count
    }

    /// Waits until something is there, where nobody else is told.
    pub async fn came(&self) {
        self.came.notified().await;
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        let queue = self.queue.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.of_tenant.fetch_sub(queue.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bell(Arc<AtomicUsize>);

    impl Ready for Bell {
        fn ready(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn whoever_writes_is_told_once_until_the_queue_was_empty() {
        let (tenant, rung) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let outbox = Outbox::new(100, tenant.clone());
        let frame = || Frame::new("x".repeat(40));
        assert!(outbox.push(frame()).is_ok());
        outbox.tell(Box::new(Bell(rung.clone())));
        assert!(outbox.push(frame()).is_ok());
        assert_eq!(rung.load(Ordering::Relaxed), 1, "for what was there before");
        assert!(outbox.push(frame()).is_err(), "more than 100 bytes");
        assert_eq!((outbox.take(9, 1, drop), outbox.take(9, 999, drop), tenant.load(Ordering::Relaxed)), (1, 1, 0));
        assert!(outbox.push(frame()).is_ok());
        assert_eq!(rung.load(Ordering::Relaxed), 2);
        drop(outbox);
        assert_eq!(tenant.load(Ordering::Relaxed), 0);
    }
}
