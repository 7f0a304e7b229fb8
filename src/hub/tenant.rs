//! One tenant's connections, and the lock under which its events get their offsets and their order.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
};

use super::{Close, Connection, ConnectionLimits, Counts, Filter, Frame, JoinError, Joined, Viewer};
use crate::event::{Event, TenantId, UserId, new_connection_id, now_ms};

/// Connections of one public session: a third replaces the oldest.
const MAX_VISITORS_PER_SESSION: usize = 2;
/// Users whose last connection is remembered per tenant; beyond it, the oldest are forgotten.
const MAX_LAST_SEEN: usize = 10_000;

pub struct TenantHub {
    /// Never held over an await: publishing only pushes to queues.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    offset: u64,
    stopping: bool,
    /// In order of arrival: a list, since publishing walks all of them.
    connections: Vec<Arc<Connection>>,
    users: HashMap<UserId, usize>,
    last_seen_ms: HashMap<UserId, i64>,
}

impl TenantHub {
    pub fn new(stopping: bool) -> Self {
        Self { state: Mutex::new(State { stopping, ..State::default() }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub fn join(
        &self,
        tenant: &TenantId,
        viewer: Viewer,
        filter: Filter,
        limits: ConnectionLimits,
    ) -> Result<Joined, JoinError> {
        let mut state = self.state();
        if state.stopping {
            return Err(JoinError::Stopping);
        }
        if state.connections.len() >= limits.max_connections_per_tenant {
            return Err(JoinError::TenantFull);
        }
        if let Some(session) = viewer.session() {
            // All that are too many, since those told before may not have left yet.
            let same = state.connections.iter().filter(|other| other.viewer.session() == Some(session));
            let too_many = (same.clone().count() + 1).saturating_sub(MAX_VISITORS_PER_SESSION);
            for oldest in same.take(too_many) {
                oldest.close(Close { code: 4409, reason: "replaced", after_ms: None });
            }
        }
        if let Some(user) = viewer.user() {
            *state.users.entry(user.clone()).or_default() += 1;
        }
        let (connection, mailbox, closing) =
            Connection::new(new_connection_id(), tenant.clone(), viewer, filter, limits.max_queue_bytes);
        let connection = Arc::new(connection);
        state.connections.push(connection.clone());
        Ok(Joined { connection, mailbox, closing, offset: state.offset })
    }

    pub fn leave(&self, connection: &Connection) {
        let mut state = self.state();
        let before = state.connections.len();
        state.connections.retain(|other| other.id != connection.id);
        if state.connections.len() == before {
            return;
        }
        if let Some(user) = connection.viewer.user() {
            if let Some(count) = state.users.get_mut(user) {
                *count -= 1;
                if *count == 0 {
                    state.users.remove(user);
                }
            }
            state.remember(user);
        }
    }

    pub fn publish(&self, event: &Event, data: Option<&str>) -> usize {
        let mut state = self.state();
        let offset = if event.is_ephemeral() {
            None
        } else {
            state.offset += 1;
            Some(state.offset)
        };
        let mut encoded: Option<Frame> = None;
        let mut count = 0;
        for connection in state.connections.iter().filter(|connection| connection.sees(event)) {
            connection.push(encoded.get_or_insert_with(|| Frame::new(event.frame(data, offset))).clone());
            count += 1;
        }
        count
    }

    pub fn counts(&self) -> Counts {
        let state = self.state();
        Counts { clients: state.connections.len(), users: state.users.len() }
    }

    pub fn user(&self, user: &str) -> (usize, Option<i64>) {
        let Ok(user) = UserId::parse(user) else { return (0, None) };
        let state = self.state();
        let connections = state.users.get(&user).copied().unwrap_or(0);
        let last_seen = if connections > 0 { Some(now_ms()) } else { state.last_seen_ms.get(&user).copied() };
        (connections, last_seen)
    }

    pub fn online_users(&self) -> Vec<UserId> {
        let mut users: Vec<_> = self.state().users.keys().cloned().collect();
        users.sort();
        users
    }

    pub fn close_where(&self, close: &Close, which: impl Fn(&Connection) -> bool) {
        for connection in self.state().connections.iter().filter(|connection| which(connection)) {
            connection.close(close.clone());
        }
    }

    pub fn stop(&self, close: impl Fn() -> Close) {
        let mut state = self.state();
        state.stopping = true;
        for connection in &state.connections {
            connection.close(close());
        }
    }
}

impl State {
    fn remember(&mut self, user: &UserId) {
        if self.last_seen_ms.len() >= MAX_LAST_SEEN
            && let Some(oldest) = self.last_seen_ms.iter().min_by_key(|(_, ms)| **ms).map(|(user, _)| user.clone())
        {
            self.last_seen_ms.remove(&oldest);
        }
        self.last_seen_ms.insert(user.clone(), now_ms());
    }
}
