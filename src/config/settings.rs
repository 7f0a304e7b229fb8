//! Every setting as a flag and an environment variable of one name, as text: nothing is judged here.

use clap::Args;

/// The flags of `jackfield serve`, as text: [`Config::parse`] reads them.
#[derive(Debug, Default, Clone, Args)]
pub struct Settings {
    /// Address to listen on [default: 0.0.0.0]
    #[arg(long, env = "SERVER_HOST")]
    pub server_host: Option<String>,
    /// Port to listen on [default: 8000]
    #[arg(long, env = "SERVER_PORT")]
    pub server_port: Option<String>,
    #[command(flatten)]
    pub database: DatabaseSettings,
    #[command(flatten)]
    pub tokens: TokenSettings,
    #[command(flatten)]
    pub redis: RedisSettings,
    /// Events that wait for a user without a connection, at most [default: 1000]
    #[arg(long, env = "OFFLINE_MAX")]
    pub offline_max: Option<String>,
    /// How long they wait, from the last one on [default: 7d]
    #[arg(long, env = "OFFLINE_TTL")]
    pub offline_ttl: Option<String>,
    /// Bytes of a connection that are read at once, at most 8 KiB [default: 1024]
    #[arg(long, env = "WS_READ_BUFFER_SIZE")]
    pub ws_read_buffer_size: Option<String>,
    /// Has no effect: frames are shared by connections and written from where they are [default: 1024]
    #[arg(long, env = "WS_WRITE_BUFFER_SIZE")]
    pub ws_write_buffer_size: Option<String>,
    /// Time between pings [default: 30s]
    #[arg(long, env = "WS_PING_INTERVAL")]
    pub ws_ping_interval: Option<String>,
    /// Silence after which a connection is closed [default: 60s]
    #[arg(long, env = "WS_PONG_TIMEOUT")]
    pub ws_pong_timeout: Option<String>,
    /// Bytes that may wait for one connection [default: 1MiB]
    #[arg(long, env = "WS_MAX_QUEUE_BYTES")]
    pub ws_max_queue_bytes: Option<String>,
    /// Largest message of a client [default: 64KiB]
    #[arg(long, env = "WS_MAX_MESSAGE_SIZE")]
    pub ws_max_message_size: Option<String>,
    /// Connections of one tenant [default: 10000]
    #[arg(long, env = "WS_MAX_CONNECTIONS_PER_TENANT")]
    pub ws_max_connections_per_tenant: Option<String>,
    /// Origins of pages that may connect, comma-separated [default: *]
    #[arg(long, env = "WS_ALLOWED_ORIGINS")]
    pub ws_allowed_origins: Option<String>,
    /// A route that sends back what it hears, for a conformance suite
    #[arg(long, env = "WS_ECHO", hide = true)]
    pub ws_echo: Option<String>,
    /// Delivery loops, each driving many requests at once [default: 10]
    #[arg(long, env = "WEBHOOK_WORKERS")]
    pub webhook_workers: Option<String>,
    /// Requests under way at once [default: 512]
    #[arg(long, env = "WEBHOOK_MAX_IN_FLIGHT")]
    pub webhook_max_in_flight: Option<String>,
    /// Requests under way at once to one webhook [default: 16]
    #[arg(long, env = "WEBHOOK_MAX_IN_FLIGHT_PER_ENDPOINT")]
    pub webhook_max_in_flight_per_endpoint: Option<String>,
    /// Waits before the retries [default: 5s,30s,2m,10m,30m,1h,3h,6h,12h,24h]
    #[arg(long, env = "WEBHOOK_RETRY_SCHEDULE")]
    pub webhook_retry_schedule: Option<String>,
    /// Networks that may be dialled although private: `10.1.0.0/16,127.0.0.0/8`
    #[arg(long, env = "WEBHOOK_ALLOW_NETS")]
    pub webhook_allow_nets: Option<String>,
    /// Proxy that webhooks leave by: `http://[user:password@]host:port`
    #[arg(long, env = "WEBHOOK_PROXY", hide_env_values = true)]
    pub webhook_proxy: Option<String>,
    /// Name servers that webhooks' names are asked of, instead of the system's: `10.0.0.2,10.0.0.3:5353`
    #[arg(long, env = "WEBHOOK_DNS")]
    pub webhook_dns: Option<String>,
    /// How long events are kept, at least 24h [default: 7d]
    #[arg(long, env = "EVENT_RETENTION")]
    pub event_retention: Option<String>,
    /// How long deliveries are kept that have ended [default: 30d]
    #[arg(long, env = "DELIVERY_RETENTION")]
    pub delivery_retention: Option<String>,
    /// Keys that secrets are encrypted with, comma-separated, the current one first: 32 bytes each, in base64
    #[arg(long, env = "ENCRYPTION_KEY", hide_env_values = true)]
    pub encryption_key: Option<String>,
    /// Folder of components that every tenant may use, watched [default: plugins/dist]
    #[arg(long, env = "PLUGIN_DIR")]
    pub plugin_dir: Option<String>,
    #[command(flatten)]
    pub plugin_limits: PluginLimitSettings,
    /// Folder of compiled plugins, made where it is missing [default: data/plugin-cache]
    #[arg(long, env = "PLUGIN_CACHE_DIR")]
    pub plugin_cache_dir: Option<String>,
    /// CPU time of compiling one component [default: 60s]
    #[arg(long, env = "PLUGIN_COMPILE_TIMEOUT")]
    pub plugin_compile_timeout: Option<String>,
    /// Time from a stop signal to the exit [default: 5s]
    #[arg(long, env = "SHUTDOWN_GRACE")]
    pub shutdown_grace: Option<String>,
    /// `text` or `json`, on stderr [default: text]
    #[arg(long, env = "LOG_FORMAT")]
    pub log_format: Option<String>,
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter by module [default: info]
    #[arg(long, env = "LOG_LEVEL")]
    pub log_level: Option<String>,
}

