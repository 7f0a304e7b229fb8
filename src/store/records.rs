//! Looking back: deliveries as they stand, attempts, and totals.

use sea_query::{Cond, Expr, ExprTrait, Order, Query, SelectStatement};

use super::{
    Store, StoreError,
    queue::pending_ranges,
    sql::{Dialect, Row, pieces},
};
use crate::event::{DeliveryId, EventId, EventType, TenantId, WebhookId};

/// Of one visit: at most 21 a delivery, unless it was tried again by hand.
const MAX_ATTEMPTS: u64 = 10_000;

/// A delivery as it stands.
#[derive(Debug, Clone)]
pub struct DeliveryInfo {
    pub id: DeliveryId,
    pub webhook: WebhookId,
    pub event_id: EventId,
    pub event_type: EventType,
    pub state: String,
    pub attempts: u32,
    pub reason: Option<String>,
    /// What a chain did that ended it without an attempt, as JSON.
    pub plugins: Option<String>,
    pub order_key: Option<String>,
    /// When it is tried next; none while it is under way, behind its key, or at its end.
    pub due_ms: Option<i64>,
    /// A node holds it: it is under way, or about to be.
    pub is_held: bool,
    pub created_ms: i64,
    pub ended_ms: Option<i64>,
}

/// An attempt as stored.
#[derive(Debug, Clone)]
pub struct AttemptRow {
    pub delivery_id: String,
    pub attempt: u32,
    pub event_id: String,
    pub event_type: String,
    pub state: String,
    pub response_status: Option<i64>,
    pub response_body: Option<String>,
    pub error: Option<String>,
    pub duration_ms: i64,
    pub plugins: String,
    pub at_ms: i64,
    pub next_attempt_at_ms: Option<i64>,
}

/// Where a list of attempts goes on: below the one at this place.
#[derive(Debug, Clone)]
pub struct AttemptCursor {
    pub at_ms: i64,
    pub delivery_id: String,
    pub attempt: i64,
}

#[derive(Debug, Clone, Default)]
pub struct LogQuery {
    pub state: Option<String>,
    pub event_type: Option<String>,
    pub after_ms: Option<i64>,
    pub before_ms: Option<i64>,
    pub cursor: Option<AttemptCursor>,
    pub limit: u64,
}

/// Which of a tenant's dead deliveries are listed.
#[derive(Debug, Clone, Default)]
pub struct FailedQuery {
    pub webhook: Option<i64>,
    pub state: Option<String>,
    pub event_type: Option<String>,
    pub after_ms: Option<i64>,
    pub before_ms: Option<i64>,
    pub cursor: Option<String>,
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
    /// The oldest of those that are pending: its id holds its time.
    pub oldest_pending: Option<DeliveryId>,
    pub last_success_ms: Option<i64>,
    pub last_failure_ms: Option<i64>,
}

impl AttemptRow {
    pub fn cursor(&self) -> AttemptCursor {
        AttemptCursor { at_ms: self.at_ms, delivery_id: self.delivery_id.clone(), attempt: self.attempt.into() }
    }
}

impl std::fmt::Display for AttemptCursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.at_ms, self.delivery_id, self.attempt)
    }
}

impl std::str::FromStr for AttemptCursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('.');
        let (Some(at_ms), Some(id), Some(attempt), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(());
        };
        let delivery_id = DeliveryId::parse(id).map_err(|_| ())?.to_string();
        Ok(Self { at_ms: at_ms.parse().map_err(|_| ())?, delivery_id, attempt: attempt.parse().map_err(|_| ())? })
    }
}

