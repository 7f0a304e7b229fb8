//! One tenant's connections, and the lock under which its events get their offsets and their order.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, atomic::AtomicUsize},
};

use super::{
    Close, Connection, ConnectionLimits, Counts, Filter, Frame, JoinError, Joined, Position, Resume, Routing, Viewer,
    history::{Entry, History, TotalBytes},
};
use crate::event::{TenantId, UserId, new_connection_id, now_ms};

/// Connections of one public session: a third replaces the oldest.
const MAX_VISITORS_PER_SESSION: usize = 2;
/// Users whose last connection is remembered per tenant; beyond it, the oldest are forgotten.
const MAX_LAST_SEEN: usize = 10_000;
/// Of a tenant's connections, visitors may have three quarters: its own people always find room.
const VISITORS_SHARE: (usize, usize) = (3, 4);
/// Events of the history that one look goes through, and bytes of those that it takes.
const MAX_LOOK: usize = 1024;
const MAX_PAGE_BYTES: usize = 64 * 1024;

pub struct TenantHub {
    /// Never held over an await: publishing only pushes to queues.
    state: Mutex<State>,
    /// Bytes that wait for all its connections.
    queued: Arc<AtomicUsize>,
}

struct State {
    /// Whose offsets these are: this node's own, or those of all nodes.
    epoch: Arc<str>,
    shared: bool,
    offset: u64,
    history: History,
    stopping: bool,
    /// In order of arrival: a list, since publishing walks all of them.
    connections: Vec<Arc<Connection>>,
    visitors: usize,
    users: HashMap<UserId, usize>,
    last_seen_ms: HashMap<UserId, i64>,
}

/// What became of an event that has its place already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// Queued for so many connections.
    Sent(usize),
    /// It was here before.
    Old,
    /// Events before it are missing.
    Missing,
    /// The tenant's offsets are others now.
    OtherEpoch,
}

/// What became of an event that got its place here.
#[derive(Debug)]
pub struct Shown {
    /// Queued for so many connections.
    pub connections: usize,
    /// It is for one user, who had no connection at this place: it is to wait.
    pub waits_at: Option<Position>,
}

/// What comes next for a connection that is shown what it missed.
#[derive(Debug)]
pub enum Page {
    /// These, and the rest after this offset.
    Frames(Vec<Frame>, u64),
    /// Nothing: from now on events come by themselves.
    Live,
    /// What is after that offset is no longer here; what is after this one is.
    Trimmed { start: u64 },
}

impl TenantHub {
    pub fn new(epoch: Arc<str>, stopping: bool, history: TotalBytes) -> Self {
        let state = State {
            epoch,
            shared: false,
            offset: 0,
            history: History::new(0, history),
            stopping,
            connections: Vec::new(),
            visitors: 0,
            users: HashMap::new(),
            last_seen_ms: HashMap::new(),
        };
        Self { state: Mutex::new(state), queued: Arc::default() }
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
        since: Option<&Position>,
    ) -> Result<Joined, JoinError> {
        let mut state = self.state();
        if state.stopping {
            return Err(JoinError::Stopping);
        }
        if !state.has_room(&viewer, limits.max_connections_per_tenant) {
            return Err(JoinError::TenantFull);
        }
        if let Some(session) = viewer.session() {
            // All that are too many, since those told before may not have left yet.
            let same = state.connections.iter().filter(|other| other.viewer.session() == Some(session));
            let too_many = (same.clone().count() + 1).saturating_sub(MAX_VISITORS_PER_SESSION);
            for oldest in same.take(too_many) {
                oldest.close(Close { code: 4409, reason: "replaced", after_ms: None });
            }
            state.visitors += 1;
        }
        if let Some(user) = viewer.user() {
            *state.users.entry(user.clone()).or_default() += 1;
        }
        let (id, queued) = (new_connection_id(), self.queued.clone());
        let (connection, mailbox, closing) =
            Connection::new(id, tenant.clone(), viewer, filter, limits.max_queue_bytes, queued);
        let resume = since.map_or(Resume::None, |since| state.resume(since));
        connection.set_live(!matches!(resume, Resume::After(_)));
        let connection = Arc::new(connection);
        state.connections.push(connection.clone());
        let position = state.position();
        Ok(Joined { connection, mailbox, closing, position, resume })
    }

