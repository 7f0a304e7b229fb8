//! Settings: the only reader of flags and environment. Every setting is a flag and an environment variable of the same
//! name; the flag wins. All mistakes are found before any is reported.

mod reader;
mod settings;
mod tokens;

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use ipnet::IpNet;

use reader::{Reader, duration, encryption_keys, name_server, number, size, text_or};
pub use settings::{ClientSettings, DatabaseSettings, PluginLimitSettings, RedisSettings, Settings, TokenSettings};
pub use tokens::TokenConfig;

use crate::{
    bus::{self, OfflineLimits, RedisLocation},
    plugin::{Limits, Workshop},
    store::Location,
    vault::Vault,
    webhook::{Proxy, Retention, RetrySchedule},
};

/// Named by the contract, and without a reader in this version: said aloud instead of ignored.
const NOT_READ_YET: &[&str] = &["METRICS_ADDR", "OTEL_EXPORTER_OTLP_ENDPOINT"];

#[derive(Debug, Clone)]
pub struct Config {
    pub listen: SocketAddr,
    pub database: Location,
    pub tokens: TokenConfig,
    /// None: a single server.
    pub redis: Option<RedisLocation>,
    pub offline: OfflineLimits,
    pub sockets: SocketConfig,
    pub webhooks: WebhookConfig,
    pub plugins: PluginConfig,
    /// Made here, so that the keys are nowhere else.
    pub vault: Vault,
    pub shutdown_grace: Duration,
    /// Settings that are set and that this version does not read.
    pub not_read: Vec<&'static str>,
}

#[derive(Debug, Clone)]
pub struct SocketConfig {
    pub read_buffer_bytes: usize,
    pub write_buffer_bytes: usize,
    pub ping_interval: Duration,
    pub pong_timeout: Duration,
    pub max_queue_bytes: usize,
    pub max_message_bytes: usize,
    pub max_connections_per_tenant: usize,
    /// Empty: any.
    pub allowed_origins: Vec<String>,
    /// Whether there is a route that sends back what it hears.
    pub echo: bool,
}

#[derive(Debug, Clone)]
pub struct WebhookConfig {
    pub workers: usize,
    pub max_in_flight: usize,
    pub max_in_flight_per_endpoint: usize,
    pub retry_schedule: RetrySchedule,
    pub allow_nets: Vec<IpNet>,
    pub proxy: Option<Proxy>,
    /// Empty: the system's.
    pub name_servers: Vec<SocketAddr>,
    pub retention: Retention,
}

#[derive(Debug, Clone)]
pub struct PluginConfig {
    pub dir: PathBuf,
    pub limits: Limits,
    pub cache_dir: PathBuf,
    /// CPU time.
    pub compile_timeout: Duration,
    /// This process, until the binary that can be its own child says otherwise.
    pub workshop: Workshop,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// How to log: read apart from the rest, since mistakes in the rest are to be logged.
#[derive(Debug, Clone)]
pub struct LogConfig {
    pub format: LogFormat,
    pub level: String,
}

/// Where the data is, for commands that need nothing else.
///
/// # Errors
/// Every mistake, each a line that names the setting and says what to do.
pub fn database(settings: &DatabaseSettings) -> Result<Location, Vec<String>> {
    let mut reader = Reader::default();
    let location = read_database(&mut reader, settings);
    reader.finish(location)
}

/// What a plugin may cost, for commands that run one without a server.
///
/// # Errors
/// Every mistake, each a line that names the setting and says what to do.
pub fn plugin_limits(settings: &PluginLimitSettings) -> Result<Limits, Vec<String>> {
    let mut reader = Reader::default();
    let limits = read_plugin_limits(&mut reader, settings);
    reader.finish(limits)
}

impl LogConfig {
    /// # Errors
    /// What to set instead.
    pub fn parse(settings: &Settings) -> Result<Self, Vec<String>> {
        let mut reader = Reader::default();
        let format = reader.read("LOG_FORMAT", &settings.log_format, "text", |text| match text {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err("must be `text` or `json`".to_owned()),
        });
        let level = text_or(&settings.log_level, "info");
        reader.finish(format.map(|format| Self { format, level }))
    }
}

impl Config {
    /// Reads all settings; `secret` stands in for a JWT_SECRET that is not set (`serve --dev`).
    ///
    /// # Errors
    /// Every mistake, each a line that names the setting and says what to do.
    pub fn parse(settings: &Settings, secret: Option<&str>) -> Result<Self, Vec<String>> {
        let mut r = Reader::default();
        let host = r.read("SERVER_HOST", &settings.server_host, "0.0.0.0", |text| {
            text.parse::<IpAddr>().map_err(|_| format!("{text:?} is no IP address"))
        });
        let port = r.read("SERVER_PORT", &settings.server_port, "8000", number(1..=65535));
        let database = read_database(&mut r, &settings.database);
        let tokens = tokens::read(&mut r, &settings.tokens, secret);
        let redis = read_redis(&mut r, &settings.redis);
        let offline_max = r.read("OFFLINE_MAX", &settings.offline_max, "1000", number(1..=1_000_000));
        let offline_ttl = r.read("OFFLINE_TTL", &settings.offline_ttl, "7d", duration);
        let sockets = read_sockets(&mut r, settings);
        let webhooks = read_webhooks(&mut r, settings, offline_ttl);
        let plugins = read_plugins(&mut r, settings);
        let keys = r.read("ENCRYPTION_KEY", &settings.encryption_key, "", encryption_keys);
        let shutdown_grace = r.read("SHUTDOWN_GRACE", &settings.shutdown_grace, "5s", duration);
        let not_read =
            NOT_READ_YET.iter().copied().filter(|name| std::env::var_os(name).is_some_and(|v| !v.is_empty())).collect();
        let config = (|| {
            Some(Self {
                listen: SocketAddr::new(host?, u16::try_from(port?).ok()?),
                database: database?,
                tokens: tokens?,
                redis: redis?,
                offline: OfflineLimits { max: offline_max?, ttl: offline_ttl? },
                sockets: sockets?,
                webhooks: webhooks?,
                plugins: plugins?,
                vault: Vault::new(keys?),
                shutdown_grace: shutdown_grace?,
                not_read,
            })
        })();
        r.finish(config)
    }
}

/// Where cargo keeps the sources of crates: its own setting, or its default.
pub fn cargo_home() -> Option<PathBuf> {
    let set = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    set.or_else(|| std::env::home_dir().map(|home| home.join(".cargo")))
}

/// Where `scripts/setup` puts the tools that it installs.
pub fn tools_folder() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("JACKFIELD_CACHE").or_else(|| {
        let caches = set("XDG_CACHE_HOME").or_else(|| std::env::home_dir().map(|home| home.join(".cache")));
        caches.map(|caches| caches.join("jackfield"))
    })
}

