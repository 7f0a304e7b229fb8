//! From a component's bytes to code that runs: looked at, compiled apart from the server, kept for the next start.
//!
//! A tenant's component is hostile until it has shown otherwise. [`scan`] refuses the obvious bombs; what passes is
//! compiled by a [`process`] of this same binary, which has bounds for memory, CPU and wall time, no environment and no
//! files, and can be killed. [`queue`] lets one component of each tenant be compiled at a time, and few over all. The
//! [`cache`] keeps what came out, authenticated, so that a start compiles nothing again.
//!
//! Two tiers: the full one takes seconds for a component of megabytes, so that one is compiled quickly first, serves, and
//! its better code takes the place later ([`Compiler::improve`]). Both do the same to every event that keeps well inside its limits.
//!
//! Guarantees: code is loaded only if this process or a child of it made it, or one of its kind before it, as the cache's
//! key proves. Deliberately absent: what a version is, and when it serves; instances, which only the server makes.

mod artifact;
mod cache;
mod child;
mod process;
mod queue;
mod scan;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use wasmtime::{Engine, component::Component};

use super::{Limits, PluginError, version::sha256};
use crate::event::TenantId;

use artifact::Artifact;
pub use cache::{Cache, CacheKey};
pub use child::{Order, run as run_order};
use queue::Queue;

/// Components larger than this are compiled quickly first: the full tier takes a second for each megabyte or so. Quick code is
/// several times slower and takes more stack, so it is not for what is optimised in two or three seconds, as QuickJS is.
const QUICK_ABOVE_BYTES: usize = 4 << 20;
/// Compiled code of the largest component, with room.
const MAX_ARTIFACT_BYTES: usize = 256 << 20;

/// How much the compiler tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// Serves until the full one is there: two to three times as fast to make.
    Quick,
    Full,
}

impl Tier {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Quick => "quick",
            Self::Full => "full",
        }
    }
}

/// Where components are compiled. It is chosen, never guessed: only a binary that knows the command can be its own child.
#[derive(Debug, Clone)]
pub enum Workshop {
    /// A child process that runs this program.
    Child(PathBuf),
    /// This process: for a program that has the server as a library, and trusts its components.
    InProcess,
}

/// A component's bytes, asked for only when there is no compiled code.
pub type Source = Arc<dyn Fn() -> BoxFuture<'static, Result<Bytes, PluginError>> + Send + Sync>;

/// A component that can be linked.
pub struct Compiled {
    pub component: Component,
    pub tier: Tier,
    /// Of the component as it was given.
    pub size_bytes: usize,
}

pub struct Compiler {
    engine: Engine,
    limits: Limits,
    workshop: Workshop,
    /// CPU time of one compile.
    timeout: Duration,
    cache: Arc<Cache>,
    queue: Queue,
}

impl Compiler {
    pub fn new(engine: Engine, limits: Limits, workshop: Workshop, timeout: Duration, cache: Cache) -> Self {
        Self { engine, limits, workshop, timeout, cache: Arc::new(cache), queue: Queue::new() }
    }

    /// The code of a component: kept from before, or made now, in the tenant's turn. None is the operator.
    ///
    /// # Errors
    /// [`PluginError`]: what is wrong with the component; or ours, to be tried again ([`PluginError::is_ours`]).
    pub async fn compile(
        &self,
        tenant: Option<&TenantId>,
        sha256: &str,
        source: &Source,
    ) -> Result<Compiled, PluginError> {
        for tier in [Tier::Full, Tier::Quick] {
            if let Some(compiled) = self.kept(sha256, tier).await {
                return Ok(compiled);
            }
        }
        let wasm = source().await?;
        if wasm.len() > self.limits.max_size_bytes {
            return Err(PluginError::TooLarge { size_bytes: wasm.len(), max_bytes: self.limits.max_size_bytes });
        }
        let tier = if wasm.len() > QUICK_ABOVE_BYTES { Tier::Quick } else { Tier::Full };
        self.make(tenant, sha256, tier, wasm).await
    }

