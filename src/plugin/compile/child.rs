//! The child's side: it gives up what it may do, reads a component, looks at it, and answers with its code. It makes no
//! instance and knows no settings. The last lines say how its refusals travel to the server.

#![expect(unsafe_code, reason = "two calls of the system have no safe form here: see the comments at them")]

use std::{
    io::{Read, Write},
    thread,
    time::Duration,
};

use nix::sys::{
    prctl,
    resource::{Resource, getrlimit, setrlimit},
    signal::Signal,
};

use super::{Tier, scan::scan};
use crate::plugin::{Limits, PluginError, engine};

/// Private writable memory, which is what compiling takes. Not address space: wasmtime reserves far more than it uses.
const MAX_DATA_BYTES: u64 = 3 << 29;
/// The three standard ones, and a few that libraries open for a moment.
const MAX_FILES: u64 = 16;
/// Behind everything that serves events.
const NICE: i32 = 10;
/// Compiling recurses with the code's nesting.
const STACK_BYTES: usize = 64 << 20;

/// What is to be compiled, and how.
#[derive(Debug, Clone, Copy)]
pub struct Order {
    pub tier: Tier,
    pub limits: Limits,
    /// CPU time, in whole seconds at the system's door.
    pub cpu: Duration,
}

/// Runs the child: a component in, its code out.
///
/// # Errors
/// The line for the standard error, by which the server knows why.
pub fn run(order: &Order, input: impl Read, mut output: impl Write) -> Result<(), String> {
    confine(order).map_err(|error| format!("ours: it cannot be confined: {error}"))?;
    let mut wasm = Vec::new();
    let max = order.limits.max_size_bytes as u64 + 1;
    input.take(max).read_to_end(&mut wasm).map_err(|error| format!("ours: {error}"))?;
    let code = compile(order, &wasm).map_err(|refusal| tell(&refusal))?;
    output.write_all(&code).and_then(|()| output.flush()).map_err(|error| format!("ours: {error}"))
}

/// Looks at a component and compiles it, on one thread with a stack for it.
///
/// # Errors
/// [`PluginError`], which says what to do about the component.
pub fn compile(order: &Order, wasm: &[u8]) -> Result<Vec<u8>, PluginError> {
    thread::scope(|scope| {
        let thread =
            thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, || scan_and_compile(order, wasm));
        let thread = thread.map_err(|error| PluginError::Compiler(format!("it has no thread: {error}")))?;
        // Compilers panic on input that nobody had thought of.
        thread.join().unwrap_or_else(|_| Err(broken("it panics")))
    })
}

fn scan_and_compile(order: &Order, wasm: &[u8]) -> Result<Vec<u8>, PluginError> {
    scan(wasm, &order.limits)?;
    engine::compiling(order.tier)?.precompile_component(wasm).map_err(|error| {
        let words = format!("{error:#}");
        if words.contains("Cannot allocate memory") {
            return too_much_memory();
        }
        PluginError::NotAComponent(words.lines().next().unwrap_or_default().to_owned())
    })
}

fn confine(order: &Order) -> nix::Result<()> {
    // It must not outlive the server that asked.
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    prctl::set_no_new_privs()?;
    // SAFETY: nothing is open yet but the standard streams: what is closed is what the server itself was given when it
    // was started. Its own files close by themselves.
    let _ = unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
    // SAFETY: takes a number and touches no memory of ours.
    let _ = unsafe { libc::nice(NICE) };
    // If the machine runs out of memory, this goes first; best effort.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    let seconds = order.cpu.as_secs() + u64::from(order.cpu.subsec_nanos() > 0);
    for (resource, soft, hard) in [
        (Resource::RLIMIT_CORE, 0, 0),
        (Resource::RLIMIT_FSIZE, 0, 0),
        (Resource::RLIMIT_NOFILE, MAX_FILES, MAX_FILES),
        (Resource::RLIMIT_DATA, MAX_DATA_BYTES, MAX_DATA_BYTES),
        // The soft limit's signal tells the server which limit it was.
        (Resource::RLIMIT_CPU, seconds.max(1), seconds.max(1) + 1),
    ] {
        // The server may have been started with less, which nobody can raise.
        let most = getrlimit(resource)?.1.min(hard);
        setrlimit(resource, soft.min(most), most)?;
    }
    Ok(())
}

pub fn too_much_memory() -> PluginError {
    let mib = MAX_DATA_BYTES >> 20;
    PluginError::TooCostly(format!("took more than {mib} MiB of memory to compile: {SMALLER}"))
}

pub fn broken(how: &str) -> PluginError {
    PluginError::TooCostly(format!("breaks the compiler ({how}): change how it is built"))
}

pub fn too_long(limit: Duration, of: &str) -> PluginError {
    let limit = humantime::format_duration(limit);
    PluginError::TooCostly(format!("took more than {limit} of {of} to compile (PLUGIN_COMPILE_TIMEOUT): {SMALLER}"))
}

const SMALLER: &str = "make it smaller, split its large functions, or build it optimised";

/// A refusal as a line of its own.
fn tell(refusal: &PluginError) -> String {
    match refusal {
        PluginError::NotAComponent(words) => format!("not-a-component: {words}"),
        PluginError::Imports(words) => format!("imports: {words}"),
        PluginError::World(words) => format!("world: {words}"),
        PluginError::Structure(words) => format!("structure: {words}"),
        PluginError::TooCostly(words) => format!("too-costly: {words}"),
        other => format!("ours: {other}"),
    }
}

/// What such a line says; none for any other.
pub fn heard(line: &str) -> Option<PluginError> {
    let (kind, words) = line.trim().split_once(": ")?;
    let words = words.to_owned();
    Some(match kind {
        "not-a-component" => PluginError::NotAComponent(words),
        "imports" => PluginError::Imports(words),
        "world" => PluginError::World(words),
        "structure" => PluginError::Structure(words),
        "too-costly" => PluginError::TooCostly(words),
        "ours" => PluginError::Compiler(words),
        _ => return None,
    })
}
