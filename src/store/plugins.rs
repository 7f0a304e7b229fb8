//! Components as they were given, by version: the source of truth from which the last good one is compiled again.

use sea_query::{Expr, ExprTrait, Func, Order, Query};

use super::{
    Store, StoreError,
    sql::{Row, fetch, insert_new},
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
            .expr_as(Func::max(Expr::col("version")), "newest")
            .from("jf_plugin_versions")
            .and_where(Expr::col("tenant_id").eq(SHARED))
            .group_by_col("name");
        let mut versions = Vec::new();
        for row in self.read(&newest).await? {
            versions.extend(self.shared_plugin(&row.get::<String>("name")?, row.get_u32("newest")?).await?);
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
            .and_where(Expr::col("version").eq(i64::from(version)));
        let read = |row: &Row| {
            Ok(Some(PluginVersionRow {
                name: row.get("name")?,
                version: row.get_u32("version")?,
                sha256: row.get("sha256")?,
                wasm: row.get("wasm")?,
            }))
        };
        Ok(self.read_all(&select, read).await?.into_iter().next())
    }

    /// Stores a component as the next version of its name. Nodes that find the same file make one version of it.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn add_shared_plugin(&self, name: String, sha256: String, wasm: Vec<u8>) -> Result<u32, StoreError> {
        self.write((name, sha256, wasm), |connection, (name, sha256, wasm)| {
            Box::pin(async move {
                loop {
                    let mut last = Query::select();
                    last.columns(["version", "sha256"])
                        .from("jf_plugin_versions")
                        .and_where(Expr::col("tenant_id").eq(SHARED))
                        .and_where(Expr::col("name").eq(name.as_str()))
                        .order_by("version", Order::Desc)
                        .limit(1);
                    let rows = fetch(&last, &mut *connection).await?;
                    let version = match rows.first() {
                        Some(row) if row.get::<String>("sha256")? == *sha256 => return row.get_u32("version"),
                        Some(row) => row.get_u32("version")? + 1,
                        None => 1,
                    };
                    let mut insert = Query::insert();
                    insert
                        .into_table("jf_plugin_versions")
                        .columns(["tenant_id", "name", "version", "sha256", "wasm", "created_ms"])
                        .values_panic([
                            SHARED.into(),
                            name.as_str().into(),
                            i64::from(version).into(),
                            sha256.as_str().into(),
                            wasm.clone().into(),
                            now_ms().into(),
                        ]);
                    // None: another node took the number in this moment.
                    if insert_new(&mut insert, &mut *connection).await? == 1 {
                        return Ok(version);
                    }
                }
            })
        })
        .await
    }
}
