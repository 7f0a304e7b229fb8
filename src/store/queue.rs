//! The queue: deliveries that are owed, leased to a node while its memory holds them.

use sea_query::{Cond, Expr, ExprTrait, JoinType, Order, Query};

use super::{
    Store, StoreError,
    events::read_event,
    gates, order,
    outcomes::{DeliveryState, LANE_FRESH, LANE_REPLAYS, LANE_RETRIES, StoredBody},
    sql::{Connection, Dialect, Row, execute, fetch, pieces, skip_locked},
    webhooks::as_id,
};
use crate::event::{DeliveryId, Event, WebhookId, now_ms};

/// A delivery as stored, with its event.
#[derive(Debug, Clone)]
pub struct DeliveryRow {
    pub id: DeliveryId,
    pub webhook: WebhookId,
    pub event: Event,
    pub attempts: u32,
    /// Attempts that do not count: those before the last retry by hand or replay.
    pub retry_from: u32,
    pub order_key: Option<String>,
    pub pins: Option<String>,
    pub body: Option<StoredBody>,
    /// Fresh work is served ahead of the rest.
    pub is_fresh: bool,
    /// The rate limit lets it go then, in ms; 0 where there is none.
    pub release_at_ms: i64,
    /// Between two releases, in microseconds: one that is late is not caught up with.
    pub release_gap_us: i64,
}

impl DeliveryRow {
    fn bytes(&self) -> usize {
        self.event.data.len() + self.body.as_ref().map_or(0, |body| body.body.len())
    }
}

/// The earliest moments at which a webhook has something to claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    pub webhook: WebhookId,
    /// Fresh deliveries that memory had no room for.
    pub fresh_ms: Option<i64>,
    /// Retries and replays.
    pub rest_ms: Option<i64>,
}

impl Due {
    /// One delivery that goes back to the table.
    pub fn released(webhook: WebhookId, is_fresh: bool, at_ms: i64) -> Self {
        let (fresh_ms, rest_ms) = if is_fresh { (Some(at_ms), None) } else { (None, Some(at_ms)) };
        Self { webhook, fresh_ms, rest_ms }
    }

    /// Of whatever kind.
    pub fn any(webhook: WebhookId, at_ms: i64) -> Self {
        Self { webhook, fresh_ms: Some(at_ms), rest_ms: Some(at_ms) }
    }

    /// Whether something is due at that moment.
    pub fn is_by(&self, now_ms: i64) -> bool {
        [self.fresh_ms, self.rest_ms].into_iter().flatten().any(|at_ms| at_ms <= now_ms)
    }

    /// As if all of it were due later.
    pub fn not_before(self, at_ms: i64) -> Self {
        let later = |due_ms: i64| std::cmp::max(due_ms, at_ms);
        Self { fresh_ms: self.fresh_ms.map(later), rest_ms: self.rest_ms.map(later), ..self }
    }
}

/// What a node has room for.
#[derive(Debug, Clone)]
pub struct Claim {
    pub webhook: WebhookId,
    pub node: std::sync::Arc<str>,
    pub fresh: usize,
    /// Of retries and replays, of which replays have a third where there are both.
    pub rest: usize,
    /// Of data and stored bodies, but for the last rows.
    pub bytes: usize,
    /// Deliveries a second, over all nodes.
    pub rate_limit: Option<u32>,
}

/// The lanes, as `select_due` names them.
const LANES: [(&str, i64); 3] = [("fresh", LANE_FRESH), ("retries", LANE_RETRIES), ("replays", LANE_REPLAYS)];

/// When the first of a webhook's lanes is due: one look into the index `jf_deliveries_due`.
fn first_of_lane(dialect: Dialect, lane: i64) -> String {
    let waiting = waiting_webhook(dialect);
    format!(
        "(SELECT d.due_ms FROM jf_deliveries d WHERE d.{waiting} = w.id AND d.lane = {lane} AND d.due_ms IS NOT NULL \
         ORDER BY d.due_ms LIMIT 1)"
    )
}

/// The webhook, in the index `jf_deliveries_due`. MySQL's has no condition: the column is null for all that do not wait.
pub(super) fn waiting_webhook(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::MySql => "waiting_webhook",
        _ => "webhook_id",
    }
}

