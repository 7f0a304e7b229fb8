//! Which plugins there are on this node, and which version of each is active. How one version follows another is said in
//! [`super::swap`]; where versions come from, in [`super::reload`] and [`super::uploads`].

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak},
};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use tokio::{
    sync::{Notify, Semaphore, mpsc},
    time::Instant,
};

use super::{
    Building, Limits, PluginError, PluginId,
    admission::Admissions,
    books::{Books, Opened},
    builder::Builder,
    chain::Bound,
    compile::{Source, digest, held},
    engine,
    secrets::PluginSecrets,
    threads::{Threads, ThreadsOwner},
    version::Version,
};
use crate::{
    event::TenantId,
    store::{AddedVersion, NewPluginVersion, PluginRow, Store},
};

/// Compiled versions kept per plugin besides the active one, for deliveries that were fixed to them and for the way back.
pub(super) const KEPT_VERSIONS: usize = 4;
/// Versions kept in the database besides the active one: the oldest that nobody needs go first.
pub(super) const STORED_VERSIONS: usize = 49;

/// All plugins of this node.
pub struct Plugins {
    pub(super) builder: Builder,
    limits: Limits,
    pub(super) store: Store,
    pub(super) secrets: Arc<PluginSecrets>,
    pub(super) books: Arc<Books>,
    pub(super) threads: Threads,
    _owner: ThreadsOwner,
    /// Written when a plugin appears or is deleted; never held over an await.
    plugins: RwLock<BTreeMap<PluginId, Arc<Plugin>>>,
    /// Held while pointers move and while a chain that was tried is taken in, and for nothing that takes time.
    pub(super) moving: Mutex<()>,
    /// Told when the database may say something new of a tenant's plugin.
    pub(super) look: Notify,
    /// Turns at dry runs: they take CPU from events, so one at a time.
    pub(super) dry_runs: Semaphore,
    pub(super) admissions: Admissions,
}

pub struct Plugin {
    pub(super) id: PluginId,
    pub(super) active: ArcSwapOption<Version>,
    /// Never held over an await.
    state: Mutex<PluginState>,
    /// Held while an older version is compiled again.
    compiling: tokio::sync::Mutex<()>,
    /// One swap at a time, of the newest that the database knows.
    pub(super) swapping: tokio::sync::Mutex<()>,
}

#[derive(Default)]
pub(super) struct PluginState {
    pub last_error: Option<String>,
    older: VecDeque<Arc<Version>>,
    /// The live chains that use this plugin.
    chains: Vec<Weak<Bound>>,
    /// Chains that are gone are looked for when there are so many.
    sweep_at: usize,
    /// Of the row of the database that is in force here.
    pub generation: i64,
    /// When the row that could not be brought into force is tried again, and after how many times.
    pub again: Option<(Instant, u32)>,
    /// It was there, and its owner has deleted it.
    pub is_deleted: bool,
}

/// A component: its bytes, or where they are read from when nothing compiled of them is at hand.
pub(super) enum Code {
    Given { wasm: Bytes, sha256: String },
    Stored { plugin: PluginId, sha256: String },
}

