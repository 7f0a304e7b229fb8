//! The queue and its record: deliveries, their bodies, attempts and totals.

use std::collections::HashMap;

use sea_query::{Expr, ExprTrait, Func, OnConflict, Order, Query};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::{
    Store, StoreError,
    events::read_event,
    rows::{execute, fetch, pieces},
    writer::Write,
};
use crate::event::{DeliveryId, Event, EventId, EventType, TenantId, WebhookId, now_ms};

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

/// A delivery as stored, with its event.
#[derive(Debug, Clone)]
pub struct DeliveryRow {
    pub id: DeliveryId,
    pub webhook: WebhookId,
    pub event: Event,
    pub attempts: u32,
    pub pins: Option<String>,
    pub body: Option<StoredBody>,
}

/// A delivery that ended badly, for the failed list.
#[derive(Debug, Clone)]
pub struct EndedRow {
    pub id: DeliveryId,
    pub webhook: WebhookId,
    pub event_id: EventId,
    pub event_type: EventType,
    pub state: String,
    pub attempts: u32,
    pub reason: Option<String>,
    pub created_ms: i64,
    pub ended_ms: Option<i64>,
}

/// The earliest moment at which a webhook has something to claim.
#[derive(Debug, Clone, Copy)]
pub struct Due {
    pub webhook: WebhookId,
    pub at_ms: i64,
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
    pub tenant: TenantId,
    pub event_id: EventId,
    pub event_type: EventType,
    /// The fence: written only if no other attempt was recorded since it was claimed.
    pub attempts_before: u32,
    pub attempt: Option<Attempt>,
    /// Of the first recorded attempt, when a chain made it.
    pub body: Option<StoredBody>,
    pub next: Next,
}

/// An attempt as stored.
#[derive(Debug, Clone)]
pub struct AttemptRow {
    pub id: i64,
    pub delivery_id: String,
    pub event_id: String,
    pub event_type: String,
    pub attempt: u32,
    pub state: String,
    pub response_status: Option<u16>,
    pub response_body: Option<String>,
    pub error: Option<String>,
    pub duration_ms: i64,
    pub plugins: String,
    pub at_ms: i64,
    pub next_attempt_at_ms: Option<i64>,
}

#[derive(Debug, Clone, Default)]
pub struct LogQuery {
    pub state: Option<String>,
    pub event_type: Option<String>,
    pub after_ms: Option<i64>,
    pub before_ms: Option<i64>,
    pub cursor: Option<i64>,
    pub limit: u64,
}

#[derive(Debug, Clone, Default)]
pub struct Totals {
    pub delivered: i64,
    pub failed: i64,
    pub dropped: i64,
    pub plugin_failed: i64,
    pub cancelled: i64,
    pub retried: i64,
    pub pending: i64,
    pub oldest_pending_ms: Option<i64>,
    pub last_success_ms: Option<i64>,
    pub last_failure_ms: Option<i64>,
}

impl Store {
    /// Hands an outcome to the next group commit. Waits while the writer's queue is full.
    ///
    /// # Errors
    /// [`StoreError::Closed`]: the server stops; the delivery will be sent again.
    pub async fn record(&self, outcome: Outcome) -> Result<(), StoreError> {
        self.send(Write::Outcome(Box::new(outcome))).await
    }

