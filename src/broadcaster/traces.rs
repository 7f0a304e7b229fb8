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
        let reason = (connections == 0).then(|| "no connection of this node may see it and asked for it".to_owned());
        Self { state: "sent", connections, plugins, reason }
    }

    pub fn ended(state: &'static str, plugins: Vec<Applied>, reason: String) -> Self {
        Self { state, connections: 0, plugins, reason: Some(reason) }
    }
}

/// The oldest goes when a new one comes. Locked for moments.
#[derive(Default)]
pub struct SocketTraces {
    last: Mutex<VecDeque<(TenantId, EventId, SocketTrace)>>,
}

impl SocketTraces {
    pub fn keep(&self, event: &Event, trace: SocketTrace) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() == MAX_TRACES {
            last.pop_front();
        }
        last.push_back((event.tenant.clone(), event.id.clone(), trace));
    }

    pub fn of(&self, tenant: &TenantId, event: &EventId) -> Option<SocketTrace> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let of_event = |kept: &&(TenantId, EventId, SocketTrace)| kept.0 == *tenant && kept.1 == *event;
        last.iter().rev().find(of_event).map(|(_, _, trace)| trace.clone())
    }
}