impl Plugins {
    /// Starts the engine and its threads. Plugins come with [`Plugins::restore`] and [`super::PluginFolder`]; `openings` hears
    /// of versions that rest for a tenant.
    ///
    /// # Errors
    /// [`PluginError::Engine`], [`PluginError::Store`].
    pub async fn start(
        limits: Limits,
        building: Building,
        store: Store,
        (secrets, openings): (Arc<PluginSecrets>, mpsc::Sender<Opened>),
    ) -> Result<Self, PluginError> {
        let (threads, owner) = Threads::start()?;
        Ok(Self {
            builder: Builder::start(engine::engine(&limits)?, limits, building, &store).await?,
            limits,
            store,
            secrets,
            books: Arc::new(Books::new(openings)),
            threads,
            _owner: owner,
            plugins: RwLock::default(),
            moving: Mutex::default(),
            look: Notify::new(),
            dry_runs: Semaphore::new(1),
            admissions: Admissions::default(),
        })
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Brings the active version of each plugin into force, so that a broken file does not outlive a restart, nor an
    /// upload need another one.
    ///
    /// # Errors
    /// [`PluginError::Store`].
    pub async fn restore(&self) -> Result<(), PluginError> {
        for row in self.store.plugins().await? {
            let Some(id) = PluginId::stored(&row.owner, &row.name) else { continue };
            let plugin = self.plugin_or_new(&id);
            let _swapping = plugin.swapping.lock().await;
            // What fails is told, and tried again.
            let _ = self.apply(&plugin, row).await;
        }
        Ok(())
    }

    /// Brings into force what the database says of a plugin. Its `swapping` must be held.
    ///
    /// # Errors
    /// [`PluginError`]: the version before goes on serving, and `last_error` says so.
    pub(super) async fn apply(&self, plugin: &Arc<Plugin>, row: PluginRow) -> Result<(), PluginError> {
        let Some(active) = row.active else {
            plugin.state().arrived(row.generation);
            return Ok(());
        };
        let is_active = |version: Arc<Version>| version.number == active.version;
        if !plugin.active.load_full().is_some_and(is_active) {
            match self.version_of(plugin, active.version, active.sha256).await {
                Ok(version) => self.activate(plugin, version).await,
                Err(error) => {
                    let message = format!("version {} is not in force yet: {error}", active.version);
                    tracing::warn!(plugin = %plugin.id, tenant = plugin.id.owner_text(), "plugin {}: {message}", plugin.id);
                    plugin.state().failed(message);
                    return Err(error);
                }
            }
        }
        plugin.state().arrived(row.generation);
        Ok(())
    }

    /// Takes a component found in the plugin folder: compiles it, stores it as a new version and swaps it in. A component
    /// that is active already changes nothing.
    ///
    /// # Errors
    /// [`PluginError`]: the version before goes on serving.
    pub async fn offer(&self, id: &PluginId, wasm: Vec<u8>) -> Result<(), PluginError> {
        let wasm = Bytes::from(wasm);
        let sha256 = digest(wasm.clone()).await?;
        let active = self.plugin(id).and_then(|plugin| plugin.active.load_full());
        if active.is_some_and(|active| active.sha256 == sha256) {
            self.set_error(id, None);
            return Ok(());
        }
        // Compiled before it is stored: the store holds good components only.
        let code = Code::Given { wasm: wasm.clone(), sha256: sha256.clone() };
        let version = self.compile(None, &id.to_string(), 0, code).await?;
        let new = NewPluginVersion {
            owner: String::new(),
            name: id.bare().to_owned(),
            sha256,
            wasm,
            activate: true,
            roll_back: false,
            quota: None,
            keep: STORED_VERSIONS,
            dispensable: self.dispensable(id).await?,
        };
        let number = match self.store.add_plugin_version(new).await? {
            AddedVersion::New(number) | AddedVersion::Known(number) => number,
            AddedVersion::TooManyPlugins | AddedVersion::TooManyBytes { .. } => return Err(PluginError::Busy),
        };
        let plugin = self.plugin_or_new(id);
        let _swapping = plugin.swapping.lock().await;
        self.activate(&plugin, Version::numbered(version, number)?).await;
        Ok(())
    }

    /// Notes why a plugin's file could not be used; whatever served goes on serving.
    pub fn fault(&self, id: &PluginId, message: String) {
        tracing::warn!(plugin = %id, "plugin {id} keeps its last good version: {message}");
        self.set_error(id, Some(message));
    }

    fn set_error(&self, id: &PluginId, message: Option<String>) {
        self.plugin_or_new(id).state().last_error = message;
    }

    /// What a tenant sees: everybody's, then its own.
    pub(super) fn seen_by(&self, tenant: &TenantId) -> Vec<Arc<Plugin>> {
        let plugins = self.plugins.read().unwrap_or_else(PoisonError::into_inner);
        plugins.values().filter(|plugin| plugin.id.is_seen_by(tenant) && plugin.is_known()).cloned().collect()
    }

    /// All plugins, or those that are somebody's own.
    pub(super) fn all(&self, own: bool) -> Vec<Arc<Plugin>> {
        let plugins = self.plugins.read().unwrap_or_else(PoisonError::into_inner);
        plugins.values().filter(|plugin| plugin.id.owner().is_some() == own).cloned().collect()
    }

    pub(super) fn plugin(&self, id: &PluginId) -> Option<Arc<Plugin>> {
        self.plugins.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    pub(super) fn plugin_or_new(&self, id: &PluginId) -> Arc<Plugin> {
        let mut plugins = self.plugins.write().unwrap_or_else(PoisonError::into_inner);
        plugins.entry(id.clone()).or_insert_with(|| Arc::new(Plugin::new(id.clone()))).clone()
    }

    /// Forgets a plugin that was deleted, unless a chain names it yet.
    pub(super) fn forget(&self, plugin: &Plugin) {
        let _moving = self.moving.lock().unwrap_or_else(PoisonError::into_inner);
        let mut plugins = self.plugins.write().unwrap_or_else(PoisonError::into_inner);
        if plugin.chains().is_empty() {
            plugins.remove(&plugin.id);
        }
    }

    /// One version of a plugin: from memory, or compiled again from the store.
    ///
    /// # Errors
    /// [`PluginError::Gone`] where the database has no such version.
    pub(super) async fn version(&self, plugin: &Plugin, number: u32) -> Result<Arc<Version>, PluginError> {
        if let Some(version) = plugin.known(number) {
            return Ok(version);
        }
        let row = self.store.plugin_version(plugin.id.owner_text(), plugin.id.bare(), number).await?;
        let row = row.ok_or_else(|| PluginError::Gone { plugin: plugin.id.to_string(), number })?;
        self.version_of(plugin, number, row.sha256).await
    }

    async fn version_of(&self, plugin: &Plugin, number: u32, sha256: String) -> Result<Arc<Version>, PluginError> {
        // One compiles, those that come meanwhile find what it made.
        let _compiling = plugin.compiling.lock().await;
        if let Some(version) = plugin.known(number) {
            return Ok(version);
        }
        let code = Code::Stored { plugin: plugin.id.clone(), sha256 };
        let version = self.compile(plugin.id.owner(), &plugin.id.to_string(), number, code).await?;
        plugin.keep(version.clone());
        Ok(version)
    }

    /// The one door to compiled code.
    pub(super) async fn compile(
        &self,
        tenant: Option<&TenantId>,
        name: &str,
        number: u32,
        code: Code,
    ) -> Result<Arc<Version>, PluginError> {
        let (sha256, source) = match code {
            Code::Given { wasm, sha256 } => (sha256, held(wasm)),
            Code::Stored { plugin, sha256 } => (sha256.clone(), self.stored(plugin, number, sha256)),
        };
        self.builder.build(tenant, name, number, sha256, source).await
    }

    /// The bytes of a version, read when they are asked for.
    fn stored(&self, plugin: PluginId, number: u32, sha256: String) -> Source {
        let store = self.store.clone();
        Arc::new(move || {
            let (store, plugin, sha256) = (store.clone(), plugin.clone(), sha256.clone());
            Box::pin(async move {
                let wasm = store.plugin_wasm(plugin.owner_text(), plugin.bare(), number).await?;
                let wasm = Bytes::from(wasm.ok_or_else(|| PluginError::Gone { plugin: plugin.to_string(), number })?);
                if digest(wasm.clone()).await? != sha256 {
                    let why = "the database holds other bytes than were stored".to_owned();
                    return Err(PluginError::NotAComponent(why));
                }
                Ok(wasm)
            })
        })
    }
}

impl Plugin {
    fn new(id: PluginId) -> Self {
        Self {
            id,
            active: ArcSwapOption::empty(),
            state: Mutex::default(),
            compiling: tokio::sync::Mutex::default(),
            swapping: tokio::sync::Mutex::default(),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, PluginState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn known(&self, number: u32) -> Option<Arc<Version>> {
        let active = self.active.load_full().filter(|version| version.number == number);
        active.or_else(|| self.state().older.iter().find(|version| version.number == number).cloned())
    }

    /// Keeps a version at hand that is not the active one.
    pub(super) fn keep(&self, version: Arc<Version>) {
        let older = &mut self.state().older;
        older.retain(|known| known.number != version.number);
        older.push_back(version);
        if older.len() > KEPT_VERSIONS {
            older.pop_front();
        }
    }

    /// The live chains that use this plugin.
    pub(super) fn chains(&self) -> Vec<Arc<Bound>> {
        self.state().chains.iter().filter_map(Weak::upgrade).collect()
    }

    /// Takes a chain along at the next swap.
    pub(super) fn join(&self, chain: &Arc<Bound>) {
        let mut state = self.state();
        if state.chains.len() >= state.sweep_at {
            state.chains.retain(|chain| chain.strong_count() > 0);
            state.sweep_at = (state.chains.len() * 2).max(16);
        }
        state.chains.push(Arc::downgrade(chain));
    }

    /// False for a name that only chains of a start have asked for.
    pub(super) fn is_known(&self) -> bool {
        let state = self.state();
        self.active.load().is_some() || state.last_error.is_some() || state.generation > 0 && !state.is_deleted
    }

    pub(super) fn is_deleted(&self) -> bool {
        self.state().is_deleted
    }
}

impl PluginState {
    /// Nothing is left of it but the chains that name it.
    pub(super) fn deleted(&mut self) {
        *self = Self { chains: std::mem::take(&mut self.chains), is_deleted: true, ..Self::default() };
    }

    /// What the database says is in force.
    pub(super) fn arrived(&mut self, generation: i64) {
        self.generation = generation;
        self.again = None;
        self.is_deleted = false;
        self.last_error = None;
    }
}