    /// Leases up to `limit` deliveries of a webhook that are due, oldest first, and tells when the next is.
    /// Index `jf_deliveries_pending`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: nothing is leased.
    pub async fn claim_due(
        &self,
        webhook: WebhookId,
        node: &str,
        limit: usize,
    ) -> Result<(Vec<DeliveryRow>, Option<Due>), StoreError> {
        let node = node.to_owned();
        self.write(move |connection| {
            Box::pin(async move {
                let mut due = Query::select();
                due.column("id")
                    .from("jf_deliveries")
                    .and_where(Expr::col("lease_owner").is_null())
                    .and_where(Expr::col("webhook_id").eq(webhook.0))
                    .and_where(Expr::col("next_at_ms").lte(now_ms()))
                    .and_where(Expr::col("state").eq("pending"))
                    .order_by("next_at_ms", Order::Asc)
                    .limit(limit as u64);
                let ids: Vec<String> =
                    fetch(&due, &mut *connection).await?.iter().map(|row| row.get::<String, _>(0)).collect();
                let mut rows = Vec::with_capacity(ids.len());
                for piece in pieces(&ids) {
                    let mut lease = Query::update();
                    lease
                        .table("jf_deliveries")
                        .value("lease_owner", node.as_str())
                        .and_where(Expr::col("id").is_in(piece.iter().map(String::as_str)));
                    execute(&lease, &mut *connection).await?;
                    rows.extend(with_events(&mut *connection, piece).await?);
                }
                rows.sort_by(|a, b| a.id.cmp(&b.id));
                let next = next_due(&mut *connection, webhook).await?;
                Ok((rows, next))
            })
        })
        .await
    }

    /// When each webhook has something to claim. Index `jf_deliveries_pending`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn all_due(&self) -> Result<Vec<Due>, StoreError> {
        let mut select = Query::select();
        select
            .column("webhook_id")
            .expr(Func::min(Expr::col("next_at_ms")))
            .from("jf_deliveries")
            .and_where(Expr::col("lease_owner").is_null())
            .and_where(Expr::col("state").eq("pending"))
            .group_by_col("webhook_id");
        let rows = fetch(&select, &self.readers).await?;
        Ok(rows.iter().map(|row| Due { webhook: WebhookId(row.get(0)), at_ms: row.get(1) }).collect())
    }

    /// Puts back what a server that is no more held: it can only have been on this file. Index `jf_deliveries_pending`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn release_all_leases(&self) -> Result<u64, StoreError> {
        self.write(move |connection| {
            Box::pin(async move {
                let mut update = Query::update();
                update
                    .table("jf_deliveries")
                    .value("lease_owner", Option::<String>::None)
                    .and_where(Expr::col("lease_owner").is_not_null())
                    .and_where(Expr::col("state").eq("pending"));
                execute(&update, connection).await
            })
        })
        .await
    }

    /// Attempts of a webhook, newest first. Index `jf_attempts_webhook`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn attempts(&self, webhook: WebhookId, query: LogQuery) -> Result<Vec<AttemptRow>, StoreError> {
        let mut select = Query::select();
        select
            .columns(["id", "delivery_id", "event_id", "event_type", "attempt", "state", "response_status"])
            .columns(["response_body", "error", "duration_ms", "plugins", "at_ms", "next_attempt_at_ms"])
            .from("jf_attempts")
            .and_where(Expr::col("webhook_id").eq(webhook.0))
            .order_by("id", Order::Desc)
            .limit(query.limit);
        for (column, value) in [("state", query.state), ("event_type", query.event_type)] {
            if let Some(value) = value {
                select.and_where(Expr::col(column).eq(value));
            }
        }
        if let Some(after) = query.after_ms {
            select.and_where(Expr::col("at_ms").gte(after));
        }
        if let Some(before) = query.before_ms {
            select.and_where(Expr::col("at_ms").lt(before));
        }
        if let Some(cursor) = query.cursor {
            select.and_where(Expr::col("id").lt(cursor));
        }
        Ok(fetch(&select, &self.readers).await?.iter().map(read_attempt).collect())
    }

    /// Deliveries that ended badly, newest first. Index `jf_deliveries_failed`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn failed(
        &self,
        tenant: &TenantId,
        cursor: Option<&str>,
        limit: u64,
    ) -> Result<Vec<EndedRow>, StoreError> {
        let mut select = select_ended();
        select
            .and_where(Expr::col("tenant_id").eq(tenant.as_str()))
            .and_where(Expr::cust("state IN ('failed', 'plugin_failed')"))
            .order_by("id", Order::Desc)
            .limit(limit);
        if let Some(cursor) = cursor {
            select.and_where(Expr::col("id").lt(cursor));
        }
        Ok(fetch(&select, &self.readers).await?.iter().filter_map(read_ended).collect())
    }

    /// The deliveries of one event, oldest first. Index `jf_deliveries_event`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn deliveries_of(&self, tenant: &TenantId, event: &str) -> Result<Vec<EndedRow>, StoreError> {
        let mut select = select_ended();
        select
            .and_where(Expr::col("event_id").eq(event))
            .and_where(Expr::col("tenant_id").eq(tenant.as_str()))
            .order_by("id", Order::Asc)
            .limit(1000);
        Ok(fetch(&select, &self.readers).await?.iter().filter_map(read_ended).collect())
    }

    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn totals(&self, webhook: WebhookId) -> Result<Totals, StoreError> {
        let mut select = Query::select();
        select
            .columns(["delivered", "failed", "dropped", "plugin_failed", "cancelled", "retried"])
            .columns(["last_success_ms", "last_failure_ms"])
            .from("jf_webhook_totals")
            .and_where(Expr::col("webhook_id").eq(webhook.0));
        let mut totals = fetch(&select, &self.readers)
            .await?
            .first()
            .map(|row| Totals {
                delivered: row.get(0),
                failed: row.get(1),
                dropped: row.get(2),
                plugin_failed: row.get(3),
                cancelled: row.get(4),
                retried: row.get(5),
                last_success_ms: row.get(6),
                last_failure_ms: row.get(7),
                ..Totals::default()
            })
            .unwrap_or_default();
        // Leased and unleased are two ranges of the index `jf_deliveries_pending`.
        let mut pending = Query::select();
        pending
            .expr(Func::count(Expr::col("id")))
            .expr(Func::min(Expr::col("created_ms")))
            .from("jf_deliveries")
            .and_where(Expr::col("webhook_id").eq(webhook.0))
            .and_where(Expr::cust("state = 'pending'"));
        if let Some(row) = fetch(&pending, &self.readers).await?.first() {
            totals.pending = row.get(0);
            totals.oldest_pending_ms = row.get(1);
        }
        Ok(totals)
    }
}

