//! Plugins as the API shows them to one tenant.

use std::sync::Arc;

use serde::Serialize;

use super::{PluginError, PluginName, Plugins, books::Books, registry::Plugin, stats::CallSummary};
use crate::{
    event::{TenantId, rfc3339_ms},
    store::PluginVersionRow,
};

/// What the API shows of a plugin.
#[derive(Debug, Serialize)]
pub struct PluginInfo {
    pub name: String,
    pub active_version: Option<u32>,
    pub sha256: Option<String>,
    pub size_bytes: Option<usize>,
    pub exports: Vec<String>,
    pub imports: Vec<String>,
    pub about: Option<AboutInfo>,
    pub last_error: Option<String>,
    #[serde(flatten)]
    pub calls: CallSummary,
}

#[derive(Debug, Serialize)]
pub struct AboutInfo {
    pub name: String,
    pub version: String,
    pub events: Vec<String>,
    pub config_schema: Option<serde_json::Value>,
}

/// One plugin with all its versions, newest first.
#[derive(Debug, Serialize)]
pub struct PluginDetails {
    #[serde(flatten)]
    pub plugin: PluginInfo,
    pub versions: Vec<VersionInfo>,
    /// Serves again when the active one fails too often; none: nothing does.
    pub rolls_back_to: Option<u32>,
}

#[derive(Debug, Serialize)]
pub struct VersionInfo {
    pub version: u32,
    pub sha256: String,
    pub size_bytes: u64,
    pub created_at: String,
    pub active: bool,
}

impl Plugins {
    /// Everybody's, then the tenant's own.
    pub fn list(&self, tenant: &TenantId) -> Vec<PluginInfo> {
        self.seen_by(tenant).iter().map(|plugin| plugin.info(tenant, &self.books)).collect()
    }

    /// Nothing where the tenant sees no such plugin.
    ///
    /// # Errors
    /// [`PluginError::Store`].
    pub async fn known_to(&self, tenant: &TenantId, name: &PluginName) -> Result<Option<()>, PluginError> {
        Ok(self.find(&name.of(tenant)).await?.filter(|plugin| plugin.is_known()).map(|_| ()))
    }

    /// One plugin as a tenant sees it; none where it sees no such plugin.
    ///
    /// # Errors
    /// [`PluginError::Store`].
    pub async fn details(&self, tenant: &TenantId, name: &PluginName) -> Result<Option<PluginDetails>, PluginError> {
        let Some(plugin) = self.find(&name.of(tenant)).await?.filter(|plugin| plugin.is_known()) else {
            return Ok(None);
        };
        let rows = self.store.plugin_versions(plugin.id.owner_text(), plugin.id.bare()).await?;
        let info = plugin.info(tenant, &self.books);
        let shown = |row: PluginVersionRow| VersionInfo {
            active: info.active_version == Some(row.version),
            version: row.version,
            sha256: row.sha256,
            size_bytes: row.size_bytes,
            created_at: rfc3339_ms(row.created_ms),
        };
        let versions = rows.into_iter().map(shown).collect();
        let row = self.store.plugin(plugin.id.owner_text(), plugin.id.bare()).await?;
        Ok(Some(PluginDetails { plugin: info, versions, rolls_back_to: row.and_then(|row| row.fallback) }))
    }
}

impl Plugin {
    /// What its file's or its swap's fault was, or why a chain of this tenant could not be taken along.
    fn last_error(&self, tenant: &TenantId) -> Option<String> {
        if let Some(error) = self.state().last_error.clone() {
            return Some(error);
        }
        let chains = self.chains();
        let mut own = chains.iter().filter(|chain| chain.tenant == *tenant);
        let held_back = own.find_map(|chain| {
            let mut steps = chain.places_of(&self.id).map(|place| &chain.steps[place]);
            steps.find_map(|step| step.why_held_back())
        })?;
        Some(format!("a chain stays on the version before: {held_back}"))
    }

    fn info(self: &Arc<Self>, tenant: &TenantId, books: &Books) -> PluginInfo {
        let name = self.id.to_string();
        let active = self.active.load_full();
        let active = active.as_ref();
        PluginInfo {
            name: name.clone(),
            active_version: active.map(|version| version.number),
            sha256: active.map(|version| version.sha256.clone()),
            size_bytes: active.map(|version| version.size_bytes),
            exports: active.map(|version| version.exports.clone()).unwrap_or_default(),
            imports: active.map(|version| version.imports.clone()).unwrap_or_default(),
            about: active.map(|version| AboutInfo {
                name: version.about.name.clone(),
                version: version.about.version.clone(),
                events: version.about.events.clone(),
                config_schema: version.about.config_schema.as_deref().and_then(|text| serde_json::from_str(text).ok()),
            }),
            last_error: self.last_error(tenant),
            calls: books.summary(tenant, &name, active.map(|version| version.number)),
        }
    }
}
