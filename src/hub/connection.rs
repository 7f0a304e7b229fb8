//! One connection as the hub sees it: who looks, at what, and the bounded outbox between the hub and the session.

use std::sync::{
    Arc, Mutex, MutexGuard, OnceLock, PoisonError,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use tokio::sync::Notify;

use super::{Frame, Outbox, Routing};
use crate::event::{Patterns, SessionId, TenantId, UserId, now_ms};

/// Who a connection belongs to.
#[derive(Debug, Clone)]
pub enum Viewer {
    /// Came with a token: sees its tenant's events, and those addressed to its user.
    Member { user: UserId },
    /// Came through a public session: sees that session's chat events only.
    Visitor { session: SessionId },
}

impl Viewer {
    pub fn user(&self) -> Option<&UserId> {
        match self {
            Self::Member { user } => Some(user),
            Self::Visitor { .. } => None,
        }
    }

    pub fn session(&self) -> Option<&SessionId> {
        match self {
            Self::Member { .. } => None,
            Self::Visitor { session } => Some(session),
        }
    }
}

/// Why a connection is to end. `after_ms` goes with the codes that ask the client to come back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    pub code: u16,
    pub reason: &'static str,
    pub after_ms: Option<u64>,
}

impl Close {
    /// An administrator has put the user out.
    pub fn revoked() -> Self {
        Self { code: 4423, reason: "revoked", after_ms: None }
    }
}

#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    pub max_queue_bytes: usize,
    pub max_connections_per_tenant: usize,
}

/// The hub's end.
pub struct Connection {
    pub id: String,
    pub tenant: TenantId,
    pub viewer: Viewer,
    /// Written by its session, read by each publish; never held over an await.
    filter: Mutex<Filter>,
    outbox: Arc<Outbox>,
    /// False while it is shown what it missed: it takes the events after that from the history. Changed under the tenant's
    /// lock only.
    live: AtomicBool,
    /// Seconds since the Unix epoch.
    joined_s: i64,
    end: Arc<Ending>,
}

/// Whether a connection is to end: asked for by the hub's end, once, and waited for by the session's.
#[derive(Default)]
struct Ending {
    close: OnceLock<Close>,
    asked: Notify,
}

/// What a connection gets, by the token it came with and by its own wish.
#[derive(Debug, Clone)]
pub struct Filter {
    /// The token's own limit.
    pub allowed: Option<Patterns>,
    /// When the token was issued, in seconds since the Unix epoch, if it says so.
    pub issued_s: Option<i64>,
    /// What the client asked for.
    pub wanted: Patterns,
}

impl Default for Filter {
    fn default() -> Self {
        Self { allowed: None, issued_s: None, wanted: Patterns::all() }
    }
}

/// The session's end: the frames.
pub struct Mailbox(Arc<Outbox>);

/// The session's end: whether it is to close.
pub struct Closing(Arc<Ending>);

impl Connection {
    pub(super) fn new(
        id: String,
        tenant: TenantId,
        viewer: Viewer,
        filter: Filter,
        max_queue_bytes: usize,
        queued_of_tenant: Arc<AtomicUsize>,
    ) -> (Self, Mailbox, Closing) {
        let end = Arc::<Ending>::default();
        let outbox = Arc::new(Outbox::new(max_queue_bytes, queued_of_tenant));
        let mailbox = Mailbox(outbox.clone());
        let (filter, live) = (Mutex::new(filter), AtomicBool::new(true));
        let closing = Closing(end.clone());
        let connection = Self { id, tenant, viewer, filter, outbox, live, joined_s: now_ms() / 1000, end };
        (connection, mailbox, closing)
    }

    pub(super) fn is_live(&self) -> bool {
        self.live.load(Ordering::Relaxed)
    }

    pub(super) fn set_live(&self, live: bool) {
        self.live.store(live, Ordering::Relaxed);
    }

    pub fn subscribe(&self, patterns: Patterns) {
        self.filter().wanted = patterns;
    }

    /// Sets what the client's new token says.
    pub fn allow(&self, patterns: Option<Patterns>, issued_s: Option<i64>) {
        let mut filter = self.filter();
        (filter.allowed, filter.issued_s) = (patterns, issued_s);
    }

    /// Whether it came in this second or earlier, or with a token that was issued before it.
    pub(super) fn is_of(&self, second_s: i64) -> bool {
        self.joined_s <= second_s || self.filter().issued_s.is_none_or(|issued_s| issued_s < second_s)
    }

    fn filter(&self) -> MutexGuard<'_, Filter> {
        self.filter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The rule of who sees what (contract §3 and §5), in one place.
    pub fn sees(&self, event: &Routing) -> bool {
        let addressed = match &self.viewer {
            Viewer::Visitor { session } => {
                event.session.as_ref() == Some(session) && event.event_type.as_str().starts_with("chat.")
            }
            Viewer::Member { user } => event.user.as_ref().is_none_or(|addressee| addressee == user),
        };
        if !addressed {
            return false;
        }
        let filter = self.filter();
        filter.wanted.match_any(&event.event_type)
            && filter.allowed.as_ref().is_none_or(|allowed| allowed.match_any(&event.event_type))
    }

    /// Queues a frame, or closes the connection as a slow consumer when its queue is full: nothing is dropped in silence.
    pub(super) fn push(&self, frame: Frame) {
        if self.end.close.get().is_some() {
            return;
        }
        if self.outbox.push(frame).is_err() {
            self.close(Close { code: 4508, reason: "slow_consumer", after_ms: None });
        }
    }

    /// Asks the session to end; the first reason stays.
    pub fn close(&self, close: Close) {
        if self.end.close.set(close).is_ok() {
            self.end.asked.notify_waiters();
        }
    }
}

impl Mailbox {
    /// Waits for frames and takes up to `limit` of them; what is taken no longer counts as queued.
    pub async fn frames(&mut self, into: &mut Vec<Frame>, limit: usize) -> usize {
        loop {
            match self.0.take(limit, usize::MAX, |frame| into.push(frame)) {
                0 => self.0.came().await,
                count => return count,
            }
        }
    }

    /// Takes all that waits now.
    pub fn waiting(&mut self, into: &mut Vec<Frame>) {
        self.0.take(usize::MAX, usize::MAX, |frame| into.push(frame));
    }

    /// For whoever takes frames without waiting for them here.
    pub fn outbox(&self) -> Arc<Outbox> {
        self.0.clone()
    }
}

impl Closing {
    /// Waits until somebody asks for the end. The connection must be kept alive meanwhile: nobody else asks.
    pub async fn closed(&self) -> Close {
        loop {
            // Before the look: whoever asks after it wakes this one.
            let asked = self.0.asked.notified();
            if let Some(close) = self.0.close.get() {
                return close.clone();
            }
            asked.await;
        }
    }
}
