//! `jackfield plugin check`: whether a server would take a component, and what it is. The verdict is the server's own: its
//! engine loads it, under its limits.

use std::{path::PathBuf, time::Instant};

use anyhow::{Context, Result, anyhow};
use clap::Args;

use super::{component::Shape, size, subject::Subject};
use crate::{
    config::{PluginLimitSettings, plugin_limits},
    plugin::{Limits, PluginError, Rehearsal},
};

#[derive(Debug, Args)]
pub struct CheckArgs {
    /// A component, or the folder of a project, which is built first
    #[arg(value_name = "FILE|DIR")]
    path: PathBuf,
    /// For programs: one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    limits: PluginLimitSettings,
}

/// Says what a component is.
///
/// # Errors
/// Why no server takes it, and what to do.
pub fn run(args: &CheckArgs) -> Result<()> {
    let limits = limits(&args.limits)?;
    let component = Subject::open(&args.path)?.component;
    let refused = || format!("{} is refused", args.path.display());
    let shape = Shape::of(&component).with_context(refused)?;
    let started = Instant::now();
    let rehearsal = Rehearsal::load(&component, limits).with_context(refused)?;
    let compile_ms = started.elapsed().as_millis();
    // A configuration may be required: then the plugin holds what it holds before one.
    let memory_bytes = match rehearsal.memory_bytes("{}") {
        Ok(bytes) => Some(bytes),
        Err(PluginError::Guest(failure)) if failure.code == "config" => None,
        Err(error) => return Err(error).with_context(refused),
    };
    let about = rehearsal.about();
    let events = if about.events.is_empty() { "all".to_owned() } else { about.events.join(" ") };
    let modules = core_modules(&component);
    if args.json {
        let shown = serde_json::json!({
            "worlds": shape.worlds, "imports": shape.imports, "name": about.name, "version": about.version,
            "events": about.events, "size_bytes": component.len(), "core_modules": modules, "memory_bytes": memory_bytes,
            "compile_ms": u64::try_from(compile_ms).unwrap_or(u64::MAX),
        });
        println!("{shown}");
        return Ok(());
    }
    let imports = if shape.imports.is_empty() { "nothing".to_owned() } else { shape.imports.join(" ") };
    println!("{} is good: {} of jackfield:plugin@1.0.0", args.path.display(), shape.worlds.join(" and "));
    println!("  plugin    {} {}", about.name, about.version);
    println!("  events    {events}");
    println!("  imports   {imports}");
    println!("  size      {} of {}, {modules} core modules", size(component.len()), size(limits.max_size_bytes));
    match memory_bytes {
        Some(bytes) => println!("  memory    {} of {}", size(bytes), size(limits.max_memory_bytes)),
        None => println!("  memory    not known: it refuses to be without a configuration"),
    }
    println!("  compiled  in {compile_ms} ms");
    Ok(())
}

/// The server's limits, from its own settings.
///
/// # Errors
/// Every mistake in them.
pub fn limits(settings: &PluginLimitSettings) -> Result<Limits> {
    plugin_limits(settings).map_err(|mistakes| anyhow!(mistakes.join("; ")))
}

/// How many modules lie in a component, at any depth: sections with the id 1, and those of sections with the id 4, which
/// are components. The component was found to be valid before.
fn core_modules(component: &[u8]) -> usize {
    let mut rest = component.get(8..).unwrap_or_default();
    let mut count = 0;
    while let Some((id, behind)) = rest.split_first() {
        let Some((body, behind)) = leb128(behind).and_then(|(len, behind)| behind.split_at_checked(len)) else {
            break;
        };
        count += match id {
            1 => 1,
            4 => core_modules(body),
            _ => 0,
        };
        rest = behind;
    }
    count
}

fn leb128(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0;
    for (at, byte) in bytes.iter().take(5).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[at + 1..]));
        }
    }
    None
}
