//! What the last events came to on this node's sockets: kept in memory, for whoever asks why something was not seen.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use serde::Serialize;

use crate::{
    event::{Event, EventId, TenantId},
    plugin::Applied,
};

const MAX_TRACES: usize = 10_000;
/// Among so many of the last ones an event is looked for that comes back from the other nodes.
const RECENT: usize = 256;

/// What became of an event on the sockets.
#[derive(Debug, Clone, Serialize)]
pub struct SocketTrace {
    /// `sent`, `dropped` or `plugin_failed`.
    pub state: &'static str,
    /// Connections of this node that it was queued for.
    pub connections: usize,
    pub plugins: Vec<Applied>,
    pub reason: Option<String>,
}

impl SocketTrace {
    pub fn sent(connections: usize, plugins: Vec<Applied>) -> Self {
        let mut trace = Self { state: "sent", connections, plugins, reason: None };
        trace.count(connections);
        trace
    }

    fn count(&mut self, connections: usize) {
        self.connections = connections;
        self.reason = (connections == 0).then(|| "no connection of this node may see it and asked for it".to_owned());
    }

    pub fn ended(state: &'static str, plugins: Vec<Applied>, reason: String) -> Self {
        Self { state, connections: 0, plugins, reason: Some(reason) }
    }
}

/// The oldest goes when a new one comes. Locked for moments.
#[derive(Default)]
pub struct SocketTraces {
    last: Mutex<Last>,
}

#[derive(Default)]
struct Last {
    traces: VecDeque<(TenantId, EventId, SocketTrace)>,
    /// Counts that came before their trace: an event may be back before its publisher is told.
    early: VecDeque<(TenantId, String, usize)>,
}

impl SocketTraces {
    pub fn keep(&self, event: &Event, mut trace: SocketTrace) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let early = last.early.iter().position(|early| early.1 == event.id.as_str() && early.0 == event.tenant);
        if let Some((_, _, connections)) = early.and_then(|at| last.early.remove(at)) {
            trace.count(connections);
        }
        if last.traces.len() == MAX_TRACES {
            last.traces.pop_front();
        }
        last.traces.push_back((event.tenant.clone(), event.id.clone(), trace));
    }

    /// Counts the connections that an event was queued for when it came back from the other nodes.
    pub fn count(&self, tenant: &TenantId, event: &str, connections: usize) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        // It was kept a moment ago, or by another node.
        let mut recent = last.traces.iter_mut().rev().take(RECENT);
        if let Some((_, _, trace)) = recent.find(|kept| kept.1.as_str() == event && kept.0 == *tenant) {
            return trace.count(connections);
        }
        if last.early.len() == RECENT {
            last.early.pop_front();
        }
        last.early.push_back((tenant.clone(), event.to_owned(), connections));
    }

    pub fn of(&self, tenant: &TenantId, event: &EventId) -> Option<SocketTrace> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let of_event = |kept: &&(TenantId, EventId, SocketTrace)| kept.0 == *tenant && kept.1 == *event;
        last.traces.iter().rev().find(of_event).map(|(_, _, trace)| trace.clone())
    }
}
