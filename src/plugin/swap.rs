//! The swap from one version to the next: a chain is bound to what accepts it, and moved whole.
//!
//! Trials take as long as a guest takes, so they are made before any lock is held. Pointers move under a lock that is held
//! for moments; whoever finds there that the world has changed since its trials makes those that are missing.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError},
    time::Duration,
};

use super::{
    Chain, ChainSpec, Failure, PluginError, Plugins,
    chain::{Bound, Serving, Step},
    registry::{KEPT_VERSIONS, Plugin},
    version::Version,
};
use crate::event::{FieldError, Invalid, TenantId};

/// A trial waits this often, for this long, for room in the pool.
const BUSY_TRIES: u32 = 20;
const BUSY_PAUSE: Duration = Duration::from_millis(50);

impl Plugins {
    /// Binds a chain for a target that exists already: a step whose plugin is missing or refuses is kept, waits, and is
    /// tried again at the plugin's next version.
    pub async fn bind(&self, tenant: &TenantId, spec: &ChainSpec) -> Chain {
        let chain = self.bind_steps(tenant, spec, true).await;
        let is_missing = |step: &Arc<Step>| step.plugin.owner().is_some() && self.serving(step).is_none();
        if chain.steps().iter().any(is_missing) {
            // Another node may have it; this one hears of the chain first.
            self.look.notify_one();
        }
        chain
    }

    /// Binds a chain that somebody is setting up: every plugin must exist and accept its configuration now.
    ///
    /// # Errors
    /// Each step at fault, with the plugin's words.
    pub async fn bind_checked(&self, tenant: &TenantId, field: &str, spec: &ChainSpec) -> Result<Chain, Invalid> {
        let fault =
            |n: usize, place: &str, message: String| FieldError { field: format!("{field}[{n}].{place}"), message };
        let mut unknown = Vec::new();
        for (n, step) in spec.0.iter().enumerate() {
            match self.find(&step.plugin.of(tenant)).await {
                Ok(Some(plugin)) if plugin.active.load().is_some() => {}
                Ok(_) => unknown.push(fault(n, "plugin", PluginError::Unknown(step.plugin.to_string()).to_string())),
                Err(error) => unknown.push(fault(n, "plugin", error.to_string())),
            }
        }
        if !unknown.is_empty() {
            return Err(Invalid { errors: unknown });
        }
        let chain = self.bind_steps(tenant, spec, false).await;
        let steps = chain.steps().iter().enumerate();
        let errors: Vec<_> = steps.filter_map(|(n, step)| Some(fault(n, "config", step.why_held_back()?))).collect();
        if errors.is_empty() { Ok(chain) } else { Err(Invalid { errors }) }
    }

    async fn bind_steps(&self, tenant: &TenantId, spec: &ChainSpec, hold_on_older: bool) -> Chain {
        if spec.is_empty() {
            return Chain::default();
        }
        let bound = Arc::new(Bound::new(tenant, spec));
        loop {
            let plugins: Vec<_> = bound.steps.iter().map(|step| self.plugin_or_new(&step.plugin)).collect();
            let active: Serving = plugins.iter().map(|plugin| plugin.active.load_full()).collect();
            let mut serving: Serving = Vec::with_capacity(active.len());
            for ((step, plugin), active) in bound.steps.iter().zip(&plugins).zip(&active) {
                let Some(active) = active else {
                    serving.push(None);
                    continue;
                };
                let refused = self.trial(tenant, step, active).await.err();
                serving.push(match &refused {
                    None => Some(active.clone()),
                    Some(_) if hold_on_older => self.older_for(tenant, step, plugin, active.number).await,
                    Some(_) => None,
                });
                step.hold_back(refused);
            }
            let _moving = self.moving.lock().unwrap_or_else(PoisonError::into_inner);
            let same = |(plugin, tried): (&Arc<Plugin>, &Option<Arc<Version>>)| {
                plugin.active.load_full().map(|version| version.uid) == tried.as_ref().map(|version| version.uid)
                    && self.plugin(&plugin.id).is_some_and(|known| Arc::ptr_eq(&known, plugin))
            };
            if plugins.iter().zip(&active).all(same) {
                bound.serve(serving);
                plugins.iter().for_each(|plugin| plugin.join(&bound));
                return Chain { bound: Some(bound) };
            }
        }
    }

    /// What serves a step's plugin now.
    fn serving(&self, step: &Step) -> Option<Arc<Version>> {
        self.plugin(&step.plugin)?.active.load_full()
    }

