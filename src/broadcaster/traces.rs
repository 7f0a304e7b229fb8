//! What the last events came to on this node's sockets: kept in memory, for whoever asks why something was not seen.

use std::{
    borrow::Cow,
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
};

use serde::Serialize;

use crate::{
    event::{Event, EventId, TenantId},
    plugin::Applied,
};

const MAX_TRACES: usize = 10_000;
/// A trace follows its count within moments.
const MAX_EARLY: usize = 1024;

/// What became of an event on the sockets.
#[derive(Debug, Clone, Serialize)]
pub struct SocketTrace {
    /// `sent`, `dropped` or `plugin_failed`.
    pub state: &'static str,
    /// Connections of this node that it was queued for.
    pub connections: usize,
    pub plugins: Vec<Applied>,
    pub reason: Option<Cow<'static, str>>,
}

impl SocketTrace {
    pub fn sent(connections: usize, plugins: Vec<Applied>) -> Self {
        let mut trace = Self { state: "sent", connections, plugins, reason: None };
        trace.count(connections);
        trace
    }

    fn count(&mut self, connections: usize) {
        self.connections = connections;
        self.reason =
            (connections == 0).then_some(Cow::Borrowed("no connection of this node may see it and asked for it"));
    }

    pub fn ended(state: &'static str, plugins: Vec<Applied>, reason: String) -> Self {
        Self { state, connections: 0, plugins, reason: Some(reason.into()) }
    }
}

/// The oldest goes when a new one comes. Locked for moments.
#[derive(Default)]
pub struct SocketTraces {
    last: Mutex<Last>,
}

type Key = (TenantId, EventId);

#[derive(Default)]
struct Last {
    traces: Bounded<SocketTrace, MAX_TRACES>,
    /// Counts that came before their trace: an event may be back before its publisher is told.
    early: Bounded<usize, MAX_EARLY>,
}

/// The last `N`, by event.
struct Bounded<T, const N: usize> {
    of: HashMap<Key, T>,
    order: VecDeque<Key>,
}

impl<T, const N: usize> Default for Bounded<T, N> {
    fn default() -> Self {
        Self { of: HashMap::new(), order: VecDeque::new() }
    }
}

impl<T, const N: usize> Bounded<T, N> {
    fn put(&mut self, key: Key, value: T) {
        if self.of.insert(key.clone(), value).is_some() {
            return;
        }
        self.order.push_back(key);
        if self.order.len() > N
            && let Some(oldest) = self.order.pop_front()
        {
            self.of.remove(&oldest);
        }
    }
}

impl SocketTraces {
    pub fn keep(&self, event: &Event, mut trace: SocketTrace) {
        let key = (event.tenant.clone(), event.id.clone());
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connections) = last.early.of.get(&key) {
            trace.count(*connections);
        }
        last.traces.put(key, trace);
    }

    /// Counts the connections that an event was queued for when it came back from the other nodes.
    pub fn count(&self, tenant: &TenantId, event: &str, connections: usize) {
        let Ok(event) = EventId::parse(event) else { return };
        let key = (tenant.clone(), event);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match last.traces.of.get_mut(&key) {
            Some(trace) => trace.count(connections),
            // Its publisher is about to keep it, or it is another node's.
            None => last.early.put(key, connections),
        }
    }

    pub fn of(&self, tenant: &TenantId, event: &EventId) -> Option<SocketTrace> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.traces.of.get(&(tenant.clone(), event.clone())).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_are_kept_and_nothing_twice() {
        let key = |n: usize| (TenantId::parse("acme").unwrap(), EventId::parse(&format!("evt_{n}")).unwrap());
        let mut bounded = Bounded::<usize, 3>::default();
        [1, 2, 2, 3, 4].into_iter().for_each(|n| bounded.put(key(n), n));
        assert_eq!((bounded.of.len(), bounded.order.len()), (3, 3));
        assert!(!bounded.of.contains_key(&key(1)) && bounded.of[&key(4)] == 4);
    }
}