/// The ranges of a webhook's pending deliveries: those that wait, those that a node holds, those behind a key. Each is one
/// of an index; asked for together, the table would be walked.
pub(super) fn pending_ranges(dialect: Dialect, webhook: WebhookId) -> [Expr; 3] {
    let neither = Expr::cust("due_ms IS NULL AND lease_owner IS NULL");
    [
        Expr::col(waiting_webhook(dialect)).eq(webhook.0).and(Expr::col("due_ms").is_not_null()),
        Expr::col("webhook_id").eq(webhook.0).and(Expr::col("lease_owner").is_not_null()),
        Expr::col(order::behind_webhook(dialect)).eq(webhook.0).and(order::is_behind()).and(neither),
    ]
}

impl Store {
    /// Leases deliveries of a webhook that are due, and tells when the next are. Rows that another node is claiming are
    /// left to it.
    ///
    /// # Errors
    /// [`StoreError`]: nothing is leased, or will not be for long.
    pub async fn claim(&self, claim: Claim) -> Result<(Vec<DeliveryRow>, Due), StoreError> {
        self.write_lease(claim, |connection, claim| Box::pin(claim_in(connection, claim))).await
    }

    /// When each webhook has something to claim.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn all_due(&self) -> Result<Vec<Due>, StoreError> {
        let rows = self.read(&select_due(self.dialect())).await?;
        Ok(rows.iter().map(read_due).collect::<Result<_, _>>()?)
    }

    /// Puts back what a node held. Index `jf_deliveries_leased`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn release_leases(&self, node: &str) -> Result<u64, StoreError> {
        self.write(node.to_owned(), |connection, node| Box::pin(release_all_of(connection, node))).await
    }

    /// What stands as held by a node. Index `jf_deliveries_leased`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn leases_of(&self, node: &str) -> Result<Vec<DeliveryId>, StoreError> {
        let mut select = Query::select();
        select.column("id").from("jf_deliveries").and_where(Expr::col("lease_owner").eq(node));
        self.read_all(&select, |row| Ok(DeliveryId::parse(&row.get::<String>("id")?).ok())).await
    }

    /// Puts back some of what a node held.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn release_some(&self, node: &str, ids: Vec<DeliveryId>) -> Result<u64, StoreError> {
        self.write((node.to_owned(), ids), |connection, (node, ids)| {
            Box::pin(async move {
                let mut released = 0;
                for piece in pieces(ids) {
                    let whose = Expr::col("lease_owner")
                        .eq(node.as_str())
                        .and(Expr::col("id").is_in(piece.iter().map(DeliveryId::as_str)));
                    released += release(connection, whose).await?;
                }
                Ok(released)
            })
        })
        .await
    }

    /// Puts back what any node held: on a file that is one server's alone, all of them are dead.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn release_all_leases(&self) -> Result<u64, StoreError> {
        self.write((), |connection, ()| {
            Box::pin(async move { release(connection, Expr::col("lease_owner").is_not_null()).await })
        })
        .await
    }

    /// Cancels a piece of what a deleted webhook was owed; false when nothing was left. Indexes `jf_deliveries_due`,
    /// `jf_deliveries_leased`, `jf_deliveries_order`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn cancel_some_of(&self, webhook: WebhookId) -> Result<bool, StoreError> {
        self.write(webhook, |connection, webhook| {
            Box::pin(async move {
                for range in pending_ranges(connection.dialect(), *webhook) {
                    let mut select = Query::select();
                    select.column("id").from("jf_deliveries").and_where(range).limit(CANCELLED_AT_ONCE);
                    let ids = ids(&fetch(skip_locked(&mut select), connection).await?)?;
                    if !ids.is_empty() {
                        cancel(connection, &ids, "the webhook was deleted").await?;
                        return Ok(true);
                    }
                }
                Ok(false)
            })
        })
        .await
    }

    /// Webhooks that are owed something and are no more: events that another node committed while they were deleted.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn owed_but_gone(&self) -> Result<Vec<WebhookId>, StoreError> {
        let mut select = Query::select();
        select
            .distinct()
            .column(("d", "webhook_id"))
            .from_as("jf_deliveries", "d")
            .join_as(JoinType::LeftJoin, "webhooks", "w", Expr::col(("w", "id")).equals(("d", "webhook_id")))
            .and_where(Expr::col(("d", "due_ms")).is_not_null())
            .and_where(Expr::col(("w", "id")).is_null());
        let rows = self.read(&select).await?;
        Ok(rows.iter().map(|row| row.get("webhook_id").map(WebhookId)).collect::<Result<_, _>>()?)
    }
}

const CANCELLED_AT_ONCE: u64 = 1_000;
/// Rows that a claim reads at once in the beginning.
const FIRST_PIECE: usize = 16;

