//! Doing something again whenever a file changes.

use std::{
    path::{Component, Path, PathBuf},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::Duration,
};

use anyhow::{Context, Result};
use notify::{Event, EventKind, RecursiveMode, Watcher};

/// Editors write in pieces: there must be quiet for so long.
const SETTLE: Duration = Duration::from_millis(100);

/// What builds write, which must not make the next build.
const BUILT: [&str; 5] = ["target", "node_modules", "typings", "__pycache__", "Cargo.lock"];

/// Does it now and after each change below `path` or of `also`, and tells errors instead of ending with them.
///
/// # Errors
/// Nothing can be watched.
pub fn again_and_again<'a>(
    path: &'a Path,
    also: impl Iterator<Item = &'a PathBuf>,
    mut work: impl FnMut() -> Result<()>,
) -> Result<()> {
    let (changed, changes) = channel();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        if event.is_ok_and(|event| matters(&event)) {
            // Nobody listens any more when the command ends.
            let _ = changed.send(());
        }
    })
    .context("failed to watch files")?;
    for path in std::iter::once(path).chain(also.map(PathBuf::as_path)) {
        // A file is replaced by another of its name, so its folder is watched.
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let watched = if path.is_dir() {
            watcher.watch(path, RecursiveMode::Recursive)
        } else {
            watcher.watch(parent, RecursiveMode::NonRecursive)
        };
        watched.with_context(|| format!("failed to watch {}", path.display()))?;
    }
    loop {
        if let Err(error) = work() {
            eprintln!("error: {error:#}");
        }
        eprintln!("waiting for a change; Ctrl-C ends it");
        if !wait(&changes) {
            return Ok(());
        }
    }
}

/// Until files have changed and are quiet again; false when nothing is watched any more.
fn wait(changes: &Receiver<()>) -> bool {
    if changes.recv().is_err() {
        return false;
    }
    loop {
        match changes.recv_timeout(SETTLE) {
            Ok(()) => {}
            Err(RecvTimeoutError::Timeout) => return true,
            Err(RecvTimeoutError::Disconnected) => return false,
        }
    }
}

/// Not what was only read, and not what a build has written.
fn matters(event: &Event) -> bool {
    let hidden = |part: &str| part.starts_with('.') && part != "." && part != "..";
    let built = |path: &PathBuf| {
        path.components().any(|part| match part {
            Component::Normal(name) => name.to_str().is_some_and(|name| BUILT.contains(&name) || hidden(name)),
            _ => false,
        })
    };
    !matches!(event.kind, EventKind::Access(_)) && !event.paths.iter().all(built)
}
