//! The domain: an event, who it is for, its type, and the patterns that choose types. Knows nobody else.
//!
//! An [`Event`] is immutable once received. Its `data` is JSON text that is carried byte for byte; nothing here parses it
//! again. Shapes of `data` are documented by the [`catalogue`] and typed by [`payload`], and neither is enforced.

pub mod catalogue;
mod draft;
mod envelope;
mod fields;
mod ids;
mod pattern;
pub mod payload;
mod time;

use std::sync::Arc;

pub use draft::{Draft, DraftError, MAX_EVENT_BYTES, MAX_NESTING, Names, nesting};
pub use fields::{FieldError, Fields, Invalid};
pub use ids::{DeliveryId, EventId, EventType, SessionId, TenantId, UserId, WebhookId, new_connection_id};
pub use pattern::{Pattern, Patterns};
pub use time::{now_ms, parse_rfc3339_ms, rfc3339_ms};

/// Who made an event. Events of our own making skip the sockets chain, or a failing plugin would fail for ever on the
/// news of its failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Published,
    Own,
}

/// One event, as received.
#[derive(Debug, Clone)]
pub struct Event {
    pub id: EventId,
    pub event_type: EventType,
    pub tenant: TenantId,
    /// When it was received: milliseconds since the Unix epoch, UTC.
    pub timestamp_ms: i64,
    /// The one user it is for.
    pub user: Option<UserId>,
    /// The one public session it is for.
    pub session: Option<SessionId>,
    /// Orders deliveries.
    pub key: Option<Arc<str>>,
    pub source: Option<Arc<str>>,
    /// JSON text, exactly as sent.
    pub data: Arc<str>,
    pub origin: Origin,
}

impl Event {
    /// True for types that are passed on and forgotten: no offset, no row, no webhooks unless one names the type exactly.
    pub fn is_ephemeral(&self) -> bool {
        catalogue::is_ephemeral(self.event_type.as_str())
    }
}
