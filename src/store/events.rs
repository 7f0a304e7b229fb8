//! Event rows, and the delivery rows that are born with them.

use std::sync::Arc;

use sea_query::{Expr, ExprTrait, OnConflict, Order, Query};
use tokio::sync::oneshot;

use super::{
    Store, StoreError,
    order::Wanted,
    presence::{self, Announces},
    sessions::end_session,
    sql::{Connection, Row, execute, fetch, insert_new, parts, pieces},
    writer::Write,
};
use crate::event::{DeliveryId, Event, EventId, EventType, Origin, SessionId, TenantId, UserId, WebhookId};

/// An event to be committed with what it owes.
#[derive(Debug)]
pub struct NewEvent {
    pub event: Arc<Event>,
    pub idempotency_key: Option<String>,
    pub owed: Vec<NewDelivery>,
    /// The user's state that this event tells.
    pub user_state: Option<(UserId, String)>,
    /// The session that this event ends.
    pub ends_session: Option<SessionId>,
    /// Whose presence this event announces.
    pub announces: Option<Announces>,
}

#[derive(Debug, Clone)]
pub struct NewDelivery {
    pub id: DeliveryId,
    pub webhook: WebhookId,
    /// Plugin versions fixed now, as JSON.
    pub pins: Option<Arc<str>>,
    /// The node that will hold it in memory, if it has room.
    pub lease_owner: Option<Arc<str>>,
    /// Where the webhook wants order: it waits behind those of its key, and is never held in memory from the start.
    pub order_key: Option<Arc<str>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Committed {
    New,
    /// Nothing was written: this event, with the same id or idempotency key, was there before.
    Duplicate(EventId),
}

/// An event as stored.
#[derive(Debug, Clone)]
pub struct EventRow {
    /// Where a list goes on.
    pub seq: i64,
    pub event: Event,
}

#[derive(Debug, Clone, Default)]
pub struct EventQuery {
    pub event_type: Option<String>,
    /// Received at or after, ms.
    pub after_ms: Option<i64>,
    /// Received before, ms.
    pub before_ms: Option<i64>,
    /// Only rows older than this `seq`.
    pub cursor: Option<i64>,
    pub limit: u64,
}

/// Data that may wait for the group commit, KiB. Beyond it, callers wait.
pub(super) const WAITING_KIB: u32 = 64 << 10;

const COLUMNS: [&str; 11] = [
    "tenant_id",
    "id",
    "idempotency_key",
    "type",
    "timestamp_ms",
    "user_id",
    "session_id",
    "event_key",
    "source",
    "data",
    "own",
];

impl Store {
    /// Commits events with what they owe; they are on disk when this returns.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: nothing of it was written.
    pub async fn commit(&self, events: Vec<NewEvent>) -> Result<Vec<Committed>, StoreError> {
        let bytes: usize = events.iter().map(|event| event.event.data.len()).sum();
        let kib = std::cmp::min(u32::try_from(bytes / 1024 + 1).unwrap_or(WAITING_KIB), WAITING_KIB);
        // Held until it is answered: what waits for the disk does not fill the memory.
        let _room = self.room.acquire_many(kib).await.map_err(|_| StoreError::Closed)?;
        let (reply, answer) = oneshot::channel();
        self.send(Write::Commit(events, reply)).await?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn event(&self, tenant: &TenantId, id: &str) -> Result<Option<EventRow>, StoreError> {
        let mut select = select_events();
        select.and_where(Expr::col("tenant_id").eq(tenant.as_str())).and_where(Expr::col("id").eq(id));
        Ok(self.read(&select).await?.first().map(read_event).transpose()?.flatten())
    }

    /// Newest first. Index `jf_events_tenant`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn events(&self, tenant: &TenantId, query: EventQuery) -> Result<Vec<EventRow>, StoreError> {
        let mut select = select_events();
        select.and_where(Expr::col("tenant_id").eq(tenant.as_str())).order_by("seq", Order::Desc).limit(query.limit);
        if let Some(event_type) = query.event_type {
            select.and_where(Expr::col("type").eq(event_type));
        }
        if let Some(after) = query.after_ms {
            select.and_where(Expr::col("timestamp_ms").gte(after));
        }
        if let Some(before) = query.before_ms {
            select.and_where(Expr::col("timestamp_ms").lt(before));
        }
        if let Some(cursor) = query.cursor {
            select.and_where(Expr::col("seq").lt(cursor));
        }
        let rows = self.read(&select).await?;
        let read: Result<Vec<_>, _> = rows.iter().map(read_event).collect();
        Ok(read?.into_iter().flatten().collect())
    }