/// Where files that are soon removed belong.
pub fn temp_dir() -> PathBuf {
    std::env::temp_dir()
}

/// The folders that programs are looked for in.
pub fn program_folders() -> Vec<PathBuf> {
    std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default()
}

/// DATABASE_URL, or the parts that older deployments name one by one.
fn read_database(r: &mut Reader, settings: &DatabaseSettings) -> Option<Location> {
    let is_set = |value: &Option<String>| value.as_deref().is_some_and(|text| !text.is_empty());
    if is_set(&settings.database_url) || !is_set(&settings.db_host) {
        return r.read("DATABASE_URL", &settings.database_url, "sqlite://data/jackfield.db", Location::parse);
    }
    let port = r.read("DB_PORT", &settings.db_port, "3306", number(1..=65535));
    let name = text_or(&settings.db_name, "");
    if name.is_empty() {
        r.mistake("DB_NAME", "is not set: name the database on DB_HOST, or set DATABASE_URL");
        return None;
    }
    let (host, user) = (text_or(&settings.db_host, ""), text_or(&settings.db_user, "root"));
    let password = text_or(&settings.db_password, "");
    Some(Location::mysql(&host, u16::try_from(port?).ok()?, &user, &password, &name))
}

/// REDIS_URL, or the parts that older deployments name one by one; none of it is a single server.
fn read_redis(r: &mut Reader, settings: &RedisSettings) -> Option<Option<RedisLocation>> {
    let is_set = |value: &Option<String>| value.as_deref().is_some_and(|text| !text.is_empty());
    if is_set(&settings.redis_url) {
        return r.read("REDIS_URL", &settings.redis_url, "", RedisLocation::parse).map(Some);
    }
    let port = r.read("REDIS_PORT", &settings.redis_port, bus::DEFAULT_PORT, number(1..=65535));
    let db = r.read("REDIS_DB", &settings.redis_db, "0", number(0..=1_000_000));
    if !is_set(&settings.redis_host) {
        return Some(None);
    }
    let (host, password) = (text_or(&settings.redis_host, ""), text_or(&settings.redis_password, ""));
    let password = (!password.is_empty()).then_some(password.as_str());
    let (port, db) = (u16::try_from(port?).ok()?, i64::try_from(db?).ok()?);
    Some(Some(RedisLocation::parts(&host, port, password, db)))
}