    pub fn has_room(&self, viewer: &Viewer, max_connections: usize) -> bool {
        self.state().has_room(viewer, max_connections)
    }

    /// Puts a connection back to a position: from now on it takes its events from [`TenantHub::page`].
    pub fn rewind(&self, connection: &Connection, since: &Position) -> (Resume, Position) {
        let state = self.state();
        let resume = state.resume(since);
        connection.set_live(!matches!(resume, Resume::After(_)));
        (resume, state.position())
    }

    /// What a connection that was put back gets next.
    pub fn page(&self, connection: &Connection, epoch: &str, after: u64, until: Option<u64>) -> Page {
        let state = self.state();
        // Another epoch has been told as a gap, and events come by themselves since.
        if connection.is_live() || *state.epoch != *epoch {
            connection.set_live(true);
            return Page::Live;
        }
        if after < state.history.start() {
            return Page::Trimmed { start: state.history.start() };
        }
        let (mut next, mut bytes, mut frames) = (after, 0, Vec::new());
        for entry in state.history.after(after).take(MAX_LOOK) {
            if bytes >= MAX_PAGE_BYTES || until.is_some_and(|until| entry.offset > until) {
                break;
            }
            next = entry.offset;
            if connection.sees(&entry.routing) {
                bytes += entry.frame.len();
                frames.push(entry.frame.clone());
            }
        }
        if next == after && until.is_none() {
            connection.set_live(true);
            return Page::Live;
        }
        // Nothing of this part is left.
        let next = if next == after { until.unwrap_or(next) } else { next };
        Page::Frames(frames, next)
    }