impl Store {
    /// Attempts of a webhook, newest first. Index `jf_attempts_webhook`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn attempts(&self, webhook: WebhookId, query: LogQuery) -> Result<Vec<AttemptRow>, StoreError> {
        let mut select = select_attempts();
        select
            .and_where(Expr::col("webhook_id").eq(webhook.0))
            .order_by("at_ms", Order::Desc)
            .order_by("delivery_id", Order::Desc)
            .order_by("attempt", Order::Desc)
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
        if let Some(AttemptCursor { at_ms, delivery_id, attempt }) = query.cursor {
            let same_delivery = Expr::col("delivery_id").eq(delivery_id.clone()).and(Expr::col("attempt").lt(attempt));
            let same_time =
                Expr::col("at_ms").eq(at_ms).and(Expr::col("delivery_id").lt(delivery_id).or(same_delivery));
            // The bound by itself is what the index is walked from.
            select.and_where(Expr::col("at_ms").lte(at_ms));
            select.cond_where(Cond::any().add(Expr::col("at_ms").lt(at_ms)).add(same_time));
        }
        self.read_all(&select, read_attempt).await
    }

    /// Attempts of deliveries, each one's oldest first. By primary key, many deliveries in one visit.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn attempts_of(&self, deliveries: &[DeliveryId]) -> Result<Vec<AttemptRow>, StoreError> {
        let mut attempts = Vec::new();
        for piece in pieces(deliveries) {
            let mut select = select_attempts();
            select
                .and_where(Expr::col("delivery_id").is_in(piece.iter().map(DeliveryId::as_str)))
                .order_by("delivery_id", Order::Asc)
                .order_by("attempt", Order::Asc)
                .limit(MAX_ATTEMPTS);
            attempts.extend(self.read_all(&select, read_attempt).await?);
        }
        Ok(attempts)
    }

    /// Deliveries that ended badly, newest first. Index `jf_deliveries_failed`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn failed(&self, tenant: &TenantId, query: FailedQuery) -> Result<Vec<DeliveryInfo>, StoreError> {
        let mut select = select_deliveries();
        select
            .and_where(Expr::col("tenant_id").eq(tenant.as_str()))
            .and_where(match self.dialect() {
                Dialect::MySql => Expr::cust("dead = 1"),
                _ => Expr::cust("state IN ('failed', 'plugin_failed')"),
            })
            .order_by("id", Order::Desc)
            .limit(query.limit);
        if let Some(webhook) = query.webhook {
            select.and_where(Expr::col("webhook_id").eq(webhook));
        }
        for (column, value) in [("state", query.state), ("event_type", query.event_type)] {
            if let Some(value) = value {
                select.and_where(Expr::col(column).eq(value));
            }
        }
        if let Some(after) = query.after_ms {
            select.and_where(Expr::col("ended_ms").gte(after));
        }
        if let Some(before) = query.before_ms {
            select.and_where(Expr::col("ended_ms").lt(before));
        }
        if let Some(cursor) = query.cursor {
            select.and_where(Expr::col("id").lt(cursor));
        }
        self.read_all(&select, read_delivery).await
    }

    /// A tenant's delivery. By primary key.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn delivery(&self, tenant: &TenantId, id: &DeliveryId) -> Result<Option<DeliveryInfo>, StoreError> {
        let mut select = select_deliveries();
        select.and_where(Expr::col("id").eq(id.as_str())).and_where(Expr::col("tenant_id").eq(tenant.as_str()));
        Ok(self.read_all(&select, read_delivery).await?.into_iter().next())
    }

    /// The deliveries of one event, oldest first. Index `jf_deliveries_event`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn deliveries_of(&self, tenant: &TenantId, event: &str) -> Result<Vec<DeliveryInfo>, StoreError> {
        let mut select = select_deliveries();
        select
            .and_where(Expr::col("event_id").eq(event))
            .and_where(Expr::col("tenant_id").eq(tenant.as_str()))
            .order_by("id", Order::Asc)
            .limit(1000);
        self.read_all(&select, read_delivery).await
    }

    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn totals(&self, webhook: WebhookId) -> Result<Totals, StoreError> {
        let mut totals = Totals::default();
        let mut select = Query::select();
        select
            .columns(["delivered", "failed", "dropped", "plugin_failed", "cancelled", "retried"])
            .columns(["last_success_ms", "last_failure_ms"])
            .from("jf_webhook_totals")
            .and_where(Expr::col("webhook_id").eq(webhook.0));
        for row in self.read(&select).await? {
            totals.delivered += row.get::<i64>("delivered")?;
            totals.failed += row.get::<i64>("failed")?;
            totals.dropped += row.get::<i64>("dropped")?;
            totals.plugin_failed += row.get::<i64>("plugin_failed")?;
            totals.cancelled += row.get::<i64>("cancelled")?;
            totals.retried += row.get::<i64>("retried")?;
            totals.last_success_ms = Ord::max(totals.last_success_ms, row.get("last_success_ms")?);
            totals.last_failure_ms = Ord::max(totals.last_failure_ms, row.get("last_failure_ms")?);
        }
        for range in pending_ranges(self.dialect(), webhook) {
            let mut pending = Query::select();
            pending
                .expr_as(Expr::cust("COUNT(*)"), "number")
                .expr_as(Expr::cust("MIN(id)"), "oldest")
                .from("jf_deliveries")
                .and_where(range);
            if let Some(row) = self.read(&pending).await?.first() {
                totals.pending += row.get::<i64>("number")?;
                let oldest = row.get::<Option<String>>("oldest")?.and_then(|id| DeliveryId::parse(&id).ok());
                totals.oldest_pending = [totals.oldest_pending.take(), oldest].into_iter().flatten().min();
            }
        }
        Ok(totals)
    }
}

