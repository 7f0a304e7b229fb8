//! Changes of plugins: a new version, another one that serves, the end of one. Who changes a plugin of an owner comes
//! after whoever is changing another one of the same owner, so that two cannot pass a quota together.

use bytes::Bytes;
use sea_query::{Expr, ExprTrait, Order, Query};

use super::{
    Store, StoreError,
    plugins::PART_BYTES,
    sql::{Connection, execute, fetch, insert_new},
};
use crate::event::now_ms;

/// Names of deleted plugins whose numbers are remembered, per owner.
const MAX_DELETED: usize = 1000;

/// A component that is to become the next version of its plugin.
pub struct NewPluginVersion {
    /// The tenant; empty for everybody's.
    pub owner: String,
    pub name: String,
    pub sha256: String,
    pub wasm: Bytes,
    /// It is to serve.
    pub activate: bool,
    /// What served before is to serve again when this one fails too often.
    pub roll_back: bool,
    /// None: the operator's own.
    pub quota: Option<PluginQuota>,
    /// Versions besides the new one that are kept.
    pub keep: usize,
    /// Versions that nobody needs: the oldest of them go where more are kept.
    pub dispensable: Vec<u32>,
}

/// What one owner may have.
#[derive(Debug, Clone, Copy)]
pub struct PluginQuota {
    pub plugins: usize,
    pub bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddedVersion {
    New(u32),
    /// A version with the same bytes was there.
    Known(u32),
    TooManyPlugins,
    TooManyBytes {
        used: u64,
    },
}

/// Of a version, what quotas count.
struct Held {
    name: String,
    version: u32,
    sha256: String,
    size_bytes: u64,
}

/// A row of `jf_plugins`, also of a deleted one.
struct Standing {
    last: u32,
    active: Option<u32>,
}

impl Store {
    /// Stores a component as the next version of its plugin, if there is none with the same bytes.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn add_plugin_version(&self, new: NewPluginVersion) -> Result<AddedVersion, StoreError> {
        self.write(new, |connection, new| Box::pin(add(connection, new))).await
    }

    /// Lets a version serve; false where there is no such version.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn set_active_plugin(
        &self,
        owner: &str,
        name: &str,
        version: u32,
        roll_back: bool,
    ) -> Result<bool, StoreError> {
        let change = (owner.to_owned(), name.to_owned(), version, roll_back);
        self.write(change, |connection, (owner, name, version, roll_back)| {
            Box::pin(async move {
                let change = take_turn(&mut *connection, owner).await?;
                if !held(&mut *connection, owner).await?.iter().any(|it| it.name == *name && it.version == *version) {
                    return Ok(false);
                }
                activate(connection, (owner, name), *version, change, *roll_back).await?;
                Ok(true)
            })
        })
        .await
    }

    /// Removes all versions of a plugin; false where there is none.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn delete_plugin(&self, owner: &str, name: &str) -> Result<bool, StoreError> {
        self.write((owner.to_owned(), name.to_owned()), |connection, (owner, name)| {
            Box::pin(async move {
                let change = take_turn(&mut *connection, owner).await?;
                let mut update = Query::update();
                update
                    .table("jf_plugins")
                    .value("active_version", Option::<i64>::None)
                    .value("generation", change)
                    .value("deleted_ms", now_ms())
                    .and_where(Expr::col("tenant_id").eq(owner.as_str()))
                    .and_where(Expr::col("name").eq(name.as_str()))
                    .and_where(Expr::col("deleted_ms").is_null());
                if execute(&update, &mut *connection).await? == 0 {
                    return Ok(false);
                }
                for table in ["jf_plugin_parts", "jf_plugin_versions"] {
                    let mut delete = Query::delete();
                    delete
                        .from_table(table)
                        .and_where(Expr::col("tenant_id").eq(owner.as_str()))
                        .and_where(Expr::col("name").eq(name.as_str()));
                    execute(&delete, &mut *connection).await?;
                }
                forget_oldest_deleted(connection, owner).await?;
                Ok(true)
            })
        })
        .await
    }
}