/// Where the data is.
#[derive(Debug, Default, Clone, Args)]
pub struct DatabaseSettings {
    /// `sqlite:`, `mysql:` or `postgres:` [default: sqlite://data/jackfield.db]
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<String>,
    /// A MySQL or MariaDB host, where DATABASE_URL is not set
    #[arg(long, env = "DB_HOST")]
    pub db_host: Option<String>,
    /// Its port [default: 3306]
    #[arg(long, env = "DB_PORT")]
    pub db_port: Option<String>,
    /// Its user [default: root]
    #[arg(long, env = "DB_USER")]
    pub db_user: Option<String>,
    /// The user's password
    #[arg(long, env = "DB_PASSWORD", hide_env_values = true)]
    pub db_password: Option<String>,
    /// The database's name
    #[arg(long, env = "DB_NAME")]
    pub db_name: Option<String>,
}

/// The settings that tokens are made and verified by.
#[derive(Debug, Default, Clone, Args)]
pub struct TokenSettings {
    /// HS256 key of the tokens, at least 32 bytes
    #[arg(long, env = "JWT_SECRET", hide_env_values = true)]
    pub jwt_secret: Option<String>,
    /// Where the public keys of the tokens are read from (RS256, ES256, EdDSA by `kid`): `https://idp.example/jwks.json`
    #[arg(long, env = "JWT_JWKS_URL")]
    pub jwt_jwks_url: Option<String>,
    /// The same as a file
    #[arg(long, env = "JWT_JWKS_FILE")]
    pub jwt_jwks_file: Option<String>,
    /// Required `iss` of the tokens
    #[arg(long, env = "JWT_ISSUER")]
    pub jwt_issuer: Option<String>,
    /// Required `aud` of the tokens
    #[arg(long, env = "JWT_AUDIENCE")]
    pub jwt_audience: Option<String>,
    /// Claim that names the user [default: sub]
    #[arg(long, env = "JWT_CLAIM_USER")]
    pub jwt_claim_user: Option<String>,
    /// Claim that names the tenant [default: tenant_id]
    #[arg(long, env = "JWT_CLAIM_TENANT")]
    pub jwt_claim_tenant: Option<String>,
    /// Claim that names the role [default: role]
    #[arg(long, env = "JWT_CLAIM_ROLE")]
    pub jwt_claim_role: Option<String>,
    /// Roles of another backend: `manager=admin,bot=service`
    #[arg(long, env = "JWT_ROLE_MAP")]
    pub jwt_role_map: Option<String>,
}

/// Where the nodes meet. None of it set: a single server.
#[derive(Debug, Default, Clone, Args)]
pub struct RedisSettings {
    /// `redis://`, `rediss://` (TLS) or `redis+sentinel://host:port,host:port/service`
    #[arg(long, env = "REDIS_URL", hide_env_values = true)]
    pub redis_url: Option<String>,
    /// A Redis host, where REDIS_URL is not set
    #[arg(long, env = "REDIS_HOST")]
    pub redis_host: Option<String>,
    /// Its port [default: 6379]
    #[arg(long, env = "REDIS_PORT")]
    pub redis_port: Option<String>,
    /// Its password
    #[arg(long, env = "REDIS_PASSWORD", hide_env_values = true)]
    pub redis_password: Option<String>,
    /// The number of the database [default: 0]
    #[arg(long, env = "REDIS_DB")]
    pub redis_db: Option<String>,
}

/// What one plugin may cost: the server's bounds, and those of an author's rehearsals.
#[derive(Debug, Default, Clone, Args)]
pub struct PluginLimitSettings {
    /// Largest component [default: 32MiB]
    #[arg(long, env = "PLUGIN_MAX_SIZE")]
    pub plugin_max_size: Option<String>,
    /// Memory of one instance, summed over its memories [default: 64MiB]
    #[arg(long, env = "PLUGIN_MAX_MEMORY")]
    pub plugin_max_memory: Option<String>,
    /// CPU time of one call [default: 50ms]
    #[arg(long, env = "PLUGIN_DEADLINE")]
    pub plugin_deadline: Option<String>,
    /// Largest answer of one call [default: 1MiB]
    #[arg(long, env = "PLUGIN_MAX_OUTPUT")]
    pub plugin_max_output: Option<String>,
}

/// How a command meets a running server.
#[derive(Debug, Default, Clone, Args)]
pub struct ClientSettings {
    /// The token to show; none for a public chat session
    #[arg(long, env = "JACKFIELD_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
}
