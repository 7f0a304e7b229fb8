//! The warm instances of one plugin thread.
//!
//! An instance is kept for one (tenant, version, configuration, secrets) and reused until it has seen 10,000 events, was idle for
//! 60 s, or trapped. Nothing is shared between threads, so there is no lock.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{PluginError, abi::v1::Instance, engine::thread_cpu, secrets::Bound, version::Version};
use crate::event::TenantId;

const MAX_EVENTS: u32 = 10_000;
const MAX_IDLE: Duration = Duration::from_secs(60);
const SWEEP_EVERY: Duration = Duration::from_secs(10);

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    tenant: TenantId,
    version: u64,
    config: u64,
}

struct Warm {
    instance: Instance,
    /// What `configure` may have read.
    secrets: u64,
    events: u32,
    used: Instant,
}

pub struct Instances {
    warm: HashMap<Key, Warm>,
    max_warm: usize,
    swept: Instant,
    /// CPU time of this thread when it was last asked for.
    lap: Duration,
    spent: Duration,
}

impl Instances {
    /// Keeps at most `max_warm` instances.
    pub fn new(max_warm: usize) -> Self {
        Self { warm: HashMap::new(), max_warm, swept: Instant::now(), lap: thread_cpu(), spent: Duration::ZERO }
    }

    /// Runs `call` with the instance for this tenant, configuration and secrets, and keeps it if `call` says that it is sound.
    ///
    /// # Errors
    /// When there was no warm instance and none could be made.
    pub fn with<R>(
        &mut self,
        tenant: &TenantId,
        version: &Arc<Version>,
        config: &StepConfig,
        secrets: &Arc<Bound>,
        call: impl FnOnce(&mut Instance) -> (R, bool),
    ) -> Result<R, PluginError> {
        let key = Key { tenant: tenant.clone(), version: version.uid, config: config.id };
        let mut warm = match self.warm.remove(&key) {
            Some(warm) if warm.events < MAX_EVENTS && warm.secrets == secrets.id => warm,
            _ => Warm {
                instance: self.instantiate(version, config, secrets)?,
                secrets: secrets.id,
                events: 0,
                used: Instant::now(),
            },
        };
        let (result, sound) = call(&mut warm.instance);
        if sound {
            warm.events += 1;
            warm.used = Instant::now();
            if self.warm.len() >= self.max_warm {
                self.drop_longest_idle();
            }
            self.warm.insert(key, warm);
        }
        Ok(result)
    }

    fn instantiate(
        &mut self,
        version: &Version,
        config: &StepConfig,
        secrets: &Arc<Bound>,
    ) -> Result<Instance, PluginError> {
        match version.instantiate_with(&config.text, secrets.clone()) {
            // The pool is full: one that idles makes room.
            Err(PluginError::Busy) if !self.warm.is_empty() => {
                self.drop_longest_idle();
                version.instantiate_with(&config.text, secrets.clone())
            }
            made => made,
        }
    }

    /// CPU time of this thread since the last lap.
    pub fn lap(&mut self) -> Duration {
        let now = thread_cpu();
        let lap = now.saturating_sub(self.lap);
        self.lap = now;
        self.spent += lap;
        lap
    }

    /// The sum of the laps since this was last asked.
    pub fn take_spent(&mut self) -> Duration {
        std::mem::take(&mut self.spent)
    }

    /// Called between jobs: looks at most every ten seconds.
    pub fn drop_idle(&mut self) {
        if self.swept.elapsed() < SWEEP_EVERY {
            return;
        }
        self.swept = Instant::now();
        self.warm.retain(|_, warm| warm.used.elapsed() < MAX_IDLE);
    }

    fn drop_longest_idle(&mut self) {
        if let Some(key) = self.warm.iter().min_by_key(|(_, warm)| warm.used).map(|(key, _)| key.clone()) {
            self.warm.remove(&key);
        }
    }
}

/// A step's configuration, as JSON text, with a name for it.
#[derive(Debug, Clone)]
pub struct StepConfig {
    pub text: Arc<str>,
    pub id: u64,
}

impl StepConfig {
    pub fn new(text: &str) -> Self {
        use sha2::{Digest, Sha256};
        let digest = Sha256::digest(text.as_bytes());
        let id = digest.iter().take(8).fold(0, |id, byte| id << 8 | u64::from(*byte));
        Self { text: text.into(), id }
    }
}
