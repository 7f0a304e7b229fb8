//! What was sent to users who were away: a list for each of them, oldest first, of at most so many items, which ends as a
//! whole some time after the last one was put into it.

use std::collections::BTreeSet;

use sea_query::{Cond, Expr, ExprTrait, Func, Order, Query, SelectStatement};

use super::{
    Store, StoreError,
    retention::Swept,
    sql::{Connection, Row, execute, fetch, parts, pieces},
};
use crate::event::{EventType, TenantId, UserId, now_ms};

/// One event that a user missed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfflineItem {
    pub tenant: TenantId,
    pub user: UserId,
    pub event_type: EventType,
    /// The frame's text, as a socket gets it.
    pub frame: String,
    /// Its place in the tenant's history, where it has one.
    pub epoch: Option<String>,
    pub offset: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfflineRow {
    /// Grows from item to item, and is never given again.
    pub id: i64,
    pub item: OfflineItem,
    /// When it was put into the list: ms since the epoch.
    pub at_ms: i64,
}

/// Lists looked at in one piece of a sweep.
const LISTS: usize = 100;

impl Store {
    /// Puts items into their users' lists, of each of which the youngest `max` stay, and tells how many went for that. A list
    /// into which nothing has come since `live_since_ms` begins anew.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: nothing of it was written.
    pub async fn push_offline(&self, items: Vec<OfflineItem>, max: u64, live_since_ms: i64) -> Result<u64, StoreError> {
        self.write((items, max, live_since_ms), |connection, (items, max, live_since_ms)| {
            Box::pin(async move {
                let users: BTreeSet<_> = items.iter().map(|item| (item.tenant.as_str(), item.user.as_str())).collect();
                for user in &users {
                    delete_if_old(connection, *user, *live_since_ms).await?;
                }
                for part in parts(items, |item| item.frame.len()) {
                    insert_items(connection, part).await?;
                }
                let mut dropped = 0;
                for user in users {
                    dropped += delete_over(connection, user, *max).await?;
                }
                Ok(dropped)
            })
        })
        .await
    }

    /// A user's items behind `after`, oldest first; none where nothing has come since `live_since_ms`. Index
    /// `jf_offline_user`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn offline(
        &self,
        tenant: &TenantId,
        user: &UserId,
        after: i64,
        limit: u64,
        live_since_ms: i64,
    ) -> Result<Vec<OfflineRow>, StoreError> {
        let user = (tenant.as_str(), user.as_str());
        if !self.is_live(user, live_since_ms).await? {
            return Ok(Vec::new());
        }
        let mut select = select_items();
        select.cond_where(of_user(user)).and_where(Expr::col("id").gt(after)).order_by("id", Order::Asc).limit(limit);
        self.read_all(&select, read_item).await
    }

    /// How many items wait for a user; none where nothing has come since `live_since_ms`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn count_offline(&self, tenant: &TenantId, user: &UserId, live_since_ms: i64) -> Result<u64, StoreError> {
        let user = (tenant.as_str(), user.as_str());
        if !self.is_live(user, live_since_ms).await? {
            return Ok(0);
        }
        let mut select = Query::select();
        select.expr_as(Func::count(Expr::col("id")), "items").from("jf_offline").cond_where(of_user(user));
        let count = self.read(&select).await?.first().map(|row| row.get::<i64>("items")).transpose()?;
        Ok(count.unwrap_or(0).unsigned_abs())
    }

    /// The oldest items of all users: to be moved to where lists are kept now.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn any_offline(&self, limit: u64) -> Result<Vec<OfflineRow>, StoreError> {
        let mut select = select_items();
        select.order_by("id", Order::Asc).limit(limit);
        self.read_all(&select, read_item).await
    }

    /// Takes items out, by the ids that were read, and tells how many were still there.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn remove_offline(&self, ids: Vec<i64>) -> Result<u64, StoreError> {
        self.write(ids, |connection, ids| {
            Box::pin(async move {
                let mut removed = 0;
                for piece in pieces(ids) {
                    let mut delete = Query::delete();
                    delete.from_table("jf_offline").and_where(Expr::col("id").is_in(piece.iter().copied()));
                    removed += execute(&delete, connection).await?;
                }
                Ok(removed)
            })
        })
        .await
    }

    /// Looks at some lists and deletes those into which nothing has come since `live_since_ms`. `from` is the `next` of the
    /// piece before.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn sweep_offline(&self, live_since_ms: i64, from: Option<String>) -> Result<Swept, StoreError> {
        let from = from.as_deref().and_then(|from| from.split_once('\t')).unwrap_or_default();
        let from = (from.0.to_owned(), from.1.to_owned());
        self.write((live_since_ms, from), |connection, (live_since_ms, from)| {
            Box::pin(async move {
                let mut swept = Swept::default();
                let mut at = from.clone();
                for _ in 0..LISTS {
                    let Some(next) = list_behind(connection, &at).await? else {
                        swept.next = None;
                        return Ok(swept);
                    };
                    swept.deleted += delete_if_old(connection, (&next.0, &next.1), *live_since_ms).await?;
                    swept.next = Some(format!("{}\t{}", next.0, next.1));
                    at = next;
                }
                Ok(swept)
            })
        })
        .await
    }

    async fn is_live(&self, user: (&str, &str), live_since_ms: i64) -> Result<bool, StoreError> {
        let rows = self.read(&select_youngest(user)).await?;
        let at_ms = rows.first().map(|row| row.get::<i64>("at_ms")).transpose()?;
        Ok(at_ms.is_some_and(|at_ms| at_ms >= live_since_ms))
    }
}

