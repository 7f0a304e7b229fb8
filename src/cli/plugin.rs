//! `jackfield plugin …`: the author's tools. `build` turns a Rust crate into a component; it knows no server.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Subcommand};
use serde_json::Value;
use wit_component::{ComponentEncoder, DecodedWasm};

use crate::config::cargo_home;

const TARGET: &str = "wasm32-unknown-unknown";

/// What an author does with a plugin.
#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    /// Build a Rust plugin into a component, with the cargo of this machine
    Build(BuildArgs),
}

/// Which crates, and where their components go.
#[derive(Debug, Args)]
pub struct BuildArgs {
    /// Folders of the plugins' crates
    #[arg(value_name = "PATH", default_value = ".")]
    paths: Vec<PathBuf>,
    /// A file that ends in .wasm, or a folder, which is made
    #[arg(short, long, value_name = "FILE|DIR", default_value = ".")]
    out: PathBuf,
}

/// Runs one command of the family.
///
/// # Errors
/// Whatever stopped it, in words that tell the author what to do.
pub fn run(command: PluginCommand) -> Result<()> {
    match command {
        PluginCommand::Build(args) => build(&args),
    }
}

fn build(args: &BuildArgs) -> Result<()> {
    let to_file = args.out.extension() == Some(OsStr::new("wasm")) && !args.out.is_dir();
    ensure!(!to_file || args.paths.len() == 1, "{} is one file: name a folder for several plugins", args.out.display());
    for path in &args.paths {
        let plugin = Plugin::find(path)?;
        let module = plugin.compile().with_context(|| format!("failed to build {}", path.display()))?;
        let component = encode(&module).with_context(|| format!("failed to make a component of {}", path.display()))?;
        let shape = Shape::of(&component)?;
        let out = if to_file { args.out.clone() } else { args.out.join(format!("{}.wasm", plugin.name)) };
        write_whole(&out, &component).with_context(|| format!("failed to write {}", out.display()))?;
        let file = out.file_name().unwrap_or(out.as_os_str()).display();
        println!("built {file} ({}, {shape})", kib(component.len()));
    }
    Ok(())
}

/// A crate that makes one component.
struct Plugin {
    folder: PathBuf,
    manifest: PathBuf,
    name: String,
}

impl Plugin {
    /// Reads the manifest as cargo sees it.
    fn find(folder: &Path) -> Result<Self> {
        let manifest = folder.join("Cargo.toml");
        ensure!(manifest.is_file(), "no Cargo.toml in {}: name the folder of a plugin's crate", folder.display());
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
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        ensure!(
            !name.is_empty() && name.chars().all(plain),
            "`{name}` cannot name a plugin: use letters, digits, - and _ in package.metadata.jackfield.name"
        );
        Ok(Self { folder: folder.to_owned(), manifest, name })
    }

