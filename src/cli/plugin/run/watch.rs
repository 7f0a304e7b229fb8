//! Doing something again whenever a file changes.

use std::{
    path::{Component, Path, PathBuf},
    sync::mpsc::{Receiver, RecvTimeoutError, sync_channel},
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
    let (changed, changes) = sync_channel(1);
    let mut folders = Vec::new();
    for path in std::iter::once(path).chain(also.map(PathBuf::as_path)) {
        let found = path.canonicalize().with_context(|| format!("failed to watch {}", path.display()))?;
        // A file is replaced by another of its name, so its folder is watched.
        folders.push(if found.is_dir() {
            (found, RecursiveMode::Recursive)
        } else {
            (found.parent().unwrap_or(&found).to_owned(), RecursiveMode::NonRecursive)
        });
    }
    let roots: Vec<PathBuf> = folders.iter().map(|(folder, _)| folder.clone()).collect();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        if event.is_ok_and(|event| matters(&event, &roots)) {
            // Full means that a change is waiting to be seen already.
            let _ = changed.try_send(());
        }
    })
    .context("failed to watch files")?;
    for (folder, mode) in &folders {
        watcher.watch(folder, *mode).with_context(|| format!("failed to watch {}", folder.display()))?;
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
    // What is never quiet is built all the same.
    for _ in 0..20 {
        match changes.recv_timeout(SETTLE) {
            Ok(()) => {}
            Err(RecvTimeoutError::Timeout) => return true,
            Err(RecvTimeoutError::Disconnected) => return false,
        }
    }
    true
}

/// Not what was only read, and not what a build has written below one of the folders that are watched.
fn matters(event: &Event, roots: &[PathBuf]) -> bool {
    let built = |path: &PathBuf| {
        let below =
            roots.iter().filter_map(|root| path.strip_prefix(root).ok()).min_by_key(|rest| rest.as_os_str().len());
        let mut parts = below.unwrap_or(path).components();
        parts.any(|part| match part {
            Component::Normal(name) => name.to_str().is_some_and(|name| BUILT.contains(&name) || name.starts_with('.')),
            _ => false,
        })
    };
    !matches!(event.kind, EventKind::Access(_)) && !event.paths.iter().all(built)
}

#[cfg(test)]
mod tests {
    use notify::event::{AccessKind, ModifyKind};

    use super::*;

    #[test]
    fn what_a_build_writes_makes_no_other() {
        // The folder itself may have any name.
        let roots = [PathBuf::from("/home/kim/.work/target/announce")];
        let changed = |file: &str| Event::new(EventKind::Modify(ModifyKind::Any)).add_path(roots[0].join(file));
        for file in ["plugin.js", "src/lib.rs", "tests/01.json"] {
            assert!(matters(&changed(file), &roots), "{file}");
        }
        for file in ["target/release/x", ".git/index", "typings/wit_world/__init__.py", ".plugin.js.swp", "Cargo.lock"]
        {
            assert!(!matters(&changed(file), &roots), "{file}");
        }
        let read = Event::new(EventKind::Access(AccessKind::Any)).add_path(roots[0].join("plugin.js"));
        assert!(!matters(&read, &roots));
    }
}
