//! Users whose tokens of before some second are good for no socket.

use sea_query::{Expr, OnConflict, Query};

use super::{Store, StoreError, sql::execute};
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

    /// A later second takes the place of an earlier one.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn put_revocation(&self, revocation: Revocation) -> Result<(), StoreError> {
        self.write(revocation, |connection, revocation| {
            Box::pin(async move {
                let mut insert = Query::insert();
                insert
                    .into_table("jf_revocations")
                    .columns(["tenant_id", "user_id", "before_s"])
                    .values_panic([
                        Expr::from(revocation.tenant.as_str()),
                        revocation.user.as_str().into(),
                        revocation.before_s.into(),
                    ])
                    .on_conflict(OnConflict::columns(["tenant_id", "user_id"]).update_column("before_s").to_owned());
                execute(&insert, connection).await.map(|_| ())
            })
        })
        .await
    }
}
