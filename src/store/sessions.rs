//! Public chat sessions: who owns them, and whether they have ended.

use sea_query::{Expr, ExprTrait, Query};

use super::{
    Store, StoreError,
    sql::{Connection, execute, insert_new},
};
use crate::event::{SessionId, TenantId, now_ms};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionState {
    Unknown,
    Live(TenantId),
    Ended(TenantId),
}

impl Store {
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn session(&self, id: &SessionId) -> Result<SessionState, StoreError> {
        let mut select = Query::select();
        select.columns(["tenant_id", "ended_ms"]).from("jf_sessions").and_where(Expr::col("id").eq(id.as_str()));
        let rows = self.read(&select).await?;
        let Some(row) = rows.first() else { return Ok(SessionState::Unknown) };
        let Ok(tenant) = TenantId::parse(&row.get::<String>("tenant_id")?) else { return Ok(SessionState::Unknown) };
        Ok(match row.get::<Option<i64>>("ended_ms")? {
            None => SessionState::Live(tenant),
            Some(_) => SessionState::Ended(tenant),
        })
    }

    /// Makes a session, unless there is one with this id; the first tenant owns it. Returns whose it is now.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn open_session(&self, id: &SessionId, tenant: &TenantId) -> Result<SessionState, StoreError> {
        self.write((id.to_string(), tenant.to_string()), |connection, (session, tenant)| {
            Box::pin(async move {
                let mut insert = Query::insert();
                insert.into_table("jf_sessions").columns(["id", "tenant_id", "created_ms"]).values_panic([
                    session.as_str().into(),
                    tenant.as_str().into(),
                    now_ms().into(),
                ]);
                insert_new(&mut insert, connection).await.map(|_| ())
            })
        })
        .await?;
        self.session(id).await
    }
}

/// Ends a tenant's session, if it is live.
pub(super) async fn end_session(
    connection: &mut Connection,
    tenant: &TenantId,
    id: &SessionId,
) -> Result<(), sqlx::Error> {
    let mut update = Query::update();
    update
        .table("jf_sessions")
        .value("ended_ms", now_ms())
        .and_where(Expr::col("id").eq(id.as_str()))
        .and_where(Expr::col("tenant_id").eq(tenant.as_str()))
        .and_where(Expr::col("ended_ms").is_null());
    execute(&update, connection).await.map(|_| ())
}
