//! What becomes of deliveries: recorded in batches with the group commit, each fenced by the attempt it follows.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use sea_query::{Expr, ExprTrait, Func, OnConflict, Query};
use tokio::sync::oneshot;

use super::{
    Store, StoreError,
    link::PATIENCE,
    records::Totals,
    sql::{Connection, by_id, execute, fetch, insert_new, pieces, text},
    writer::Write,
};
use crate::event::{DeliveryId, EventId, EventType, WebhookId, now_ms};

/// Fresh work is claimed ahead of retries, and retries ahead of replays, each with its share.
pub(super) const LANE_FRESH: i64 = 0;
pub(super) const LANE_RETRIES: i64 = 1;
pub(super) const LANE_REPLAYS: i64 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeliveryState {
    Pending,
    Delivered,
    Failed,
    Dropped,
    PluginFailed,
    Cancelled,
}

impl DeliveryState {
    pub const ALL: [Self; 6] =
        [Self::Pending, Self::Delivered, Self::Failed, Self::Dropped, Self::PluginFailed, Self::Cancelled];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Dropped => "dropped",
            Self::PluginFailed => "plugin_failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// What a chain made of an event: sent on every attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBody {
    pub content_type: String,
    /// A JSON array of `[name, value]`.
    pub headers: String,
    pub body: bytes::Bytes,
    /// A JSON array of what the event went through.
    pub plugins: String,
}

/// One POST, as it went.
#[derive(Debug, Clone)]
pub struct Attempt {
    pub succeeded: bool,
    pub response_status: Option<u16>,
    pub response_body: Option<String>,
    pub error: Option<String>,
    pub duration_ms: u64,
    pub plugins: String,
    pub at_ms: i64,
}

/// What becomes of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    End {
        state: DeliveryState,
        reason: Option<String>,
        /// What a chain did that ended it without an attempt, as JSON.
        plugins: Option<String>,
    },
    Retry {
        at_ms: i64,
    },
    /// Ours, not the receiver's, to answer for: put back without counting.
    Release {
        at_ms: i64,
    },
}

/// What happened to a delivery that was held in memory.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub delivery: DeliveryId,
    pub webhook: WebhookId,
    pub event_id: EventId,
    pub event_type: EventType,
    /// Whose lease it was.
    pub node: Arc<str>,
    /// Where the webhook wants order: the next one of the key may go when this one ends.
    pub order_key: Option<Arc<str>>,
    /// The fence: it is written only if no other attempt was recorded since it was claimed.
    pub attempts_before: u32,
    pub attempt: Option<Attempt>,
    /// Of the first recorded attempt, when a chain made it.
    pub body: Option<StoredBody>,
    pub next: Next,
}

impl Store {
    /// Hands an outcome to the next group commit. Waits while the writer's queue is full.
    ///
    /// # Errors
    /// [`StoreError::Closed`]: the server stops; the delivery will be sent again.
    pub async fn record(&self, outcome: Outcome) -> Result<(), StoreError> {
        self.send(Write::Outcome(Box::new(outcome), None)).await
    }

    /// As [`Store::record`], and waits until it is written: what depends on it can be claimed then.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub async fn record_and_wait(&self, outcome: Outcome) -> Result<(), StoreError> {
        let (told, written) = oneshot::channel();
        self.send(Write::Outcome(Box::new(outcome), Some(told))).await?;
        written.await.map_err(|_| StoreError::Closed)
    }

    /// Waits until all that was handed to the writer before is written.
    ///
    /// # Errors
    /// [`StoreError`]: some of it may not be.
    pub async fn flush(&self) -> Result<(), StoreError> {
        let (told, written) = oneshot::channel();
        self.send(Write::Flush(told)).await?;
        match tokio::time::timeout(PATIENCE, written).await {
            Ok(written) => written.map_err(|_| StoreError::Closed),
            Err(_) => Err(StoreError::Unavailable("outcomes could not be written in time".to_owned())),
        }
    }
}