async fn add(connection: &mut Connection, new: &NewPluginVersion) -> Result<AddedVersion, sqlx::Error> {
    let change = take_turn(&mut *connection, &new.owner).await?;
    let held = held(&mut *connection, &new.owner).await?;
    let plugin = (new.owner.as_str(), new.name.as_str());
    let standing = standing(&mut *connection, plugin).await?;
    if let Some(known) = held.iter().find(|it| it.name == new.name && it.sha256 == new.sha256) {
        if new.activate {
            activate(connection, plugin, known.version, change, new.roll_back).await?;
        }
        return Ok(AddedVersion::Known(known.version));
    }
    let dropped = dropped(new, &held, standing.as_ref().and_then(|standing| standing.active));
    if let Some(quota) = new.quota {
        let mut names: Vec<&str> = held.iter().map(|it| it.name.as_str()).collect();
        names.dedup();
        if !names.contains(&new.name.as_str()) && names.len() >= quota.plugins {
            return Ok(AddedVersion::TooManyPlugins);
        }
        let stays = |it: &&Held| !(it.name == new.name && dropped.contains(&it.version));
        let used: u64 = held.iter().filter(stays).map(|it| it.size_bytes).sum();
        if used + new.wasm.len() as u64 > quota.bytes {
            return Ok(AddedVersion::TooManyBytes { used });
        }
    }
    for version in dropped {
        drop_version(&mut *connection, plugin, version).await?;
    }
    let newest = held.iter().filter(|it| it.name == new.name).map(|it| it.version).max();
    let last = standing.as_ref().map(|standing| standing.last);
    let version = Ord::max(newest, last).unwrap_or(0) + 1;
    insert_version(&mut *connection, new, version).await?;
    let active = new.activate.then_some(i64::from(version));
    if standing.is_none() {
        let mut insert = Query::insert();
        insert
            .into_table("jf_plugins")
            .columns(["tenant_id", "name", "last_version", "active_version", "generation"])
            .values_panic([plugin.0.into(), plugin.1.into(), i64::from(version).into(), active.into(), change.into()]);
        execute(&insert, connection).await?;
        return Ok(AddedVersion::New(version));
    }
    let mut update = Query::update();
    update
        .table("jf_plugins")
        .value("last_version", i64::from(version))
        .value("deleted_ms", Option::<i64>::None)
        .value("generation", change)
        .and_where(Expr::col("tenant_id").eq(plugin.0))
        .and_where(Expr::col("name").eq(plugin.1));
    if active.is_some() {
        // Before the pointer moves: MySQL reads what the columns before it were set to.
        update.value("fallback", fallback(new.roll_back)).value("active_version", active);
    }
    execute(&update, connection).await?;
    Ok(AddedVersion::New(version))
}

/// Waits for whoever else is changing this owner's plugins, and answers the number of this change.
async fn take_turn(connection: &mut Connection, owner: &str) -> Result<i64, sqlx::Error> {
    let mut count = Query::update();
    count
        .table("jf_plugin_owners")
        .value("changes", Expr::col("changes").add(1))
        .and_where(Expr::col("tenant_id").eq(owner));
    while execute(&count, &mut *connection).await? == 0 {
        let mut first = Query::insert();
        first.into_table("jf_plugin_owners").columns(["tenant_id", "changes"]).values_panic([owner.into(), 0.into()]);
        // Not new: another one came first, and is waited for by the update.
        insert_new(&mut first, &mut *connection).await?;
    }
    let mut select = Query::select();
    select.column("changes").from("jf_plugin_owners").and_where(Expr::col("tenant_id").eq(owner));
    fetch(&select, connection).await?.first().ok_or(sqlx::Error::RowNotFound)?.get("changes")
}

/// All versions of an owner's plugins, by name and number.
async fn held(connection: &mut Connection, owner: &str) -> Result<Vec<Held>, sqlx::Error> {
    let mut select = Query::select();
    select
        .columns(["name", "version", "sha256", "size_bytes"])
        .from("jf_plugin_versions")
        .and_where(Expr::col("tenant_id").eq(owner))
        .order_by("name", Order::Asc)
        .order_by("version", Order::Asc);
    let rows = fetch(&select, connection).await?;
    let read = |row: &super::sql::Row| {
        Ok(Held {
            name: row.get("name")?,
            version: row.get_u32("version")?,
            sha256: row.get("sha256")?,
            size_bytes: Ord::max(row.get::<i64>("size_bytes")?, 0).unsigned_abs(),
        })
    };
    rows.iter().map(read).collect()
}

