//! `jackfield plugin …`: the author's tools, one file a command.

mod build;
mod component;

use anyhow::Result;
use clap::Subcommand;

/// What an author does with a plugin.
#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    /// Build a Rust plugin into a component, with the cargo of this machine
    Build(build::BuildArgs),
}

/// Runs one command of the family.
///
/// # Errors
/// Whatever stopped it, in words that tell the author what to do.
pub fn run(command: PluginCommand) -> Result<()> {
    match command {
        PluginCommand::Build(args) => build::run(&args),
    }
}

/// For people, to a tenth.
fn kib(bytes: usize) -> String {
    let tenths = bytes * 10 / 1024;
    format!("{}.{} KiB", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_shown_to_a_tenth() {
        assert_eq!(kib(60_620), "59.1 KiB");
        assert_eq!(kib(100), "0.0 KiB");
    }
}
