//! Plugins in JavaScript, Python and C: one command of the language's own builder each.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

use super::{
    super::project::{Description, Language},
    tools::{COMPONENTIZE_PY, COMPONENTIZE_QJS, ZIG, run},
};

/// Builds into `out`, a file: a component, or for C a core module.
///
/// # Errors
/// What the builder said, or how to install it.
pub fn compile(folder: &Path, description: &Description, out: &Path) -> Result<()> {
    ensure!(
        folder.join("wit").is_dir(),
        "{} has no `wit` folder: copy the one that `jackfield plugin new` writes",
        folder.display()
    );
    let source = |file: &str| {
        let there = folder.join(file).is_file();
        there.then_some(()).with_context(|| format!("{} has no {file}", folder.display()))
    };
    match description.language {
        Language::Js => {
            source("plugin.js")?;
            let mut command = COMPONENTIZE_QJS.command(folder)?;
            command.args([
                "--wit",
                "wit",
                "--js",
                "plugin.js",
                "-n",
                &description.world,
                "--sync",
                "--stub-wasi",
                "-o",
            ]);
            run(command.arg(out))
        }
        Language::Python => {
            source("plugin.py")?;
            let tool = || COMPONENTIZE_PY.command(folder);
            // Where editors look for the types of what is imported.
            run(tool()?.args(["-d", "wit", "-w", &description.world, "bindings", "typings"]))?;
            let mut command = tool()?;
            command.args(["-d", "wit", "-w", &description.world, "componentize", "plugin", "--stub-wasi", "-o"]);
            run(command.arg(out))
        }
        Language::C | Language::Rust => {
            source("plugin.c")?;
            let mut command = ZIG.command(folder)?;
            command.args(["cc", "-target", "wasm32-wasi", "-mexec-model=reactor", "-Os", "-s", "-Wall", "-Wextra"]);
            // The default of 1 MiB and more would be in every instance.
            command.arg("-Wl,-z,stack-size=65536");
            for folder in [folder, &folder.join("bindings")] {
                command.args(files(folder)?);
            }
            run(command.arg("-o").arg(out))
        }
    }
}

/// The sources and objects of a folder, in order, so that a build is the same everywhere.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let cannot = || format!("failed to read {}", folder.display());
    let entries = fs::read_dir(folder).with_context(cannot)?.collect::<Result<Vec<_>, _>>().with_context(cannot)?;
    let mut files: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|ending| ending == OsStr::new("c") || ending == OsStr::new("o")));
    files.sort();
    Ok(files)
}
