//! What decides who sees an event: its type, and whom it is addressed to.

use crate::event::{Event, EventType, SessionId, UserId};

/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct Routing {
    pub event_type: EventType,
    pub user: Option<UserId>,
    pub session: Option<SessionId>,
}

impl From<&Event> for Routing {
    fn from(event: &Event) -> Self {
        Self { event_type: event.event_type.clone(), user: event.user.clone(), session: event.session.clone() }
    }
}
