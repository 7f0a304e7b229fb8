//! What is old is deleted, in pieces so small that nobody waits for them.

use sea_query::{Cond, Expr, ExprTrait, JoinType, Order, Query};

use super::{
    Store, StoreError, order,
    sql::{Connection, execute, fetch, pieces, skip_locked},
};
use crate::event::WebhookId;

/// Rows of one piece.
const PIECE: u64 = 500;

/// How far a pass has come.
#[derive(Debug, Clone, Default)]
pub struct Swept {
    /// Where the next piece begins; none: the pass is over.
    pub next: Option<String>,
    pub deleted: u64,
}

impl Store {
    /// Deletes a piece of the events that were received before `before_ms` and are owed to nobody any more. `from` is the
    /// `next` of the piece before.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn sweep_events(&self, before_ms: i64, from: Option<String>) -> Result<Swept, StoreError> {
        let from: i64 = from.and_then(|from| from.parse().ok()).unwrap_or(0);
        self.write((before_ms, from), |connection, (before_ms, from)| {
            Box::pin(async move {
                let mut select = Query::select();
                select
                    .columns([("e", "seq"), ("e", "timestamp_ms")])
                    .expr_as(Expr::col(("d", "id")), "owed")
                    .from_as("jf_events", "e")
                    .join_as(
                        JoinType::LeftJoin,
                        "jf_deliveries",
                        "d",
                        Expr::col(("d", "event_id"))
                            .equals(("e", "id"))
                            .and(Expr::col(("d", "tenant_id")).equals(("e", "tenant_id")))
                            .and(Expr::col(("d", "state")).eq("pending")),
                    )
                    .and_where(Expr::col(("e", "seq")).gt(*from))
                    .order_by(("e", "seq"), Order::Asc)
                    .limit(PIECE);
                let rows = fetch(&select, connection).await?;
                let (mut old, mut last, mut is_young) = (Vec::new(), None, true);
                for row in &rows {
                    let seq: i64 = row.get("seq")?;
                    last = Some(seq);
                    let is_old = row.get::<i64>("timestamp_ms")? < *before_ms;
                    is_young &= !is_old;
                    if is_old && row.get::<Option<String>>("owed")?.is_none() {
                        old.push(seq);
                    }
                }
                // In the order of their commits, which is that of their times, unless a clock was wrong for a while: a piece
                // without anything old is the end, and a single row is not.
                let over = is_young || rows.len() < PIECE as usize;
                let mut deleted = 0;
                for piece in pieces(&old) {
                    let mut delete = Query::delete();
                    delete.from_table("jf_events").and_where(Expr::col("seq").is_in(piece.iter().copied()));
                    deleted += execute(&delete, connection).await?;
                }
                Ok(Swept { next: last.filter(|_| !over).map(|seq| seq.to_string()), deleted })
            })
        })
        .await
    }

    /// Deletes a piece of the deliveries that ended before `before_ms`, with their attempts and bodies.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn sweep_deliveries(&self, before_ms: i64, from: Option<String>) -> Result<Swept, StoreError> {
        self.write((before_ms, from.unwrap_or_default()), |connection, (before_ms, from)| {
            Box::pin(async move {
                let mut select = Query::select();
                select
                    .columns(["id", "created_ms", "ended_ms"])
                    .from("jf_deliveries")
                    .and_where(Expr::col("id").gt(from.as_str()))
                    .order_by("id", Order::Asc)
                    .limit(PIECE);
                // Under lock: what is delivered again in this moment is left alone.
                let rows = fetch(skip_locked(&mut select), connection).await?;
                let (mut old, mut last, mut is_young) = (Vec::new(), None, true);
                for row in &rows {
                    is_young &= row.get::<i64>("created_ms")? >= *before_ms;
                    let id: String = row.get("id")?;
                    if row.get::<Option<i64>>("ended_ms")?.is_some_and(|ended_ms| ended_ms < *before_ms) {
                        old.push(id.clone());
                    }
                    last = Some(id);
                }
                // Ids grow with time, as far as the clocks do.
                let over = is_young || rows.len() < PIECE as usize;
                let deleted = delete_deliveries(connection, &old).await?;
                Ok(Swept { next: last.filter(|_| !over), deleted })
            })
        })
        .await
    }

    /// Deletes a piece of the sessions that ended before `before_ms`. Index `jf_sessions_ended`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn sweep_sessions(&self, before_ms: i64) -> Result<Swept, StoreError> {
        self.write(before_ms, |connection, before_ms| {
            Box::pin(async move {
                let mut select = Query::select();
                select
                    .column("id")
                    .from("jf_sessions")
                    .and_where(Expr::col("ended_ms").lt(*before_ms))
                    .order_by("ended_ms", Order::Asc)
                    .limit(PIECE);
                let rows = fetch(&select, connection).await?;
                let ids = rows.iter().map(|row| row.get::<String>("id")).collect::<Result<Vec<_>, _>>()?;
                let mut deleted = 0;
                for piece in pieces(&ids) {
                    let mut delete = Query::delete();
                    delete.from_table("jf_sessions").and_where(Expr::col("id").is_in(piece.iter().map(String::as_str)));
                    deleted += execute(&delete, connection).await?;
                }
                // What is deleted is not found again: there is no place to go on from.
                Ok(Swept { next: (ids.len() as u64 == PIECE).then(String::new), deleted })
            })
        })
        .await
    }

    /// Deletes the replays that ended before `before_ms`: they are few.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn sweep_replays(&self, before_ms: i64) -> Result<u64, StoreError> {
        self.write(before_ms, |connection, before_ms| {
            Box::pin(async move {
                let mut delete = Query::delete();
                delete.from_table("jf_replays").and_where(Expr::col("ended_ms").lt(*before_ms));
                execute(&delete, connection).await
            })
        })
        .await
    }

    /// Forgets the keys behind which nothing waits and nothing has come since `before_ms`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn sweep_keys(&self, before_ms: i64, from: Option<String>) -> Result<Swept, StoreError> {
        let (webhook, key) = from.as_deref().and_then(|from| from.split_once('\t')).unwrap_or(("0", ""));
        let from = (webhook.parse::<i64>().unwrap_or(0), key.to_owned());
        self.write((before_ms, from), |connection, (before_ms, from)| {
            Box::pin(async move {
                let mut select = Query::select();
                select
                    .columns(["webhook_id", "order_key"])
                    .from("jf_key_order")
                    .and_where(Expr::col("touched_ms").lt(*before_ms))
                    .and_where(Expr::col("webhook_id").gte(from.0))
                    .cond_where(
                        Cond::any()
                            .add(Expr::col("webhook_id").gt(from.0))
                            .add(Expr::col("order_key").gt(from.1.as_str())),
                    )
                    .order_by("webhook_id", Order::Asc)
                    .order_by("order_key", Order::Asc)
                    .limit(PIECE);
                let mut swept = Swept::default();
                let mut seen = 0;
                // Locked first and looked at then, in statements of their own: what waits is seen as it is under the lock.
                for row in fetch(skip_locked(&mut select), connection).await? {
                    let (webhook, key) = (row.get::<i64>("webhook_id")?, row.get::<String>("order_key")?);
                    seen += 1;
                    swept.next = Some(format!("{webhook}\t{key}"));
                    let key = (WebhookId(webhook), key);
                    if !order::has_waiting(connection, &key).await? {
                        let mut delete = Query::delete();
                        delete
                            .from_table("jf_key_order")
                            .and_where(Expr::col("webhook_id").eq(webhook))
                            .and_where(Expr::col("order_key").eq(key.1.as_str()));
                        swept.deleted += execute(&delete, connection).await?;
                    }
                }
                swept.next = swept.next.filter(|_| seen == PIECE);
                Ok(swept)
            })
        })
        .await
    }
}

async fn delete_deliveries(connection: &mut Connection, ids: &[String]) -> Result<u64, sqlx::Error> {
    let mut deleted = 0;
    for piece in pieces(ids) {
        let tables = [("jf_attempts", "delivery_id"), ("jf_delivery_bodies", "delivery_id"), ("jf_deliveries", "id")];
        let mut of_table = 0;
        for (table, column) in tables {
            let mut delete = Query::delete();
            delete.from_table(table).and_where(Expr::col(column).is_in(piece.iter().map(String::as_str)));
            of_table = execute(&delete, &mut *connection).await?;
        }
        // The deliveries come last.
        deleted += of_table;
    }
    Ok(deleted)
}
