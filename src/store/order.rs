//! Order by key: each delivery of a webhook that wants order gets a place behind its key, and only the head of a key can
//! be claimed.
//!
//! The row of a key is locked by whoever adds to it or ends its head, on whatever node, so the places follow the commits
//! and not the nodes' clocks, and no head is overlooked. Locks are taken in one order, so that nobody waits in a circle.

use std::collections::BTreeMap;

use sea_query::{Cond, Expr, ExprTrait, OnConflict, Query};

use super::sql::{Connection, Dialect, execute, fetch, pieces};
use crate::event::{WebhookId, now_ms};

/// How many places are wanted behind each key; none where a head has ended.
pub type Wanted = BTreeMap<(WebhookId, String), i64>;

/// The head: of the whole index, its first entry.
fn head(dialect: Dialect) -> String {
    let behind = behind_webhook(dialect);
    format!(
        "(SELECT d.id FROM jf_deliveries d WHERE d.{behind} = k.webhook_id AND d.order_key = k.order_key \
         AND d.state = 'pending' AND d.order_key IS NOT NULL AND d.order_seq IS NOT NULL ORDER BY d.order_seq LIMIT 1)"
    )
}

/// The webhook, in the index `jf_deliveries_order`. MySQL's has no condition: the column is null for all that have no place.
pub fn behind_webhook(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::MySql => "behind_webhook",
        _ => "webhook_id",
    }
}

/// Those that have a place behind a key, as `jf_deliveries_order` has them.
pub fn is_behind() -> Expr {
    Expr::cust("state = 'pending' AND order_key IS NOT NULL AND order_seq IS NOT NULL")
}

/// Locks the keys and gives out places: for each key, the first of those that were wanted.
pub async fn lock(connection: &mut Connection, wanted: &Wanted) -> Result<Wanted, sqlx::Error> {
    let dialect = connection.dialect();
    let keys: Vec<_> = wanted.iter().collect();
    let now = now_ms();
    for piece in pieces(&keys) {
        let mut upsert = Query::insert();
        upsert.into_table("jf_key_order").columns(["webhook_id", "order_key", "last_seq", "touched_ms"]);
        for ((webhook, key), count) in piece {
            upsert.values_panic([webhook.0.into(), key.as_str().into(), (**count).into(), now.into()]);
        }
        let last = Expr::col(("jf_key_order", "last_seq")).add(dialect.excluded("last_seq"));
        let mut on_conflict = OnConflict::columns(["webhook_id", "order_key"]);
        on_conflict.value("last_seq", last).update_column("touched_ms");
        upsert.on_conflict(on_conflict);
        execute(&upsert, &mut *connection).await?;
    }
    let mut first = Wanted::new();
    for piece in pieces(&keys) {
        let mut select = Query::select();
        select.columns(["webhook_id", "order_key", "last_seq"]).from("jf_key_order").cond_where(any_of(piece, ""));
        for row in fetch(&select, &mut *connection).await? {
            let key = (WebhookId(row.get("webhook_id")?), row.get::<String>("order_key")?);
            let count = wanted.get(&key).copied().unwrap_or(0);
            first.insert(key, row.get::<i64>("last_seq")? - count + 1);
        }
    }
    Ok(first)
}

/// The keys that these deliveries stand behind.
pub async fn keys_of(connection: &mut Connection, ids: &[String]) -> Result<Wanted, sqlx::Error> {
    let mut keys = Wanted::new();
    for piece in pieces(ids) {
        let mut select = Query::select();
        select
            .columns(["webhook_id", "order_key"])
            .from("jf_deliveries")
            .and_where(Expr::col("id").is_in(piece.iter().map(String::as_str)))
            .and_where(Expr::col("order_key").is_not_null());
        for row in fetch(&select, &mut *connection).await? {
            keys.insert((WebhookId(row.get("webhook_id")?), row.get("order_key")?), 0);
        }
    }
    Ok(keys)
}

/// Lets the head of each key be claimed, once all of the transaction is written.
pub async fn promote(connection: &mut Connection, wanted: &Wanted) -> Result<(), sqlx::Error> {
    let dialect = connection.dialect();
    let keys: Vec<_> = wanted.iter().collect();
    for piece in pieces(&keys) {
        let mut select = Query::select();
        select.expr_as(Expr::cust(head(dialect)), "head").from_as("jf_key_order", "k").cond_where(any_of(piece, "k"));
        let rows = fetch(&select, &mut *connection).await?;
        let heads = rows.iter().map(|row| row.get::<Option<String>>("head")).collect::<Result<Vec<_>, _>>()?;
        let heads: Vec<String> = heads.into_iter().flatten().collect();
        for ids in pieces(&heads) {
            let mut update = Query::update();
            update
                .table("jf_deliveries")
                .value("due_ms", now_ms())
                .and_where(Expr::col("id").is_in(ids.iter().map(String::as_str)))
                .and_where(Expr::col("state").eq("pending"))
                .and_where(Expr::col("due_ms").is_null())
                .and_where(Expr::col("lease_owner").is_null());
            execute(&update, &mut *connection).await?;
        }
    }
    Ok(())
}

/// Whether a delivery waits behind a key, or is its head.
pub async fn has_waiting(
    connection: &mut Connection,
    (webhook, key): &(WebhookId, String),
) -> Result<bool, sqlx::Error> {
    let mut waiting = Query::select();
    waiting
        .column("id")
        .from("jf_deliveries")
        .and_where(Expr::col(behind_webhook(connection.dialect())).eq(webhook.0))
        .and_where(Expr::col("order_key").eq(key.as_str()))
        .and_where(is_behind())
        .limit(1);
    Ok(!fetch(&waiting, connection).await?.is_empty())
}

fn any_of(keys: &[(&(WebhookId, String), &i64)], table: &'static str) -> Cond {
    let column = |name: &'static str| if table.is_empty() { Expr::col(name) } else { Expr::col((table, name)) };
    keys.iter().fold(Cond::any(), |any, ((webhook, key), _)| {
        any.add(column("webhook_id").eq(webhook.0).and(column("order_key").eq(key.as_str())))
    })
}
