//! The one door through which events come in, and the only place where store, plugins, hub and deliveries meet.
//!
//! The way of an event: matched to the webhooks that are owed it, committed with what it owes, handed to the workers, and
//! shown to sockets. Sockets come after the commit: nobody must see an event that its publisher was told had failed. A
//! publish answers when its events were fanned out, so that of two events the one answered first is seen first.

mod doubtful;
mod fan_out;
mod notices;
mod owed;
mod presence;
mod relay;
mod traces;
mod typed;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use crate::{
    event::{
        Draft, Event, EventId, EventType, Origin, SessionId, TenantId, UserId, now_ms,
        payload::{AgentStateChanged, ChatSessionCreated, ChatSessionEnded, Payload},
    },
    plugin::{Plugins, SocketChains},
    store::{Announces, Committed, Due, NewEvent, SessionState, Store, StoreError},
    webhook::{Job, NodeId, Notices, Scheduler, Webhooks},
};
pub use doubtful::{DOUBTFUL, Doubtful};
pub use fan_out::MAX_SOCKET_DATA_BYTES;
use owed::Owed;
pub use relay::{Foreign, Relay, RelayEnds, RoomError, Standing, Stay};
pub use traces::{SocketTrace, SocketTraces};

/// What a broadcaster joins.
pub struct Parts {
    pub store: Store,
    pub relay: Arc<Relay>,
    pub plugins: Arc<Plugins>,
    pub socket_chains: Arc<SocketChains>,
    pub webhooks: Arc<Webhooks>,
    pub scheduler: Arc<Scheduler>,
    pub notices: Notices,
    pub node: NodeId,
    pub traces: Arc<SocketTraces>,
    pub doubtful: mpsc::Sender<Doubtful>,
}

