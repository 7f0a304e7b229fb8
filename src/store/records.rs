//! Looking back: attempts, deliveries that have ended, and totals.

use sea_query::{Expr, ExprTrait, Func, Order, Query};
use sqlx::{Row, sqlite::SqliteRow};

use super::{
    Store, StoreError,
    rows::{fetch, leased, unleased},
};
use crate::event::{DeliveryId, EventId, EventType, TenantId, WebhookId};

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
        for range in [unleased(), leased()] {
            let mut pending = Query::select();
            pending
                .expr(Func::count(Expr::col("id")))
                .expr(Func::min(Expr::col("created_ms")))
                .from("jf_deliveries")
                .and_where(range)
                .and_where(Expr::col("webhook_id").eq(webhook.0));
            if let Some(row) = fetch(&pending, &self.readers).await?.first() {
                totals.pending += row.get::<i64, _>(0);
                let oldest = [totals.oldest_pending_ms, row.get(1)];
                totals.oldest_pending_ms = oldest.into_iter().flatten().min();
            }
        }
        Ok(totals)
    }
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
