//! `jackfield token`: a token signed with the server's own key, for trying things out and for scripts.

use std::{process::ExitCode, time::Duration};

use clap::Args;

use super::usage_errors;
use crate::{
    config::{TokenConfig, TokenSettings},
    event::{TenantId, UserId, now_ms},
    http::{Role, issue},
};

#[derive(Debug, Args)]
pub struct TokenArgs {
    /// Whose token it is
    #[arg(long, value_parser = tenant)]
    tenant: String,
    /// The user it names
    #[arg(long, default_value = "cli", value_parser = user)]
    user: String,
    /// agent, service, admin or operator
    #[arg(long, default_value = "agent", value_parser = role)]
    role: String,
    /// How long it is valid
    #[arg(long, default_value = "1h", value_parser = humantime::parse_duration)]
    expires_in: Duration,
    #[command(flatten)]
    settings: TokenSettings,
}

fn tenant(text: &str) -> Result<String, String> {
    TenantId::parse(text).map(|tenant| tenant.to_string()).map_err(str::to_owned)
}

fn user(text: &str) -> Result<String, String> {
    UserId::parse(text).map(|user| user.to_string()).map_err(str::to_owned)
}

fn role(text: &str) -> Result<String, String> {
    text.parse::<Role>().map(|_| text.to_owned())
}

pub fn run(args: &TokenArgs) -> ExitCode {
    let config = match TokenConfig::parse(&args.settings) {
        Ok(config) => config,
        Err(mistakes) => return usage_errors(&mistakes),
    };
    let lasts_s = i64::try_from(args.expires_in.as_secs()).unwrap_or(i64::MAX);
    match issue(&config, &args.tenant, &args.user, &args.role, (now_ms() / 1000).saturating_add(lasts_s)) {
        Ok(token) => {
            println!("{token}");
            ExitCode::SUCCESS
        }
        Err(error) => usage_errors(&[format!("JWT_SECRET cannot sign: {error}")]),
    }
}
