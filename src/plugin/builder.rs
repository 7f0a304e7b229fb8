//! Makes versions: has a component compiled, asks it what it is, and later gives it the better code where it serves with
//! code that was made quickly.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::task::JoinSet;
use wasmtime::Engine;

use super::{
    Limits, PluginError, Workshop,
    compile::{Cache, CacheKey, Compiler, Source, Tier},
    version::{Better, Version},
};
use crate::{event::TenantId, store::Store, vault::Vault};

/// How components are compiled, and where the code is kept.
pub struct Building {
    pub workshop: Workshop,
    pub cache_dir: PathBuf,
    /// CPU time of one compile.
    pub timeout: Duration,
    /// Seals the cache's key in the database.
    pub vault: Vault,
}

pub struct Builder {
    engine: Engine,
    limits: Limits,
    compiler: Arc<Compiler>,
    /// Ended with this. Held for a start only.
    improving: Mutex<JoinSet<()>>,
}

impl Builder {
    /// # Errors
    /// [`PluginError::Store`].
    pub async fn start(engine: Engine, limits: Limits, building: Building, store: &Store) -> Result<Self, PluginError> {
        let cache = Cache::open(building.cache_dir, CacheKey::read(store, &building.vault).await?, &engine);
        let compiler = Compiler::new(engine.clone(), limits, building.workshop, building.timeout, cache);
        Ok(Self { engine, limits, compiler: Arc::new(compiler), improving: Mutex::default() })
    }

    /// One version of a plugin, ready to serve.
    ///
    /// # Errors
    /// As [`Compiler::compile`] and [`Version::new`].
    pub async fn build(
        &self,
        tenant: Option<&TenantId>,
        plugin: &str,
        number: u32,
        sha256: String,
        source: Source,
    ) -> Result<Arc<Version>, PluginError> {
        let compiled = self.compiler.compile(tenant, &sha256, &source).await?;
        let better = (compiled.tier == Tier::Quick).then(|| Better { tenant: tenant.cloned(), source });
        let (engine, limits, plugin) = (self.engine.clone(), self.limits, plugin.to_owned());
        // Linking and asking take a moment of CPU: not on the runtime's threads, nor on those that events wait for.
        let version = move || Version::new(&engine, limits, &plugin, number, sha256, &compiled, better).map(Arc::new);
        tokio::task::spawn_blocking(version)
            .await
            .map_err(|error| PluginError::Engine(format!("a version ended badly: {error}")))?
    }

    /// Gives a version that serves with quick code the better one when it is there. Nobody waits for it, and no event sees
    /// it: both do the same.
    pub fn improve_later(&self, version: &Arc<Version>) {
        let Some(Better { tenant, source }) = version.take_better() else { return };
        let (compiler, serving) = (self.compiler.clone(), Arc::downgrade(version));
        let (name, number, sha256) = (version.plugin.clone(), version.number, version.sha256.clone());
        let improve = async move {
            let improved = compiler.improve(tenant.as_ref(), &sha256, &source).await;
            // Replaced meanwhile: the code is kept for when it comes back.
            let Some(version) = serving.upgrade() else { return };
            match improved.and_then(|compiled| version.improve(&compiled)) {
                Ok(()) => tracing::info!("plugin {name} version {number} runs its optimised code"),
                Err(error) => {
                    tracing::warn!("plugin {name} version {number} stays with its quickly made code: {error}")
                }
            }
        };
        let mut improving = self.improving.lock().unwrap_or_else(PoisonError::into_inner);
        while improving.try_join_next().is_some() {}
        improving.spawn(improve);
    }
}
