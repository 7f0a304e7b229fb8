//! A plugin in Rust: one crate, built by the author's own cargo.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::super::{component::TARGET, project::check_name};
use crate::config::cargo_home;

/// A crate that makes one component.
pub struct Crate {
    folder: PathBuf,
    manifest: PathBuf,
    pub name: String,
}

impl Crate {
    /// Reads the manifest as cargo sees it.
    pub fn find(folder: &Path) -> Result<Self> {
        let manifest = folder.join("Cargo.toml");
        let manifest = manifest.canonicalize().with_context(|| format!("failed to resolve {}", manifest.display()))?;
        let output = cargo(folder)
            .args(["metadata", "--no-deps", "--format-version", "1"])
            .stderr(Stdio::inherit())
            .output()
            .context("failed to run cargo: install Rust to build plugins")?;
        ensure!(output.status.success(), "cargo cannot read {}", manifest.display());
        let metadata: Value = serde_json::from_slice(&output.stdout).context("failed to read cargo's metadata")?;
        let package = items(&metadata["packages"])
            .find(|package| is_path(&package["manifest_path"], &manifest))
            .with_context(|| format!("{} holds no package: name the folder of one member", manifest.display()))?;
        let library = items(&package["targets"]).find(|target| is_cdylib(target)).with_context(|| {
            format!("{} builds no cdylib: add `[lib]` with `crate-type = [\"cdylib\", \"rlib\"]`", manifest.display())
        })?;
        let named = package["metadata"]["jackfield"]["name"].as_str().map(str::to_owned);
        let name = named.or_else(|| library["name"].as_str().map(|name| name.replace('_', "-")));
        let name = name.context("failed to read the library's name from cargo's metadata")?;
        check_name(&name).context("package.metadata.jackfield.name")?;
        Ok(Self { folder: folder.to_owned(), manifest, name })
    }

    /// Builds the core module with the author's own cargo and settings, `CARGO_TARGET_DIR` included.
    pub fn compile(&self) -> Result<Vec<u8>> {
        let sysroot = ensure_target(&self.folder)?;
        // Only the cdylib: with an rlib beside it, for tests, cargo leaves link-time optimisation out, and the plugin is
        // a tenth larger and slower.
        let output = cargo(&self.folder)
            .args(["rustc", "--release", "--lib", "--crate-type", "cdylib", "--target", TARGET])
            .arg("--message-format=json-render-diagnostics")
            .args(["--config", &short_paths(&sysroot)])
            .stderr(Stdio::inherit())
            .output()
            .context("failed to run cargo")?;
        ensure!(output.status.success(), "cargo build failed, see above");
        let file = String::from_utf8_lossy(&output.stdout)
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|message| message["reason"] == "compiler-artifact")
            .filter(|message| is_path(&message["manifest_path"], &self.manifest) && is_cdylib(&message["target"]))
            .find_map(|message| {
                let wasm = items(&message["filenames"]).filter_map(Value::as_str).find(|name| name.ends_with(".wasm"));
                wasm.map(PathBuf::from)
            })
            .context("cargo named no .wasm file")?;
        fs::read(&file).with_context(|| format!("failed to read {}", file.display()))
    }
}

/// Cargo in the plugin's folder, so that its toolchain file and settings count.
fn cargo(folder: &Path) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(folder).stdin(Stdio::null());
    cargo
}

/// Says what is missing before cargo says `can't find crate for core` a hundred times. Answers where the compiler lives.
fn ensure_target(folder: &Path) -> Result<PathBuf> {
    let output = Command::new("rustc")
        .args(["--print", "sysroot"])
        .current_dir(folder)
        .output()
        .context("failed to run rustc: install Rust to build plugins")?;
    let sysroot = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    ensure!(
        output.status.success() && sysroot.join("lib/rustlib").join(TARGET).join("lib").is_dir(),
        "the target {TARGET} is not installed: run `rustup target add {TARGET}`"
    );
    Ok(sysroot)
}

/// A setting for cargo that keeps this machine's folders out of the messages of panics, so that a plugin built elsewhere
/// is the same. Cargo joins it with the author's flags for this target; `RUSTFLAGS` replaces it, and it `build.rustflags`.
fn short_paths(sysroot: &Path) -> String {
    let folders =
        [(cargo_home().map(|home| home.join("registry/src")), "registry"), (Some(sysroot.to_owned()), "rust")];
    let flags = folders.into_iter().filter_map(|(folder, name)| Some((folder?, name)));
    // As JSON, which is TOML for an array of texts.
    let flags = flags.map(|(folder, name)| format!("--remap-path-prefix={}={name}", folder.display()));
    format!("target.{TARGET}.rustflags={}", Value::from_iter(flags))
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn is_cdylib(target: &Value) -> bool {
    items(&target["kind"]).any(|kind| kind == "cdylib")
}

fn is_path(value: &Value, path: &Path) -> bool {
    value.as_str().is_some_and(|text| Path::new(text).canonicalize().is_ok_and(|found| found == path))
}