impl Outcome {
    fn attempts_after(&self) -> u32 {
        self.attempts_before + u32::from(self.attempt.is_some())
    }

    pub(super) fn ends(&self) -> bool {
        matches!(self.next, Next::End { .. })
    }
}

/// Writes a batch of outcomes, each fenced by the attempt that it follows. False: some came too late, and nobody can tell
/// which; the transaction is to be begun anew with [`in_time`] alone, so that what is written twice counts once.
pub(super) async fn record(connection: &mut Connection, outcomes: &[&Outcome], slot: i64) -> Result<bool, sqlx::Error> {
    if outcomes.is_empty() {
        return Ok(true);
    }
    let mut touched = end_deliveries(connection, outcomes).await?;
    touched += put_back(connection, outcomes).await?;
    if touched != outcomes.len() as u64 {
        return Ok(false);
    }
    insert_bodies(connection, outcomes).await?;
    insert_attempts(connection, outcomes).await?;
    add_totals(connection, outcomes, slot).await?;
    Ok(true)
}

/// Locks the deliveries and tells which outcomes their fences let pass: of two of one delivery, the first.
pub(super) async fn in_time<'a>(
    connection: &mut Connection,
    outcomes: &'a [Outcome],
) -> Result<Vec<&'a Outcome>, sqlx::Error> {
    let mut ids: Vec<&str> = outcomes.iter().map(|outcome| outcome.delivery.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    let mut pending: HashMap<String, (u32, Option<String>)> = HashMap::new();
    for piece in pieces(&ids) {
        let mut select = Query::select();
        select
            .columns(["id", "attempts", "lease_owner"])
            .from("jf_deliveries")
            .and_where(Expr::col("id").is_in(piece.iter().copied()))
            .and_where(Expr::col("state").eq("pending"))
            .lock_exclusive();
        for row in fetch(&select, &mut *connection).await? {
            pending.insert(row.get("id")?, (row.get_u32("attempts")?, row.get("lease_owner")?));
        }
    }
    let mut passes = |outcome: &&Outcome| {
        let id = outcome.delivery.as_str();
        let stands = pending.get(id).is_some_and(|(attempts, owner)| {
            let owned = !matches!(outcome.next, Next::Release { .. }) || owner.as_deref() == Some(&*outcome.node);
            *attempts == outcome.attempts_before && owned
        });
        if stands {
            pending.remove(id);
        } else {
            tracing::debug!(delivery.id = %id, "the outcome of delivery {id} came after a newer one and is left out");
        }
        stands
    };
    Ok(outcomes.iter().filter(|outcome| passes(outcome)).collect())
}

async fn insert_bodies(connection: &mut Connection, outcomes: &[&Outcome]) -> Result<(), sqlx::Error> {
    let bodies: Vec<(&DeliveryId, &StoredBody)> =
        outcomes.iter().filter_map(|outcome| Some((&outcome.delivery, outcome.body.as_ref()?))).collect();
    // Each may be a megabyte.
    for piece in bodies.chunks(4) {
        let mut insert = Query::insert();
        insert.into_table("jf_delivery_bodies").columns(["delivery_id", "content_type", "headers", "body", "plugins"]);
        for (id, body) in piece {
            insert.values_panic([
                id.as_str().into(),
                body.content_type.as_str().into(),
                body.headers.as_str().into(),
                body.body.to_vec().into(),
                body.plugins.as_str().into(),
            ]);
        }
        insert_new(&mut insert, &mut *connection).await?;
    }
    Ok(())
}

