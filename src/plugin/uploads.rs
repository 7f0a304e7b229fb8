//! Tenants' own plugins: uploads, the way back, and the end. Each is written to the database first, and in force on this
//! node before it is answered; how other nodes come to it is said in [`super::follow`].

use std::{collections::BTreeSet, time::Instant};

use bytes::Bytes;
use serde::Serialize;

use super::{
    Opened, Pins, PluginError, PluginId, PluginName, Plugins,
    admission::Admission,
    compile::digest,
    registry::{Code, STORED_VERSIONS},
    version::Version,
};
use crate::{
    event::TenantId,
    store::{AddedVersion, NewPluginVersion, PluginQuota, StoreError},
};

/// What one tenant may have.
const QUOTA: PluginQuota = PluginQuota { plugins: 100, bytes: 512 << 20 };

/// What a new version is to do.
#[derive(Debug, Clone, Copy)]
pub struct Serving {
    /// Serve.
    pub activate: bool,
    /// Leave it to the version before again, when it fails too often.
    pub roll_back: bool,
}

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
    /// A place for an upload, before its body is read.
    ///
    /// # Errors
    /// [`PluginError::TooManyUploads`], [`PluginError::Busy`].
    pub async fn admit(&self, tenant: &TenantId) -> Result<Admission<'_>, PluginError> {
        self.admissions.admit(tenant).await
    }

    /// Takes a component as the next version of a tenant's plugin. In force when this returns, if it is to serve.
    ///
    /// # Errors
    /// [`UploadError`]; nothing was written, unless the database broke off.
    pub async fn upload(
        &self,
        tenant: &TenantId,
        name: &PluginName,
        wasm: Bytes,
        Serving { activate, roll_back }: Serving,
    ) -> Result<Uploaded, UploadError> {
        let id = name.of(tenant);
        let size_bytes = wasm.len();
        let begun = Instant::now();
        // Compiled before it is stored: the store holds good components only.
        let code = Code::Given { sha256: digest(wasm.clone()).await?, wasm: wasm.clone() };
        let version = self.compile(Some(tenant), &id.to_string(), 0, code).await?;
        let compile_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let new = NewPluginVersion {
            owner: id.owner_text().to_owned(),
            name: id.bare().to_owned(),
            sha256: version.sha256.clone(),
            wasm,
            activate,
            roll_back,
            quota: Some(QUOTA),
            keep: STORED_VERSIONS,
            dispensable: self.dispensable(&id).await?,
        };
        let _looks = self.looks_after();
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
    pub async fn choose(
        &self,
        tenant: &TenantId,
        name: &PluginName,
        number: u32,
        roll_back: bool,
    ) -> Result<(), PluginError> {
        let id = name.of(tenant);
        let unknown = || PluginError::Unknown(name.to_string());
        let plugin = self.find(&id).await?.ok_or_else(unknown)?;
        // Compiled before the pointer moves anywhere.
        self.version(&plugin, number).await?;
        let _looks = self.looks_after();
        if !self.store.set_active_plugin(id.owner_text(), id.bare(), number, roll_back).await? {
            return Err(PluginError::Gone { plugin: id.to_string(), number });
        }
        self.follow(&id).await?.ok_or_else(unknown)?;
        Ok(())
    }

    /// Lets the version before serve again where the one that rests was activated so; answers its number.
    ///
    /// # Errors
    /// [`PluginError`]: the one that rests goes on being tried.
    pub async fn roll_back(&self, opened: &Opened) -> Result<Option<u32>, PluginError> {
        // A shared plugin is the operator's, whatever one tenant's events do to it.
        let Some(name) = PluginName::parse(&opened.plugin).ok().filter(|name| !name.is_shared()) else {
            return Ok(None);
        };
        let id = name.of(&opened.tenant);
        let row = self.store.plugin(id.owner_text(), id.bare()).await?;
        let still = row.filter(|row| row.active.as_ref().is_some_and(|active| active.version == opened.version));
        let Some(before) = still.and_then(|row| row.fallback) else { return Ok(None) };
        self.choose(&opened.tenant, &name, before, false).await?;
        Ok(Some(before))
    }

    /// Deletes a tenant's plugin with all its versions; false where there is none. Whether a chain uses it is the
    /// caller's to ask.
    ///
    /// # Errors
    /// [`PluginError::Store`].
    pub async fn delete(&self, tenant: &TenantId, name: &PluginName) -> Result<bool, PluginError> {
        let id = name.of(tenant);
        let _looks = self.looks_after();
        let deleted = self.store.delete_plugin(id.owner_text(), id.bare()).await?;
        self.follow(&id).await?;
        Ok(deleted)
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
}
