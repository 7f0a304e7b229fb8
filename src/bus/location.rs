//! Where Redis is: one server, or the master that its Sentinels name.

use percent_encoding::percent_decode_str;
use redis::{
    Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, RedisConnectionInfo, RedisError,
    TlsMode,
    sentinel::{SentinelClientBuilder, SentinelServerType},
};

const SENTINEL_PORT: u16 = 26379;
const FORMS: &str = "must be redis://[user:password@]host[:port][/db], rediss:// for TLS, \
                     or redis+sentinel://[user:password@]host[:port][,host…]/service[/db]";

/// Printed without its password.
#[derive(Clone)]
pub struct RedisLocation(Place);

#[derive(Clone)]
enum Place {
    Server(Box<ConnectionInfo>),
    Sentinels {
        addresses: Vec<(String, u16)>,
        service: String,
        tls: bool,
        username: Option<String>,
        password: Option<String>,
        db: i64,
    },
}

impl RedisLocation {
    /// # Errors
    /// What a URL must look like.
    pub fn parse(url: &str) -> Result<Self, String> {
        match url.split_once("://") {
            Some(("redis" | "rediss", _)) => {
                let info = url.into_connection_info().map_err(|_| FORMS.to_owned())?;
                Ok(Self::server(info))
            }
            Some(("redis+sentinel", rest)) => Self::sentinels(rest, false),
            Some(("rediss+sentinel", rest)) => Self::sentinels(rest, true),
            _ => Err(FORMS.to_owned()),
        }
    }

    /// From the parts that older deployments name one by one.
    pub fn parts(host: &str, port: u16, password: Option<&str>, db: i64) -> Self {
        let mut settings = RedisConnectionInfo::default().set_db(db);
        if let Some(password) = password {
            settings = settings.set_password(password);
        }
        let address = ConnectionAddr::Tcp(host.to_owned(), port);
        // An address alone is always a connection's description.
        let info = address.into_connection_info().expect("an address can be connected to");
        Self::server(info.set_redis_settings(settings))
    }

    fn server(info: ConnectionInfo) -> Self {
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        Self(Place::Server(Box::new(info.set_redis_settings(settings))))
    }

    fn sentinels(rest: &str, tls: bool) -> Result<Self, String> {
        let (authority, path) = rest.split_once('/').ok_or(FORMS)?;
        let (user, hosts) = match authority.rsplit_once('@') {
            Some((user, hosts)) => (Some(user), hosts),
            None => (None, authority),
        };
        let decoded = |text: &str| percent_decode_str(text).decode_utf8().ok().map(std::borrow::Cow::into_owned);
        let (username, password) = match user.map(|user| user.split_once(':').unwrap_or((user, ""))) {
            Some((username, password)) => (decoded(username), decoded(password)),
            None => (None, None),
        };
        let not_empty = |text: &String| !text.is_empty();
        let mut addresses = Vec::new();
        for host in hosts.split(',').map(str::trim).filter(|host| !host.is_empty()) {
            let (host, port) = match host.rsplit_once(':') {
                Some((host, port)) => (host, port.parse().map_err(|_| FORMS)?),
                None => (host, SENTINEL_PORT),
            };
            addresses.push((host.to_owned(), port));
        }
        let (service, db) = match path.split_once('/') {
            Some((service, db)) => (service, db.parse().map_err(|_| FORMS)?),
            None => (path, 0),
        };
        if addresses.is_empty() || service.is_empty() {
            return Err(FORMS.to_owned());
        }
        Ok(Self(Place::Sentinels {
            addresses,
            service: service.to_owned(),
            tls,
            username: username.filter(not_empty),
            password: password.filter(not_empty),
            db,
        }))
    }

    /// A client of the server, or of the master that the Sentinels name now.
    ///
    /// # Errors
    /// No Sentinel answers, or none knows the service.
    pub(super) async fn client(&self) -> Result<Client, RedisError> {
        match &self.0 {
            Place::Server(info) => Client::open((**info).clone()),
            Place::Sentinels { addresses, service, tls, username, password, db } => {
                let address = |(host, port): &(String, u16)| {
                    if *tls {
                        let (host, port) = (host.clone(), *port);
                        ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
                    } else {
                        ConnectionAddr::Tcp(host.clone(), *port)
                    }
                };
                let mut builder =
                    SentinelClientBuilder::new(addresses.iter().map(address), service, SentinelServerType::Master)?
                        .set_client_to_redis_db(*db)
                        .set_client_to_redis_protocol(ProtocolVersion::RESP3);
                if *tls {
                    builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
                }
                if let Some(username) = username {
                    builder = builder.set_client_to_redis_username(username);
                }
                if let Some(password) = password {
                    builder = builder.set_client_to_redis_password(password);
                }
                builder.build()?.async_get_client().await
            }
        }
    }
}

impl std::fmt::Display for RedisLocation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Place::Server(info) => write!(f, "Redis at {}", info.addr()),
            Place::Sentinels { addresses, service, .. } => {
                let hosts: Vec<_> = addresses.iter().map(|(host, port)| format!("{host}:{port}")).collect();
                write!(f, "Redis {service:?} of the Sentinels at {}", hosts.join(", "))
            }
        }
    }
}

impl std::fmt::Debug for RedisLocation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// The port of a server, where none is named.
pub const DEFAULT_PORT: &str = "6379";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_forms_are_read_and_no_password_is_shown() {
        for (url, shown) in [
            ("redis://:hunter2@cache:7000/3", "Redis at cache:7000"),
            ("rediss://kim:hunter2@cache", "Redis at cache:6379"),
            ("redis+sentinel://:hunter2@a:1,b/main/2", "Redis \"main\" of the Sentinels at a:1, b:26379"),
        ] {
            assert_eq!(RedisLocation::parse(url).unwrap().to_string(), shown, "{url}");
        }
        for bad in ["", "cache:6379", "http://cache", "redis+sentinel://a:1", "redis+sentinel:///main"] {
            assert!(RedisLocation::parse(bad).is_err(), "{bad}");
        }
    }
}
