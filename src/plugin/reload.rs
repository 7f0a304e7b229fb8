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

use super::{PluginError, PluginId, Plugins};

/// Files are written in pieces: a folder must be quiet for this long before it is read.
const SETTLE: Duration = Duration::from_millis(150);
/// Some file systems tell nothing.
const POLL: Duration = Duration::from_secs(2);

/// What was seen of a file: read again when it changes.
type Stamp = (u64, Option<SystemTime>);

pub struct PluginFolder {
    plugins: Arc<Plugins>,
    dir: PathBuf,
    seen: HashMap<PluginId, Stamp>,
}

impl PluginFolder {
    pub fn new(plugins: Arc<Plugins>, dir: PathBuf) -> Self {
        // What the store restored is missed when its file is gone.
        let seen = plugins.all(false).into_iter().map(|plugin| (plugin.id.clone(), (0, None))).collect();
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

async fn scan(plugins: &Arc<Plugins>, dir: &Path, seen: &mut HashMap<PluginId, Stamp>) {
    let mut present = Vec::new();
    let Ok(mut entries) = tokio::fs::read_dir(dir).await else {
        return;
    };
    while let Ok(Some(entry)) = entries.next_entry().await {
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != "wasm") {
            continue;
        }
        // A file's stem becomes the name: what could not stand in a path is left alone.
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        let Some(id) = stem.and_then(|stem| PluginId::shared(stem).ok()) else { continue };
        present.push(id.clone());
        let Ok(metadata) = entry.metadata().await else { continue };
        let stamp = (metadata.len(), metadata.modified().ok());
        if seen.get(&id) == Some(&stamp) {
            continue;
        }
        seen.insert(id.clone(), stamp);
        if let Err(error) = offer(plugins, &id, &path, metadata.len()).await {
            if error.is_ours() {
                // Not the file's fault: it is offered again at the next look.
                seen.remove(&id);
            }
            plugins.fault(&id, error.to_string());
        }
    }
    let removed: Vec<PluginId> = seen.keys().filter(|id| !present.contains(id)).cloned().collect();
    for id in removed {
        seen.remove(&id);
        plugins.fault(&id, format!("the file {}.wasm was removed from PLUGIN_DIR", id.bare()));
    }
}

async fn offer(plugins: &Arc<Plugins>, id: &PluginId, path: &Path, len: u64) -> Result<(), PluginError> {
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
    plugins.offer(id, wasm).await
}
