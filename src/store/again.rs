//! Delivering again: one delivery by hand, or many by a replay. The row is the same, so its id, which a receiver tells
//! repeats by, stays.

use sea_query::{Cond, Expr, ExprTrait, JoinType, Order, Query, UpdateStatement};

use super::{
    Store, StoreError,
    order::{self, Wanted},
    outcomes::{LANE_REPLAYS, take_from_totals},
    queue::{DeliveryRow, lease},
    sql::{Connection, Row, by_id, execute, fetch, pieces, skip_locked},
};
use crate::event::{DeliveryId, TenantId, WebhookId, now_ms};

/// What became of the wish to deliver again.
#[derive(Debug)]
pub enum Again {
    /// This node holds it now.
    Held(Box<DeliveryRow>),
    /// It waits behind others of its key, and goes when they have ended.
    Behind,
    /// It is under way already.
    UnderWay,
    /// Its event is not kept any more.
    EventGone,
    Unknown,
}

/// Which deliveries of a webhook a replay takes.
#[derive(Debug, Clone)]
pub struct ReplayFilter {
    pub webhook: WebhookId,
    /// Created at or after, and before, ms.
    pub since_ms: i64,
    pub until_ms: i64,
    pub states: Vec<String>,
    /// Exact types, and prefixes with their dot; none takes all.
    pub exact: Vec<String>,
    pub below: Vec<String>,
    pub all_types: bool,
}

/// A persisted job.
#[derive(Debug, Clone)]
pub struct ReplayRow {
    pub id: String,
    pub tenant: String,
    pub webhook: WebhookId,
    pub state: String,
    pub since_ms: i64,
    pub until_ms: i64,
    /// A JSON array.
    pub states: String,
    /// A JSON array of patterns.
    pub event_types: String,
    /// Deliveries a second.
    pub rate: u32,
    pub matches: i64,
    pub done: i64,
    pub last_id: String,
    pub created_ms: i64,
    pub ended_ms: Option<i64>,
}

