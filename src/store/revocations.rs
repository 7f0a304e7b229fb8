//! Users whose tokens of before some second are good for no socket.

use sea_query::{Expr, ExprTrait, Query};

use super::{
    Store, StoreError,
    sql::{execute, insert_new},
};
use crate::event::{TenantId, UserId};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    pub tenant: TenantId,
    pub user: UserId,
    /// Seconds since the epoch.
    pub before_s: i64,
}

impl Store {
    /// All of them: the server keeps them in memory.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn revocations(&self) -> Result<Vec<Revocation>, StoreError> {
        let mut select = Query::select();
        select.columns(["tenant_id", "user_id", "before_s"]).from("jf_revocations");
        let read = |row: &super::sql::Row| {
            let tenant = TenantId::parse(&row.get::<String>("tenant_id")?).ok();
            let user = UserId::parse(&row.get::<String>("user_id")?).ok();
            let before_s = row.get("before_s")?;
            Ok(tenant.zip(user).map(|(tenant, user)| Revocation { tenant, user, before_s }))
        };
        self.read_all(&select, read).await
    }

    /// A later second takes the place of an earlier one, and not the other way: clocks of nodes differ.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn put_revocation(&self, revocation: Revocation) -> Result<(), StoreError> {
        self.write(revocation, |connection, Revocation { tenant, user, before_s }| {
            Box::pin(async move {
                let mut insert = Query::insert();
                insert.into_table("jf_revocations").columns(["tenant_id", "user_id", "before_s"]).values_panic([
                    Expr::from(tenant.as_str()),
                    user.as_str().into(),
                    (*before_s).into(),
                ]);
                if insert_new(&mut insert, &mut *connection).await? == 1 {
                    return Ok(());
                }
                let mut update = Query::update();
                update
                    .table("jf_revocations")
                    .value("before_s", *before_s)
                    .and_where(Expr::col("tenant_id").eq(tenant.as_str()))
                    .and_where(Expr::col("user_id").eq(user.as_str()))
                    .and_where(Expr::col("before_s").lt(*before_s));
                execute(&update, connection).await.map(|_| ())
            })
        })
        .await
    }
}