async fn insert_items(connection: &mut Connection, items: &[OfflineItem]) -> Result<(), sqlx::Error> {
    let now = now_ms();
    let mut insert = Query::insert();
    insert.into_table("jf_offline").columns([
        "tenant_id",
        "user_id",
        "event_type",
        "frame",
        "epoch",
        "epoch_offset",
        "at_ms",
    ]);
    for item in items {
        insert.values_panic([
            item.tenant.as_str().into(),
            item.user.as_str().into(),
            item.event_type.as_str().into(),
            item.frame.as_str().into(),
            item.epoch.clone().into(),
            item.offset.and_then(|offset| i64::try_from(offset).ok()).into(),
            now.into(),
        ]);
    }
    execute(&insert, connection).await.map(|_| ())
}

/// Deletes a user's oldest items until `max` are left.
async fn delete_over(connection: &mut Connection, user: (&str, &str), max: u64) -> Result<u64, sqlx::Error> {
    let mut select = Query::select();
    select.column("id").from("jf_offline").cond_where(of_user(user)).order_by("id", Order::Desc).limit(1).offset(max);
    let rows = fetch(&select, &mut *connection).await?;
    let Some(row) = rows.first() else { return Ok(0) };
    delete_up_to(connection, user, row.get("id")?).await
}

/// Deletes a user's list if nothing has come into it since `live_since_ms`.
async fn delete_if_old(
    connection: &mut Connection,
    user: (&str, &str),
    live_since_ms: i64,
) -> Result<u64, sqlx::Error> {
    let rows = fetch(&select_youngest(user), &mut *connection).await?;
    let Some(row) = rows.first() else { return Ok(0) };
    if row.get::<i64>("at_ms")? >= live_since_ms {
        return Ok(0);
    }
    delete_up_to(connection, user, row.get("id")?).await
}

async fn delete_up_to(connection: &mut Connection, user: (&str, &str), id: i64) -> Result<u64, sqlx::Error> {
    let mut delete = Query::delete();
    delete.from_table("jf_offline").cond_where(of_user(user)).and_where(Expr::col("id").lte(id));
    execute(&delete, connection).await
}

/// Whose list comes next in the index `jf_offline_user`.
async fn list_behind(
    connection: &mut Connection,
    (tenant, user): &(String, String),
) -> Result<Option<(String, String)>, sqlx::Error> {
    let mut select = Query::select();
    select
        .columns(["tenant_id", "user_id"])
        .from("jf_offline")
        .and_where(Expr::col("tenant_id").gte(tenant.as_str()))
        .cond_where(
            Cond::any().add(Expr::col("tenant_id").gt(tenant.as_str())).add(Expr::col("user_id").gt(user.as_str())),
        )
        .order_by("tenant_id", Order::Asc)
        .order_by("user_id", Order::Asc)
        .limit(1);
    let rows = fetch(&select, connection).await?;
    rows.first().map(|row| Ok((row.get("tenant_id")?, row.get("user_id")?))).transpose()
}

fn select_youngest(user: (&str, &str)) -> SelectStatement {
    let mut select = Query::select();
    select.columns(["id", "at_ms"]).from("jf_offline").cond_where(of_user(user)).order_by("id", Order::Desc).limit(1);
    select
}

fn select_items() -> SelectStatement {
    let mut select = Query::select();
    select
        .columns(["id", "tenant_id", "user_id", "event_type", "frame", "epoch", "epoch_offset", "at_ms"])
        .from("jf_offline");
    select
}

fn of_user((tenant, user): (&str, &str)) -> Cond {
    Cond::all().add(Expr::col("tenant_id").eq(tenant)).add(Expr::col("user_id").eq(user))
}

/// None: another program made of it what is no item.
fn read_item(row: &Row) -> Result<Option<OfflineRow>, sqlx::Error> {
    let (Ok(tenant), Ok(user), Ok(event_type)) = (
        TenantId::parse(&row.get::<String>("tenant_id")?),
        UserId::parse(&row.get::<String>("user_id")?),
        EventType::parse(&row.get::<String>("event_type")?),
    ) else {
        return Ok(None);
    };
    let item = OfflineItem {
        tenant,
        user,
        event_type,
        frame: row.get("frame")?,
        epoch: row.get("epoch")?,
        offset: row.get::<Option<i64>>("epoch_offset")?.and_then(|offset| u64::try_from(offset).ok()),
    };
    Ok(Some(OfflineRow { id: row.get("id")?, item, at_ms: row.get("at_ms")? }))
}