impl Store {
    /// Takes a delivery for this node, whatever its state, to be delivered now. One that a chain ended goes through the
    /// chain as it is now.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn take_again(&self, tenant: &TenantId, id: &DeliveryId, node: &str) -> Result<Again, StoreError> {
        let args = (tenant.to_string(), id.to_string(), node.to_owned(), self.slot());
        self.write_lease(args, |connection, args| Box::pin(take_in(connection, args))).await
    }

    /// How many deliveries a replay would take. Index `jf_deliveries_webhook`, since ids grow with time.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn count_replay(&self, filter: &ReplayFilter) -> Result<i64, StoreError> {
        let mut select = select_replay(filter, "");
        select.expr_as(Expr::cust("COUNT(*)"), "number");
        let rows = self.read(&select).await?;
        Ok(rows.first().map(|row| row.get("number")).transpose()?.unwrap_or(0))
    }

    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn add_replay(&self, row: ReplayRow) -> Result<(), StoreError> {
        self.write(row, |connection, row| {
            Box::pin(async move {
                let mut insert = Query::insert();
                insert.into_table("jf_replays").columns(REPLAY_COLUMNS).values_panic([
                    row.id.as_str().into(),
                    row.tenant.as_str().into(),
                    row.webhook.0.into(),
                    row.state.as_str().into(),
                    row.since_ms.into(),
                    row.until_ms.into(),
                    row.states.as_str().into(),
                    row.event_types.as_str().into(),
                    i64::from(row.rate).into(),
                    row.matches.into(),
                    row.done.into(),
                    row.last_id.as_str().into(),
                    row.created_ms.into(),
                    row.ended_ms.into(),
                ]);
                execute(&insert, connection).await.map(|_| ())
            })
        })
        .await
    }

    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn replay(&self, webhook: WebhookId, id: &str) -> Result<Option<ReplayRow>, StoreError> {
        let mut select = select_replays();
        select.and_where(Expr::col("id").eq(id)).and_where(Expr::col("webhook_id").eq(webhook.0));
        Ok(self.read(&select).await?.first().map(read_replay).transpose()?)
    }

    /// The jobs of a webhook, newest first.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn replays_of(&self, webhook: WebhookId, limit: u64) -> Result<Vec<ReplayRow>, StoreError> {
        let mut select = select_replays();
        select.and_where(Expr::col("webhook_id").eq(webhook.0)).order_by("id", Order::Desc).limit(limit);
        self.read_all(&select, |row| read_replay(row).map(Some)).await
    }

    /// Leases the running jobs that nobody drives. Those that this node has leased already and does not know count too: it
    /// goes on with them from the place that the table has. Index `jf_replays_state`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn take_replays(&self, node: &str, known: Vec<String>) -> Result<Vec<ReplayRow>, StoreError> {
        // Asked every second: most of the time there is nothing, and nothing to be locked.
        if self.read(undriven_replays(node, &known).limit(1)).await?.is_empty() {
            return Ok(Vec::new());
        }
        self.write((node.to_owned(), known), |connection, (node, known)| {
            Box::pin(async move {
                let rows = fetch(skip_locked(undriven_replays(node, known).limit(100)), connection).await?;
                let mut jobs = Vec::with_capacity(rows.len());
                for row in &rows {
                    let job = read_replay(row)?;
                    let mut update = Query::update();
                    update
                        .table("jf_replays")
                        .value("lease_owner", node.as_str())
                        .and_where(Expr::col("id").eq(job.id.as_str()));
                    execute(&update, &mut *connection).await?;
                    jobs.push(job);
                }
                Ok(jobs)
            })
        })
        .await
    }

    /// Moves a piece of a job into the queue, and the job's place with it, in one transaction: a crash repeats nothing and
    /// leaves nothing out. The job as it stands then; none when another node drives it.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: nothing of it was done.
    pub async fn replay_some(
        &self,
        job: ReplayRow,
        filter: ReplayFilter,
        node: &str,
        limit: usize,
    ) -> Result<Option<ReplayRow>, StoreError> {
        // Looked for outside of the transaction: there may be many that do not match, and SQLite has one writer. What changes
        // its state meanwhile is left out.
        let mut select = select_replay(&filter, &job.last_id);
        select.columns([("d", "id"), ("d", "order_key")]).order_by(("d", "id"), Order::Asc).limit(limit as u64);
        let read = |row: &Row| Ok(Some(Found { id: row.get("id")?, order_key: row.get("order_key")? }));
        let found = self.read_all(&select, read).await?;
        let args = (job, filter, found, node.to_owned(), limit, self.slot());
        self.write(args, |connection, (job, filter, found, node, limit, slot)| {
            Box::pin(async move {
                // Keys are locked before deliveries, here as in the group commit.
                let mut places = order::lock(connection, &keys_of(filter.webhook, found)).await?;
                let mut job = job.clone();
                job.done += i64::try_from(found.len()).unwrap_or(0);
                if let Some(last) = found.last() {
                    job.last_id.clone_from(&last.id);
                }
                if found.len() < *limit {
                    job.state = "done".to_owned();
                    job.ended_ms = Some(now_ms());
                }
                if !keep_place(connection, &job, node).await? {
                    return Ok(None);
                }
                requeue(connection, found, filter, &mut places, *slot).await?;
                Ok(Some(job))
            })
        })
        .await
    }

    /// Ends a job whose webhook is gone.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn cancel_replay(&self, mut job: ReplayRow, node: &str) -> Result<bool, StoreError> {
        job.state = "cancelled".to_owned();
        job.ended_ms = Some(now_ms());
        self.write((job, node.to_owned()), |connection, (job, node)| Box::pin(keep_place(connection, job, node))).await
    }
}

fn undriven_replays(node: &str, known: &[String]) -> sea_query::SelectStatement {
    let mut select = select_replays();
    select
        .and_where(Expr::col("state").eq("running"))
        .and_where(Expr::col("lease_owner").is_null().or(Expr::col("lease_owner").eq(node)))
        .and_where(Expr::col("id").is_not_in(known.iter().map(String::as_str)));
    select
}

/// Writes how far a job has come; false when this node does not drive it any more.
async fn keep_place(connection: &mut Connection, job: &ReplayRow, node: &str) -> Result<bool, sqlx::Error> {
    let mut update = Query::update();
    update
        .table("jf_replays")
        .value("done", job.done)
        .value("last_id", job.last_id.as_str())
        .value("state", job.state.as_str())
        .value("ended_ms", job.ended_ms)
        .and_where(Expr::col("id").eq(job.id.as_str()))
        .and_where(Expr::col("lease_owner").eq(node));
    Ok(execute(&update, connection).await? == 1)
}

type TakeArgs = (String, String, String, i64);

