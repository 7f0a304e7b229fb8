//! A plugin's project: its folder, its language and its name. In Rust `Cargo.toml` says so, in other languages
//! `plugin.json`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::plugin::PluginName;

/// Says what kind of project it is, for languages whose own files do not.
const DESCRIPTION: &str = "plugin.json";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    Rust,
    Js,
    Python,
    C,
}

/// What is built.
pub enum Project {
    Rust(PathBuf),
    Other { folder: PathBuf, description: Description },
}

/// `plugin.json`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    pub name: String,
    pub language: Language,
    /// `transform-plugin` or `filter-plugin`; C has it in its bindings.
    #[serde(default = "transform")]
    pub world: String,
}

fn transform() -> String {
    "transform-plugin".to_owned()
}

impl Project {
    /// # Errors
    /// Says what is missing from the folder.
    pub fn find(folder: &Path) -> Result<Self> {
        let description = folder.join(DESCRIPTION);
        if folder.join("Cargo.toml").is_file() {
            return Ok(Self::Rust(folder.to_owned()));
        }
        ensure!(
            description.is_file(),
            "no Cargo.toml and no {DESCRIPTION} in {}: name the folder of a plugin, or make one with `jackfield plugin new`",
            folder.display()
        );
        let cannot = || format!("failed to read {}", description.display());
        let text = fs::read_to_string(&description).with_context(cannot)?;
        let description: Description = serde_json::from_str(&text).with_context(cannot)?;
        check_name(&description.name)?;
        if description.language == Language::Rust {
            bail!("a plugin in Rust has a Cargo.toml, and {} has none", folder.display());
        }
        // Tools run elsewhere than in the folder, and must find it.
        let folder = folder.canonicalize().with_context(|| format!("failed to resolve {}", folder.display()))?;
        Ok(Self::Other { folder, description })
    }
}

/// A name that a server takes, whether it comes as a file or as an upload.
///
/// # Errors
/// The rule that it breaks.
pub fn check_name(name: &str) -> Result<()> {
    let named = PluginName::parse(name).map_err(|rule| anyhow!("`{name}` cannot name a plugin: it {rule}"))?;
    ensure!(!named.is_shared(), "`{name}` cannot name a plugin: leave out `shared/`");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_a_server_takes() {
        for good in ["announce", "7up", "a_b-c", &"x".repeat(64)] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for wrong in ["", "Announce", "a/b", "..", "a b", "run", "shared", "shared/x", &"x".repeat(65)] {
            assert!(check_name(wrong).is_err(), "{wrong}");
        }
    }
}