async fn standing(connection: &mut Connection, plugin: (&str, &str)) -> Result<Option<Standing>, sqlx::Error> {
    let mut select = Query::select();
    select
        .columns(["last_version", "active_version"])
        .from("jf_plugins")
        .and_where(Expr::col("tenant_id").eq(plugin.0))
        .and_where(Expr::col("name").eq(plugin.1));
    let rows = fetch(&select, connection).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let active = row.get::<Option<i64>>("active_version")?.and_then(|number| u32::try_from(number).ok());
    Ok(Some(Standing { last: row.get_u32("last_version")?, active }))
}

/// The oldest of those that nobody needs, as many as are too many.
fn dropped(new: &NewPluginVersion, held: &[Held], active: Option<u32>) -> Vec<u32> {
    let numbers: Vec<u32> = held.iter().filter(|it| it.name == new.name).map(|it| it.version).collect();
    let too_many = numbers.len().saturating_sub(new.keep);
    let goes = |number: &u32| new.dispensable.contains(number) && active != Some(*number);
    numbers.into_iter().filter(goes).take(too_many).collect()
}

async fn drop_version(connection: &mut Connection, plugin: (&str, &str), version: u32) -> Result<(), sqlx::Error> {
    for table in ["jf_plugin_parts", "jf_plugin_versions"] {
        let mut delete = Query::delete();
        delete
            .from_table(table)
            .and_where(Expr::col("tenant_id").eq(plugin.0))
            .and_where(Expr::col("name").eq(plugin.1))
            .and_where(Expr::col("version").eq(i64::from(version)));
        execute(&delete, &mut *connection).await?;
    }
    Ok(())
}

async fn insert_version(connection: &mut Connection, new: &NewPluginVersion, version: u32) -> Result<(), sqlx::Error> {
    let mut parts = new.wasm.chunks(PART_BYTES);
    let mut insert = Query::insert();
    insert
        .into_table("jf_plugin_versions")
        .columns(["tenant_id", "name", "version", "sha256", "wasm", "size_bytes", "created_ms"])
        .values_panic([
            new.owner.as_str().into(),
            new.name.as_str().into(),
            i64::from(version).into(),
            new.sha256.as_str().into(),
            parts.next().unwrap_or_default().to_vec().into(),
            (new.wasm.len() as i64).into(),
            now_ms().into(),
        ]);
    execute(&insert, &mut *connection).await?;
    for (n, part) in parts.enumerate() {
        let mut insert = Query::insert();
        insert.into_table("jf_plugin_parts").columns(["tenant_id", "name", "version", "part", "bytes"]).values_panic([
            new.owner.as_str().into(),
            new.name.as_str().into(),
            i64::from(version).into(),
            (n as i64 + 1).into(),
            part.to_vec().into(),
        ]);
        execute(&insert, &mut *connection).await?;
    }
    Ok(())
}

/// Moves the pointer; one that stands there already is no change.
async fn activate(
    connection: &mut Connection,
    plugin: (&str, &str),
    version: u32,
    change: i64,
    roll_back: bool,
) -> Result<(), sqlx::Error> {
    let other = Expr::col("active_version").is_null().or(Expr::col("active_version").ne(i64::from(version)));
    let mut update = Query::update();
    update
        .table("jf_plugins")
        .value("fallback", fallback(roll_back))
        .value("active_version", i64::from(version))
        .value("generation", change)
        .and_where(Expr::col("tenant_id").eq(plugin.0))
        .and_where(Expr::col("name").eq(plugin.1))
        .and_where(other);
    execute(&update, connection).await.map(|_| ())
}

/// What has served until now, or nothing.
fn fallback(roll_back: bool) -> Expr {
    if roll_back { Expr::col("active_version") } else { Expr::val(Option::<i64>::None) }
}

/// A tenant that makes and deletes plugins under ever new names fills no table.
async fn forget_oldest_deleted(connection: &mut Connection, owner: &str) -> Result<(), sqlx::Error> {
    let mut select = Query::select();
    select
        .column("name")
        .from("jf_plugins")
        .and_where(Expr::col("tenant_id").eq(owner))
        .and_where(Expr::col("deleted_ms").is_not_null())
        .order_by("deleted_ms", Order::Desc)
        .limit(MAX_DELETED as u64 + 100);
    for row in fetch(&select, &mut *connection).await?.iter().skip(MAX_DELETED) {
        let mut delete = Query::delete();
        delete
            .from_table("jf_plugins")
            .and_where(Expr::col("tenant_id").eq(owner))
            .and_where(Expr::col("name").eq(row.get::<String>("name")?))
            .and_where(Expr::col("deleted_ms").is_not_null());
        execute(&delete, &mut *connection).await?;
    }
    Ok(())
}
