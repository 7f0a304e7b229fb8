//! Logs: on stderr, as text for people or JSON for machines.

use tracing_subscriber::EnvFilter;

use crate::config::{LogConfig, LogFormat};

/// # Errors
/// When LOG_LEVEL is no filter.
pub fn filter(config: &LogConfig) -> Result<EnvFilter, String> {
    EnvFilter::try_new(&config.level).map_err(|error| format!("LOG_LEVEL {:?}: {error}", config.level))
}

/// Starts logging for the process.
///
/// # Errors
/// When LOG_LEVEL is no filter, or logging was started before.
pub fn start(config: &LogConfig) -> Result<(), String> {
    let filter = filter(config)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match config.format {
        LogFormat::Text => builder.with_ansi(false).with_target(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).try_init(),
    };
    started.map_err(|error| error.to_string())
}
