//! `jackfield plugin …`: the author's tools, one file a command.

mod build;
mod check;
mod component;
mod golden;
mod new;
mod project;
mod push;
mod run;
mod subject;

use anyhow::Result;
use clap::Subcommand;

/// What an author does with a plugin.
#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    /// Write a project that builds, with golden cases
    New(new::NewArgs),
    /// Build a project into a component, with the language's own tools
    Build(build::BuildArgs),
    /// Say whether a server takes a component, and what it is
    Check(check::CheckArgs),
    /// Call a plugin here, under the server's own limits, or run its golden cases
    Run(run::RunArgs),
    /// Upload a component to a server
    Push(push::PushArgs),
}

/// Runs one command of the family.
///
/// # Errors
/// Whatever stopped it, in words that tell the author what to do.
pub fn run(command: PluginCommand) -> Result<()> {
    match command {
        PluginCommand::New(args) => new::run(&args),
        PluginCommand::Build(args) => build::run(&args),
        PluginCommand::Check(args) => check::run(&args),
        PluginCommand::Run(args) => run::run(&args),
        PluginCommand::Push(args) => push::run(&args),
    }
}

/// A size for people, to a tenth.
fn size(bytes: usize) -> String {
    let (tenths, unit) = if bytes < 1 << 20 { ((bytes * 10) >> 10, "KiB") } else { ((bytes * 10) >> 20, "MiB") };
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_shown_to_a_tenth() {
        assert_eq!(size(60_620), "59.1 KiB");
        assert_eq!(size(100), "0.0 KiB");
        assert_eq!(size(32 << 20), "32.0 MiB");
    }
}
