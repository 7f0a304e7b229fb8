//! `jackfield plugin build`: runs the author's own tools and makes a component of what they built. It knows no server.

mod rust;

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use clap::Args;

use super::{
    component::{Shape, encode},
    kib,
};
use rust::Crate;

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

pub fn run(args: &BuildArgs) -> Result<()> {
    let to_file = args.out.extension() == Some(OsStr::new("wasm")) && !args.out.is_dir();
    ensure!(!to_file || args.paths.len() == 1, "{} is one file: name a folder for several plugins", args.out.display());
    for path in &args.paths {
        let plugin = Crate::find(path)?;
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