    /// The last state that `agent.state.changed` told of a user.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn user_state(&self, tenant: &TenantId, user: &str) -> Result<Option<String>, StoreError> {
        let mut select = Query::select();
        select
            .column("state")
            .from("jf_user_states")
            .and_where(Expr::col("tenant_id").eq(tenant.as_str()))
            .and_where(Expr::col("user_id").eq(user));
        Ok(self.read(&select).await?.first().map(|row| row.get("state")).transpose()?)
    }
}

fn select_events() -> sea_query::SelectStatement {
    let mut select = Query::select();
    select.column("seq").columns(COLUMNS).from("jf_events");
    select
}

/// Columns by name, so that joins can read events too. None: another program made of it what is no event.
pub(super) fn read_event(row: &Row) -> Result<Option<EventRow>, sqlx::Error> {
    let optional = |name: &str| row.get::<Option<String>>(name);
    let parsed = || -> Result<Option<EventRow>, sqlx::Error> {
        let (Ok(id), Ok(event_type), Ok(tenant)) = (
            EventId::parse(&row.get::<String>("id")?),
            EventType::parse(&row.get::<String>("type")?),
            TenantId::parse(&row.get::<String>("tenant_id")?),
        ) else {
            return Ok(None);
        };
        Ok(Some(EventRow {
            seq: row.get("seq")?,
            event: Event {
                id,
                event_type,
                tenant,
                timestamp_ms: row.get("timestamp_ms")?,
                user: optional("user_id")?.and_then(|user| UserId::parse(&user).ok()),
                session: optional("session_id")?.and_then(|session| SessionId::parse(&session).ok()),
                key: optional("event_key")?.map(Into::into),
                source: optional("source")?.map(Into::into),
                data: row.get::<String>("data")?.into(),
                origin: if row.get::<bool>("own")? { Origin::Own } else { Origin::Published },
            },
        }))
    };
    parsed()
}

/// Inserts a batch; `places` are those that [`super::order::lock`] gave. Duplicates are rare: the batch is written as if
/// there were none, and only when rows are missing is it undone and written one by one, so that one duplicate costs its
/// batch time and nobody an event.
pub(super) async fn insert(
    connection: &mut Connection,
    events: &[&NewEvent],
    places: &mut Wanted,
) -> Result<Vec<Committed>, sqlx::Error> {
    if events.is_empty() {
        return Ok(Vec::new());
    }
    let results = match events {
        // Nothing to undo: no savepoint, which would be two more visits to the database.
        [event] => vec![insert_one(connection, event).await?],
        _ => insert_many(connection, events).await?,
    };
    let new = events.iter().zip(&results).filter(|(_, result)| **result == Committed::New).map(|(event, _)| *event);
    insert_owed(connection, new.clone(), places).await?;
    let announced = new.clone().filter_map(|new| new.announces.as_ref().map(|one| (&new.event.tenant, one)));
    presence::advance(connection, announced).await?;
    for event in new {
        if let Some((user, state)) = &event.user_state {
            upsert_user_state(connection, &event.event, user, state).await?;
        }
        if let Some(session) = &event.ends_session {
            end_session(connection, &event.event.tenant, session).await?;
        }
    }
    Ok(results)
}

async fn insert_many(connection: &mut Connection, events: &[&NewEvent]) -> Result<Vec<Committed>, sqlx::Error> {
    connection.control("SAVEPOINT events").await?;
    let mut inserted = 0;
    for part in parts(events, |new| new.event.data.len()) {
        inserted += insert_events(connection, part).await?;
    }
    let mut results = vec![Committed::New; events.len()];
    if inserted != events.len() as u64 {
        connection.control("ROLLBACK TO SAVEPOINT events").await?;
        for (event, result) in events.iter().zip(&mut results) {
            *result = insert_one(connection, event).await?;
        }
    }
    connection.control("RELEASE SAVEPOINT events").await?;
    Ok(results)
}

async fn insert_one(connection: &mut Connection, event: &NewEvent) -> Result<Committed, sqlx::Error> {
    match insert_events(connection, &[event]).await? {
        1 => Ok(Committed::New),
        _ => Ok(Committed::Duplicate(first_of(connection, event).await?)),
    }
}

