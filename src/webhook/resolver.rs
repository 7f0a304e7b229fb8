//! Turns a host into the addresses to dial, all of them vetted: what the connector gets is what it dials. It keeps answers
//! for their time to live and vets them again at every dial.
//!
//! Lookups are asynchronous and end by themselves, so a name server that is silent costs each delivery its own time only.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig, ResolverOpts},
    net::{NetError, runtime::TokioRuntimeProvider},
    system_conf::read_system_conf,
};

use super::address::{AddressPolicy, Refusal, address_literal};

/// How long a lookup may take; the delivery's own timeout may end it sooner.
const LOOKUP_DEADLINE: Duration = Duration::from_secs(5);
/// Until a name server is asked again: a lost packet must not cost the whole lookup.
const QUERY_TIMEOUT: Duration = Duration::from_secs(2);
/// A receiver whose name was made a moment too late is found soon, whatever its zone says.
const MAX_NEGATIVE_TTL: Duration = Duration::from_secs(10);
/// A name that moved is found within this, whatever its old answer says.
const MAX_TTL: Duration = Duration::from_secs(300);

/// A resolver behind an `AddressPolicy`.
pub struct VettingResolver {
    names: TokioResolver,
    policy: Arc<AddressPolicy>,
    deadline: Duration,
}

/// Why a host gave no address to dial. The texts are shown to tenants: none holds an address.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The host is an address literal that may not be dialled.
    #[error(transparent)]
    Literal(Refusal),
    /// At least one address of the name may not be dialled.
    #[error("the name leads to a {0}")]
    Refused(Refusal),
    /// The name servers know of no such name.
    #[error("the host name does not exist")]
    NoName,
    /// It exists without an address.
    #[error("the host name has no address")]
    NoAddress,
    /// The name servers said nothing in time.
    #[error("the lookup of the host name took longer than {} s", .0.as_secs_f64())]
    Deadline(Duration),
    /// The name servers could not be reached, or could not say.
    #[error("the lookup of the host name failed")]
    Lookup(#[source] NetError),
}

/// No resolver can be made.
#[derive(Debug, thiserror::Error)]
#[error("the name servers cannot be read from /etc/resolv.conf ({0}): mend it, or set WEBHOOK_DNS")]
pub struct ResolverError(NetError);

impl VettingResolver {
    /// A resolver that answers what `policy` admits. It asks `name_servers`, or the system's when there are none; the
    /// system's are read once, as is `/etc/hosts`.
    ///
    /// # Errors
    /// When the system's name servers cannot be read.
    pub fn new(policy: Arc<AddressPolicy>, name_servers: &[SocketAddr]) -> Result<Self, ResolverError> {
        let (config, mut options) = match name_servers {
            [] => read_system_conf().map_err(ResolverError)?,
            servers => {
                let servers = servers.iter().copied().map(name_server).collect();
                (ResolverConfig::from_name_servers(servers), ResolverOpts::default())
            }
        };
        options.timeout = options.timeout.min(QUERY_TIMEOUT);
        // Both kinds are asked for, since one private address among them refuses the name.
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        options.negative_max_ttl = Some(MAX_NEGATIVE_TTL);
        options.positive_max_ttl = Some(MAX_TTL);
        let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()).with_options(options);
        Ok(Self { names: builder.build().map_err(ResolverError)?, policy, deadline: LOOKUP_DEADLINE })
    }

    /// The addresses of `host`, as a URL holds it, that may be dialled: one at least.
    ///
    /// # Errors
    /// Every [`ResolveError`].
    pub async fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
        if let Some(ip) = address_literal(host) {
            return self.policy.check_ip(ip).map(|()| vec![ip]).map_err(ResolveError::Literal);
        }
        if is_localhost(host) {
            return loopback(&self.policy);
        }
        let answer = self.lookup(host).await?;
        vet(&self.policy, &answer)?;
        Ok(answer)
    }

    /// The addresses of a host that the operator named, wherever they lie: one at least.
    ///
    /// # Errors
    /// Every [`ResolveError`] but the refusals.
    pub async fn resolve_trusted(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
        match address_literal(host) {
            Some(ip) => Ok(vec![ip]),
            None => self.lookup(host).await,
        }
    }

    async fn lookup(&self, name: &str) -> Result<Vec<IpAddr>, ResolveError> {
        let looked_up = tokio::time::timeout(self.deadline, self.names.lookup_ip(name)).await;
        match looked_up.map_err(|_| ResolveError::Deadline(self.deadline))? {
            Ok(answer) => match answer.iter().collect::<Vec<_>>() {
                none if none.is_empty() => Err(ResolveError::NoAddress),
                ips => Ok(ips),
            },
            Err(error) if error.is_nx_domain() => Err(ResolveError::NoName),
            Err(error) if error.is_no_records_found() => Err(ResolveError::NoAddress),
            Err(NetError::Timeout) => Err(ResolveError::Deadline(self.deadline)),
            Err(error) => Err(ResolveError::Lookup(error)),
        }
    }
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    NameServerConfig::new(address.ip(), true, connections.into())
}

