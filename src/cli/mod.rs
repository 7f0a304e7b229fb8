//! The command line: one file a command.

mod compile_plugin;
mod migrate;
mod plugin;
mod serve;
mod tail;
mod token;

use std::process::ExitCode;

use clap::{Parser, Subcommand, error::ErrorKind};

/// Of sysexits(3): wrong use or settings, something needed that is not available, and what a token does not allow.
pub const EXIT_USAGE: u8 = 64;
pub const EXIT_UNAVAILABLE: u8 = 69;
pub const EXIT_NO_PERMISSION: u8 = 77;

/// Jackfield: a multi-tenant event router with durable webhooks, sockets and WebAssembly plugins.
#[derive(Debug, Parser)]
#[command(name = "jackfield", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server
    Serve(Box<serve::ServeArgs>),
    /// Bring the database's tables up to date and do nothing else
    Migrate(Box<migrate::MigrateArgs>),
    /// Print a token signed with JWT_SECRET
    Token(Box<token::TokenArgs>),
    /// Show the events of a running server as they come
    Tail(Box<tail::TailArgs>),
    /// Make, build, check, run and upload plugins
    #[command(subcommand)]
    Plugin(plugin::PluginCommand),
    /// Compile one component for the server, which runs this itself
    #[command(hide = true)]
    CompilePlugin(compile_plugin::CompileArgs),
}

/// Runs the command of this process.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Printing fails when nobody listens; the exit code says it then.
            let _ = error.print();
            return match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
                _ => ExitCode::from(EXIT_USAGE),
            };
        }
    };
    match cli.command {
        Command::Serve(args) => serve::run(&args),
        Command::Migrate(args) => migrate::run(&args),
        Command::Token(args) => token::run(&args),
        Command::Tail(args) => tail::run(*args),
        Command::CompilePlugin(args) => compile_plugin::run(&args),
        Command::Plugin(command) => match plugin::run(command) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error:#}");
                ExitCode::FAILURE
            }
        },
    }
}

/// Tells each mistake on a line of its own.
fn usage_errors(mistakes: &[String]) -> ExitCode {
    for mistake in mistakes {
        eprintln!("error: {mistake}");
    }
    ExitCode::from(EXIT_USAGE)
}
