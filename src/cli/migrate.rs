//! `jackfield migrate`: brings the tables up to date, for those who do it before the servers are replaced.

use std::process::ExitCode;

use clap::Args;

use super::{EXIT_UNAVAILABLE, usage_errors};
use crate::{
    config::{self, DatabaseSettings},
    store,
};

#[derive(Debug, Args)]
pub struct MigrateArgs {
    #[command(flatten)]
    database: DatabaseSettings,
}

pub fn run(args: &MigrateArgs) -> ExitCode {
    let location = match config::database(&args.database) {
        Ok(location) => location,
        Err(mistakes) => return usage_errors(&mistakes),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return unavailable(&format!("the runtime cannot start: {error}")),
    };
    match runtime.block_on(store::migrate(&location)) {
        Ok(()) => {
            println!("the tables of {location} are up to date");
            ExitCode::SUCCESS
        }
        Err(error) => unavailable(&error.to_string()),
    }
}

fn unavailable(reason: &str) -> ExitCode {
    eprintln!("error: {reason}");
    ExitCode::from(EXIT_UNAVAILABLE)
}
