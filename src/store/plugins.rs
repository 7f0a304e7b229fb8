//! Plugins as they stand: which version serves, and each component as it was given, from which it is compiled again.

use sea_query::{Expr, ExprTrait, JoinType, Order, Query, SelectStatement};

use super::{Store, StoreError, queue::pending_ranges, sql::Row, webhooks::as_id};
use crate::event::WebhookId;

/// Bytes of a component that stand with its version, and in each further part: MySQL's packet is 16 MiB by default.
pub(super) const PART_BYTES: usize = 4 << 20;

/// A plugin that has not been deleted, and the version of it that serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginRow {
    /// The tenant; empty for everybody's.
    pub owner: String,
    pub name: String,
    /// Grows with each change.
    pub generation: i64,
    pub active: Option<PluginVersionRow>,
    /// What is to serve again when the active one fails too often.
    pub fallback: Option<u32>,
}

/// One version, without its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginVersionRow {
    pub version: u32,
    pub sha256: String,
    pub size_bytes: u64,
    pub created_ms: i64,
}

const VERSION_COLUMNS: [(&str, &str); 4] =
    [("v", "version"), ("v", "sha256"), ("v", "size_bytes"), ("v", "created_ms")];

impl Store {
    /// All plugins of all owners: the server keeps them in memory.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn plugins(&self) -> Result<Vec<PluginRow>, StoreError> {
        self.read_all(&plugins(), |row| plugin(row).map(Some)).await
    }

    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn plugin(&self, owner: &str, name: &str) -> Result<Option<PluginRow>, StoreError> {
        let mut select = plugins();
        select.and_where(Expr::col(("p", "tenant_id")).eq(owner)).and_where(Expr::col(("p", "name")).eq(name));
        Ok(self.read_all(&select, |row| plugin(row).map(Some)).await?.into_iter().next())
    }

    /// All versions of a plugin, newest first.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn plugin_versions(&self, owner: &str, name: &str) -> Result<Vec<PluginVersionRow>, StoreError> {
        self.read_all(&versions(owner, name), |row| version(row).map(Some)).await
    }

    /// One version of a plugin.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn plugin_version(
        &self,
        owner: &str,
        name: &str,
        number: u32,
    ) -> Result<Option<PluginVersionRow>, StoreError> {
        let mut select = versions(owner, name);
        select.and_where(Expr::col(("v", "version")).eq(i64::from(number)));
        Ok(self.read_all(&select, |row| version(row).map(Some)).await?.into_iter().next())
    }

    /// The component of one version, as it was given.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn plugin_wasm(&self, owner: &str, name: &str, number: u32) -> Result<Option<Vec<u8>>, StoreError> {
        let mut first = Query::select();
        first
            .columns(["wasm", "size_bytes"])
            .from("jf_plugin_versions")
            .and_where(Expr::col("tenant_id").eq(owner))
            .and_where(Expr::col("name").eq(name))
            .and_where(Expr::col("version").eq(i64::from(number)));
        let read = |row: &Row| Ok(Some((row.get::<Vec<u8>>("wasm")?, row.get::<i64>("size_bytes")?)));
        let Some((mut wasm, size_bytes)) = self.read_all(&first, read).await?.into_iter().next() else {
            return Ok(None);
        };
        let parts = usize::try_from(size_bytes).unwrap_or(0).div_ceil(PART_BYTES);
        for part in 1..parts {
            let mut next = Query::select();
            next.column("bytes")
                .from("jf_plugin_parts")
                .and_where(Expr::col("tenant_id").eq(owner))
                .and_where(Expr::col("name").eq(name))
                .and_where(Expr::col("version").eq(i64::from(number)))
                .and_where(Expr::col("part").eq(part as i64));
            let bytes = self.read_all(&next, |row| row.get::<Vec<u8>>("bytes").map(Some)).await?;
            match bytes.first() {
                Some(bytes) => wasm.extend_from_slice(bytes),
                // Deleted meanwhile.
                None => return Ok(None),
            }
        }
        Ok(Some(wasm))
    }

    /// What pending deliveries were fixed to, where it names a step that begins so. Each look is at a
    /// range of an index, per webhook of the owner; of all when that is everybody.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn pending_pins(&self, owner: &str, prefix: &str) -> Result<Vec<String>, StoreError> {
        let mut pins = Vec::new();
        for webhook in self.webhooks_of(owner).await? {
            for range in pending_ranges(self.dialect(), webhook) {
                let mut select = Query::select();
                select
                    .distinct()
                    .column("pins")
                    .from("jf_deliveries")
                    .and_where(range)
                    .and_where(Expr::col("pins").like(format!("%\"{prefix}%")));
                pins.extend(self.read_all(&select, |row| row.get::<Option<String>>("pins")).await?);
            }
        }
        Ok(pins)
    }

    /// Of a tenant, or of all.
    async fn webhooks_of(&self, owner: &str) -> Result<Vec<WebhookId>, StoreError> {
        let mut select = Query::select();
        select.expr_as(as_id(self.dialect(), Expr::col("id")), "id").from("webhooks");
        if !owner.is_empty() {
            select.and_where(Expr::col("tenant_id").eq(owner));
        }
        self.read_all(&select, |row| row.get("id").map(|id| Some(WebhookId(id)))).await
    }
}

fn plugins() -> SelectStatement {
    let same = |column: &'static str| Expr::col(("v", column)).equals(("p", column));
    let serves = same("tenant_id").and(same("name")).and(Expr::col(("v", "version")).equals(("p", "active_version")));
    let mut select = Query::select();
    select
        .columns([("p", "tenant_id"), ("p", "name"), ("p", "generation"), ("p", "active_version"), ("p", "fallback")])
        .columns(VERSION_COLUMNS)
        .from_as("jf_plugins", "p")
        .join_as(JoinType::LeftJoin, "jf_plugin_versions", "v", serves)
        .and_where(Expr::col(("p", "deleted_ms")).is_null());
    select
}

fn plugin(row: &Row) -> Result<PluginRow, sqlx::Error> {
    Ok(PluginRow {
        owner: row.get("tenant_id")?,
        name: row.get("name")?,
        generation: row.get("generation")?,
        active: match row.get::<Option<i64>>("version")? {
            Some(_) => Some(version(row)?),
            None => None,
        },
        fallback: row.get::<Option<i64>>("fallback")?.and_then(|number| u32::try_from(number).ok()),
    })
}

fn versions(owner: &str, name: &str) -> SelectStatement {
    let mut select = Query::select();
    select
        .columns(VERSION_COLUMNS)
        .from_as("jf_plugin_versions", "v")
        .and_where(Expr::col(("v", "tenant_id")).eq(owner))
        .and_where(Expr::col(("v", "name")).eq(name))
        .order_by(("v", "version"), Order::Desc);
    select
}

fn version(row: &Row) -> Result<PluginVersionRow, sqlx::Error> {
    Ok(PluginVersionRow {
        version: row.get_u32("version")?,
        sha256: row.get("sha256")?,
        size_bytes: Ord::max(row.get::<i64>("size_bytes")?, 0).unsigned_abs(),
        created_ms: row.get("created_ms")?,
    })
}
