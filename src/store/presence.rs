//! What was last announced of each user's presence, as a generation that grows by one with each announcement: odd says
//! online, even says offline. It grows in the transaction that stores the announcement's event, so the two never differ.

use std::collections::{BTreeMap, HashMap};

use sea_query::{Cond, Expr, ExprTrait, Func, OnConflict, Order, Query};

use super::{
    Store, StoreError,
    sql::{Connection, Row, execute, fetch, insert_new, pieces},
};
use crate::event::{TenantId, UserId, now_ms};

/// An event announces this user's presence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announces {
    pub user: UserId,
    /// The generation that was read; the event makes the next one.
    pub from: i64,
}

/// Whether a generation says online.
pub fn says_online(generation: i64) -> bool {
    generation % 2 == 1
}

impl Store {
    /// The generation of each of these users; none of those of whom nothing was announced yet.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn announced(
        &self,
        users: &[(TenantId, UserId)],
    ) -> Result<HashMap<(TenantId, UserId), i64>, StoreError> {
        let mut announced = HashMap::with_capacity(users.len());
        for piece in pieces(users) {
            let any_of = piece.iter().fold(Cond::any(), |any, (tenant, user)| {
                any.add(Expr::col("tenant_id").eq(tenant.as_str()).and(Expr::col("user_id").eq(user.as_str())))
            });
            let mut select = Query::select();
            select.columns(["tenant_id", "user_id", "generation"]).from("jf_presence").cond_where(any_of);
            let read = |row: &Row| Ok(read_user(row)?.zip(Some(row.get::<i64>("generation")?)));
            announced.extend(self.read_all(&select, read).await?);
        }
        Ok(announced)
    }

    /// Who was last announced online, in order, behind `after`. Index `jf_presence_online`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn announced_online(
        &self,
        after: Option<&(TenantId, UserId)>,
        limit: u64,
    ) -> Result<Vec<(TenantId, UserId)>, StoreError> {
        let mut select = Query::select();
        select
            .columns(["tenant_id", "user_id"])
            .from("jf_presence")
            .and_where(Expr::col("is_online").eq(1))
            .order_by("tenant_id", Order::Asc)
            .order_by("user_id", Order::Asc)
            .limit(limit);
        if let Some((tenant, user)) = after {
            select.and_where(Expr::col("tenant_id").gte(tenant.as_str())).cond_where(
                Cond::any().add(Expr::col("tenant_id").gt(tenant.as_str())).add(Expr::col("user_id").gt(user.as_str())),
            );
        }
        self.read_all(&select, read_user).await
    }

    /// Moves a user's generation on from `from`, unless it has moved: for an announcement whose event is stored already.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn note_announced(&self, announced: Vec<(TenantId, Announces)>) -> Result<(), StoreError> {
        self.write(announced, |connection, announced| {
            Box::pin(async move { advance(connection, announced.iter().map(|(tenant, one)| (tenant, one))).await })
        })
        .await
    }

    /// A random name that this database was given once, so that another one's announcements have other ids.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn database_id(&self) -> Result<String, StoreError> {
        let candidate = hex::encode(rand::random::<[u8; 16]>());
        self.write(candidate, |connection, candidate| {
            Box::pin(async move {
                let mut insert = Query::insert();
                insert
                    .into_table("jf_database")
                    .columns(["name", "value"])
                    .values_panic(["id".into(), candidate.as_str().into()]);
                insert_new(&mut insert, connection).await?;
                let mut select = Query::select();
                select.column("value").from("jf_database").and_where(Expr::col("name").eq("id"));
                fetch(&select, connection).await?.first().ok_or(sqlx::Error::RowNotFound)?.get("value")
            })
        })
        .await
    }
}

/// Moves generations on by one, each unless it has moved already.
pub(super) async fn advance<'a>(
    connection: &mut Connection,
    announced: impl Iterator<Item = (&'a TenantId, &'a Announces)>,
) -> Result<(), sqlx::Error> {
    let dialect = connection.dialect();
    // Each user once, and in one order on all nodes.
    let next: BTreeMap<_, i64> = announced.map(|(tenant, one)| ((tenant, &one.user), one.from + 1)).collect();
    let next: Vec<_> = next.into_iter().collect();
    for piece in pieces(&next) {
        let mut upsert = Query::insert();
        upsert.into_table("jf_presence").columns(["tenant_id", "user_id", "generation", "changed_ms"]);
        for ((tenant, user), generation) in piece {
            upsert.values_panic([tenant.as_str().into(), user.as_str().into(), (*generation).into(), now_ms().into()]);
        }
        let newer = Func::greatest([Expr::col(("jf_presence", "generation")), dialect.excluded("generation")]);
        let mut on_conflict = OnConflict::columns(["tenant_id", "user_id"]);
        upsert.on_conflict(on_conflict.value("generation", newer).update_column("changed_ms").to_owned());
        execute(&upsert, &mut *connection).await?;
    }
    Ok(())
}

/// None: another program made of it what is no user.
fn read_user(row: &Row) -> Result<Option<(TenantId, UserId)>, sqlx::Error> {
    let tenant = TenantId::parse(&row.get::<String>("tenant_id")?).ok();
    Ok(tenant.zip(UserId::parse(&row.get::<String>("user_id")?).ok()))
}