    /// Builds the core module with the author's own cargo and settings, `CARGO_TARGET_DIR` included.
    fn compile(&self) -> Result<Vec<u8>> {
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

/// Makes a component of a core module; what is one already stays as it is.
fn encode(module: &[u8]) -> Result<Vec<u8>> {
    // Bytes 4 to 7 are the version and, in the last two, the layer: 1 is a component.
    if module.get(6..8) == Some(&[1, 0]) {
        return Ok(module.to_owned());
    }
    let (_, metadata) = wit_component::metadata::decode(module).context("failed to read the module")?;
    ensure!(
        !metadata.resolve.worlds[metadata.world].exports.is_empty(),
        "the module exports no plugin: use the jackfield-plugin crate (`export!`) or wit-bindgen"
    );
    let encoded = ComponentEncoder::default().validate(true).module(module).and_then(|mut encoder| encoder.encode());
    encoded.map_err(|error| {
        let why = format!("{error:#}");
        if why.contains("wasi_snapshot_preview1") || why.contains("wasi:") {
            return error.context(wasi_hint());
        }
        error.context("the module does not fit its world")
    })
}

fn wasi_hint() -> String {
    format!(
        "plugins have no WASI: build for {TARGET}, and remove what uses files, network, environment or random numbers"
    )
}

/// What a component is to the router.
#[derive(Debug, PartialEq)]
struct Shape {
    worlds: Vec<&'static str>,
    imports: Vec<String>,
}

impl Shape {
    fn of(component: &[u8]) -> Result<Self> {
        let DecodedWasm::Component(resolve, world) =
            wit_component::decode(component).context("failed to read it back")?
        else {
            bail!("the result is a WIT package, not a component");
        };
        let world = &resolve.worlds[world];
        let imports = world.imports.keys().map(|key| resolve.name_world_key(key)).collect::<Vec<_>>();
        let exports = world.exports.keys().map(|key| resolve.name_world_key(key)).collect::<Vec<_>>();
        Self::from_names(&imports, &exports)
    }

    /// From names like `jackfield:plugin/log@1.0.0`.
    fn from_names(imports: &[String], exports: &[String]) -> Result<Self> {
        if let Some(wasi) = imports.iter().find(|name| name.starts_with("wasi:")) {
            bail!("it imports {wasi}: {}", wasi_hint());
        }
        let exports = |interface| exports.iter().any(|name| ours(name) == Some(interface));
        let mut worlds = Vec::new();
        if exports("filter") {
            worlds.push("filter-plugin");
        }
        if exports("transformer") {
            worlds.push("transform-plugin");
        }
        ensure!(
            exports("lifecycle") && !worlds.is_empty(),
            "it fits no world of jackfield:plugin: use the jackfield-plugin crate (`export!`) or wit-bindgen"
        );
        // `types` holds no functions: it is imported by whoever names one of its records.
        let imports = imports.iter().filter(|name| ours(name) != Some("types"));
        Ok(Self { worlds, imports: imports.map(|name| ours(name).unwrap_or(name).to_owned()).collect() })
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let imports = if self.imports.is_empty() { "none".to_owned() } else { self.imports.join(" ") };
        write!(formatter, "world {}, imports: {imports}", self.worlds.join(" and "))
    }
}

/// The interface's bare name, where it is one of ours.
fn ours(name: &str) -> Option<&str> {
    let interface = name.strip_prefix("jackfield:plugin/")?;
    Some(interface.split('@').next().unwrap_or(interface))
}

/// Replaces a file in one step: a server that watches the folder never reads half a component.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let name = path.file_name().context("it names no file")?.to_string_lossy();
    let unfinished = folder.join(format!(".{name}.{}.tmp", std::process::id()));
    let written = File::create(&unfinished)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&unfinished, path));
    if let Err(error) = written {
        // Best effort: the error that matters is the first one.
        let _ = fs::remove_file(&unfinished);
        return Err(error.into());
    }
    Ok(())
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

fn kib(bytes: usize) -> String {
    let tenths = bytes * 10 / 1024;
    format!("{}.{} KiB", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn a_component_is_described_by_its_world_and_the_functions_it_imports() {
        let imports = names(&["jackfield:plugin/types@1.0.0", "jackfield:plugin/log@1.0.0"]);
        let exports = names(&["jackfield:plugin/lifecycle@1.0.0", "jackfield:plugin/transformer@1.0.0"]);
        let shape = Shape::from_names(&imports, &exports).unwrap();
        assert_eq!(shape.to_string(), "world transform-plugin, imports: log");
    }

    #[test]
    fn wasi_and_foreign_worlds_are_refused_with_what_to_do() {
        let exports = names(&["jackfield:plugin/lifecycle@1.0.0", "jackfield:plugin/filter@1.0.0"]);
        let wasi = Shape::from_names(&names(&["wasi:cli/environment@0.2.0"]), &exports).unwrap_err();
        assert!(wasi.to_string().contains("build for wasm32-unknown-unknown"), "{wasi}");
        let foreign = Shape::from_names(&[], &names(&["other:thing/run"])).unwrap_err();
        assert!(foreign.to_string().contains("jackfield-plugin crate"), "{foreign}");
    }

    #[test]
    fn a_module_that_describes_no_world_is_refused() {
        let error = encode(b"\0asm\x01\0\0\0").unwrap_err();
        assert!(format!("{error:#}").contains("jackfield-plugin crate"), "{error:#}");
    }

    #[test]
    fn sizes_are_shown_to_a_tenth() {
        assert_eq!(kib(60_620), "59.1 KiB");
        assert_eq!(kib(100), "0.0 KiB");
    }
}
