//! What is heard on the channels: events of the nodes, and those of other programs.

use std::{
    borrow::Cow,
    sync::{Arc, atomic::Ordering},
};

use serde::{Deserialize, Deserializer};
use tokio_util::sync::CancellationToken;

use super::{Relay, rooms::Room};
use crate::{
    bus::{CONTROL, LinkState, Message, Messages, tenant_of_channel},
    event::{
        Event, EventId, MAX_NESTING, Origin, TenantId, nesting, now_ms, parse_rfc3339_ms,
        payload::{ChatSessionEnded, Payload},
    },
    hub::{Close, Frame, Position, Routing, Taken},
};

/// What a node says is a frame and its place; longer is nothing that any of them said.
const MAX_MESSAGE_BYTES: usize = 2 * Frame::MAX_BYTES;

/// An event that another program published: the chain of the sockets has not run.
#[derive(Debug)]
pub struct Foreign(pub Arc<Event>);

/// What a message says of itself, beside its data.
#[derive(Debug, Deserialize)]
struct Head<'a> {
    #[serde(borrow, default)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "type")]
    event_type: Cow<'a, str>,
    #[serde(borrow, default)]
    tenant_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    user_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    session_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    key: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    source: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    data: Option<&'a serde_json::value::RawValue>,
    /// There, and perhaps null, in what comes from a node.
    #[serde(borrow, default, deserialize_with = "present")]
    epoch: Option<Option<Cow<'a, str>>>,
    #[serde(default)]
    offset: Option<u64>,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<Cow<'de, str>>>, D::Error> {
    Option::<Cow<'de, str>>::deserialize(deserializer).map(Some)
}

impl Head<'_> {
    fn routing(&self) -> Option<Routing> {
        Routing::parse(&self.event_type, self.user_id.as_deref(), self.session_id.as_deref())
    }
}

/// Who may see a frame that lacks its closing brace.
pub fn head_of(open: &str) -> Option<Routing> {
    Routing::read(&format!("{open}}}")).map(|(routing, _)| routing)
}

/// When an event was received, ms, by its frame.
pub fn timestamp_of(open: &str) -> Option<i64> {
    #[derive(Deserialize)]
    struct Received<'a> {
        timestamp: &'a str,
    }
    let text = format!("{open}}}");
    parse_rfc3339_ms(serde_json::from_str::<Received>(&text).ok()?.timestamp).ok()
}

impl Relay {
    pub(super) async fn listen(self: Arc<Self>, mut messages: Messages, stopping: CancellationToken) {
        loop {
            let message = tokio::select! {
                biased;
                () = stopping.cancelled() => return,
                message = messages.next() => message,
            };
            let Some(message) = message else { return };
            self.hear(&message).await;
            if messages.overflowed() {
                tracing::warn!("more came from Redis than could be taken up: what is missing is read from the streams");
                for room in self.rooms.all() {
                    self.catch_up_or_log(&room.tenant).await;
                }
            }
        }
    }

    async fn hear(&self, message: &Message) {
        if message.payload.len() > MAX_MESSAGE_BYTES {
            return self.ignore(message, "it is too long");
        }
        let Ok(text) = std::str::from_utf8(&message.payload) else { return self.ignore(message, "it is not UTF-8") };
        if message.channel == CONTROL {
            return self.obey(text).await;
        }
        let Ok(head) = serde_json::from_str::<Head>(text) else { return self.ignore(message, "it is no event") };
        let of_channel = tenant_of_channel(&message.channel);
        let tenant = match (of_channel, head.tenant_id.as_deref()) {
            (Some(channel), Some(named)) if channel != named => return self.ignore(message, "it names another tenant"),
            (Some(channel), _) => channel,
            (None, Some(named)) => named,
            (None, None) => return self.ignore(message, "it names no tenant"),
        };
        let Ok(tenant) = TenantId::parse(tenant) else { return self.ignore(message, "it names no tenant") };
        let Some(routing) = head.routing() else { return self.ignore(message, "it is no event") };
        match (&head.epoch, head.offset) {
            (Some(Some(epoch)), Some(offset)) => {
                // Whatever comes before it is listened to is in the stream, and read from there.
                let Some(room) = self.rooms.get(&tenant).filter(|room| self.is_attached(room)) else { return };
                let position = Position { epoch: (&**epoch).into(), offset };
                let Some(open) = open_of(text) else { return self.ignore(message, "its place is not at its end") };
                let Some(id) = head.id.as_deref() else { return self.ignore(message, "it has no id") };
                self.take(&room, &routing, open, &position, id).await;
            }
            (Some(_), _) => {
                if let Some(open) = open_of(text) {
                    self.hub.pass(&tenant, &routing, open);
                }
            }
            (None, _) => self.take_foreign(message, tenant, routing, &head),
        }
    }