    /// The full tier's code of what serves with the quick one's. Where the full tier breaks the limits, the quick one's is
    /// kept for good, so that no start tries again.
    ///
    /// # Errors
    /// As [`Compiler::compile`].
    pub async fn improve(
        &self,
        tenant: Option<&TenantId>,
        sha256: &str,
        source: &Source,
    ) -> Result<Compiled, PluginError> {
        if let Some(compiled) = self.kept(sha256, Tier::Full).await {
            return Ok(compiled);
        }
        let improved = self.make(tenant, sha256, Tier::Full, source().await?).await;
        if let Err(PluginError::TooCostly(_)) = &improved {
            let (cache, sha256) = (self.cache.clone(), sha256.to_owned());
            let _ = tokio::task::spawn_blocking(move || {
                if let Some(quick) = cache.get(&sha256, Tier::Quick) {
                    cache.put(&sha256, Tier::Full, &quick);
                }
            })
            .await;
        }
        improved
    }

    async fn kept(&self, sha256: &str, tier: Tier) -> Option<Compiled> {
        let (cache, engine, sha256) = (self.cache.clone(), self.engine.clone(), sha256.to_owned());
        let kept = move || {
            let artifact = cache.get(&sha256, tier)?;
            match artifact.load(&engine) {
                Ok(component) => Some(Compiled { component, tier, size_bytes: artifact.size_bytes }),
                Err(error) => {
                    cache.discard(&sha256, tier, &error.to_string());
                    None
                }
            }
        };
        tokio::task::spawn_blocking(kept).await.ok().flatten()
    }

    async fn make(
        &self,
        tenant: Option<&TenantId>,
        sha256: &str,
        tier: Tier,
        wasm: Bytes,
    ) -> Result<Compiled, PluginError> {
        let turn = self.queue.turn(tenant).await?;
        // Whoever went before may have had the same component.
        if let Some(compiled) = self.kept(sha256, tier).await {
            return Ok(compiled);
        }
        let begun = Instant::now();
        let order = Order { tier, limits: self.limits, cpu: self.timeout };
        let artifact = match &self.workshop {
            Workshop::Child(program) => process::compile(program, &order, &wasm).await?,
            Workshop::InProcess => {
                let wasm = wasm.clone();
                blocking(move || child::compile(&order, &wasm).map(|code| Artifact::made(code, wasm.len()))).await?
            }
        };
        drop(turn);
        let (tier_text, ms) = (tier.as_str(), begun.elapsed().as_millis());
        tracing::info!(sha256, "a component was compiled in {ms} ms ({tier_text} tier)");
        let (cache, engine, sha256) = (self.cache.clone(), self.engine.clone(), sha256.to_owned());
        blocking(move || {
            let component = artifact.load(&engine)?;
            cache.put(&sha256, tier, &artifact);
            Ok(Compiled { component, tier, size_bytes: artifact.size_bytes })
        })
        .await
    }
}

/// Compiles on the calling thread, for tools: through the same scan, without the limits of a child.
///
/// # Errors
/// [`PluginError`], which says what to do about the component.
pub fn compile_here(engine: &Engine, limits: Limits, wasm: &[u8]) -> Result<Component, PluginError> {
    let order = Order { tier: Tier::Full, limits, cpu: Duration::MAX };
    Artifact::made(child::compile(&order, wasm)?, wasm.len()).load(engine)
}

/// A source that has the bytes already.
pub fn held(wasm: Bytes) -> Source {
    Arc::new(move || {
        let wasm = wasm.clone();
        Box::pin(async { Ok(wasm) })
    })
}

/// The SHA-256 of a component in hexadecimal. One of 32 MiB takes longer than an event may wait for the thread.
///
/// # Errors
/// [`PluginError::Compiler`], when this process ends.
pub async fn digest(wasm: Bytes) -> Result<String, PluginError> {
    blocking(move || Ok(sha256(&wasm))).await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PluginError> + Send + 'static,
) -> Result<T, PluginError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| PluginError::Compiler(format!("it ended badly: {error}")))?
}