async fn next_due(connection: &mut SqliteConnection, webhook: WebhookId) -> Result<Option<Due>, sqlx::Error> {
    let mut select = Query::select();
    select
        .expr(Func::min(Expr::col("next_at_ms")))
        .from("jf_deliveries")
        .and_where(Expr::col("lease_owner").is_null())
        .and_where(Expr::col("webhook_id").eq(webhook.0))
        .and_where(Expr::cust("state = 'pending'"));
    let rows = fetch(&select, connection).await?;
    Ok(rows.first().and_then(|row| row.get::<Option<i64>, _>(0)).map(|at_ms| Due { webhook, at_ms }))
}

async fn with_events(connection: &mut SqliteConnection, ids: &[String]) -> Result<Vec<DeliveryRow>, sqlx::Error> {
    let mut select = Query::select();
    select
        .expr_as(Expr::col(("d", "id")), "delivery_id")
        .columns([("d", "webhook_id"), ("d", "attempts"), ("d", "pins")])
        .columns([("e", "seq"), ("e", "id"), ("e", "type"), ("e", "tenant_id"), ("e", "timestamp_ms")])
        .columns([
            ("e", "user_id"),
            ("e", "session_id"),
            ("e", "event_key"),
            ("e", "source"),
            ("e", "data"),
            ("e", "own"),
        ])
        .columns([("b", "content_type"), ("b", "headers"), ("b", "body"), ("b", "plugins")])
        .from_as("jf_deliveries", "d")
        .join_as(
            sea_query::JoinType::InnerJoin,
            "jf_events",
            "e",
            Expr::col(("e", "tenant_id"))
                .equals(("d", "tenant_id"))
                .and(Expr::col(("e", "id")).equals(("d", "event_id"))),
        )
        .join_as(
            sea_query::JoinType::LeftJoin,
            "jf_delivery_bodies",
            "b",
            Expr::col(("b", "delivery_id")).equals(("d", "id")),
        )
        .and_where(Expr::col(("d", "id")).is_in(ids.iter().map(String::as_str)));
    Ok(fetch(&select, connection).await?.iter().filter_map(read_delivery).collect())
}

