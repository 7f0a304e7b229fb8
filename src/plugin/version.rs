//! One version of a plugin: compiled, linked, and asked what it is.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use arc_swap::ArcSwap;
use sha2::{Digest, Sha256};
use wasmtime::Engine;

use super::{
    Failure, Limits, PluginError,
    abi::v1::{Instance, Linked},
    call::{About, Destination, Input, Verdict},
    compile::{Compiled, Source, Tier, compile_here},
    secrets::Bound,
};
use crate::event::{Patterns, TenantId};

static NEXT_UID: AtomicU64 = AtomicU64::new(1);

/// What the full tier's code is made of, for a version that serves with the quick one's.
pub struct Better {
    pub tenant: Option<TenantId>,
    pub source: Source,
}

pub struct Version {
    /// `shared/slack`.
    pub plugin: String,
    pub number: u32,
    pub sha256: String,
    pub size_bytes: usize,
    pub about: About,
    /// Interfaces, by their full names.
    pub exports: Vec<String>,
    pub imports: Vec<String>,
    /// Of `about`, parsed; all when it names none.
    pub patterns: Patterns,
    /// Tells versions apart in this process.
    pub uid: u64,
    /// Replaced once, when better code of the same component is there.
    linked: ArcSwap<Linked>,
    better: Mutex<Option<Better>>,
    engine: Engine,
    limits: Limits,
}

impl Version {
    /// Links compiled code and asks the component what it is, which is a call: not for the runtime's threads.
    ///
    /// # Errors
    /// [`PluginError`], which says what to do about the component.
    pub fn new(
        engine: &Engine,
        limits: Limits,
        plugin: &str,
        number: u32,
        sha256: String,
        compiled: &Compiled,
        better: Option<Better>,
    ) -> Result<Self, PluginError> {
        let linked = Linked::new(engine, &compiled.component)?;
        let about = linked.instantiate(engine, &limits, Arc::default())?.describe().map_err(|failure| {
            PluginError::Guest(Failure { message: format!("describe {}", failure.message), ..failure })
        })?;
        let patterns = if about.events.is_empty() {
            Patterns::all()
        } else {
            Patterns::parse(about.events.iter().map(String::as_str))
                .map_err(|message| PluginError::Guest(Failure::new("bad-events", message)))?
        };
        let named = compiled.component.component_type();
        Ok(Self {
            exports: named.exports(engine).map(|(name, _)| name.to_owned()).collect(),
            imports: named.imports(engine).map(|(name, _)| name.to_owned()).collect(),
            plugin: plugin.to_owned(),
            number,
            sha256,
            size_bytes: compiled.size_bytes,
            about,
            patterns,
            uid: NEXT_UID.fetch_add(1, Ordering::Relaxed),
            linked: ArcSwap::from_pointee(linked),
            better: Mutex::new(better),
            engine: engine.clone(),
            limits,
        })
    }

    /// The same under its number, which is known once it is stored.
    ///
    /// # Errors
    /// [`PluginError::Engine`] for one that is in use already.
    pub fn numbered(version: Arc<Self>, number: u32) -> Result<Arc<Self>, PluginError> {
        let in_use = |_| PluginError::Engine("a version without a number is in use".to_owned());
        Arc::try_unwrap(version).map(|version| Arc::new(Self { number, ..version })).map_err(in_use)
    }

    /// A component on its own, compiled in this process: for tools that know no server.
    ///
    /// # Errors
    /// [`PluginError`], which says what to do about the component.
    pub fn here(wasm: &[u8], limits: Limits) -> Result<Self, PluginError> {
        let engine = super::engine::engine(&limits)?;
        let component = compile_here(&engine, limits, wasm)?;
        let compiled = Compiled { component, tier: Tier::Full, size_bytes: wasm.len() };
        Self::new(&engine, limits, "rehearsal", 1, sha256(wasm), &compiled, None)
    }

    /// Where better code comes from, once.
    pub fn take_better(&self) -> Option<Better> {
        self.better.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Takes better code of the same component: instances made from now on run it, those that live go on with theirs.
    ///
    /// # Errors
    /// [`PluginError::Engine`]: nothing has changed then.
    pub fn improve(&self, compiled: &Compiled) -> Result<(), PluginError> {
        self.linked.store(Arc::new(Linked::new(&self.engine, &compiled.component)?));
        Ok(())
    }

    /// A fresh instance, configured, of a plugin that has no secrets.
    ///
    /// # Errors
    /// As [`Version::instantiate_with`].
    pub fn instantiate(&self, config: &str) -> Result<Instance, PluginError> {
        self.instantiate_with(config, Arc::default())
    }

    /// A fresh instance, configured.
    ///
    /// # Errors
    /// [`PluginError::Busy`] is ours; a [`PluginError::Guest`] holds the plugin's own words under the code `config`.
    pub fn instantiate_with(&self, config: &str, secrets: Arc<Bound>) -> Result<Instance, PluginError> {
        let mut instance = self.linked.load().instantiate(&self.engine, &self.limits, secrets)?;
        match instance.configure(config) {
            Ok(Ok(())) => Ok(instance),
            Ok(Err(words)) => Err(PluginError::Guest(Failure::new("config", words))),
            Err(failure) => Err(PluginError::Guest(failure)),
        }
    }
}

pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// A warm instance alone on the calling thread: what the benchmarks time.
pub struct Bench {
    version: Arc<Version>,
    config: String,
    instance: Instance,
}

impl Bench {
    /// # Errors
    /// [`PluginError`].
    pub fn new(wasm: &[u8], config: &str, limits: Limits) -> Result<Self, PluginError> {
        let version = Arc::new(Version::here(wasm, limits)?);
        Ok(Self { instance: version.instantiate(config)?, config: config.to_owned(), version })
    }

    /// Another instance of the same version and configuration.
    ///
    /// # Errors
    /// [`PluginError`].
    pub fn fresh(&self) -> Result<Self, PluginError> {
        let (version, config) = (self.version.clone(), self.config.clone());
        Ok(Self { instance: version.instantiate(&config)?, config, version })
    }

    /// Calls the plugin once and returns the bytes it emitted, 0 for a pass, or nothing for a drop.
    ///
    /// # Errors
    /// The plugin's failure.
    pub fn call(&mut self, event: &crate::event::Event) -> Result<Option<usize>, Failure> {
        let input = Input {
            id: event.id.as_str(),
            event_type: event.event_type.as_str(),
            tenant: event.tenant.as_str(),
            user: event.user.as_ref().map(|user| user.as_str()),
            session: event.session.as_ref().map(|session| session.as_str()),
            key: event.key.as_deref(),
            source: event.source.as_deref(),
            time_ms: event.timestamp_ms.unsigned_abs(),
            attributes: &[],
            data: &event.data,
        };
        let verdict = self.instance.call(&Destination::sockets(), &input).map_err(|(failure, _)| failure)?;
        Ok(match verdict {
            Verdict::Emit(output) => Some(output.size()),
            Verdict::Pass => Some(0),
            Verdict::Drop(_) => None,
        })
    }
}
