//! Public chat sessions: who owns them, and whether they have ended.

use sea_query::{Expr, ExprTrait, OnConflict, Query};
use sqlx::{Row, SqliteConnection};

use super::{
    Store, StoreError,
    rows::{execute, fetch},
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
        let rows = fetch(&select, &self.readers).await?;
        let Some(row) = rows.first() else { return Ok(SessionState::Unknown) };
        let Ok(tenant) = TenantId::parse(row.get(0)) else { return Ok(SessionState::Unknown) };
        Ok(match row.get::<Option<i64>, _>(1) {
            None => SessionState::Live(tenant),
            Some(_) => SessionState::Ended(tenant),
        })
    }

    /// Makes a session, unless there is one with this id; the first tenant owns it. Returns whose it is now.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn open_session(&self, id: &SessionId, tenant: &TenantId) -> Result<SessionState, StoreError> {
        let (session, tenant) = (id.clone(), tenant.clone());
        self.write(move |connection| {
            Box::pin(async move {
                let mut insert = Query::insert();
                insert
                    .into_table("jf_sessions")
                    .columns(["id", "tenant_id", "created_ms"])
                    .values_panic([session.as_str().into(), tenant.as_str().into(), now_ms().into()])
                    .on_conflict(OnConflict::new().do_nothing().to_owned());
                execute(&insert, connection).await.map(|_| ())
            })
        })
        .await?;
        self.session(id).await
    }
}

/// Ends a tenant's session, if it is live.
pub(super) async fn end_session(
    connection: &mut SqliteConnection,
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