async fn insert_events(connection: &mut Connection, events: &[&NewEvent]) -> Result<u64, sqlx::Error> {
    let mut insert = Query::insert();
    insert.into_table("jf_events").columns(COLUMNS);
    for NewEvent { event, idempotency_key, .. } in events {
        insert.values_panic([
            event.tenant.as_str().into(),
            event.id.as_str().into(),
            idempotency_key.clone().into(),
            event.event_type.as_str().into(),
            event.timestamp_ms.into(),
            event.user.as_ref().map(|user| user.as_str().to_owned()).into(),
            event.session.as_ref().map(|session| session.as_str().to_owned()).into(),
            event.key.as_deref().map(str::to_owned).into(),
            event.source.as_deref().map(str::to_owned).into(),
            (*event.data).into(),
            (event.origin == Origin::Own).into(),
        ]);
    }
    insert_new(&mut insert, connection).await
}

/// The event that came first with this id, or with this key. Asked one by one, each by its unique index: together they
/// would be a walk through all of the tenant's events.
async fn first_of(connection: &mut Connection, event: &NewEvent) -> Result<EventId, sqlx::Error> {
    let mut first: Option<(i64, EventId)> = None;
    let by_key = event.idempotency_key.as_deref().map(|key| ("idempotency_key", key));
    for (column, value) in [("id", event.event.id.as_str())].into_iter().chain(by_key) {
        let mut select = Query::select();
        select
            .columns(["seq", "id"])
            .from("jf_events")
            .and_where(Expr::col("tenant_id").eq(event.event.tenant.as_str()))
            .and_where(Expr::col(column).eq(value));
        let rows = fetch(&select, connection).await?;
        let Some(row) = rows.first() else { continue };
        let (seq, id) = (row.get::<i64>("seq")?, row.get::<String>("id")?);
        if let Ok(id) = EventId::parse(&id)
            && first.as_ref().is_none_or(|(earlier, _)| seq < *earlier)
        {
            first = Some((seq, id));
        }
    }
    first.map(|(_, id)| id).ok_or(sqlx::Error::RowNotFound)
}

async fn insert_owed<'a>(
    connection: &mut Connection,
    events: impl Iterator<Item = &'a NewEvent>,
    places: &mut Wanted,
) -> Result<(), sqlx::Error> {
    let owed: Vec<(&Event, &NewDelivery, Option<i64>)> = events
        .flat_map(|new| new.owed.iter().map(|delivery| (&*new.event, delivery)))
        .map(|(event, delivery)| {
            let key = delivery.order_key.as_deref().map(|key| (delivery.webhook, key.to_owned()));
            let place = key.and_then(|key| places.get_mut(&key)).map(|next| {
                *next += 1;
                *next - 1
            });
            (event, delivery, place)
        })
        .collect();
    for piece in pieces(&owed) {
        let mut insert = Query::insert();
        insert.into_table("jf_deliveries").columns([
            "id",
            "tenant_id",
            "webhook_id",
            "event_id",
            "event_type",
            "due_ms",
            "lease_owner",
            "order_key",
            "order_seq",
            "pins",
            "created_ms",
        ]);
        for (event, delivery, place) in piece {
            let waits = delivery.lease_owner.is_none() && place.is_none();
            insert.values_panic([
                delivery.id.as_str().into(),
                event.tenant.as_str().into(),
                delivery.webhook.0.into(),
                event.id.as_str().into(),
                event.event_type.as_str().into(),
                waits.then_some(event.timestamp_ms).into(),
                delivery.lease_owner.as_deref().map(str::to_owned).into(),
                delivery.order_key.as_deref().map(str::to_owned).into(),
                (*place).into(),
                delivery.pins.as_deref().map(str::to_owned).into(),
                event.timestamp_ms.into(),
            ]);
        }
        execute(&insert, connection).await?;
    }
    Ok(())
}

async fn upsert_user_state(
    connection: &mut Connection,
    event: &Event,
    user: &UserId,
    state: &str,
) -> Result<(), sqlx::Error> {
    let mut insert = Query::insert();
    insert
        .into_table("jf_user_states")
        .columns(["tenant_id", "user_id", "state", "at_ms"])
        .values_panic([
            Expr::from(event.tenant.as_str()),
            user.as_str().into(),
            state.into(),
            event.timestamp_ms.into(),
        ])
        .on_conflict(OnConflict::columns(["tenant_id", "user_id"]).update_columns(["state", "at_ms"]).to_owned());
    execute(&insert, connection).await.map(|_| ())
}