fn read_delivery(row: &SqliteRow) -> Option<DeliveryRow> {
    Some(DeliveryRow {
        id: DeliveryId::parse(row.get("delivery_id")).ok()?,
        webhook: WebhookId(row.get("webhook_id")),
        event: read_event(row)?.event,
        attempts: row.get("attempts"),
        pins: row.get("pins"),
        body: row.get::<Option<Vec<u8>>, _>("body").map(|body| StoredBody {
            content_type: row.get("content_type"),
            headers: row.get("headers"),
            body: body.into(),
            plugins: row.get("plugins"),
        }),
    })
}

fn select_ended() -> sea_query::SelectStatement {
    let mut select = Query::select();
    select
        .columns(["id", "webhook_id", "event_id", "event_type", "state", "attempts", "reason"])
        .columns(["created_ms", "ended_ms"])
        .from("jf_deliveries");
    select
}

fn read_ended(row: &SqliteRow) -> Option<EndedRow> {
    Some(EndedRow {
        id: DeliveryId::parse(row.get(0)).ok()?,
        webhook: WebhookId(row.get(1)),
        event_id: EventId::parse(row.get(2)).ok()?,
        event_type: EventType::parse(row.get(3)).ok()?,
        state: row.get(4),
        attempts: row.get(5),
        reason: row.get(6),
        created_ms: row.get(7),
        ended_ms: row.get(8),
    })
}

fn read_attempt(row: &SqliteRow) -> AttemptRow {
    AttemptRow {
        id: row.get(0),
        delivery_id: row.get(1),
        event_id: row.get(2),
        event_type: row.get(3),
        attempt: row.get(4),
        state: row.get(5),
        response_status: row.get(6),
        response_body: row.get(7),
        error: row.get(8),
        duration_ms: row.get(9),
        plugins: row.get(10),
        at_ms: row.get(11),
        next_attempt_at_ms: row.get(12),
    }
}

/// Writes a batch of outcomes: bodies and attempts in few inserts, the common ends in few updates.
pub(super) async fn record(connection: &mut SqliteConnection, outcomes: &[Outcome]) -> Result<(), sqlx::Error> {
    if outcomes.is_empty() {
        return Ok(());
    }
    insert_bodies(connection, outcomes).await?;
    insert_attempts(connection, outcomes).await?;
    end_deliveries(connection, outcomes).await?;
    for outcome in outcomes {
        put_back(connection, outcome).await?;
    }
    add_totals(connection, outcomes).await
}

async fn insert_bodies(connection: &mut SqliteConnection, outcomes: &[Outcome]) -> Result<(), sqlx::Error> {
    let bodies: Vec<(&DeliveryId, &StoredBody)> =
        outcomes.iter().filter_map(|outcome| Some((&outcome.delivery, outcome.body.as_ref()?))).collect();
    for piece in pieces(&bodies) {
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
        insert.on_conflict(OnConflict::new().do_nothing().to_owned());
        execute(&insert, &mut *connection).await?;
    }
    Ok(())
}

async fn insert_attempts(connection: &mut SqliteConnection, outcomes: &[Outcome]) -> Result<(), sqlx::Error> {
    let attempts: Vec<(&Outcome, &Attempt)> =
        outcomes.iter().filter_map(|outcome| Some((outcome, outcome.attempt.as_ref()?))).collect();
    for piece in pieces(&attempts) {
        let mut insert = Query::insert();
        insert.into_table("jf_attempts").columns([
            "delivery_id",
            "tenant_id",
            "webhook_id",
            "event_id",
            "event_type",
            "attempt",
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
                outcome.tenant.as_str().into(),
                outcome.webhook.0.into(),
                outcome.event_id.as_str().into(),
                outcome.event_type.as_str().into(),
                (outcome.attempts_before + 1).into(),
                (if attempt.succeeded { "succeeded" } else { "failed" }).into(),
                attempt.response_status.into(),
                attempt.response_body.clone().into(),
                attempt.error.clone().into(),
                i64::try_from(attempt.duration_ms).unwrap_or(i64::MAX).into(),
                attempt.plugins.as_str().into(),
                attempt.at_ms.into(),
                next_at.into(),
            ]);
        }
        execute(&insert, &mut *connection).await?;
    }
    Ok(())
}

