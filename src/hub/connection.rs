//! One connection as the hub sees it: who looks, at what, and the bounded outbox between the hub and the session.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::{mpsc, watch};

use super::Frame;
use crate::event::{Event, Patterns, SessionId, TenantId, UserId};

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
    /// Bounded by `queued_bytes`, not by items.
    outbox: mpsc::UnboundedSender<Frame>,
    queued_bytes: Arc<AtomicUsize>,
    max_queue_bytes: usize,
    close: watch::Sender<Option<Close>>,
}

/// Which types a connection gets.
#[derive(Debug, Clone)]
pub struct Filter {
    /// The token's own limit.
    pub allowed: Option<Patterns>,
    /// What the client asked for.
    pub wanted: Patterns,
}

impl Default for Filter {
    fn default() -> Self {
        Self { allowed: None, wanted: Patterns::all() }
    }
}

/// The session's end: the frames.
pub struct Mailbox {
    frames: mpsc::UnboundedReceiver<Frame>,
    queued_bytes: Arc<AtomicUsize>,
}

/// The session's end: whether it is to close.
pub struct Closing(watch::Receiver<Option<Close>>);

impl Connection {
    pub(super) fn new(
        id: String,
        tenant: TenantId,
        viewer: Viewer,
        filter: Filter,
        max_queue_bytes: usize,
    ) -> (Self, Mailbox, Closing) {
        let (outbox, frames) = mpsc::unbounded_channel();
        let (close, closed) = watch::channel(None);
        let queued_bytes = Arc::new(AtomicUsize::new(0));
        let mailbox = Mailbox { frames, queued_bytes: queued_bytes.clone() };
        let filter = Mutex::new(filter);
        let connection = Self { id, tenant, viewer, filter, outbox, queued_bytes, max_queue_bytes, close };
        (connection, mailbox, Closing(closed))
    }

    pub fn subscribe(&self, patterns: Patterns) {
        self.filter().wanted = patterns;
    }

    /// Sets the limit that the client's token names.
    pub fn allow(&self, patterns: Option<Patterns>) {
        self.filter().allowed = patterns;
    }

    fn filter(&self) -> MutexGuard<'_, Filter> {
        self.filter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The rule of who sees what (contract §3 and §5), in one place.
    pub fn sees(&self, event: &Event) -> bool {
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
        if self.close.borrow().is_some() {
            return;
        }
        let len = frame.len();
        let queued = self.queued_bytes.fetch_add(len, Ordering::Relaxed);
        // One frame alone is no queue, however long it is.
        if queued > 0 && queued + len > self.max_queue_bytes {
            self.close(Close { code: 4508, reason: "slow_consumer", after_ms: None });
            return;
        }
        // The session may just have ended.
        let _ = self.outbox.send(frame);
    }

    /// Asks the session to end; the first reason stays.
    pub fn close(&self, close: Close) {
        self.close.send_if_modified(|current| {
            let first = current.is_none();
            if first {
                *current = Some(close);
            }
            first
        });
    }
}

impl Mailbox {
    /// Waits for frames and takes up to `limit` of them; what is taken no longer counts as queued.
    pub async fn frames(&mut self, into: &mut Vec<Frame>, limit: usize) -> usize {
        let received = self.frames.recv_many(into, limit).await;
        let bytes = into[into.len() - received..].iter().map(Frame::len).sum();
        self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
        received
    }
}

impl Closing {
    /// Waits until somebody asks for the end. The connection must be kept alive meanwhile.
    pub async fn closed(&mut self) -> Close {
        match self.0.wait_for(Option::is_some).await {
            Ok(close) => close.clone().unwrap_or(Close { code: 1001, reason: "gone", after_ms: None }),
            // The hub's end is gone: nothing will ever come.
            Err(_) => Close { code: 1001, reason: "gone", after_ms: None },
        }
    }
}