async fn claim_in(connection: &mut Connection, claim: &Claim) -> Result<(Vec<DeliveryRow>, Due), sqlx::Error> {
    let mut release = match claim.rate_limit {
        Some(rate) => Some(gates::reserve(connection, claim.webhook, rate, claim.fresh + claim.rest).await?),
        None => None,
    };
    let most = release.as_ref().map_or(usize::MAX, gates::Release::len);
    let ids = due_ids(connection, claim, most).await?;
    let mut rows = Vec::with_capacity(ids.len());
    let mut bytes = 0;
    // Small pieces first: each row may be a megabyte, and most are small.
    let (mut left, mut piece) = (ids.as_slice(), FIRST_PIECE);
    while !left.is_empty() && (bytes < claim.bytes || rows.is_empty()) {
        let (now, later) = left.split_at(piece.min(left.len()));
        let leased = lease(connection, now, &claim.node).await?;
        bytes += leased.iter().map(DeliveryRow::bytes).sum::<usize>();
        rows.extend(leased);
        (left, piece) = (later, piece * 2);
    }
    if let Some(release) = &mut release {
        for row in &mut rows {
            row.release_at_ms = release.next_ms();
            row.release_gap_us = release.interval_us();
        }
        release.keep(connection, claim.webhook).await?;
    }
    let mut select = select_due(connection.dialect());
    select.and_where(Expr::col(("w", "id")).eq(claim.webhook.0));
    let due = fetch(&select, connection).await?.first().map(read_due).transpose()?;
    let due = due.unwrap_or(Due { webhook: claim.webhook, fresh_ms: None, rest_ms: None });
    Ok((rows, if let Some(release) = &release { due.not_before(release.look_again_ms()) } else { due }))
}

/// Leases these deliveries, and reads them with their events.
pub(super) async fn lease(
    connection: &mut Connection,
    ids: &[String],
    node: &str,
) -> Result<Vec<DeliveryRow>, sqlx::Error> {
    let mut rows = Vec::with_capacity(ids.len());
    for piece in pieces(ids) {
        let mut lease = Query::update();
        lease
            .table("jf_deliveries")
            .value("lease_owner", node)
            .value("due_ms", Option::<i64>::None)
            .and_where(Expr::col("id").is_in(piece.iter().map(String::as_str)));
        execute(&lease, &mut *connection).await?;
        rows.extend(with_events(&mut *connection, piece).await?);
    }
    if rows.len() < ids.len() {
        // Their event is gone, or another program changed it into none: they can never be sent.
        let read: std::collections::HashSet<&str> = rows.iter().map(|row| row.id.as_str()).collect();
        let unreadable: Vec<String> = ids.iter().filter(|id| !read.contains(id.as_str())).cloned().collect();
        cancel(connection, &unreadable, "its event is gone or cannot be read").await?;
        // Whoever stands behind them must not wait for ever.
        let keys = order::keys_of(connection, &unreadable).await?;
        order::lock(connection, &keys).await?;
        order::promote(connection, &keys).await?;
    }
    rows.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(rows)
}

async fn due_ids(connection: &mut Connection, claim: &Claim, most: usize) -> Result<Vec<String>, sqlx::Error> {
    let now = now_ms();
    let webhook = claim.webhook;
    let rest = claim.rest.min(most);
    let mut ids = due_in(connection, webhook, LANE_RETRIES, rest, now).await?;
    let replays = due_in(connection, webhook, LANE_REPLAYS, rest, now).await?;
    ids.truncate(rest - replays.len().min(rest / 3));
    ids.extend(replays);
    ids.truncate(rest);
    if most < usize::MAX {
        // Of few release times, fresh ones get most.
        ids.truncate(most.div_ceil(4));
    }
    let fresh = due_in(connection, webhook, LANE_FRESH, claim.fresh.min(most - ids.len().min(most)), now).await?;
    ids.extend(fresh);
    Ok(ids)
}

async fn due_in(
    connection: &mut Connection,
    webhook: WebhookId,
    lane: i64,
    limit: usize,
    now: i64,
) -> Result<Vec<String>, sqlx::Error> {
    if limit == 0 {
        return Ok(Vec::new());
    }
    let mut due = Query::select();
    due.column("id")
        .from("jf_deliveries")
        .and_where(Expr::col(waiting_webhook(connection.dialect())).eq(webhook.0))
        .and_where(Expr::col("lane").eq(lane))
        .and_where(Expr::col("due_ms").lte(now))
        .order_by("due_ms", Order::Asc)
        .limit(limit as u64);
    ids(&fetch(skip_locked(&mut due), connection).await?)
}

fn ids(rows: &[Row]) -> Result<Vec<String>, sqlx::Error> {
    rows.iter().map(|row| row.get("id")).collect()
}

