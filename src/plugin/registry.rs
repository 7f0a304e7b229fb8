//! Which plugins there are, which version of each is active, and the swap from one to the next.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use serde::Serialize;

use super::{
    Building, Chain, ChainSpec, Failure, Limits, PluginError,
    builder::Builder,
    chain::Step,
    compile::held,
    engine,
    stats::{CallStats, CallSummary},
    threads::{Threads, ThreadsOwner},
    version::{Version, sha256},
};
use crate::{
    event::{FieldError, Invalid, TenantId},
    store::Store,
};

/// Compiled versions kept per plugin besides the active one, for deliveries that were fixed to them.
const KEPT_VERSIONS: usize = 4;
/// A trial waits this often, for this long, for room in the pool.
const BUSY_TRIES: u32 = 20;
const BUSY_PAUSE: Duration = Duration::from_millis(50);

/// All plugins of this node.
pub struct Plugins {
    builder: Builder,
    limits: Limits,
    store: Store,
    pub(super) threads: Threads,
    _owner: ThreadsOwner,
    /// By full name, `shared/slack`. Written when a plugin appears; never held over an await.
    plugins: RwLock<BTreeMap<String, Arc<Plugin>>>,
    /// One swap or bind at a time, so that a chain bound during a swap is not left on the old version.
    swapping: tokio::sync::Mutex<()>,
}