async fn take_in(connection: &mut Connection, (tenant, id, node, slot): &TakeArgs) -> Result<Again, sqlx::Error> {
    let mut select = Query::select();
    select
        .columns(["state", "webhook_id", "event_id", "order_key", "due_ms", "lease_owner"])
        .from("jf_deliveries")
        .and_where(Expr::col("id").eq(id.as_str()))
        .and_where(Expr::col("tenant_id").eq(tenant.as_str()));
    let rows = fetch(&select, connection).await?;
    let Some(row) = rows.first() else { return Ok(Again::Unknown) };
    let webhook = WebhookId(row.get("webhook_id")?);
    // The key is locked before the delivery, here as in the group commit.
    let key = row.get::<Option<String>>("order_key")?.map(|key| (webhook, key));
    let place = match &key {
        Some(key) => order::lock(connection, &Wanted::from([(key.clone(), 1)])).await?.remove(key),
        None => None,
    };
    let rows = fetch(select.lock_exclusive(), connection).await?;
    let Some(row) = rows.first() else { return Ok(Again::Unknown) };
    if row.get::<Option<String>>("lease_owner")?.is_some() {
        return Ok(Again::UnderWay);
    }
    // Before anything is written: a delivery that cannot be sent again stays what it is.
    if !has_event(connection, tenant, row.get("event_id")?).await? {
        return Ok(Again::EventGone);
    }
    let state: String = row.get("state")?;
    // Before anything is written: a delivery that cannot be sent again stays what it is.
    if !has_event(connection, tenant, row.get("event_id")?).await? {
        return Ok(Again::EventGone);
    }
    let is_pending = state == "pending";
    if is_pending && row.get::<Option<i64>>("due_ms")?.is_none() {
        return Ok(Again::Behind);
    }
    let place = place.filter(|_| !is_pending);
    let is_behind = match &key {
        Some(key) if place.is_some() => order::has_waiting(connection, key).await?,
        _ => false,
    };
    let mut update = Query::update();
    update
        .table("jf_deliveries")
        .value("state", "pending")
        .value("reason", Option::<String>::None)
        .value("plugins", Option::<String>::None)
        .value("ended_ms", Option::<i64>::None)
        .value("retry_from", Expr::col("attempts"))
        .and_where(Expr::col("id").eq(id.as_str()));
    if is_of_a_chain(&state) {
        update.value("pins", Option::<String>::None);
    }
    if place.is_some() {
        update.value("order_seq", place);
    }
    execute(&update, connection).await?;
    take_from_totals(connection, webhook, &state, 1, *slot).await?;
    if is_behind {
        return Ok(Again::Behind);
    }
    let row = lease(connection, std::slice::from_ref(id), node).await?.into_iter().next();
    Ok(row.map_or(Again::EventGone, |row| Again::Held(Box::new(row))))
}

async fn has_event(connection: &mut Connection, tenant: &str, id: String) -> Result<bool, sqlx::Error> {
    let mut select = Query::select();
    select
        .column("seq")
        .from("jf_events")
        .and_where(Expr::col("tenant_id").eq(tenant))
        .and_where(Expr::col("id").eq(id));
    Ok(!fetch(&select, connection).await?.is_empty())
}

/// A delivery that a replay takes.
struct Found {
    id: String,
    order_key: Option<String>,
}

/// How many places are wanted behind each key.
fn keys_of(webhook: WebhookId, found: &[Found]) -> Wanted {
    let mut wanted = Wanted::new();
    for key in found.iter().filter_map(|found| found.order_key.clone()) {
        *wanted.entry((webhook, key)).or_default() += 1;
    }
    wanted
}

/// Puts deliveries back into the queue; those with a key behind it, in their order.
async fn requeue(
    connection: &mut Connection,
    found: &[Found],
    filter: &ReplayFilter,
    places: &mut Wanted,
    slot: i64,
) -> Result<(), sqlx::Error> {
    let (free, ordered): (Vec<_>, Vec<_>) = found.iter().partition(|found| found.order_key.is_none());
    let placed = ordered.into_iter().map(|found| {
        let key = (filter.webhook, found.order_key.clone().unwrap_or_default());
        let next = places.entry(key).or_default();
        *next += 1;
        (found.id.as_str(), *next - 1)
    });
    let placed: Vec<(&str, i64)> = placed.collect();
    let free: Vec<&str> = free.into_iter().map(|found| found.id.as_str()).collect();
    for piece in pieces(&free) {
        let due = |update: &mut UpdateStatement| {
            update.value("due_ms", now_ms());
        };
        requeue_piece(connection, piece, filter, due, slot).await?;
    }
    for piece in pieces(&placed) {
        let ids: Vec<&str> = piece.iter().map(|(id, _)| *id).collect();
        let seq = |update: &mut UpdateStatement| {
            update.value("order_seq", by_id(piece.iter().copied()));
        };
        requeue_piece(connection, &ids, filter, seq, slot).await?;
    }
    order::promote(connection, places).await
}

