//! Plugins: WebAssembly components that filter events and shape payloads, and the chains that tenants make of them.
//!
//! Entities: a *plugin* is everybody's or one tenant's and has *versions*; a *chain* is an ordered list of *steps*, each a
//! plugin with its configuration. A bound chain points at the versions that serve its steps: a swap moves that one
//! pointer, after the new version was compiled, instantiated and has accepted the configuration of each step; a step whose
//! configuration it refuses stays on the old one. Calls under way finish where they began.
//!
//! A component is compiled apart from the server ([`compile`]), and asked for its name and configured within its limits.
//!
//! Guarantees: a plugin can do what its interface says and nothing else; each call has bounds for CPU time, memory, stack
//! and output; an instance serves one (tenant, version, configuration) and is thrown away at any trap; guests run on their
//! own [`threads`], where tenants take turns.
//!
//! Deliberately absent: webhooks and sockets. A chain knows a [`Destination`], which is two words.

mod abi;
mod admission;
mod books;
mod breaker;
mod builder;
mod call;
mod chain;
mod compile;
mod dry_run;
mod engine;
mod fair;
mod follow;
mod headers;
mod info;
mod instances;
mod journal;
mod owner;
mod registry;
mod rehearsal;
mod reload;
mod run;
mod secrets;
mod socket_chains;
mod stats;
mod swap;
mod threads;
mod uploads;
mod version;

use std::time::Duration;

pub use books::{OPENINGS, Opened};
pub use builder::Building;
pub use call::{About, CallLog, Destination, Emitted, LogLine, Verdict};
pub use chain::{Chain, ChainSpec, OnError, Pins};
pub use compile::{Order, Tier, Workshop, run_order};
pub use dry_run::{DryRun, DryRunReport};
pub use headers::check_header;
pub use info::{PluginDetails, PluginInfo};
pub use journal::{Entry, Level};
pub use owner::{PluginId, PluginName};
pub use registry::Plugins;
pub use rehearsal::{Rehearsal, Rehearsed};
pub use reload::PluginFolder;
pub use run::{Applied, Rendered, socket_data};
pub use secrets::{PluginSecrets, PutSecretError, SecretInfo};
pub use socket_chains::{PutChainError, SocketChains};
pub use uploads::{Serving, UploadError, Uploaded};
pub use version::Bench;

/// Bounds of one plugin's instance and call.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub max_size_bytes: usize,
    pub max_memory_bytes: usize,
    /// CPU time of one call.
    pub deadline: Duration,
    pub max_output_bytes: usize,
}

/// One event failed in a plugin, by its own word or by breaking a bound.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Failure {
    /// A short machine word.
    pub code: String,
    pub message: String,
}

impl Failure {
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into() }
    }

    /// The plugin was not called, because it rests: that it does was told when it began.
    pub fn is_rest(&self) -> bool {
        self.code == breaker::CODE
    }
}

/// Why there is no version, or no call.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PluginError {
    #[error("the plugin engine: {0}")]
    Engine(String),
    #[error("{size_bytes} bytes are more than PLUGIN_MAX_SIZE ({max_bytes})")]
    TooLarge { size_bytes: usize, max_bytes: usize },
    #[error("not a WebAssembly component: {0}; build it with `jackfield plugin build`")]
    NotAComponent(String),
    #[error(
        "imports something that nobody provides: {0}; a plugin may import jackfield:plugin log, secrets and clock only \
         (for wasi:* build for wasm32-unknown-unknown, or with --stub-wasi)"
    )]
    Imports(String),
    /// With the bound, what was found and what to do.
    #[error("over a structural limit: {0}")]
    Structure(String),
    /// It broke the limits of its compile.
    #[error("{0}")]
    TooCostly(String),
    #[error("fits no known world (transform-plugin or filter-plugin of jackfield:plugin@1.0.0): {0}")]
    World(String),
    #[error("{0}")]
    Guest(Failure),
    #[error("there is no plugin {0:?}; GET /api/v1/plugins lists them")]
    Unknown(String),
    #[error("version {number} of {plugin} is not there: it was deleted")]
    Gone { plugin: String, number: u32 },
    #[error("{max} components of this tenant are being uploaded already; wait for one of them")]
    TooManyUploads { max: usize },
    /// Ours, not the plugin's: to be tried again.
    #[error("the plugin threads are busy")]
    Busy,
    /// Ours: the compiler, not what it was given.
    #[error("the compiler: {0}")]
    Compiler(String),
    #[error("too many components wait to be compiled; try again in a moment")]
    CompilerBusy,
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
}

impl PluginError {
    /// Whether the plugin has no part in it: to be tried again.
    pub fn is_ours(&self) -> bool {
        matches!(self, Self::Busy | Self::Compiler(_) | Self::CompilerBusy | Self::Engine(_) | Self::Store(_))
    }
}