async fn insert_attempts(connection: &mut Connection, outcomes: &[&Outcome]) -> Result<(), sqlx::Error> {
    let attempts: Vec<(&Outcome, &Attempt)> =
        outcomes.iter().filter_map(|outcome| Some((*outcome, outcome.attempt.as_ref()?))).collect();
    for piece in pieces(&attempts) {
        let mut insert = Query::insert();
        insert.into_table("jf_attempts").columns([
            "delivery_id",
            "attempt",
            "webhook_id",
            "event_id",
            "event_type",
            "state",
            "response_status",
            "response_body",
            "error",
            "duration_ms",
            "plugins",
            "at_ms",
            "next_attempt_at_ms",
        ]);
        for (outcome, attempt) in piece {
            let next_at = match outcome.next {
                Next::Retry { at_ms } => Some(at_ms),
                _ => None,
            };
            insert.values_panic([
                outcome.delivery.as_str().into(),
                i64::from(outcome.attempts_after()).into(),
                outcome.webhook.0.into(),
                outcome.event_id.as_str().into(),
                outcome.event_type.as_str().into(),
                (if attempt.succeeded { "succeeded" } else { "failed" }).into(),
                attempt.response_status.map(i64::from).into(),
                attempt.response_body.as_deref().map(text).into(),
                attempt.error.as_deref().map(text).into(),
                i64::try_from(attempt.duration_ms).unwrap_or(i64::MAX).into(),
                attempt.plugins.as_str().into(),
                attempt.at_ms.into(),
                next_at.into(),
            ]);
        }
        insert_new(&mut insert, &mut *connection).await?;
    }
    Ok(())
}

async fn end_deliveries(connection: &mut Connection, outcomes: &[&Outcome]) -> Result<u64, sqlx::Error> {
    type Same<'a> = (DeliveryState, Option<&'a str>, Option<&'a str>, u32, u32);
    let mut ended: HashMap<Same, Vec<&str>> = HashMap::new();
    for outcome in outcomes {
        if let Next::End { state, reason, plugins } = &outcome.next {
            let key =
                (*state, reason.as_deref(), plugins.as_deref(), outcome.attempts_before, outcome.attempts_after());
            ended.entry(key).or_default().push(outcome.delivery.as_str());
        }
    }
    let now = now_ms();
    let mut touched = 0;
    for ((state, reason, plugins, before, after), mut ids) in ended {
        // In one order on every node, so that two that end the same ones do not wait in a circle.
        ids.sort_unstable();
        for piece in pieces(&ids) {
            let mut update = Query::update();
            update
                .table("jf_deliveries")
                .value("state", state.as_str())
                .value("reason", reason.map(text))
                .value("plugins", plugins.map(text))
                .value("attempts", i64::from(after))
                .value("lease_owner", Option::<String>::None)
                .value("due_ms", Option::<i64>::None)
                .value("order_seq", Option::<i64>::None)
                .value("ended_ms", now)
                .and_where(Expr::col("id").is_in(piece.iter().copied()))
                .and_where(Expr::col("attempts").eq(i64::from(before)))
                .and_where(Expr::col("state").eq("pending"));
            touched += execute(&update, &mut *connection).await?;
        }
    }
    Ok(touched)
}

/// Retries and releases, many in one update. A release is fenced by the lease too: it counts nothing, so that the number
/// of attempts does not tell whether another node has taken it since.
async fn put_back(connection: &mut Connection, outcomes: &[&Outcome]) -> Result<u64, sqlx::Error> {
    type Same<'a> = (u32, u32, Option<&'a str>);
    let mut back: HashMap<Same, Vec<(&str, i64)>> = HashMap::new();
    for outcome in outcomes {
        let (at_ms, owner) = match outcome.next {
            Next::Retry { at_ms } => (at_ms, None),
            Next::Release { at_ms } => (at_ms, Some(&*outcome.node)),
            Next::End { .. } => continue,
        };
        let same = (outcome.attempts_before, outcome.attempts_after(), owner);
        back.entry(same).or_default().push((outcome.delivery.as_str(), at_ms));
    }
    let mut touched = 0;
    for ((before, after, owner), mut rows) in back {
        rows.sort_unstable();
        for piece in pieces(&rows) {
            let mut update = Query::update();
            update
                .table("jf_deliveries")
                .value("attempts", i64::from(after))
                .value("due_ms", by_id(piece.iter().copied()))
                .value("lease_owner", Option::<String>::None)
                .and_where(Expr::col("id").is_in(piece.iter().map(|(id, _)| *id)))
                .and_where(Expr::col("attempts").eq(i64::from(before)))
                .and_where(Expr::col("state").eq("pending"));
            match owner {
                Some(owner) => update.and_where(Expr::col("lease_owner").eq(owner)),
                None => update.value("lane", LANE_RETRIES),
            };
            touched += execute(&update, &mut *connection).await?;
        }
    }
    Ok(touched)
}