pub struct Plugin {
    name: String,
    active: ArcSwapOption<Version>,
    pub(super) stats: Arc<CallStats>,
    /// Never held over an await.
    state: Mutex<PluginState>,
    /// Held while an older version is compiled again.
    compiling: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct PluginState {
    last_error: Option<String>,
    older: VecDeque<Arc<Version>>,
    /// The steps of live chains that use this plugin.
    steps: Vec<Weak<Step>>,
}

/// What the API shows of a plugin.
#[derive(Debug, Serialize)]
pub struct PluginInfo {
    pub name: String,
    pub active_version: Option<u32>,
    pub sha256: Option<String>,
    pub size_bytes: Option<usize>,
    pub exports: Vec<&'static str>,
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

impl Plugins {
    /// Starts the engine and its threads. Plugins come with [`Plugins::restore`] and [`super::PluginFolder`].
    ///
    /// # Errors
    /// [`PluginError::Engine`], [`PluginError::Store`].
    pub async fn start(limits: Limits, building: Building, store: Store) -> Result<Self, PluginError> {
        let (threads, owner) = Threads::start()?;
        Ok(Self {
            builder: Builder::start(engine::engine(&limits)?, limits, building, &store).await?,
            limits,
            store,
            threads,
            _owner: owner,
            plugins: RwLock::default(),
            swapping: tokio::sync::Mutex::default(),
        })
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Compiles the last good version of each plugin from the store, so that a broken file does not outlive a restart.
    pub async fn restore(self: &Arc<Self>) -> Result<(), PluginError> {
        for row in self.store.newest_shared_plugins().await? {
            let name = format!("shared/{}", row.name);
            match self.compile(&name, row.version, row.sha256, row.wasm).await {
                Ok(version) => self.activate(version).await,
                Err(error) => self.fault(&name, format!("the stored version {}: {error}", row.version)),
            }
        }
        Ok(())
    }

    /// Takes a component found in the plugin folder: compiles it, stores it as a new version and swaps it in. A component
    /// that is active already changes nothing.
    ///
    /// # Errors
    /// [`PluginError`]: the version before goes on serving.
    pub async fn offer(self: &Arc<Self>, file_stem: &str, wasm: Vec<u8>) -> Result<(), PluginError> {
        let name = format!("shared/{file_stem}");
        let sha256 = sha256(&wasm);
        let active = self.plugin(&name).and_then(|plugin| plugin.active.load_full());
        if active.is_some_and(|active| active.sha256 == sha256) {
            self.set_error(&name, None);
            return Ok(());
        }
        // Compiled before it is stored: the store holds good components only.
        let mut version = self.compile(&name, 0, sha256.clone(), wasm.clone()).await?;
        let number = self.store.add_shared_plugin(file_stem.to_owned(), sha256, wasm).await?;
        if let Some(version) = Arc::get_mut(&mut version) {
            version.number = number;
        }
        self.activate(version).await;
        Ok(())
    }

    /// Notes why a plugin's file could not be used; whatever served goes on serving.
    pub fn fault(&self, name: &str, message: String) {
        tracing::warn!(plugin = name, "plugin {name} keeps its last good version: {message}");
        self.set_error(name, Some(message));
    }

    /// Binds a chain for a target that exists already: a step whose plugin is missing or refuses is kept, waits, and is
    /// tried again at the plugin's next version.
    pub async fn bind(&self, tenant: &TenantId, spec: &ChainSpec) -> Chain {
        self.bind_steps(tenant, spec, true).await
    }

    async fn bind_steps(&self, tenant: &TenantId, spec: &ChainSpec, hold_on_older: bool) -> Chain {
        let _swapping = self.swapping.lock().await;
        let mut steps = Vec::with_capacity(spec.0.len());
        for step in &spec.0 {
            let step = Arc::new(Step::new(tenant, step));
            let plugin = self.plugin_or_new(&step.plugin);
            if let Some(active) = plugin.active.load_full() {
                match self.trial(&step, &active).await {
                    Ok(()) => step.serve(active),
                    Err(why) => {
                        step.hold_back(Some(why));
                        if hold_on_older {
                            self.hold_on_older(&step, &plugin, active.number).await;
                        }
                    }
                }
            }
            let mut state = plugin.state();
            state.steps.retain(|step| step.strong_count() > 0);
            state.steps.push(Arc::downgrade(&step));
            drop(state);
            steps.push(step);
        }
        Chain { steps: steps.into() }
    }

    /// Binds a chain that somebody is setting up: every plugin must exist and accept its configuration now.
    ///
    /// # Errors
    /// Each step at fault, with the plugin's words.
    pub async fn bind_checked(&self, tenant: &TenantId, field: &str, spec: &ChainSpec) -> Result<Chain, Invalid> {
        let fault =
            |n: usize, place: &str, message: String| FieldError { field: format!("{field}[{n}].{place}"), message };
        let serves = |name: &str| self.plugin(name).is_some_and(|plugin| plugin.active.load().is_some());
        let steps = spec.0.iter().enumerate();
        let unknown: Vec<_> = steps
            .filter(|(_, step)| !serves(&step.plugin))
            .map(|(n, step)| fault(n, "plugin", PluginError::Unknown(step.plugin.clone()).to_string()))
            .collect();
        if !unknown.is_empty() {
            return Err(Invalid { errors: unknown });
        }
        let chain = self.bind_steps(tenant, spec, false).await;
        let steps = chain.steps.iter().enumerate();
        let errors: Vec<_> = steps.filter_map(|(n, step)| Some(fault(n, "config", step.why_held_back()?))).collect();
        if errors.is_empty() { Ok(chain) } else { Err(Invalid { errors }) }
    }

    /// As a tenant sees them.
    pub fn list(&self, tenant: &TenantId) -> Vec<PluginInfo> {
        let plugins = self.plugins.read().unwrap_or_else(PoisonError::into_inner);
        plugins.values().filter(|plugin| plugin.is_known()).map(|plugin| plugin.info(tenant)).collect()
    }

    pub fn info(&self, tenant: &TenantId, name: &str) -> Option<PluginInfo> {
        self.plugin(name).filter(|plugin| plugin.is_known()).map(|plugin| plugin.info(tenant))
    }

    /// Full names of the shared plugins.
    pub(super) fn names(&self) -> Vec<String> {
        self.plugins.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    pub(super) fn plugin(&self, name: &str) -> Option<Arc<Plugin>> {
        self.plugins.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    fn plugin_or_new(&self, name: &str) -> Arc<Plugin> {
        let mut plugins = self.plugins.write().unwrap_or_else(PoisonError::into_inner);
        plugins.entry(name.to_owned()).or_insert_with(|| Arc::new(Plugin::new(name))).clone()
    }

    /// One version of a plugin: from memory, or compiled again from the store.
    pub(super) async fn version(&self, plugin: &Plugin, number: u32) -> Result<Arc<Version>, PluginError> {
        if let Some(version) = plugin.known(number) {
            return Ok(version);
        }
        // One compiles, those that come meanwhile find what it made.
        let _compiling = plugin.compiling.lock().await;
        if let Some(version) = plugin.known(number) {
            return Ok(version);
        }
        let stem = plugin.name.strip_prefix("shared/").unwrap_or(&plugin.name);
        let row = self.store.shared_plugin(stem, number).await?;
        let row = row.ok_or_else(|| PluginError::Unknown(format!("{} version {number}", plugin.name)))?;
        let version = self.compile(&plugin.name, number, row.sha256, row.wasm).await?;
        plugin.keep(version.clone());
        Ok(version)
    }

    /// Moves each step that accepts the version, then the plugin itself. Calls under way finish on the version before.
    async fn activate(&self, version: Arc<Version>) {
        let _swapping = self.swapping.lock().await;
        let plugin = self.plugin_or_new(&version.plugin);
        let steps: Vec<Arc<Step>> = {
            let mut state = plugin.state();
            state.steps.retain(|step| step.strong_count() > 0);
            state.steps.iter().filter_map(Weak::upgrade).collect()
        };
        let mut accept = Vec::with_capacity(steps.len());
        for step in steps {
            match self.trial(&step, &version).await {
                Ok(()) => accept.push(step),
                Err(why) => {
                    tracing::warn!(plugin = %version.plugin, "a chain stays on the version before: {why}");
                    step.hold_back(Some(why));
                }
            }
        }
        // All pointers at once, after all trials: two steps of one chain move together.
        for step in accept {
            step.serve(version.clone());
        }
        if let Some(before) = plugin.active.swap(Some(version.clone())) {
            plugin.keep(before);
        }
        plugin.state().last_error = None;
        self.builder.improve_later(&version);
        tracing::info!(
            plugin = %version.plugin,
            version = version.number,
            sha256 = %version.sha256,
            "plugin {} serves version {}", version.plugin, version.number
        );
    }

    /// Whether the version accepts the step's configuration; otherwise why not. On a thread of its own, so that nobody's
    /// events wait for it nor it for them.
    async fn trial(&self, step: &Step, version: &Arc<Version>) -> Result<(), String> {
        let mut tries = 0;
        loop {
            let (candidate, config) = (version.clone(), step.config.text.clone());
            let tried = tokio::task::spawn_blocking(move || candidate.instantiate(&config).map(|_| ())).await;
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

    /// At a start: the version on which a step was held is one of the older ones. Without any the step waits.
    async fn hold_on_older(&self, step: &Step, plugin: &Plugin, newest: u32) {
        for number in (1..newest).rev().take(KEPT_VERSIONS) {
            if let Ok(version) = self.version(plugin, number).await
                && self.trial(step, &version).await.is_ok()
            {
                step.current.store(Some(version));
                return;
            }
        }
    }

    async fn compile(
        &self,
        name: &str,
        number: u32,
        sha256: String,
        wasm: Vec<u8>,
    ) -> Result<Arc<Version>, PluginError> {
        self.builder.build(None, name, number, sha256, held(wasm.into())).await
    }

    fn set_error(&self, name: &str, message: Option<String>) {
        self.plugin_or_new(name).state().last_error = message;
    }
}

impl Plugin {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            active: ArcSwapOption::empty(),
            stats: Arc::default(),
            state: Mutex::default(),
            compiling: tokio::sync::Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, PluginState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self, number: u32) -> Option<Arc<Version>> {
        let active = self.active.load_full().filter(|version| version.number == number);
        active.or_else(|| self.state().older.iter().find(|version| version.number == number).cloned())
    }

    fn keep(&self, version: Arc<Version>) {
        let older = &mut self.state().older;
        older.push_back(version);
        if older.len() > KEPT_VERSIONS {
            older.pop_front();
        }
    }

    /// False for a name that only chains of a start have asked for.
    fn is_known(&self) -> bool {
        self.active.load().is_some() || self.state().last_error.is_some()
    }

    /// What its file's fault was, or why a chain of this tenant could not be taken along.
    fn last_error(&self, tenant: &TenantId) -> Option<String> {
        let state = self.state();
        let mut own = state.steps.iter().filter_map(Weak::upgrade).filter(|step| step.tenant == *tenant);
        let held_back = own.find_map(|step| step.why_held_back());
        let held_back = held_back.map(|why| format!("a chain stays on the version before: {why}"));
        state.last_error.clone().or(held_back)
    }

    fn info(&self, tenant: &TenantId) -> PluginInfo {
        let active = self.active.load_full();
        let exports = active.as_ref().map(|version| match version.world() {
            "filter-plugin" => vec!["jackfield:plugin/lifecycle@1.0.0", "jackfield:plugin/filter@1.0.0"],
            _ => vec!["jackfield:plugin/lifecycle@1.0.0", "jackfield:plugin/transformer@1.0.0"],
        });
        PluginInfo {
            name: self.name.clone(),
            active_version: active.as_ref().map(|version| version.number),
            sha256: active.as_ref().map(|version| version.sha256.clone()),
            size_bytes: active.as_ref().map(|version| version.size_bytes),
            exports: exports.unwrap_or_default(),
            about: active.as_ref().map(|version| AboutInfo {
                name: version.about.name.clone(),
                version: version.about.version.clone(),
                events: version.about.events.clone(),
                config_schema: version.about.config_schema.as_deref().and_then(|text| serde_json::from_str(text).ok()),
            }),
            last_error: self.last_error(tenant),
            calls: self.stats.summary(),
        }
    }
}
