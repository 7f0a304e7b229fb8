//! Tenants' own plugins: uploads, the way back, the end, and following what other nodes did.
//!
//! The database says which version serves. Whoever changes that brings it into force on this node before it answers, and
//! every other node does when it looks: told by a word, or by itself after a while.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant as Clock},
};

use bytes::Bytes;
use serde::Serialize;
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    Pins, PluginError, PluginId, PluginName, Plugins,
    registry::{Code, Plugin, PluginState, STORED_VERSIONS},
    version::Version,
};
use crate::{
    event::TenantId,
    store::{AddedVersion, NewPluginVersion, PluginQuota, StoreError},
};

/// What one tenant may have.
const QUOTA: PluginQuota = PluginQuota { plugins: 100, bytes: 512 << 20 };
/// What another node changed is in force here after so long.
const REFRESH_EVERY: Duration = Duration::from_secs(3);
/// A version that cannot be brought into force is tried again after a while that doubles up to this.
const MAX_AGAIN: Duration = Duration::from_secs(5 * 60);

/// An upload, as it was taken.
#[derive(Debug, Serialize)]
pub struct Uploaded {
    pub name: String,
    pub version: u32,
    pub sha256: String,
    pub size_bytes: usize,
    pub exports: Vec<String>,
    pub imports: Vec<String>,
    pub compile_ms: u64,
    /// Whether it serves now.
    pub active: bool,
    /// False: a version with the same bytes was there.
    #[serde(skip)]
    pub is_new: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    #[error(transparent)]
    Plugin(#[from] PluginError),
    #[error("a tenant has at most {} plugins; delete one that no chain uses", QUOTA.plugins)]
    TooManyPlugins,
    #[error(
        "{used} bytes of components are stored, and {size_bytes} more are over the {} that a tenant may have; delete a \
         plugin that no chain uses, or make this one smaller",
        QUOTA.bytes
    )]
    TooManyBytes { used: u64, size_bytes: usize },
}

impl From<StoreError> for UploadError {
    fn from(error: StoreError) -> Self {
        Self::Plugin(error.into())
    }
}

impl Plugins {
    /// Takes a component as the next version of a tenant's plugin. In force when this returns, if it is to serve.
    ///
    /// # Errors
    /// [`UploadError`]; nothing was written, unless the database broke off.
    pub async fn upload(
        &self,
        tenant: &TenantId,
        name: &PluginName,
        wasm: Bytes,
        activate: bool,
    ) -> Result<Uploaded, UploadError> {
        let id = name.of(tenant);
        let size_bytes = wasm.len();
        let begun = Clock::now();
        // Compiled before it is stored: the store holds good components only.
        let version = self.compile(Some(tenant), &id.to_string(), 0, Code::Given(wasm.clone())).await?;
        let compile_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let new = NewPluginVersion {
            owner: id.owner_text().to_owned(),
            name: id.bare().to_owned(),
            sha256: version.sha256.clone(),
            wasm,
            activate,
            quota: Some(QUOTA),
            keep: STORED_VERSIONS,
            dispensable: self.dispensable(&id).await?,
        };
        let (number, is_new) = match self.store.add_plugin_version(new).await? {
            AddedVersion::New(number) => (number, true),
            AddedVersion::Known(number) => (number, false),
            AddedVersion::TooManyPlugins => return Err(UploadError::TooManyPlugins),
            AddedVersion::TooManyBytes { used } => return Err(UploadError::TooManyBytes { used, size_bytes }),
        };
        let version = Version::numbered(version, number)?;
        let plugin = self.plugin_or_new(&id);
        if plugin.known(number).is_none() {
            plugin.keep(version.clone());
        }
        self.follow(&id).await?;
        Ok(Uploaded {
            name: id.to_string(),
            version: number,
            sha256: version.sha256.clone(),
            size_bytes,
            exports: version.exports.clone(),
            imports: version.imports.clone(),
            compile_ms,
            active: plugin.active.load().as_ref().is_some_and(|active| active.number == number),
            is_new,
        })
    }

    /// Lets an older or newer version of a tenant's plugin serve. In force when this returns.
    ///
    /// # Errors
    /// [`PluginError::Unknown`], [`PluginError::Gone`]: there is no such plugin, or no such version.
    pub async fn choose(&self, tenant: &TenantId, name: &PluginName, number: u32) -> Result<(), PluginError> {
        let id = name.of(tenant);
        let unknown = || PluginError::Unknown(name.to_string());
        let plugin = self.find(&id).await?.ok_or_else(unknown)?;
        // Compiled before the pointer moves anywhere.
        self.version(&plugin, number).await?;
        if !self.store.set_active_plugin(id.owner_text(), id.bare(), number).await? {
            return Err(PluginError::Gone { plugin: id.to_string(), number });
        }
        self.follow(&id).await?.ok_or_else(unknown)?;
        Ok(())
    }

    /// Deletes a tenant's plugin with all its versions; false where there is none. Whether a chain uses it is the
    /// caller's to ask.
    ///
    /// # Errors
    /// [`PluginError::Store`].
    pub async fn delete(&self, tenant: &TenantId, name: &PluginName) -> Result<bool, PluginError> {
        let id = name.of(tenant);
        let deleted = self.store.delete_plugin(id.owner_text(), id.bare()).await?;
        self.follow(&id).await?;
        Ok(deleted)
    }

    /// A plugin, if need be by a look into the database: another node may have it since a moment.
    ///
    /// # Errors
    /// [`PluginError`] where it is there and cannot be brought into force.
    pub(super) async fn find(&self, id: &PluginId) -> Result<Option<Arc<Plugin>>, PluginError> {
        match self.plugin(id) {
            Some(plugin) if plugin.active.load().is_some() => Ok(Some(plugin)),
            known if id.owner().is_none() => Ok(known),
            _ => self.follow(id).await,
        }
    }