/// Publishes events. Cheap to clone.
#[derive(Clone)]
pub struct Broadcaster {
    parts: Arc<Parts>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    pub id: EventId,
    /// An event with this id, or this idempotency key, was there before; nothing was done.
    pub duplicate: bool,
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum PublishError {
    #[error("the session belongs to another tenant")]
    SessionTaken,
    #[error("the session has ended")]
    SessionEnded,
    #[error("the data cannot be written as JSON: {0}")]
    Data(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Whom a typed event is for.
#[derive(Debug, Clone, Default)]
pub struct To {
    user: Option<UserId>,
    session: Option<SessionId>,
    key: Option<Arc<str>>,
}

impl To {
    /// The whole tenant.
    pub fn tenant() -> Self {
        Self::default()
    }

    /// One user's connections.
    pub fn user(user: UserId) -> Self {
        Self { user: Some(user), ..Self::default() }
    }

    /// One public session, and the tenant's own sockets.
    pub fn session(session: SessionId) -> Self {
        Self { session: Some(session), ..Self::default() }
    }

    /// Orders deliveries: at most 256 characters.
    #[must_use]
    pub fn with_key(self, key: &str) -> Self {
        Self { key: Some(key.into()), ..self }
    }
}

/// An event as it was received, with what goes into its transaction besides.
struct Received {
    event: Event,
    idempotency_key: Option<String>,
    announces: Option<Announces>,
}

impl From<Event> for Received {
    fn from(event: Event) -> Self {
        Self { event, idempotency_key: None, announces: None }
    }
}

/// An event on its way to the commit, with the places that its deliveries hold in memory.
struct Pending {
    event: Arc<Event>,
    idempotency_key: Option<String>,
    announces: Option<Announces>,
    owed: Vec<Owed>,
}

/// How long the events of one publish may wait for plugins that are not ready, all together.
const NOT_READY_WAIT: Duration = Duration::from_secs(5);

type PublishResult = Result<Published, PublishError>;

impl Broadcaster {
    pub fn new(parts: Parts) -> Self {
        Self { parts: Arc::new(parts) }
    }

    /// Publishes one event of the tenant; it is on disk with what it owes when this returns.
    ///
    /// # Errors
    /// The variants of [`PublishError`] say when; nothing was written then.
    pub async fn publish(&self, tenant: &TenantId, draft: Draft) -> PublishResult {
        let results = self.publish_all(tenant, vec![(draft, None)]).await;
        results.into_iter().next().unwrap_or(Err(StoreError::Closed.into()))
    }

    /// Publishes events in their order, each with its idempotency key. One that fails does so alone.
    pub async fn publish_all(&self, tenant: &TenantId, drafts: Vec<(Draft, Option<String>)>) -> Vec<PublishResult> {
        let now = now_ms();
        let receive = |(draft, idempotency_key): (Draft, _)| {
            let event = draft.receive(tenant, now, Origin::Published);
            Received { idempotency_key, ..Received::from(event) }
        };
        self.detached(drafts.into_iter().map(receive).collect()).await
    }

    /// Publishes typed data. The methods named after the types are the ones to use.
    ///
    /// # Errors
    /// The variants of [`PublishError`] say when.
    pub async fn publish_typed<P: Payload>(&self, tenant: &TenantId, to: To, data: &P) -> PublishResult {
        let event = typed_event(tenant, to, data, Origin::Published)?;
        let results = self.detached(vec![event.into()]).await;
        results.into_iter().next().unwrap_or(Err(StoreError::Closed.into()))
    }

    /// What became of one of the last events on this node's sockets.
    pub fn socket_trace(&self, tenant: &TenantId, event: &EventId) -> Option<SocketTrace> {
        self.parts.traces.of(tenant, event)
    }

    /// Runs in a task of its own: a publisher that goes away between commit and fan-out must not take the event with it.
    async fn detached(&self, events: Vec<Received>) -> Vec<PublishResult> {
        let (broadcaster, count) = (self.clone(), events.len());
        match tokio::spawn(async move { broadcaster.run(events).await }).await {
            Ok(results) => results,
            Err(error) => {
                tracing::error!("a publish ended badly: {error}");
                vec![Err(StoreError::Closed.into()); count]
            }
        }
    }

    async fn run(&self, events: Vec<Received>) -> Vec<PublishResult> {
        let mut results: Vec<Option<PublishResult>> = Vec::with_capacity(events.len());
        let mut pending = Vec::with_capacity(events.len());
        for Received { event, idempotency_key, announces } in events {
            match self.open_session(&event).await {
                Ok(()) => {
                    results.push(None);
                    let owed = self.owed(&event);
                    pending.push(Pending { event: Arc::new(event), idempotency_key, announces, owed });
                }
                Err(error) => results.push(Some(Err(error))),
            }
        }
        let committed = self.commit(&pending).await;
        let mut published = Vec::with_capacity(pending.len());
        let mut new = Vec::with_capacity(pending.len());
        for (n, pending) in pending.into_iter().enumerate() {
            published.push(match &committed {
                Ok(committed) => match committed.get(n) {
                    Some(Committed::Duplicate(first)) => {
                        self.doubt(&pending.event.tenant, first);
                        Ok(Published { id: first.clone(), duplicate: true })
                    }
                    _ => {
                        let Pending { event, owed, .. } = pending;
                        let id = event.id.clone();
                        // Before any chain of the sockets runs: webhooks do not wait for it.
                        owed.into_iter().for_each(|owed| self.hand_over(&event, owed));
                        new.push(event);
                        Ok(Published { id, duplicate: false })
                    }
                },
                Err(error) => Err(error.clone().into()),
            });
        }
        let not_ready_until = Instant::now() + NOT_READY_WAIT;
        for event in new {
            self.fan_out(&event, not_ready_until).await;
        }
        let mut published = published.into_iter();
        results
            .into_iter()
            .map(|result| result.or_else(|| published.next()).unwrap_or(Err(StoreError::Closed.into())))
            .collect()
    }

    async fn commit(&self, pending: &[Pending]) -> Result<Vec<Committed>, StoreError> {
        let is_stored = |pending: &Pending| !pending.event.is_ephemeral() || !pending.owed.is_empty();
        let stored: Vec<NewEvent> = pending
            .iter()
            .filter(|pending| is_stored(pending))
            .map(|pending| NewEvent {
                event: pending.event.clone(),
                idempotency_key: pending.idempotency_key.clone(),
                owed: pending.owed.iter().map(|owed| owed.delivery.clone()).collect(),
                user_state: user_state(&pending.event),
                ends_session: ended_session(&pending.event).cloned(),
                announces: pending.announces.clone(),
            })
            .collect();
        let mut committed =
            if stored.is_empty() { Vec::new() } else { self.parts.store.commit(stored).await? }.into_iter();
        let answers = pending.iter().map(|pending| {
            if is_stored(pending) { committed.next().unwrap_or(Committed::New) } else { Committed::New }
        });
        Ok(answers.collect())
    }

    fn hand_over(&self, event: &Arc<Event>, owed: Owed) {
        let Owed { delivery, place } = owed;
        match place {
            Some(place) => {
                place.fill(Job::fresh(delivery.id, delivery.webhook, event.clone(), delivery.pins));
            }
            None => self.parts.scheduler.note_due(Due::released(delivery.webhook, true, event.timestamp_ms)),
        }
    }

    /// A session exists from `chat.session.created`, for the first tenant that names it.
    async fn open_session(&self, event: &Event) -> Result<(), PublishError> {
        let Some(session) = event.session.as_ref().filter(|_| event.event_type.as_str() == ChatSessionCreated::TYPE)
        else {
            return Ok(());
        };
        match self.parts.store.open_session(session, &event.tenant).await? {
            SessionState::Live(owner) if owner == event.tenant => Ok(()),
            // A repeat of what opened it is a duplicate, as any other.
            SessionState::Ended(owner) if owner == event.tenant => {
                match self.parts.store.event(&event.tenant, event.id.as_str()).await? {
                    Some(_) => Ok(()),
                    None => Err(PublishError::SessionEnded),
                }
            }
            SessionState::Live(_) | SessionState::Ended(_) => Err(PublishError::SessionTaken),
            SessionState::Unknown => Err(StoreError::Closed.into()),
        }
    }
}

/// # Errors
/// [`PublishError::Data`] when the data cannot be written as JSON, or its type is none.
fn typed_event<P: Payload>(tenant: &TenantId, to: To, data: &P, origin: Origin) -> Result<Event, PublishError> {
    let json = serde_json::to_string(data).map_err(|error| PublishError::Data(error.to_string()))?;
    let event_type = EventType::parse(P::TYPE).map_err(|why| PublishError::Data(why.to_owned()))?;
    let mut draft = Draft::new(event_type, json);
    (draft.user, draft.session, draft.key) = (to.user, to.session, to.key);
    Ok(draft.receive(tenant, now_ms(), origin))
}

fn ended_session(event: &Event) -> Option<&SessionId> {
    event.session.as_ref().filter(|_| event.event_type.as_str() == ChatSessionEnded::TYPE)
}

/// What `agent.state.changed` tells of a user; nothing when its data is of another shape, which publishing permits.
fn user_state(event: &Event) -> Option<(UserId, String)> {
    if event.event_type.as_str() != AgentStateChanged::TYPE {
        return None;
    }
    let data: AgentStateChanged = serde_json::from_str(&event.data).ok()?;
    Some((UserId::parse(&data.user_id).ok()?, data.state))
}
