//! Secrets that plugins may read: sealed values by name, each with the plugins it is bound to.

use sea_query::{Expr, ExprTrait, OnConflict, Query};

use super::{
    Store, StoreError,
    sql::{Row, execute},
};
use crate::event::{TenantId, now_ms};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginSecretRow {
    pub tenant: TenantId,
    pub name: String,
    /// As it is stored: sealed, where there is a key.
    pub value: String,
    /// Full names, as a JSON list.
    pub plugins: String,
    pub updated_ms: i64,
}

const TABLE: &str = "jf_plugin_secrets";

impl Store {
    /// All of them: the server keeps them in memory.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn plugin_secrets(&self) -> Result<Vec<PluginSecretRow>, StoreError> {
        let mut select = Query::select();
        select.columns(["tenant_id", "name", "value", "plugins", "updated_ms"]).from(TABLE);
        let read = |row: &Row| {
            let Ok(tenant) = TenantId::parse(&row.get::<String>("tenant_id")?) else { return Ok(None) };
            let (name, value, plugins) = (row.get("name")?, row.get("value")?, row.get("plugins")?);
            Ok(Some(PluginSecretRow { tenant, name, value, plugins, updated_ms: row.get("updated_ms")? }))
        };
        self.read_all(&select, read).await
    }

    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn put_plugin_secret(&self, row: PluginSecretRow) -> Result<(), StoreError> {
        self.write(row, |connection, row| {
            Box::pin(async move {
                let mut insert = Query::insert();
                insert
                    .into_table(TABLE)
                    .columns(["tenant_id", "name", "value", "plugins", "created_ms", "updated_ms"])
                    .values_panic([
                        Expr::from(row.tenant.as_str()),
                        row.name.as_str().into(),
                        row.value.as_str().into(),
                        row.plugins.as_str().into(),
                        now_ms().into(),
                        row.updated_ms.into(),
                    ])
                    .on_conflict(
                        OnConflict::columns(["tenant_id", "name"])
                            .update_columns(["value", "plugins", "updated_ms"])
                            .to_owned(),
                    );
                execute(&insert, connection).await.map(|_| ())
            })
        })
        .await
    }

    /// Replaces the stored form of a value, unless somebody has changed it meanwhile.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn seal_plugin_secret(&self, row: PluginSecretRow, sealed: String) -> Result<(), StoreError> {
        self.write((row, sealed), |connection, (row, sealed)| {
            Box::pin(async move {
                let mut update = Query::update();
                update
                    .table(TABLE)
                    .value("value", sealed.as_str())
                    .and_where(Expr::col("tenant_id").eq(row.tenant.as_str()))
                    .and_where(Expr::col("name").eq(row.name.as_str()))
                    .and_where(Expr::col("value").eq(row.value.as_str()));
                execute(&update, connection).await.map(|_| ())
            })
        })
        .await
    }

    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn delete_plugin_secret(&self, tenant: &TenantId, name: String) -> Result<bool, StoreError> {
        self.write((tenant.to_string(), name), |connection, (tenant, name)| {
            Box::pin(async move {
                let mut delete = Query::delete();
                delete
                    .from_table(TABLE)
                    .and_where(Expr::col("tenant_id").eq(tenant.as_str()))
                    .and_where(Expr::col("name").eq(name.as_str()));
                Ok(execute(&delete, connection).await? > 0)
            })
        })
        .await
    }
}