async fn add_totals(connection: &mut Connection, outcomes: &[&Outcome], slot: i64) -> Result<(), sqlx::Error> {
    let mut sums: BTreeMap<WebhookId, Totals> = BTreeMap::new();
    for outcome in outcomes {
        let totals = sums.entry(outcome.webhook).or_default();
        match &outcome.next {
            Next::End { state, .. } => match state {
                DeliveryState::Delivered => totals.delivered += 1,
                DeliveryState::Failed => totals.failed += 1,
                DeliveryState::Dropped => totals.dropped += 1,
                DeliveryState::PluginFailed => totals.plugin_failed += 1,
                DeliveryState::Cancelled => totals.cancelled += 1,
                DeliveryState::Pending => {}
            },
            Next::Retry { .. } => totals.retried += 1,
            Next::Release { .. } => {}
        }
        if let Some(attempt) = &outcome.attempt {
            let last = if attempt.succeeded { &mut totals.last_success_ms } else { &mut totals.last_failure_ms };
            *last = Ord::max(*last, Some(attempt.at_ms));
        }
    }
    write_totals(connection, sums, slot).await
}

/// Deliveries that left an end to be delivered again: they count where they end next.
pub(super) async fn take_from_totals(
    connection: &mut Connection,
    webhook: WebhookId,
    state: &str,
    count: i64,
    slot: i64,
) -> Result<(), sqlx::Error> {
    let mut totals = Totals::default();
    match DeliveryState::ALL.into_iter().find(|known| known.as_str() == state) {
        Some(DeliveryState::Delivered) => totals.delivered = -count,
        Some(DeliveryState::Failed) => totals.failed = -count,
        Some(DeliveryState::Dropped) => totals.dropped = -count,
        Some(DeliveryState::PluginFailed) => totals.plugin_failed = -count,
        Some(DeliveryState::Cancelled) => totals.cancelled = -count,
        Some(DeliveryState::Pending) | None => return Ok(()),
    }
    write_totals(connection, BTreeMap::from([(webhook, totals)]), slot).await
}

async fn write_totals(
    connection: &mut Connection,
    sums: BTreeMap<WebhookId, Totals>,
    slot: i64,
) -> Result<(), sqlx::Error> {
    let dialect = connection.dialect();
    let sums: Vec<_> = sums.into_iter().collect();
    for piece in pieces(&sums) {
        let counters = ["delivered", "failed", "dropped", "plugin_failed", "cancelled", "retried"];
        let old = |name: &'static str| Expr::col(("jf_webhook_totals", name));
        let mut on_conflict = OnConflict::columns(["webhook_id", "slot"]);
        for name in counters {
            on_conflict.value(name, old(name).add(dialect.excluded(name)));
        }
        for name in ["last_success_ms", "last_failure_ms"] {
            on_conflict.value(name, Func::coalesce([dialect.excluded(name), old(name)]));
        }
        let mut insert = Query::insert();
        insert
            .into_table("jf_webhook_totals")
            .columns(["webhook_id", "slot", "last_success_ms", "last_failure_ms"].into_iter().chain(counters));
        for (webhook, totals) in piece {
            insert.values_panic([
                webhook.0.into(),
                slot.into(),
                totals.last_success_ms.into(),
                totals.last_failure_ms.into(),
                totals.delivered.into(),
                totals.failed.into(),
                totals.dropped.into(),
                totals.plugin_failed.into(),
                totals.cancelled.into(),
                totals.retried.into(),
            ]);
        }
        insert.on_conflict(on_conflict);
        execute(&insert, &mut *connection).await?;
    }
    Ok(())
}
