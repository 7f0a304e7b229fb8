//! A delivery in memory, and what it weighs there.

use std::sync::Arc;

use crate::{
    event::{DeliveryId, Event, WebhookId},
    store::{DeliveryRow, StoredBody},
};

/// What an event weighs besides its data.
const EVENT_OVERHEAD_BYTES: usize = 512;

/// One delivery that this node holds the lease of.
#[derive(Debug, Clone)]
pub struct Job {
    pub id: DeliveryId,
    pub webhook: WebhookId,
    pub event: Arc<Event>,
    pub attempts: u32,
    /// Attempts that do not count: those before the last retry by hand or replay.
    pub retry_from: u32,
    pub order_key: Option<Arc<str>>,
    pub pins: Option<Arc<str>>,
    pub body: Option<StoredBody>,
    pub is_fresh: bool,
    /// A rate limit lets it go then.
    pub release_at_ms: i64,
    /// And the next one so much later, in microseconds.
    pub release_gap_us: i64,
    /// Somebody asked for it now: it passes the gate.
    pub by_hand: bool,
}

impl From<DeliveryRow> for Job {
    fn from(row: DeliveryRow) -> Self {
        Self {
            id: row.id,
            webhook: row.webhook,
            event: Arc::new(row.event),
            attempts: row.attempts,
            retry_from: row.retry_from,
            order_key: row.order_key.map(Into::into),
            pins: row.pins.map(Into::into),
            body: row.body,
            is_fresh: row.is_fresh,
            release_at_ms: row.release_at_ms,
            release_gap_us: row.release_gap_us,
            by_hand: false,
        }
    }
}

impl Job {
    /// One that was committed a moment ago.
    pub fn fresh(id: DeliveryId, webhook: WebhookId, event: Arc<Event>, pins: Option<Arc<str>>) -> Self {
        Self {
            id,
            webhook,
            event,
            attempts: 0,
            retry_from: 0,
            order_key: None,
            pins,
            body: None,
            is_fresh: true,
            release_at_ms: 0,
            release_gap_us: 0,
            by_hand: false,
        }
    }

    pub(super) fn weight(&self) -> usize {
        weight(&self.event) + self.body.as_ref().map_or(0, |body| body.body.len())
    }
}

pub(super) fn weight(event: &Event) -> usize {
    event.data.len() + EVENT_OVERHEAD_BYTES
}