    fn is_attached(&self, room: &Room) -> bool {
        let Some(link) = &self.link else { return false };
        matches!(*link.borrow(), LinkState::Up(number) if room.is_attached_by(number))
    }

    /// Takes an event at its place, and shows it unless it was shown at another, which nobody was told of.
    pub(super) fn take_once(&self, room: &Room, routing: &Routing, open: &str, position: &Position, id: &str) -> Taken {
        let mut recent = room.recent();
        let taken = self.hub.take(&room.tenant, routing, open, position, !recent.knows(id));
        if matches!(taken, Taken::Sent(_)) {
            recent.add(id);
        }
        taken
    }

    async fn take(&self, room: &Room, routing: &Routing, open: &str, position: &Position, id: &str) {
        let tenant = &room.tenant;
        match self.take_once(room, routing, open, position, id) {
            Taken::Sent(connections) => {
                self.traces.count(tenant, id, connections);
                self.close_ended(tenant, routing);
            }
            Taken::Old => {}
            // Some of it was not heard, or Redis has begun anew: the stream has it all.
            Taken::Missing | Taken::OtherEpoch => self.catch_up_or_log(tenant).await,
        }
    }

    async fn catch_up_or_log(&self, tenant: &TenantId) {
        if let Err(error) = self.catch_up(tenant).await {
            tracing::debug!("the missing events of {tenant} are read a little later: {error}");
        }
    }

    fn take_foreign(&self, message: &Message, tenant: TenantId, routing: Routing, head: &Head<'_>) {
        if self.hub.counts(&tenant).clients == 0 {
            return;
        }
        // As for a publisher: a frame that is too much for a queue would close every socket.
        if message.payload.len() > Frame::MAX_BYTES {
            return self.ignore(message, "it is too long");
        }
        if head.data.is_some_and(|data| nesting(data.get()) > MAX_NESTING) {
            return self.ignore(message, "its data is nested too deep");
        }
        let id = head.id.as_deref().map_or_else(|| Ok(EventId::generate()), EventId::parse);
        let Ok(id) = id else { return self.ignore(message, "its id is none") };
        let event = Event {
            id,
            event_type: routing.event_type,
            tenant,
            timestamp_ms: now_ms(),
            user: routing.user,
            session: routing.session,
            key: head.key.as_deref().map(Into::into),
            source: head.source.as_deref().map(Into::into),
            data: head.data.map_or("null", serde_json::value::RawValue::get).into(),
            origin: Origin::Published,
        };
        if self.foreign.try_send(Foreign(Arc::new(event))).is_err() {
            self.ignore(message, "more of them wait than may");
        }
    }

    async fn obey(&self, text: &str) {
        // Of a newer version: not for us.
        let Ok(control) = serde_json::from_str(text) else { return };
        match control {
            crate::bus::Control::Lost { tenant_id } => {
                if let Ok(tenant) = TenantId::parse(&tenant_id) {
                    self.catch_up_or_log(&tenant).await;
                }
            }
            // Full: they look by themselves in a few seconds.
            other => drop(self.controls.try_send(other)),
        }
    }

    fn ignore(&self, message: &Message, why: &str) {
        let ignored = self.ignored.fetch_add(1, Ordering::Relaxed) + 1;
        tracing::debug!("a message on {} was ignored, since {why}; {ignored} so far", message.channel);
    }

    /// Whoever ends a session ends its sockets.
    pub(super) fn close_ended(&self, tenant: &TenantId, routing: &Routing) {
        if let (Some(session), ChatSessionEnded::TYPE) = (&routing.session, routing.event_type.as_str()) {
            self.hub.close_session(tenant, session, &Close { code: 4404, reason: "session_ended", after_ms: None });
        }
    }
}

/// A message without its place.
fn open_of(text: &str) -> Option<&str> {
    text.rfind(r#","epoch":"#).map(|at| &text[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_a_node_names_an_epoch_and_one_of_another_program_does_not() {
        let of = |text: &str| serde_json::from_str::<Head>(text).unwrap().epoch.map(|epoch| epoch.is_some());
        assert_eq!(of(r#"{"type":"a","data":{"epoch":1},"epoch":"e","offset":3}"#), Some(true));
        assert_eq!(of(r#"{"type":"a","epoch":null}"#), Some(false));
        assert_eq!(of(r#"{"type":"a","data":{}}"#), None);
        let text = r#"{"type":"a","data":",\"epoch\":","epoch":"e","offset":3}"#;
        assert_eq!(open_of(text), Some(r#"{"type":"a","data":",\"epoch\":""#));
    }
}
