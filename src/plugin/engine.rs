//! One wasmtime engine for the process, narrowed to what plugins need: synchronous components that import this interface
//! and nothing else. The compiler's own engine differs from it only in what makes no difference to the code's form.

use std::{thread, time::Duration};

use nix::time::{ClockId, clock_gettime};
use wasmtime::{
    Config, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, RegallocAlgorithm, WasmFeatures,
};

use super::{Limits, PluginError, compile::Tier};

/// How often running guests look at the clock.
const TICK: Duration = Duration::from_millis(1);
/// Instances that may live at once, over all tenants.
pub const MAX_INSTANCES: u32 = 1_000;
/// A toolchain may put several core modules into one component: QuickJS makes 11, Python 38.
pub const MAX_CORE_INSTANCES_PER_COMPONENT: u32 = 48;
/// QuickJS has 3, of which two are a page.
pub const MAX_MEMORIES_PER_COMPONENT: u32 = 4;
/// QuickJS has 2,000 functions in a table, Python 13,000.
pub const MAX_TABLE_ELEMENTS: usize = 100_000;
/// What guests may be made of: version 2 of WebAssembly and what toolchains use beyond it. No threads, 64-bit memories,
/// tail calls, exceptions or garbage collector: what no plugin needs is nobody's to attack.
pub const FEATURES: WasmFeatures = WasmFeatures::WASM2
    .union(WasmFeatures::FLOATS)
    .union(WasmFeatures::EXTENDED_CONST)
    .union(WasmFeatures::MULTI_MEMORY)
    .union(WasmFeatures::COMPONENT_MODEL)
    .difference(WasmFeatures::GC_TYPES);
/// Guests that recurse overflow this, not the thread, which has 4 MiB.
const MAX_WASM_STACK: usize = 1 << 20;

/// # Errors
/// When the machine cannot give the address space that the pool reserves.
pub fn engine(limits: &Limits) -> Result<Engine, PluginError> {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(MAX_INSTANCES)
        .total_core_instances(MAX_INSTANCES * 12)
        .total_memories(MAX_INSTANCES * 2)
        .total_tables(MAX_INSTANCES * 4)
        .max_core_instances_per_component(MAX_CORE_INSTANCES_PER_COMPONENT)
        .max_memories_per_component(MAX_MEMORIES_PER_COMPONENT)
        .max_tables_per_component(16)
        .max_component_instance_size(4 << 20)
        .max_core_instance_size(2 << 20)
        .max_memory_size(limits.max_memory_bytes)
        .table_elements(MAX_TABLE_ELEMENTS)
        // An instance that is dropped gives its pages back, but for these: enough for a small guest to start warm.
        .linear_memory_keep_resident(256 << 10)
        .table_keep_resident(64 << 10)
        .max_unused_warm_slots(64);

    let mut config = config();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    let engine = Engine::new(&config).map_err(|error| PluginError::Engine(format!("{error:#}")))?;
    start_ticker(&engine)?;
    Ok(engine)
}

/// An engine that only compiles, on the calling thread alone. Its code is what [`engine`] loads: both share [`config`].
///
/// # Errors
/// When this machine is none that there is a compiler for.
pub fn compiling(tier: Tier) -> Result<Engine, PluginError> {
    let mut config = config();
    config.parallel_compilation(false);
    match tier {
        Tier::Full => config.cranelift_opt_level(OptLevel::Speed),
        Tier::Quick => {
            config.cranelift_opt_level(OptLevel::None).cranelift_regalloc_algorithm(RegallocAlgorithm::SinglePass)
        }
    };
    Engine::new(&config).map_err(|error| PluginError::Engine(format!("{error:#}")))
}

fn config() -> Config {
    let mut config = Config::new();
    config
        .wasm_features(WasmFeatures::all(), false)
        .wasm_features(FEATURES, true)
        .concurrency_support(false)
        .epoch_interruption(true)
        .cranelift_nan_canonicalization(true)
        .max_wasm_stack(MAX_WASM_STACK)
        .native_unwind_info(false);
    config
}

/// The ticker holds the engine weakly, so it ends with it.
fn start_ticker(engine: &Engine) -> Result<(), PluginError> {
    let engine = engine.weak();
    let ticker = move || {
        while let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
            drop(engine);
            thread::sleep(TICK);
        }
    };
    thread::Builder::new()
        .name("plugin-clock".to_owned())
        .spawn(ticker)
        .map_err(|error| PluginError::Engine(format!("cannot start the clock thread: {error}")))?;
    Ok(())
}

/// Epoch ticks until a guest is looked at again.
pub fn ticks(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis() / TICK.as_millis()).unwrap_or(u64::MAX).max(1)
}

/// CPU time of this thread. On a loaded machine, wall time would kill good guests.
pub fn thread_cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}