async fn requeue_piece(
    connection: &mut Connection,
    ids: &[&str],
    filter: &ReplayFilter,
    set: impl Fn(&mut UpdateStatement),
    slot: i64,
) -> Result<(), sqlx::Error> {
    for state in &filter.states {
        let mut update = Query::update();
        update
            .table("jf_deliveries")
            .value("state", "pending")
            .value("lane", LANE_REPLAYS)
            .value("retry_from", Expr::col("attempts"))
            .value("reason", Option::<String>::None)
            .value("plugins", Option::<String>::None)
            .value("ended_ms", Option::<i64>::None)
            .and_where(Expr::col("id").is_in(ids.iter().copied()))
            .and_where(Expr::col("state").eq(state.as_str()));
        set(&mut update);
        if is_of_a_chain(state) {
            update.value("pins", Option::<String>::None);
        }
        let count = execute(&update, &mut *connection).await?;
        if count > 0 {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            take_from_totals(connection, filter.webhook, state, count, slot).await?;
        }
    }
    Ok(())
}

fn is_of_a_chain(state: &str) -> bool {
    ["dropped", "plugin_failed"].contains(&state)
}

/// The job's deliveries after `last_id`, without columns. Its event must be there still.
fn select_replay(filter: &ReplayFilter, last_id: &str) -> sea_query::SelectStatement {
    let mut select = Query::select();
    // Ids are made a moment after their event was received, by a clock that may differ a little.
    const MARGIN_MS: i64 = 60_000;
    let from = DeliveryId::lowest_at(filter.since_ms.saturating_sub(MARGIN_MS));
    let to = DeliveryId::lowest_at(filter.until_ms.saturating_add(MARGIN_MS));
    select
        .from_as("jf_deliveries", "d")
        .join_as(
            JoinType::InnerJoin,
            "jf_events",
            "e",
            Cond::all()
                .add(Expr::col(("e", "tenant_id")).equals(("d", "tenant_id")))
                .add(Expr::col(("e", "id")).equals(("d", "event_id"))),
        )
        .and_where(Expr::col(("d", "id")).gt(if last_id > from.as_str() { last_id } else { from.as_str() }))
        .and_where(Expr::col(("d", "id")).lt(to.as_str()))
        .and_where(Expr::col(("d", "webhook_id")).eq(filter.webhook.0))
        .and_where(Expr::col(("d", "created_ms")).gte(filter.since_ms))
        .and_where(Expr::col(("d", "created_ms")).lt(filter.until_ms))
        .and_where(Expr::col(("d", "state")).is_in(filter.states.iter().map(String::as_str)));
    if !filter.all_types {
        let exact = Expr::col(("d", "event_type")).is_in(filter.exact.iter().map(String::as_str));
        let below = filter.below.iter().fold(Cond::any().add(exact), |any, prefix| {
            // Types are dotted lower case: from the dot to the character after it.
            let end = format!("{}/", prefix.trim_end_matches('.'));
            let column = || Expr::col(("d", "event_type"));
            any.add(column().gt(prefix.as_str()).and(column().lt(end)))
        });
        select.cond_where(below);
    }
    select
}

const REPLAY_COLUMNS: [&str; 14] = [
    "id",
    "tenant_id",
    "webhook_id",
    "state",
    "since_ms",
    "until_ms",
    "states",
    "event_types",
    "rate",
    "matches",
    "done",
    "last_id",
    "created_ms",
    "ended_ms",
];

fn select_replays() -> sea_query::SelectStatement {
    let mut select = Query::select();
    select.columns(REPLAY_COLUMNS).from("jf_replays");
    select
}

fn read_replay(row: &Row) -> Result<ReplayRow, sqlx::Error> {
    Ok(ReplayRow {
        id: row.get("id")?,
        tenant: row.get("tenant_id")?,
        webhook: WebhookId(row.get("webhook_id")?),
        state: row.get("state")?,
        since_ms: row.get("since_ms")?,
        until_ms: row.get("until_ms")?,
        states: row.get("states")?,
        event_types: row.get("event_types")?,
        rate: row.get_u32("rate")?,
        matches: row.get("matches")?,
        done: row.get("done")?,
        last_id: row.get("last_id")?,
        created_ms: row.get("created_ms")?,
        ended_ms: row.get("ended_ms")?,
    })
}
