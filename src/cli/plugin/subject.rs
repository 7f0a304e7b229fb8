//! What `check`, `run` and `push` are given: a component's file, or a project, which is built first.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::build::{Built, build};

pub struct Subject {
    pub name: String,
    pub component: Vec<u8>,
}

impl Subject {
    /// # Errors
    /// The file cannot be read, or the project cannot be built.
    pub fn open(path: &Path) -> Result<Self> {
        if path.is_dir() {
            let Built { name, component, .. } = build(path)?;
            return Ok(Self { name, component });
        }
        let component = fs::read(path).with_context(|| format!("failed to read {}", path.display()))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { name, component })
    }
}

/// The golden cases of a project.
pub fn golden_folder(path: &Path) -> Option<PathBuf> {
    let folder = path.join("tests");
    (path.is_dir() && folder.is_dir()).then_some(folder)
}
