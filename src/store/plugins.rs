//! Components as they were given, by version: the source of truth from which the last good one is compiled again.

use sea_query::{Expr, ExprTrait, Func, Order, Query};
use sqlx::Row;

use super::{
    Store, StoreError,
    rows::{execute, fetch},
};
use crate::event::now_ms;

/// One version of a shared plugin.
#[derive(Debug, Clone)]
pub struct PluginVersionRow {
    pub name: String,
    pub version: u32,
    pub sha256: String,
    pub wasm: Vec<u8>,
}

/// Shared plugins belong to no tenant.
const SHARED: &str = "";

impl Store {
    /// The newest version of each shared plugin.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn newest_shared_plugins(&self) -> Result<Vec<PluginVersionRow>, StoreError> {
        let mut newest = Query::select();
        newest
            .column("name")
            .expr(Func::max(Expr::col("version")))
            .from("jf_plugin_versions")
            .and_where(Expr::col("tenant_id").eq(SHARED))
            .group_by_col("name");
        let mut versions = Vec::new();
        for row in fetch(&newest, &self.readers).await? {
            versions.extend(self.shared_plugin(row.get(0), row.get(1)).await?);
        }
        Ok(versions)
    }

    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn shared_plugin(&self, name: &str, version: u32) -> Result<Option<PluginVersionRow>, StoreError> {
        let mut select = Query::select();
        select
            .columns(["name", "version", "sha256", "wasm"])
            .from("jf_plugin_versions")
            .and_where(Expr::col("tenant_id").eq(SHARED))
            .and_where(Expr::col("name").eq(name))
            .and_where(Expr::col("version").eq(version));
        let rows = fetch(&select, &self.readers).await?;
        Ok(rows.first().map(|row| PluginVersionRow {
            name: row.get(0),
            version: row.get(1),
            sha256: row.get(2),
            wasm: row.get(3),
        }))
    }

    /// Stores a component as the next version of its name.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn add_shared_plugin(&self, name: String, sha256: String, wasm: Vec<u8>) -> Result<u32, StoreError> {
        self.write(move |connection| {
            Box::pin(async move {
                let mut last = Query::select();
                last.column("version")
                    .from("jf_plugin_versions")
                    .and_where(Expr::col("tenant_id").eq(SHARED))
                    .and_where(Expr::col("name").eq(name.as_str()))
                    .order_by("version", Order::Desc)
                    .limit(1);
                let version = fetch(&last, &mut *connection).await?.first().map_or(0, |row| row.get::<u32, _>(0)) + 1;
                let mut insert = Query::insert();
                insert
                    .into_table("jf_plugin_versions")
                    .columns(["tenant_id", "name", "version", "sha256", "wasm", "created_ms"])
                    .values_panic([
                        SHARED.into(),
                        name.as_str().into(),
                        version.into(),
                        sha256.as_str().into(),
                        wasm.into(),
                        now_ms().into(),
                    ]);
                execute(&insert, &mut *connection).await?;
                Ok(version)
            })
        })
        .await
    }
}
