//! The chain that each tenant put before its sockets, as JSON text.

use sea_query::{Expr, OnConflict, Query};

use super::{Store, StoreError, sql::execute};
use crate::event::TenantId;

impl Store {
    /// All of them: the server keeps them in memory.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn socket_chains(&self) -> Result<Vec<(TenantId, String)>, StoreError> {
        let mut select = Query::select();
        select.columns(["tenant_id", "chain"]).from("jf_socket_chains");
        let read = |row: &super::sql::Row| {
            let tenant = TenantId::parse(&row.get::<String>("tenant_id")?).ok();
            Ok(tenant.zip(Some(row.get("chain")?)))
        };
        self.read_all(&select, read).await
    }

    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn put_socket_chain(&self, tenant: &TenantId, chain: String) -> Result<(), StoreError> {
        self.write((tenant.to_string(), chain), |connection, (tenant, chain)| {
            Box::pin(async move {
                let mut insert = Query::insert();
                insert
                    .into_table("jf_socket_chains")
                    .columns(["tenant_id", "chain"])
                    .values_panic([Expr::from(tenant.as_str()), chain.as_str().into()])
                    .on_conflict(OnConflict::column("tenant_id").update_column("chain").to_owned());
                execute(&insert, connection).await.map(|_| ())
            })
        })
        .await
    }
}
