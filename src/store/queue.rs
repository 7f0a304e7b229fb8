//! The queue: deliveries that are owed, leased to a node while its memory holds them.

use sea_query::{Expr, ExprTrait, Func, Order, Query};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::{
    Store, StoreError,
    events::read_event,
    outcomes::StoredBody,
    rows::{execute, fetch, pieces},
};
use crate::event::{DeliveryId, Event, WebhookId, now_ms};

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

/// The earliest moment at which a webhook has something to claim.
#[derive(Debug, Clone, Copy)]
pub struct Due {
    pub webhook: WebhookId,
    pub at_ms: i64,
}

impl Store {
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
                if rows.len() < ids.len() {
                    cancel_unreadable(&mut *connection, &ids, &rows).await?;
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
}

/// Deliveries whose event is gone or was changed into none by another program: they can never be sent, and must not be
/// leased for ever.
async fn cancel_unreadable(
    connection: &mut SqliteConnection,
    ids: &[String],
    rows: &[DeliveryRow],
) -> Result<(), sqlx::Error> {
    let read: std::collections::HashSet<&str> = rows.iter().map(|row| row.id.as_str()).collect();
    let unreadable: Vec<&str> = ids.iter().map(String::as_str).filter(|id| !read.contains(id)).collect();
    for piece in pieces(&unreadable) {
        let mut cancel = Query::update();
        cancel
            .table("jf_deliveries")
            .value("state", "cancelled")
            .value("reason", "its event is gone or cannot be read")
            .value("ended_ms", now_ms())
            .and_where(Expr::col("id").is_in(piece.iter().copied()));
        execute(&cancel, &mut *connection).await?;
    }
    Ok(())
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