fn select_due(dialect: Dialect) -> sea_query::SelectStatement {
    let mut select = Query::select();
    select.expr_as(as_id(dialect, Expr::col(("w", "id"))), "id").from_as("webhooks", "w");
    for (name, lane) in LANES {
        select.expr_as(Expr::cust(first_of_lane(dialect, lane)), name);
    }
    select
}

fn read_due(row: &Row) -> Result<Due, sqlx::Error> {
    let rest = [row.get::<Option<i64>>("retries")?, row.get("replays")?];
    Ok(Due {
        webhook: WebhookId(row.get("id")?),
        fresh_ms: row.get("fresh")?,
        rest_ms: rest.into_iter().flatten().min(),
    })
}

/// Deliveries and replays.
pub(super) async fn release_all_of(connection: &mut Connection, node: &str) -> Result<u64, sqlx::Error> {
    let mut replays = Query::update();
    replays
        .table("jf_replays")
        .value("lease_owner", Option::<String>::None)
        .and_where(Expr::col("lease_owner").eq(node));
    execute(&replays, &mut *connection).await?;
    release(connection, Expr::col("lease_owner").eq(node)).await
}

async fn release(connection: &mut Connection, whose: Expr) -> Result<u64, sqlx::Error> {
    let mut update = Query::update();
    update
        .table("jf_deliveries")
        .value("lease_owner", Option::<String>::None)
        .value("due_ms", now_ms())
        .and_where(whose)
        .and_where(Expr::col("state").eq("pending"));
    execute(&update, connection).await
}

async fn cancel(connection: &mut Connection, ids: &[String], reason: &str) -> Result<(), sqlx::Error> {
    for piece in pieces(ids) {
        let mut cancel = Query::update();
        cancel
            .table("jf_deliveries")
            .value("state", DeliveryState::Cancelled.as_str())
            .value("reason", reason)
            .value("lease_owner", Option::<String>::None)
            .value("due_ms", Option::<i64>::None)
            .value("order_seq", Option::<i64>::None)
            .value("ended_ms", now_ms())
            .and_where(Expr::col("id").is_in(piece.iter().map(String::as_str)));
        execute(&cancel, &mut *connection).await?;
    }
    Ok(())
}

pub(super) fn select_with_events() -> sea_query::SelectStatement {
    let mut select = Query::select();
    select
        .expr_as(Expr::col(("d", "id")), "delivery_id")
        .columns([("d", "webhook_id"), ("d", "attempts"), ("d", "retry_from"), ("d", "pins")])
        .columns([("d", "order_key"), ("d", "lane")])
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
            JoinType::InnerJoin,
            "jf_events",
            "e",
            Cond::all()
                .add(Expr::col(("e", "tenant_id")).equals(("d", "tenant_id")))
                .add(Expr::col(("e", "id")).equals(("d", "event_id"))),
        )
        .join_as(JoinType::LeftJoin, "jf_delivery_bodies", "b", Expr::col(("b", "delivery_id")).equals(("d", "id")));
    select
}

async fn with_events(connection: &mut Connection, ids: &[String]) -> Result<Vec<DeliveryRow>, sqlx::Error> {
    let mut select = select_with_events();
    select.and_where(Expr::col(("d", "id")).is_in(ids.iter().map(String::as_str)));
    let rows = fetch(&select, connection).await?;
    let read: Result<Vec<_>, _> = rows.iter().map(read_delivery).collect();
    Ok(read?.into_iter().flatten().collect())
}

fn read_delivery(row: &Row) -> Result<Option<DeliveryRow>, sqlx::Error> {
    let (Ok(id), Some(event)) = (DeliveryId::parse(&row.get::<String>("delivery_id")?), read_event(row)?) else {
        return Ok(None);
    };
    let body = match row.get::<Option<Vec<u8>>>("body")? {
        Some(body) => Some(StoredBody {
            content_type: row.get("content_type")?,
            headers: row.get("headers")?,
            body: body.into(),
            plugins: row.get("plugins")?,
        }),
        None => None,
    };
    Ok(Some(DeliveryRow {
        id,
        webhook: WebhookId(row.get("webhook_id")?),
        event: event.event,
        attempts: row.get_u32("attempts")?,
        retry_from: row.get_u32("retry_from")?,
        order_key: row.get("order_key")?,
        pins: row.get("pins")?,
        body,
        is_fresh: row.get::<i64>("lane")? == LANE_FRESH,
        release_at_ms: 0,
        release_gap_us: 0,
    }))
}