async fn end_deliveries(connection: &mut SqliteConnection, outcomes: &[Outcome]) -> Result<(), sqlx::Error> {
    let mut ended: HashMap<(DeliveryState, Option<&str>, u32, bool), Vec<&str>> = HashMap::new();
    for outcome in outcomes {
        if let Next::End { state, reason } = &outcome.next {
            let key = (*state, reason.as_deref(), outcome.attempts_before, outcome.attempt.is_some());
            ended.entry(key).or_default().push(outcome.delivery.as_str());
        }
    }
    let now = now_ms();
    for ((state, reason, attempts_before, attempted), ids) in ended {
        for piece in pieces(&ids) {
            let mut update = Query::update();
            update
                .table("jf_deliveries")
                .value("state", state.as_str())
                .value("reason", reason.map(str::to_owned))
                .value("attempts", attempts_before + u32::from(attempted))
                .value("lease_owner", Option::<String>::None)
                .value("ended_ms", now)
                .and_where(Expr::col("id").is_in(piece.iter().copied()))
                .and_where(Expr::col("attempts").eq(attempts_before))
                .and_where(Expr::col("state").eq("pending"));
            execute(&update, &mut *connection).await?;
        }
    }
    Ok(())
}

async fn put_back(connection: &mut SqliteConnection, outcome: &Outcome) -> Result<(), sqlx::Error> {
    let at_ms = match outcome.next {
        Next::Retry { at_ms } | Next::Release { at_ms } => at_ms,
        Next::End { .. } => return Ok(()),
    };
    let mut update = Query::update();
    update
        .table("jf_deliveries")
        .value("attempts", outcome.attempts_before + u32::from(outcome.attempt.is_some()))
        .value("next_at_ms", at_ms)
        .value("lease_owner", Option::<String>::None)
        .and_where(Expr::col("id").eq(outcome.delivery.as_str()))
        .and_where(Expr::col("attempts").eq(outcome.attempts_before))
        .and_where(Expr::col("state").eq("pending"));
    execute(&update, connection).await.map(|_| ())
}

async fn add_totals(connection: &mut SqliteConnection, outcomes: &[Outcome]) -> Result<(), sqlx::Error> {
    let mut sums: HashMap<WebhookId, Totals> = HashMap::new();
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
    for (webhook, totals) in sums {
        let counters = ["delivered", "failed", "dropped", "plugin_failed", "cancelled", "retried"];
        let mut on_conflict = OnConflict::column("webhook_id");
        for name in counters {
            on_conflict.value(name, Expr::col(("jf_webhook_totals", name)).add(Expr::col(("excluded", name))));
        }
        for name in ["last_success_ms", "last_failure_ms"] {
            on_conflict
                .value(name, Func::coalesce([Expr::col(("excluded", name)), Expr::col(("jf_webhook_totals", name))]));
        }
        let mut insert = Query::insert();
        insert
            .into_table("jf_webhook_totals")
            .columns(["webhook_id", "last_success_ms", "last_failure_ms"].into_iter().chain(counters))
            .values_panic([
                webhook.0.into(),
                totals.last_success_ms.into(),
                totals.last_failure_ms.into(),
                totals.delivered.into(),
                totals.failed.into(),
                totals.dropped.into(),
                totals.plugin_failed.into(),
                totals.cancelled.into(),
                totals.retried.into(),
            ])
            .on_conflict(on_conflict);
        execute(&insert, &mut *connection).await?;
    }
    Ok(())
}
