//! `jackfield compile-plugin`: what the server runs as a child to compile one component, from standard input to standard
//! output. No command for people.

use std::{
    io::{stdin, stdout},
    process::ExitCode,
    time::Duration,
};

use clap::{Args, ValueEnum};

use crate::plugin::{Limits, Order, Tier, run_order};

/// Of sysexits(3): the input was no good.
const EXIT_DATA: u8 = 65;

#[derive(Debug, Args)]
pub struct CompileArgs {
    #[arg(long)]
    tier: TierArg,
    /// Bytes of the component
    #[arg(long)]
    max_size: usize,
    /// Bytes of memory of an instance
    #[arg(long)]
    max_memory: usize,
    /// Milliseconds of CPU time
    #[arg(long)]
    cpu_ms: u64,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum TierArg {
    Quick,
    Full,
}

pub fn run(args: &CompileArgs) -> ExitCode {
    let order = Order {
        tier: match args.tier {
            TierArg::Quick => Tier::Quick,
            TierArg::Full => Tier::Full,
        },
        // The rest bounds calls, and nothing is called here.
        limits: Limits {
            max_size_bytes: args.max_size,
            max_memory_bytes: args.max_memory,
            deadline: Duration::ZERO,
            max_output_bytes: 0,
        },
        cpu: Duration::from_millis(args.cpu_ms),
    };
    match run_order(&order, stdin().lock(), stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(line) => {
            eprintln!("{line}");
            ExitCode::from(EXIT_DATA)
        }
    }
}
