//! Who is compiled when: one component of each tenant at a time, as many at once as leave the events a core, and tenants
//! in turn, since each has one at most before the common door.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{event::TenantId, plugin::PluginError};

/// Components of one tenant that may wait or be compiled. Beyond it, the tenant is told to come back.
const MAX_PER_TENANT: usize = 8;
/// Nobody waits longer for a turn.
const MAX_WAIT: Duration = Duration::from_secs(300);

pub struct Queue {
    /// The common door, in the order of arrival.
    all: Arc<Semaphore>,
    /// Held for a look only.
    lines: Arc<Mutex<HashMap<Option<TenantId>, Line>>>,
}

struct Line {
    head: Arc<Semaphore>,
    length: usize,
}

/// The right to compile, until it is dropped.
pub struct Turn {
    _all: OwnedSemaphorePermit,
    _head: OwnedSemaphorePermit,
    _place: Place,
}

/// A place in a tenant's line.
struct Place {
    lines: Arc<Mutex<HashMap<Option<TenantId>, Line>>>,
    tenant: Option<TenantId>,
}

impl Queue {
    pub fn new() -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self { all: Arc::new(Semaphore::new((cores - 1).max(1))), lines: Arc::default() }
    }

    /// Waits for the tenant's turn; `None` is the operator.
    ///
    /// # Errors
    /// [`PluginError::CompilerBusy`] when too many of the tenant's components wait, or one has waited too long.
    pub async fn turn(&self, tenant: Option<&TenantId>) -> Result<Turn, PluginError> {
        let (place, head) = self.stand_in_line(tenant).ok_or(PluginError::CompilerBusy)?;
        let turn = async {
            let head = head.acquire_owned().await.ok()?;
            let all = self.all.clone().acquire_owned().await.ok()?;
            Some(Turn { _all: all, _head: head, _place: place })
        };
        tokio::time::timeout(MAX_WAIT, turn).await.ok().flatten().ok_or(PluginError::CompilerBusy)
    }

    fn stand_in_line(&self, tenant: Option<&TenantId>) -> Option<(Place, Arc<Semaphore>)> {
        let mut lines = lock(&self.lines);
        let new = || Line { head: Arc::new(Semaphore::new(1)), length: 0 };
        let line = lines.entry(tenant.cloned()).or_insert_with(new);
        if line.length >= MAX_PER_TENANT {
            return None;
        }
        line.length += 1;
        Some((Place { lines: self.lines.clone(), tenant: tenant.cloned() }, line.head.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut lines = lock(&self.lines);
        if let Some(line) = lines.get_mut(&self.tenant) {
            line.length -= 1;
            if line.length == 0 {
                lines.remove(&self.tenant);
            }
        }
    }
}

fn lock<T>(lines: &Mutex<T>) -> MutexGuard<'_, T> {
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_tenant_with_many_components_waits_behind_itself() {
        let queue = Queue { all: Arc::new(Semaphore::new(2)), lines: Arc::default() };
        let (storm, calm) = (TenantId::parse("storm").unwrap(), TenantId::parse("calm").unwrap());
        let first = queue.turn(Some(&storm)).await.unwrap();
        let mut waiting: Vec<_> = (1..MAX_PER_TENANT).map(|_| Box::pin(queue.turn(Some(&storm)))).collect();
        for turn in &mut waiting {
            assert!(futures_util::FutureExt::now_or_never(turn).is_none(), "one at a time");
        }
        let refused = queue.turn(Some(&storm)).await;
        assert!(matches!(refused, Err(PluginError::CompilerBusy)));
        let other = queue.turn(Some(&calm)).await.unwrap();
        drop((first, other));
        waiting.remove(0).await.unwrap();
        drop(waiting);
        assert!(lock(&queue.lines).is_empty(), "nothing is kept of tenants that wait for nothing");
    }
}
