//! The plugin folder, watched: a component that is put there or replaced is live within a second of being compiled.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use notify::{RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{PluginError, Plugins};

/// Files are written in pieces: a folder must be quiet for this long before it is read.
const SETTLE: Duration = Duration::from_millis(150);
/// Some file systems tell nothing.
const POLL: Duration = Duration::from_secs(2);

/// What was seen of a file: read again when it changes.
type Stamp = (u64, Option<SystemTime>);

pub struct PluginFolder {
    plugins: Arc<Plugins>,
    dir: PathBuf,
    seen: HashMap<String, Stamp>,
}

impl PluginFolder {
    pub fn new(plugins: Arc<Plugins>, dir: PathBuf) -> Self {
        // What the store restored is missed when its file is gone.
        let names = plugins.names();
        let restored = names.iter().filter_map(|name| name.strip_prefix("shared/")).map(str::to_owned);
        let seen = restored.map(|stem| (stem, (0, None))).collect();
        Self { plugins, dir, seen }
    }

    /// Looks at the folder again whenever it changes, until `stopping`.
    pub async fn watch(mut self, stopping: CancellationToken) {
        let (changed, mut changes) = mpsc::channel(1);
        // The watcher lives as long as this function. Without one the channel closes, and the poll alone does it.
        let _watcher = watcher(&self.dir, changed);
        let mut watched = true;
        loop {
            tokio::select! {
                () = stopping.cancelled() => return,
                () = tokio::time::sleep(POLL) => {}
                change = changes.recv(), if watched => {
                    watched = change.is_some();
                    let settled = async {
                        while tokio::time::timeout(SETTLE, changes.recv()).await.is_ok_and(|change| change.is_some()) {}
                    };
                    // A folder that is never quiet is looked at all the same.
                    let _ = tokio::time::timeout(POLL, settled).await;
                }
            }
            self.scan().await;
        }
    }

    /// Offers each component that is new or has changed since the last look.
    pub async fn scan(&mut self) {
        let Self { plugins, dir, seen } = self;
        scan(plugins, dir, seen).await;
    }
}

fn watcher(dir: &Path, changed: mpsc::Sender<()>) -> Option<notify::RecommendedWatcher> {
    let watch = || {
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Our own looking is an access too: only what may have changed a file counts.
            if event.is_ok_and(|event| event.kind.is_access() && !ends_a_write(event.kind)) {
                return;
            }
            // Full means that a change is waiting to be seen already.
            let _ = changed.try_send(());
        })?;
        watcher.watch(dir, RecursiveMode::NonRecursive)?;
        Ok::<_, notify::Error>(watcher)
    };
    watch()
        .inspect_err(|error| {
            tracing::warn!("PLUGIN_DIR {} is looked at every {POLL:?}, not watched: {error}", dir.display());
        })
        .ok()
}

fn ends_a_write(kind: notify::EventKind) -> bool {
    use notify::event::{AccessKind, AccessMode, EventKind};
    matches!(kind, EventKind::Access(AccessKind::Close(AccessMode::Write)))
}

async fn scan(plugins: &Arc<Plugins>, dir: &Path, seen: &mut HashMap<String, Stamp>) {
    let mut present = Vec::new();
    let Ok(mut entries) = tokio::fs::read_dir(dir).await else {
        return;
    };
    while let Ok(Some(entry)) = entries.next_entry().await {
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != "wasm") {
            continue;
        }
        let Some(stem) = path.file_stem().and_then(|stem| stem.to_str()).filter(|stem| is_plugin_name(stem)) else {
            continue;
        };
        present.push(stem.to_owned());
        let Ok(metadata) = entry.metadata().await else { continue };
        let stamp = (metadata.len(), metadata.modified().ok());
        if seen.get(stem) == Some(&stamp) {
            continue;
        }
        seen.insert(stem.to_owned(), stamp);
        if let Err(error) = offer(plugins, stem, &path, metadata.len()).await {
            if error.is_ours() {
                // Not the file's fault: it is offered again at the next look.
                seen.remove(stem);
            }
            plugins.fault(&format!("shared/{stem}"), error.to_string());
        }
    }
    let removed: Vec<String> = seen.keys().filter(|stem| !present.contains(stem)).cloned().collect();
    for stem in removed {
        seen.remove(&stem);
        plugins.fault(&format!("shared/{stem}"), format!("the file {stem}.wasm was removed from PLUGIN_DIR"));
    }
}

async fn offer(plugins: &Arc<Plugins>, stem: &str, path: &Path, len: u64) -> Result<(), PluginError> {
    let max_bytes = plugins.limits().max_size_bytes;
    // Asked before reading, so that a huge file costs nothing.
    let size_bytes = usize::try_from(len).unwrap_or(usize::MAX);
    if size_bytes > max_bytes {
        return Err(PluginError::TooLarge { size_bytes, max_bytes });
    }
    // Read whole, never mapped: whoever writes the file next must not change running code.
    let wasm = tokio::fs::read(path)
        .await
        .map_err(|error| PluginError::NotAComponent(format!("the file cannot be read: {error}")))?;
    plugins.offer(stem, wasm).await
}

/// A file's stem becomes the name: what could not stand in a path is left alone.
fn is_plugin_name(stem: &str) -> bool {
    stem.len() <= 64 && stem.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c))
}
