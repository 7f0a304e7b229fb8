//! Finding and running the author's tools: the project's own come first, then those on PATH, then those that
//! `scripts/setup` has installed.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use crate::config::{program_folders, tools_folder};

/// A program that builds, and how to get it.
pub struct Tool {
    pub names: &'static [&'static str],
    /// Below the project's folder, or one above it.
    pub beside: &'static str,
    /// Below the folder of `scripts/setup`.
    pub installed: &'static str,
    /// The command that installs it, to be run in the project.
    pub install: &'static str,
}

pub const COMPONENTIZE_QJS: Tool = Tool {
    names: &["componentize-qjs"],
    beside: "node_modules/.bin",
    installed: "node/node_modules/.bin",
    install: "npm install",
};

pub const COMPONENTIZE_PY: Tool = Tool {
    names: &["componentize-py"],
    beside: ".venv/bin",
    installed: "venv/bin",
    install: "python3 -m venv .venv && .venv/bin/pip install -r requirements.txt",
};

/// `python-zig` comes with the Python package.
pub const ZIG: Tool = Tool { names: &["zig", "python-zig"], ..COMPONENTIZE_PY };

impl Tool {
    /// A command that runs in the project's folder.
    ///
    /// # Errors
    /// Says how to install the tool.
    pub fn command(&self, folder: &Path) -> Result<Command> {
        let beside = folder.ancestors().map(|folder| folder.join(self.beside));
        let installed = tools_folder().map(|folder| folder.join(self.installed));
        let folders: Vec<PathBuf> = beside.chain(program_folders()).chain(installed).collect();
        let programs = folders.iter().flat_map(|folder| self.names.iter().map(move |name| folder.join(name)));
        let program = programs.into_iter().find(|program| program.is_file()).with_context(|| {
            format!("{} is not installed: run `{}` in {}", self.names[0], self.install, folder.display())
        })?;
        let mut command = Command::new(program);
        command.current_dir(folder).stdin(Stdio::null());
        Ok(command)
    }
}

/// Runs a tool, which speaks only when it fails.
///
/// # Errors
/// What the tool said.
pub fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("failed to run {program}"))?;
    let said = [output.stderr.as_slice(), &output.stdout].map(|said| String::from_utf8_lossy(said).trim().to_owned());
    ensure!(output.status.success(), "{program} said:\n{}", said.join("\n").trim());
    Ok(())
}
