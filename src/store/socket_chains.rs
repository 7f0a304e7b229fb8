//! The chain that each tenant put before its sockets, as JSON text.

use sea_query::{Expr, OnConflict, Query};
use sqlx::Row;

use super::{
    Store, StoreError,
    rows::{execute, fetch},
};
use crate::event::TenantId;

impl Store {
    /// All of them: the server keeps them in memory.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn socket_chains(&self) -> Result<Vec<(TenantId, String)>, StoreError> {
        let mut select = Query::select();
        select.columns(["tenant_id", "chain"]).from("jf_socket_chains");
        let rows = fetch(&select, &self.readers).await?;
        Ok(rows.iter().filter_map(|row| Some((TenantId::parse(row.get(0)).ok()?, row.get(1)))).collect())
    }

    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn put_socket_chain(&self, tenant: &TenantId, chain: String) -> Result<(), StoreError> {
        let tenant = tenant.clone();
        self.write(move |connection| {
            Box::pin(async move {
                let mut insert = Query::insert();
                insert
                    .into_table("jf_socket_chains")
                    .columns(["tenant_id", "chain"])
                    .values_panic([Expr::from(tenant.as_str()), chain.into()])
                    .on_conflict(OnConflict::column("tenant_id").update_column("chain").to_owned());
                execute(&insert, connection).await.map(|_| ())
            })
        })
        .await
    }
}
