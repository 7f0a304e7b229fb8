//! `jackfield plugin build`: runs the author's own tools and makes a component of what they built. It knows no server.

mod others;
mod rust;
mod tools;

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
    project::Project,
    size,
};
use crate::config::temp_dir;
use rust::Crate;

/// Which projects, and where their components go.
#[derive(Debug, Args)]
pub struct BuildArgs {
    /// Folders of the plugins' projects
    #[arg(value_name = "PATH", default_value = ".")]
    paths: Vec<PathBuf>,
    /// A file that ends in .wasm, or a folder, which is made
    #[arg(short, long, value_name = "FILE|DIR", default_value = ".")]
    out: PathBuf,
}

/// Builds each project and writes its component.
///
/// # Errors
/// What stopped it, in words that tell the author what to do.
pub fn run(args: &BuildArgs) -> Result<()> {
    let to_file = args.out.extension() == Some(OsStr::new("wasm")) && !args.out.is_dir();
    ensure!(!to_file || args.paths.len() == 1, "{} is one file: name a folder for several plugins", args.out.display());
    for path in &args.paths {
        let Built { name, component, shape } = build(path)?;
        let out = if to_file { args.out.clone() } else { args.out.join(format!("{name}.wasm")) };
        write_whole(&out, &component).with_context(|| format!("failed to write {}", out.display()))?;
        let file = out.file_name().unwrap_or(out.as_os_str()).display();
        println!("built {file} ({}, {shape})", size(component.len()));
    }
    Ok(())
}

/// A component, made from a project and found to fit.
pub struct Built {
    pub name: String,
    pub component: Vec<u8>,
    pub shape: Shape,
}

/// Builds one project.
///
/// # Errors
/// As [`run`].
pub fn build(path: &Path) -> Result<Built> {
    let (name, module) = match Project::find(path)? {
        Project::Rust(folder) => {
            let plugin = Crate::find(&folder)?;
            let module = plugin.compile();
            (plugin.name, module)
        }
        Project::Other { folder, description } => {
            let module = through_a_file(|out| others::compile(&folder, &description, out));
            (description.name, module)
        }
    };
    let module = module.with_context(|| format!("failed to build {}", path.display()))?;
    let made = || format!("failed to make a component of {}", path.display());
    let component = encode(&module).with_context(made)?;
    let shape = Shape::of(&component).with_context(made)?;
    Ok(Built { name, component, shape })
}

/// What a tool wrote, which writes to files only.
fn through_a_file(write: impl FnOnce(&Path) -> Result<()>) -> Result<Vec<u8>> {
    // In a folder of its own: some of them put more beside it.
    let folder = temp_dir().join(format!("jackfield-build-{}-{:08x}", std::process::id(), rand::random::<u32>()));
    fs::create_dir(&folder).with_context(|| format!("failed to make {}", folder.display()))?;
    let out = folder.join("built.wasm");
    let read = write(&out).and_then(|()| fs::read(&out).context("the tool wrote nothing"));
    // Best effort: the machine cleans its temporary folder too.
    let _ = fs::remove_dir_all(&folder);
    read
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
