//! `jackfield serve`: the server, until a signal stops it.

use std::process::ExitCode;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::{EXIT_UNAVAILABLE, usage_errors};
use crate::{
    app::App,
    config::{Config, LogConfig, Settings},
    event::now_ms,
    http::issue,
    plugin::Workshop,
    telemetry,
};

/// What a development server's token is for.
const DEV_TENANT: &str = "dev";
const DEV_USER: &str = "developer";
const DEV_TOKEN_S: i64 = 24 * 3600;
/// Receivers of somebody who tries things out run on the same machine.
const DEV_ALLOW_NETS: &str = "127.0.0.0/8,::1/128";

/// Plugins are tried on the runtime's blocking threads: well more than they may take.
const STACK_BYTES: usize = 4 << 20;

#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Make a secret if none is set, print a token, and let webhooks reach this machine
    #[arg(long)]
    dev: bool,
    /// Read the settings, report every mistake, and exit
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    settings: Settings,
}

pub fn run(args: &ServeArgs) -> ExitCode {
    let mut settings = args.settings.clone();
    let made_secret = args.dev.then(|| hex::encode(rand::random::<[u8; 32]>()));
    if args.dev && settings.webhook_allow_nets.as_deref().is_none_or(str::is_empty) {
        settings.webhook_allow_nets = Some(DEV_ALLOW_NETS.to_owned());
    }
    let (log, mut config) = match (LogConfig::parse(&settings), Config::parse(&settings, made_secret.as_deref())) {
        (Ok(log), Ok(config)) => (log, config),
        (log, config) => {
            let mistakes: Vec<String> = log.err().into_iter().chain(config.err()).flatten().collect();
            return usage_errors(&mistakes);
        }
    };
    if let Err(mistake) = telemetry::filter(&log) {
        return usage_errors(&[mistake]);
    }
    if args.check {
        println!("the settings are fine");
        return ExitCode::SUCCESS;
    }
    if let Err(mistake) = telemetry::start(&log) {
        return usage_errors(&[mistake]);
    }
    raise_open_files();
    let runtime = match tokio::runtime::Builder::new_multi_thread().thread_stack_size(STACK_BYTES).enable_all().build()
    {
        Ok(runtime) => runtime,
        Err(error) => return unavailable(&format!("the runtime cannot start: {error}")),
    };
    // This binary is its own child: by this name also after a new one has taken its place on the disk.
    config.plugins.workshop = Workshop::Child("/proc/self/exe".into());
    let exit = runtime.block_on(serve(config, args.dev));
    // Blocking work that is still under way (a lookup, a compile) must not hold the exit.
    runtime.shutdown_background();
    exit
}

async fn serve(config: Config, dev: bool) -> ExitCode {
    let tokens = config.tokens.clone();
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return unavailable("signals cannot be received");
    };
    let app = match App::start(config).await {
        Ok(app) => app,
        Err(error) => return unavailable(&error.to_string()),
    };
    if dev {
        match issue(&tokens, DEV_TENANT, DEV_USER, "admin", now_ms() / 1000 + DEV_TOKEN_S) {
            Ok(token) => println!("An admin token of the tenant {DEV_TENANT:?}, valid for a day:\n{token}"),
            Err(error) => eprintln!("error: no token could be made: {error}"),
        }
    }
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    app.stop().await;
    ExitCode::SUCCESS
}

fn unavailable(reason: &str) -> ExitCode {
    tracing::error!("{reason}");
    ExitCode::from(EXIT_UNAVAILABLE)
}

/// Each connection is a file, and the usual soft limit is 1,024.
fn raise_open_files() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        tracing::warn!("the limit of open files stays at {soft}: {error}");
    }
}