    pub fn leave(&self, connection: &Connection) {
        let mut state = self.state();
        let before = state.connections.len();
        state.connections.retain(|other| other.id != connection.id);
        if state.connections.len() == before {
            return;
        }
        state.visitors -= usize::from(connection.viewer.session().is_some());
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

    /// Gives an event the next place, unless it is `ephemeral`, and queues it; `open` is its frame without the closing brace.
    pub fn publish(&self, routing: &Routing, open: &str, ephemeral: bool) -> Shown {
        let mut state = self.state();
        if ephemeral {
            let connections = state.send(routing, || Frame::new(format!("{open}}}")));
            return Shown { connections, waits_at: None };
        }
        state.offset += 1;
        let position = state.position();
        let is_away = routing.user.as_ref().is_some_and(|user| !state.users.contains_key(user));
        let connections = state.keep_and_send(routing, Frame::at(open, position.clone()));
        Shown { connections, waits_at: is_away.then_some(position) }
    }

    /// Queues an event that has no place: it cannot be resumed.
    pub fn pass(&self, routing: &Routing, open: &str) -> usize {
        self.state().send(routing, || Frame::new(format!("{open}}}")))
    }

    /// Takes an event that has its place among those of all nodes. `show` is false where the connections have it already.
    pub fn take(&self, routing: &Routing, open: &str, position: &Position, show: bool) -> Taken {
        let mut state = self.state();
        if !state.shared || state.epoch != position.epoch {
            return Taken::OtherEpoch;
        }
        if position.offset <= state.offset {
            return Taken::Old;
        }
        if position.offset > state.offset + 1 {
            return Taken::Missing;
        }
        state.offset = position.offset;
        let frame = Frame::at(open, position.clone());
        if show {
            return Taken::Sent(state.keep_and_send(routing, frame));
        }
        state.history.push(Entry { offset: position.offset, routing: routing.clone(), frame });
        Taken::Sent(0)
    }

    /// Says that the events up to this place cannot be had: what comes next begins after it.
    pub fn skip_to(&self, position: &Position, reason: &str) {
        let mut state = self.state();
        if state.epoch != position.epoch || position.offset <= state.offset {
            return;
        }
        let gap = Frame::gap(&state.epoch, state.offset + 1, reason);
        state.offset = position.offset;
        state.history.restart(position.offset);
        // Whoever is still being shown what it missed finds this gap, and its own, on the way.
        for connection in state.connections.iter().filter(|connection| connection.is_live()) {
            connection.push(gap.clone());
        }
    }

    /// Goes over to other offsets: those of all nodes, or this node's own again. Where they are others than before, every
    /// connection is told.
    pub fn change_epoch(&self, position: &Position, shared: bool, reason: &str) {
        let mut state = self.state();
        state.shared = shared;
        if state.epoch == position.epoch && state.offset == position.offset {
            return;
        }
        state.epoch = position.epoch.clone();
        state.offset = position.offset;
        state.history.restart(position.offset);
        let gap = Frame::gap(&state.epoch, position.offset + 1, reason);
        state.tell_all(&gap);
    }

    pub fn last(&self) -> (Position, bool, Option<Frame>) {
        let state = self.state();
        let frame = state.history.last().filter(|entry| entry.offset == state.offset).map(|entry| entry.frame.clone());
        (state.position(), state.shared, frame)
    }

    pub fn position(&self) -> (Position, bool) {
        let state = self.state();
        (state.position(), state.shared)
    }

    /// The events of one user in this epoch after an offset.
    pub fn addressed_to(&self, user: &UserId, epoch: &str, after: u64) -> Vec<(Routing, Frame)> {
        let state = self.state();
        if *state.epoch != *epoch {
            return Vec::new();
        }
        let theirs = state.history.after(after).filter(|entry| entry.routing.user.as_ref() == Some(user));
        theirs.map(|entry| (entry.routing.clone(), entry.frame.clone())).collect()
    }

    pub fn is_empty(&self) -> bool {
        self.state().connections.is_empty()
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

    /// Tells how many those are.
    pub fn close_where(&self, close: &Close, which: impl Fn(&Connection) -> bool) -> usize {
        let state = self.state();
        let closed = state.connections.iter().filter(|connection| which(connection));
        closed.map(|connection| connection.close(close.clone())).count()
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
    fn position(&self) -> Position {
        Position { epoch: self.epoch.clone(), offset: self.offset }
    }

    fn has_room(&self, viewer: &Viewer, max: usize) -> bool {
        let (share, of) = VISITORS_SHARE;
        let visitors_full = self.visitors >= (max.saturating_mul(share) / of).max(1);
        self.connections.len() < max && (viewer.session().is_none() || !visitors_full)
    }

    fn resume(&self, since: &Position) -> Resume {
        if since.epoch != self.epoch {
            // Another run's offsets mean nothing here: all of this one may be news.
            return Resume::Gap { from: 1, reason: "epoch_changed" };
        }
        match since.offset {
            // Given by a Redis that lost its last moments since.
            ahead if ahead > self.offset => Resume::Gap { from: self.offset + 1, reason: "unknown_offset" },
            here if here == self.offset => Resume::None,
            before => Resume::After(before),
        }
    }

    fn keep_and_send(&mut self, routing: &Routing, frame: Frame) -> usize {
        self.history.push(Entry { offset: self.offset, routing: routing.clone(), frame: frame.clone() });
        let mut count = 0;
        for connection in self.connections.iter().filter(|connection| connection.sees(routing)) {
            // Whoever is not live comes to it by the history.
            if connection.is_live() {
                connection.push(frame.clone());
            }
            count += 1;
        }
        count
    }

    /// For frames without a place: also to those that are being shown what they missed.
    fn send(&self, routing: &Routing, encode: impl FnOnce() -> Frame) -> usize {
        let mut seeing = self.connections.iter().filter(|connection| connection.sees(routing)).peekable();
        if seeing.peek().is_none() {
            return 0;
        }
        let frame = encode();
        seeing.map(|connection| connection.push(frame.clone())).count()
    }

    fn tell_all(&self, frame: &Frame) {
        for connection in &self.connections {
            connection.set_live(true);
            connection.push(frame.clone());
        }
    }

    fn remember(&mut self, user: &UserId) {
        if self.last_seen_ms.len() >= MAX_LAST_SEEN
            && let Some(oldest) = self.last_seen_ms.iter().min_by_key(|(_, ms)| **ms).map(|(user, _)| user.clone())
        {
            self.last_seen_ms.remove(&oldest);
        }
        self.last_seen_ms.insert(user.clone(), now_ms());
    }
}