/// Refuses the whole answer when one address is refused: a name that mixes public and private addresses is either an
/// attack or a mistake, and which address gets dialled must not decide which.
fn vet(policy: &AddressPolicy, answer: &[IpAddr]) -> Result<(), ResolveError> {
    answer.iter().try_for_each(|ip| policy.check_ip(*ip)).map_err(ResolveError::Refused)
}

/// The answer for `localhost` and names below it, which RFC 6761 keeps out of DNS: those of the two loopback addresses
/// that are allowed. By `vet`, `WEBHOOK_ALLOW_NETS=127.0.0.0/8` would not admit `localhost` on any machine with IPv6.
fn loopback(policy: &AddressPolicy) -> Result<Vec<IpAddr>, ResolveError> {
    let [v4, v6] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    match (policy.check_ip(v4), policy.check_ip(v6)) {
        (Ok(()), Ok(())) => Ok(vec![v4, v6]),
        (Ok(()), Err(_)) => Ok(vec![v4]),
        (Err(_), Ok(())) => Ok(vec![v6]),
        (Err(refusal), Err(_)) => Err(ResolveError::Refused(refusal)),
    }
}

fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let top_label = name.rsplit('.').next().unwrap_or(name);
    top_label.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webhook::address::SpecialRange;

    fn allowing(nets: &[&str]) -> Arc<AddressPolicy> {
        Arc::new(AddressPolicy::new(nets.iter().map(|net| net.parse().expect("a network")).collect()))
    }

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().expect("an address")).collect()
    }

    #[test]
    fn one_refused_address_refuses_the_whole_answer() {
        let policy = AddressPolicy::default();
        vet(&policy, &ips(&["8.8.8.8", "2606:4700::1111"])).expect("all public");
        for mixed in [ips(&["8.8.8.8", "10.0.0.1"]), ips(&["10.0.0.1", "8.8.8.8"])] {
            assert!(matches!(vet(&policy, &mixed), Err(ResolveError::Refused(Refusal(SpecialRange::Private)))));
        }
    }

    #[test]
    fn localhost_is_the_loopback_addresses_that_are_allowed() {
        assert!(["localhost", "LOCALHOST.", "api.localhost"].into_iter().all(is_localhost));
        assert!(!["localhost.example.com", "notlocalhost", ""].into_iter().any(is_localhost));
        assert!(matches!(loopback(&allowing(&[])), Err(ResolveError::Refused(Refusal(SpecialRange::Loopback)))));
        assert_eq!(loopback(&allowing(&["127.0.0.0/8"])).expect("v4"), ips(&["127.0.0.1"]));
        assert_eq!(loopback(&allowing(&["::1/128"])).expect("v6"), ips(&["::1"]));
        assert_eq!(loopback(&allowing(&["127.0.0.1/32", "::/0"])).expect("both"), ips(&["127.0.0.1", "::1"]));
    }

    #[tokio::test]
    async fn a_name_server_that_never_answers_costs_the_deadline() {
        // Its socket is there, so that nothing answers "unreachable" for it.
        let silent = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        let address = silent.local_addr().expect("its address");
        let mut resolver = VettingResolver::new(allowing(&[]), &[address]).expect("a resolver");
        resolver.deadline = Duration::from_millis(20);
        let outcome = resolver.resolve("hooks.example.com").await;
        assert!(matches!(outcome, Err(ResolveError::Deadline(_))), "{outcome:?}");
    }

    #[tokio::test]
    async fn literals_are_vetted_without_a_lookup() {
        // Port 9 of no name server: a lookup would fail.
        let resolver = VettingResolver::new(allowing(&["10.1.0.0/16"]), &[([127, 0, 0, 1], 9).into()]);
        let resolver = resolver.expect("a resolver");
        assert_eq!(resolver.resolve("10.1.2.3").await.expect("allowed"), ips(&["10.1.2.3"]));
        assert_eq!(resolver.resolve("[2606:4700::1111]").await.expect("public"), ips(&["2606:4700::1111"]));
        assert!(matches!(resolver.resolve("10.2.0.1").await, Err(ResolveError::Literal(_))));
        assert!(matches!(resolver.resolve("[::ffff:10.2.0.1]").await, Err(ResolveError::Literal(_))));
        assert_eq!(resolver.resolve_trusted("10.2.0.1").await.expect("the operator's"), ips(&["10.2.0.1"]));
    }
}