fn read_sockets(r: &mut Reader, settings: &Settings) -> Option<SocketConfig> {
    let read_buffer = r.read("WS_READ_BUFFER_SIZE", &settings.ws_read_buffer_size, "1024", size);
    let write_buffer = r.read("WS_WRITE_BUFFER_SIZE", &settings.ws_write_buffer_size, "1024", size);
    let ping_interval = r.read("WS_PING_INTERVAL", &settings.ws_ping_interval, "30s", duration);
    let pong_timeout = r.read("WS_PONG_TIMEOUT", &settings.ws_pong_timeout, "60s", duration);
    let max_queue = r.read("WS_MAX_QUEUE_BYTES", &settings.ws_max_queue_bytes, "1MiB", size);
    let max_message = r.read("WS_MAX_MESSAGE_SIZE", &settings.ws_max_message_size, "64KiB", size);
    let max_connections = r.read(
        "WS_MAX_CONNECTIONS_PER_TENANT",
        &settings.ws_max_connections_per_tenant,
        "10000",
        number(1..=10_000_000),
    );
    let allowed_origins = r.read("WS_ALLOWED_ORIGINS", &settings.ws_allowed_origins, "*", |text| {
        let origins: Vec<String> = text.split(',').map(|origin| origin.trim().to_owned()).collect();
        Ok::<_, String>(if origins.iter().any(|origin| origin == "*") { Vec::new() } else { origins })
    });
    let echo = r.read("WS_ECHO", &settings.ws_echo, "false", str::parse::<bool>);
    if let (Some(ping), Some(pong)) = (ping_interval, pong_timeout)
        && pong <= ping
    {
        r.mistake("WS_PONG_TIMEOUT", "must be longer than WS_PING_INTERVAL, or every quiet connection is closed");
    }
    Some(SocketConfig {
        read_buffer_bytes: read_buffer?,
        write_buffer_bytes: write_buffer?,
        ping_interval: ping_interval?,
        pong_timeout: pong_timeout?,
        max_queue_bytes: max_queue?,
        max_message_bytes: max_message?,
        max_connections_per_tenant: max_connections?,
        allowed_origins: allowed_origins?,
        echo: echo?,
    })
}

fn read_webhooks(r: &mut Reader, settings: &Settings, offline_ttl: Option<Duration>) -> Option<WebhookConfig> {
    let workers = r.read("WEBHOOK_WORKERS", &settings.webhook_workers, "10", number(1..=1000));
    let max_in_flight = r.read("WEBHOOK_MAX_IN_FLIGHT", &settings.webhook_max_in_flight, "512", number(1..=100_000));
    let per_endpoint = r.read(
        "WEBHOOK_MAX_IN_FLIGHT_PER_ENDPOINT",
        &settings.webhook_max_in_flight_per_endpoint,
        "16",
        number(1..=10_000),
    );
    let retry_schedule = r.read("WEBHOOK_RETRY_SCHEDULE", &settings.webhook_retry_schedule, "", |text| {
        if text.is_empty() {
            return Ok(RetrySchedule::default());
        }
        RetrySchedule::parse(text).map_err(|error| error.to_string())
    });
    let allow_nets = r.read("WEBHOOK_ALLOW_NETS", &settings.webhook_allow_nets, "", |text| {
        text.split(',')
            .map(str::trim)
            .filter(|net| !net.is_empty())
            .map(|net| IpNet::from_str(net).map_err(|_| format!("{net:?} is no network such as 10.1.0.0/16")))
            .collect()
    });
    let proxy = r.read("WEBHOOK_PROXY", &settings.webhook_proxy, "", |text| match text {
        "" => Ok(None),
        url => Proxy::parse(url).map(Some),
    });
    let name_servers = r.read("WEBHOOK_DNS", &settings.webhook_dns, "", |text| {
        text.split(',').map(str::trim).filter(|server| !server.is_empty()).map(name_server).collect()
    });
    let events = r.read("EVENT_RETENTION", &settings.event_retention, "7d", duration);
    let deliveries = r.read("DELIVERY_RETENTION", &settings.delivery_retention, "30d", duration);
    Some(WebhookConfig {
        workers: workers?,
        max_in_flight: max_in_flight?,
        max_in_flight_per_endpoint: per_endpoint?,
        retry_schedule: retry_schedule?,
        allow_nets: allow_nets?,
        proxy: proxy?,
        name_servers: name_servers?,
        retention: Retention { events: events?, deliveries: deliveries?, offline: offline_ttl? },
    })
}

fn read_plugins(r: &mut Reader, settings: &Settings) -> Option<PluginConfig> {
    let dir = text_or(&settings.plugin_dir, "plugins/dist");
    let limits = read_plugin_limits(r, &settings.plugin_limits);
    let cache_dir = text_or(&settings.plugin_cache_dir, "data/plugin-cache");
    let compile_timeout = r.read("PLUGIN_COMPILE_TIMEOUT", &settings.plugin_compile_timeout, "60s", duration);
    Some(PluginConfig {
        dir: PathBuf::from(dir),
        limits: limits?,
        cache_dir: PathBuf::from(cache_dir),
        compile_timeout: compile_timeout?,
        workshop: Workshop::InProcess,
    })
}

