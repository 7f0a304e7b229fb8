//! Following the database: which version of a tenant's plugin serves is said there, by whichever node. The others look
//! when they are told, and by themselves after a while.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::Notify, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    PluginError, PluginId, Plugins,
    registry::{Plugin, PluginState},
};
use crate::{event::TenantId, store::StoreError};

/// What another node changed is in force here after so long.
const REFRESH_EVERY: Duration = Duration::from_secs(3);
/// A version that cannot be brought into force is tried again after a while that doubles up to this.
const MAX_AGAIN: Duration = Duration::from_secs(5 * 60);

/// Has the database looked at when it goes: also when whoever changed it goes away before it is in force here.
pub(super) struct LooksAfter<'a>(&'a Notify);

impl Drop for LooksAfter<'_> {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

impl Plugins {
    /// To be held from before a change until it is in force.
    pub(super) fn looks_after(&self) -> LooksAfter<'_> {
        LooksAfter(&self.look)
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
    pub(super) async fn follow(&self, id: &PluginId) -> Result<Option<Arc<Plugin>>, PluginError> {
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
        for plugin in known.into_values() {
            match plugin.is_deleted() {
                // The last chain that named it may have gone.
                true => self.forget(&plugin),
                false => add(plugin.id.clone()),
            }
        }
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
