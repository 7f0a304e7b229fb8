//! The one binary.

use std::process::ExitCode;

/// Many small, short-lived blocks on several threads: what this allocator is made for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    jackfield::cli::run()
}