fn read_plugin_limits(r: &mut Reader, settings: &PluginLimitSettings) -> Option<Limits> {
    let max_size = r.read("PLUGIN_MAX_SIZE", &settings.plugin_max_size, "32MiB", size);
    let max_memory = r.read("PLUGIN_MAX_MEMORY", &settings.plugin_max_memory, "64MiB", size);
    let deadline = r.read("PLUGIN_DEADLINE", &settings.plugin_deadline, "50ms", duration);
    let max_output = r.read("PLUGIN_MAX_OUTPUT", &settings.plugin_max_output, "1MiB", size);
    Some(Limits {
        max_size_bytes: max_size?,
        max_memory_bytes: max_memory?,
        deadline: deadline?,
        max_output_bytes: max_output?,
    })
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::STANDARD};

    use super::*;

    #[test]
    fn every_mistake_is_reported_at_once() {
        let settings = Settings {
            server_port: Some("70000".into()),
            tokens: TokenSettings { jwt_secret: Some("short".into()), ..TokenSettings::default() },
            ws_ping_interval: Some("soon".into()),
            webhook_allow_nets: Some("10.0.0.0/33".into()),
            webhook_proxy: Some("socks5://kim:hunter2@proxy".into()),
            plugin_compile_timeout: Some("a while".into()),
            webhook_dns: Some("10.0.0.2,ns.example.com".into()),
            database: DatabaseSettings { database_url: Some("oracle://x".into()), ..DatabaseSettings::default() },
            event_retention: Some("a while".into()),
            ..Settings::default()
        };
        let mistakes = Config::parse(&settings, None).unwrap_err();
        for name in [
            "SERVER_PORT",
            "JWT_SECRET",
            "WS_PING_INTERVAL",
            "WEBHOOK_ALLOW_NETS",
            "WEBHOOK_PROXY",
            "WEBHOOK_DNS",
            "PLUGIN_COMPILE_TIMEOUT",
            "DATABASE_URL",
            "EVENT_RETENTION",
        ] {
            assert_eq!(mistakes.iter().filter(|line| line.starts_with(name)).count(), 1, "{name}: {mistakes:?}");
        }
        assert!(!mistakes.concat().contains("hunter2"), "a password is nobody's to print: {mistakes:?}");
    }

    #[test]
    fn defaults_hold_and_units_are_read() {
        let settings = Settings {
            ws_max_queue_bytes: Some("64KiB".into()),
            plugin_limits: PluginLimitSettings {
                plugin_deadline: Some("250ms".into()),
                ..PluginLimitSettings::default()
            },
            webhook_dns: Some("10.0.0.2, [fd00::53]:5353".into()),
            ..Settings::default()
        };
        let config = Config::parse(&settings, Some(&"k".repeat(32))).unwrap();
        assert_eq!(config.listen.to_string(), "0.0.0.0:8000");
        assert_eq!(config.sockets.max_queue_bytes, 65_536);
        assert_eq!(config.plugins.limits.deadline, Duration::from_millis(250));
        assert_eq!(config.webhooks.max_in_flight_per_endpoint, 16);
        let servers: Vec<String> = config.webhooks.name_servers.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["10.0.0.2:53", "[fd00::53]:5353"]);
        assert_eq!(config.webhooks.proxy, None);
        assert!(config.vault.is_plain());
    }

    #[test]
    fn encryption_keys_are_a_list_and_mistakes_name_the_place_and_not_the_key() {
        let [old, new] = [[1; 32], [2; 32]].map(|key| STANDARD.encode(key));
        let parse = |text: &str| {
            let settings = Settings { encryption_key: Some(text.to_owned()), ..Settings::default() };
            Config::parse(&settings, Some(&"k".repeat(32)))
        };
        let config = parse(&format!("{new}, {old}\n")).unwrap();
        assert!(config.vault.is_current(&Vault::new(vec![[2; 32]]).seal("x", "y")));
        assert!(!format!("{config:?}").contains(&new));
        for (text, said) in [
            (format!("{old},"), "key 2 is empty"),
            (format!("{new},not base64"), "key 2 is no base64"),
            (STANDARD.encode([1; 31]), "key 1 is 31 bytes long"),
            (hex::encode([1; 32]), "key 1 is 48 bytes long"),
            (format!("{old},{new},{old}"), "key 3 is there twice"),
        ] {
            let mistakes = parse(&text).unwrap_err();
            assert!(mistakes[0].starts_with("ENCRYPTION_KEY") && mistakes[0].contains(said), "{mistakes:?}");
            assert!(!mistakes[0].contains(&old[..20]), "{mistakes:?}");
        }
    }
}
