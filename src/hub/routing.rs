//! What decides who sees an event: its type, and whom it is addressed to.

use std::borrow::Cow;

use serde::Deserialize;

use super::Position;
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

impl Routing {
    /// Of an event's text, with the place that it names. None: it is no event's.
    pub fn read(text: &str) -> Option<(Self, Option<Position>)> {
        #[derive(Deserialize)]
        struct Head<'a> {
            #[serde(borrow, rename = "type")]
            event_type: Cow<'a, str>,
            #[serde(borrow, default)]
            user_id: Option<Cow<'a, str>>,
            #[serde(borrow, default)]
            session_id: Option<Cow<'a, str>>,
            #[serde(borrow, default)]
            epoch: Option<Cow<'a, str>>,
            #[serde(default)]
            offset: Option<u64>,
        }
        let head: Head = serde_json::from_str(text).ok()?;
        let routing = Self::parse(&head.event_type, head.user_id.as_deref(), head.session_id.as_deref())?;
        let position = head.epoch.zip(head.offset).map(|(epoch, offset)| Position { epoch: (&*epoch).into(), offset });
        Some((routing, position))
    }

    /// None where a name breaks its rule.
    pub fn parse(event_type: &str, user: Option<&str>, session: Option<&str>) -> Option<Self> {
        Some(Self {
            event_type: EventType::parse(event_type).ok()?,
            user: user.map(UserId::parse).transpose().ok()?,
            session: session.map(SessionId::parse).transpose().ok()?,
        })
    }
}