    /// Brings into force what the database says of a tenant's plugin now; none where it has no such plugin.
    ///
    /// # Errors
    /// [`PluginError`]: what served goes on serving.
    async fn follow(&self, id: &PluginId) -> Result<Option<Arc<Plugin>>, PluginError> {
        let read = || self.store.plugin(id.owner_text(), id.bare());
        let plugin = match (self.plugin(id), read().await?) {
            (Some(plugin), _) => plugin,
            (None, Some(_)) => self.plugin_or_new(id),
            (None, None) => return Ok(None),
        };
        let _swapping = plugin.swapping.lock().await;
        // Read in turn: what was read before may be older than what is in force by now.
        let Some(row) = read().await? else {
            self.deactivate(&plugin);
            plugin.state().deleted();
            self.forget(&plugin);
            return Ok(None);
        };
        if row.generation > plugin.state().generation {
            self.apply(&plugin, row).await?;
        }
        Ok(Some(plugin.clone()))
    }

    /// Versions that may be dropped from the database where there are too many: not active, serving no chain, and fixed
    /// with no delivery that has yet to be rendered.
    pub(super) async fn dispensable(&self, id: &PluginId) -> Result<Vec<u32>, StoreError> {
        let stored = self.store.plugin_versions(id.owner_text(), id.bare()).await?;
        if stored.len() <= STORED_VERSIONS {
            return Ok(Vec::new());
        }
        let mut needed: BTreeSet<u32> = BTreeSet::new();
        if let Some(plugin) = self.plugin(id) {
            needed.extend(plugin.active.load().as_ref().map(|version| version.number));
            for chain in plugin.chains() {
                let serving = chain.serving();
                needed.extend(chain.places_of(id).filter_map(|place| Some(serving[place].as_ref()?.number)));
            }
        }
        let prefix = format!("{id}#");
        for text in self.store.pending_pins(id.owner_text(), &prefix).await? {
            let pins: Pins = serde_json::from_str(&text).unwrap_or_default();
            needed.extend(pins.iter().filter(|(key, _)| key.starts_with(&prefix)).map(|(_, number)| *number));
        }
        Ok(stored.iter().map(|row| row.version).filter(|number| !needed.contains(number)).collect())
    }

    /// Another node changed a tenant's plugin: the database is looked at now.
    pub fn look_now(&self) {
        self.look.notify_one();
    }

    /// Follows what other nodes do, and tries again what could not be brought into force, until the server stops. One
    /// tenant's compiling does not keep the others waiting.
    pub async fn keep_fresh(self: Arc<Self>, stopping: CancellationToken) {
        let mut following = JoinSet::new();
        let mut busy = HashSet::new();
        let mut look_again = false;
        loop {
            tokio::select! {
                biased;
                () = stopping.cancelled() => return,
                Some(followed) = following.join_next() => {
                    match followed {
                        Ok(owner) => {
                            busy.remove(&owner);
                        }
                        Err(error) => {
                            tracing::error!("a plugin was not followed to the end: {error}");
                            busy.clear();
                        }
                    }
                    if !look_again {
                        continue;
                    }
                }
                () = self.look.notified() => {}
                () = tokio::time::sleep(REFRESH_EVERY), if self.store.is_shared() || self.is_behind() => {}
            }
            look_again = false;
            let outdated = match self.outdated().await {
                Ok(outdated) => outdated,
                Err(error) => {
                    tracing::warn!("plugins stay as they are: {error}");
                    continue;
                }
            };
            for (owner, ids) in outdated {
                if !busy.insert(owner.clone()) {
                    // Changed again meanwhile.
                    look_again = true;
                    continue;
                }
                let plugins = self.clone();
                following.spawn(async move {
                    for id in ids {
                        // Told by `apply`, and tried again.
                        let _ = plugins.follow(&id).await;
                    }
                    owner
                });
            }
        }
    }

    /// Whether something is to be tried again.
    fn is_behind(&self) -> bool {
        self.all(true).iter().any(|plugin| plugin.state().again.is_some())
    }

    /// Plugins of which the database says something else than what is in force here, by owner.
    async fn outdated(&self) -> Result<HashMap<TenantId, Vec<PluginId>>, StoreError> {
        let mut known: HashMap<PluginId, Arc<Plugin>> =
            self.all(true).into_iter().map(|plugin| (plugin.id.clone(), plugin)).collect();
        let mut outdated: HashMap<TenantId, Vec<PluginId>> = HashMap::new();
        let mut add = |id: PluginId| {
            if let Some(owner) = id.owner() {
                outdated.entry(owner.clone()).or_default().push(id);
            }
        };
        for row in self.store.plugins().await? {
            let Some(id) = PluginId::stored(&row.owner, &row.name) else { continue };
            let plugin = known.remove(&id);
            if plugin.is_none_or(|plugin| plugin.state().is_behind(row.generation)) {
                add(id);
            }
        }
        known.into_values().filter(|plugin| !plugin.is_deleted()).for_each(|plugin| add(plugin.id.clone()));
        Ok(outdated)
    }
}

impl PluginState {
    /// The row of the database could not be brought into force.
    pub(super) fn failed(&mut self, message: String) {
        let tries = self.again.map_or(0, |(_, tries)| tries);
        let pause = REFRESH_EVERY.saturating_mul(1 << tries.min(10)).min(MAX_AGAIN);
        self.again = Some((Instant::now() + pause, tries + 1));
        self.last_error = Some(message);
    }

    /// Whether a row is to be followed now.
    fn is_behind(&self, generation: i64) -> bool {
        generation > self.generation && self.again.is_none_or(|(at, _)| at <= Instant::now())
    }
}