    /// Moves each step that accepts the version, each chain at once, then the plugin itself. Calls under way finish on the
    /// version before. The plugin's `swapping` must be held.
    pub(super) async fn activate(&self, plugin: &Arc<Plugin>, version: Arc<Version>) {
        let mut tried: HashMap<usize, (Arc<Bound>, Vec<Option<String>>)> = HashMap::new();
        // Many webhooks of a tenant may use a plugin in one and the same way.
        let mut known: HashMap<(TenantId, u64), Option<String>> = HashMap::new();
        let before = loop {
            for chain in plugin.chains() {
                if tried.contains_key(&place_of(&chain)) {
                    continue;
                }
                let mut refusals = Vec::new();
                for place in chain.places_of(&plugin.id) {
                    let step = &chain.steps[place];
                    let key = (chain.tenant.clone(), step.config.id);
                    let refused = match known.get(&key) {
                        Some(refused) => refused.clone(),
                        None => self.trial(&chain.tenant, step, &version).await.err(),
                    };
                    refusals.push(refused.clone());
                    known.insert(key, refused);
                }
                tried.insert(place_of(&chain), (chain, refusals));
            }
            let _moving = self.moving.lock().unwrap_or_else(PoisonError::into_inner);
            if plugin.chains().iter().all(|chain| tried.contains_key(&place_of(chain))) {
                tried.values().for_each(|(chain, refusals)| move_chain(chain, plugin, refusals, &version));
                break plugin.active.swap(Some(version.clone()));
            }
        };
        if let Some(before) = before {
            plugin.keep(before);
        }
        self.builder.improve_later(&version);
        self.books.activated(plugin.id.owner(), &plugin.id.to_string());
        plugin.state().last_error = None;
        tracing::info!(
            plugin = %plugin.id,
            tenant = plugin.id.owner_text(),
            version = version.number,
            sha256 = %version.sha256,
            "plugin {} serves version {}", plugin.id, version.number
        );
    }

    /// Nothing serves as this plugin any more.
    pub(super) fn deactivate(&self, plugin: &Arc<Plugin>) {
        let _moving = self.moving.lock().unwrap_or_else(PoisonError::into_inner);
        for chain in plugin.chains() {
            let mut serving = Serving::clone(&chain.serving());
            chain.places_of(&plugin.id).for_each(|place| serving[place] = None);
            chain.serve(serving);
        }
        plugin.active.store(None);
    }

    /// Whether the version accepts the step's configuration; otherwise why not. On a thread of its own, so that nobody's
    /// events wait for it nor it for them.
    async fn trial(&self, tenant: &TenantId, step: &Step, version: &Arc<Version>) -> Result<(), String> {
        let mut tries = 0;
        loop {
            let (candidate, config) = (version.clone(), step.config.text.clone());
            let secrets = self.secrets.bound_to(tenant, &step.name);
            let trial = move || candidate.instantiate_with(&config, secrets).map(|_| ());
            let tried = tokio::task::spawn_blocking(trial).await;
            match tried {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(PluginError::Guest(Failure { code, message }))) if code == "config" => return Err(message),
                // Ours: no room in the pool for a moment.
                Ok(Err(PluginError::Busy)) if tries < BUSY_TRIES => {
                    tries += 1;
                    tokio::time::sleep(BUSY_PAUSE).await;
                }
                Ok(Err(error)) => return Err(error.to_string()),
                Err(error) => return Err(format!("the trial ended badly: {error}")),
            }
        }
    }

    /// At a start: the version on which a step was held is one of the others. Without any the step waits.
    async fn older_for(&self, tenant: &TenantId, step: &Step, plugin: &Plugin, active: u32) -> Option<Arc<Version>> {
        let stored = self.store.plugin_versions(plugin.id.owner_text(), plugin.id.bare()).await.unwrap_or_default();
        for row in stored.iter().filter(|row| row.version != active).take(KEPT_VERSIONS) {
            if let Ok(version) = self.version(plugin, row.version).await
                && self.trial(tenant, step, &version).await.is_ok()
            {
                return Some(version);
            }
        }
        None
    }
}

/// Tells chains apart, while they live.
fn place_of(chain: &Arc<Bound>) -> usize {
    Arc::as_ptr(chain).addr()
}

/// Moves the steps of one chain that accept the version, all by one pointer.
fn move_chain(chain: &Bound, plugin: &Plugin, refusals: &[Option<String>], version: &Arc<Version>) {
    let mut serving = Serving::clone(&chain.serving());
    for (place, refused) in chain.places_of(&plugin.id).zip(refusals) {
        match refused {
            None => serving[place] = Some(version.clone()),
            Some(why) => {
                let tenant = &chain.tenant;
                tracing::warn!(plugin = %plugin.id, %tenant, "a chain stays on the version before: {why}");
            }
        }
        chain.steps[place].hold_back(refused.clone());
    }
    chain.serve(serving);
}