fn select_attempts() -> SelectStatement {
    let mut select = Query::select();
    select
        .columns(["delivery_id", "attempt", "event_id", "event_type", "state", "response_status", "response_body"])
        .columns(["error", "duration_ms", "plugins", "at_ms", "next_attempt_at_ms"])
        .from("jf_attempts");
    select
}

fn select_deliveries() -> SelectStatement {
    let mut select = Query::select();
    select
        .columns(["id", "webhook_id", "event_id", "event_type", "state", "attempts", "reason", "plugins"])
        .columns(["order_key", "due_ms", "lease_owner", "created_ms", "ended_ms"])
        .from("jf_deliveries");
    select
}

fn read_delivery(row: &Row) -> Result<Option<DeliveryInfo>, sqlx::Error> {
    let (Ok(id), Ok(event_id), Ok(event_type)) = (
        DeliveryId::parse(&row.get::<String>("id")?),
        EventId::parse(&row.get::<String>("event_id")?),
        EventType::parse(&row.get::<String>("event_type")?),
    ) else {
        return Ok(None);
    };
    Ok(Some(DeliveryInfo {
        id,
        webhook: WebhookId(row.get("webhook_id")?),
        event_id,
        event_type,
        state: row.get("state")?,
        attempts: row.get_u32("attempts")?,
        reason: row.get("reason")?,
        plugins: row.get("plugins")?,
        order_key: row.get("order_key")?,
        due_ms: row.get("due_ms")?,
        is_held: row.get::<Option<String>>("lease_owner")?.is_some(),
        created_ms: row.get("created_ms")?,
        ended_ms: row.get("ended_ms")?,
    }))
}

fn read_attempt(row: &Row) -> Result<Option<AttemptRow>, sqlx::Error> {
    Ok(Some(AttemptRow {
        delivery_id: row.get("delivery_id")?,
        attempt: row.get_u32("attempt")?,
        event_id: row.get("event_id")?,
        event_type: row.get("event_type")?,
        state: row.get("state")?,
        response_status: row.get("response_status")?,
        response_body: row.get("response_body")?,
        error: row.get("error")?,
        duration_ms: row.get("duration_ms")?,
        plugins: row.get("plugins")?,
        at_ms: row.get("at_ms")?,
        next_attempt_at_ms: row.get("next_attempt_at_ms")?,
    }))
}
