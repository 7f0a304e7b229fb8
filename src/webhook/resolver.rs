//! Resolves a webhook's host name and hands the connector only addresses the policy admits, so that what was vetted is
//! what is dialled. Address literals never come here: `AddressPolicy::check_url` vets those before every dial.

use std::error::Error;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::address::{AddressPolicy, Refusal};

/// How long a lookup may take; the delivery's own timeout may end it sooner. The system's resolver cannot be interrupted:
/// its thread, one of tokio's bounded pool, goes on until it gives up by itself.
const LOOKUP_DEADLINE: Duration = Duration::from_secs(5);

/// The system's resolver behind an `AddressPolicy`.
#[derive(Debug, Clone)]
pub struct VettingResolver {
    policy: Arc<AddressPolicy>,
}

/// Why a name gave no address to dial.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// At least one of its addresses may not be dialled.
    #[error("host name resolves to an address that is refused")]
    Refused(#[source] Refusal),
    /// It exists without an address.
    #[error("host name has no address")]
    NoAddress,
    /// The resolver said nothing in time.
    #[error("host name lookup took longer than {} s", .0.as_secs_f64())]
    Deadline(Duration),
    /// The resolver said no.
    #[error("host name lookup failed")]
    Lookup(#[source] io::Error),
}

impl VettingResolver {
    /// A resolver that answers what `policy` admits.
    pub fn new(policy: Arc<AddressPolicy>) -> Self {
        Self { policy }
    }
}

impl Resolve for VettingResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = Arc::clone(&self.policy);
        Box::pin(async move {
            let name = name.as_str();
            let vetted = match is_localhost(name) {
                true => loopback(&policy)?,
                false => vet(&policy, answer(tokio::net::lookup_host((name, 0)), LOOKUP_DEADLINE).await?)?,
            };
            // Port 0 asks the connector for the URL's own port.
            Ok(Box::new(vetted.into_iter().map(|ip| SocketAddr::new(ip, 0))) as Addrs)
        })
    }
}

/// The refusal behind a failed request, however deep the client wrapped it.
pub fn refusal_in<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Refusal> {
    std::iter::successors(Some(error), |&error| error.source()).find_map(|error| error.downcast_ref())
}

/// Refuses the whole answer when one address is refused: a name that mixes public and private addresses is either an
/// attack or a mistake, and which address gets dialled must not decide which.
fn vet(policy: &AddressPolicy, answer: Vec<IpAddr>) -> Result<Vec<IpAddr>, ResolveError> {
    if answer.is_empty() {
        return Err(ResolveError::NoAddress);
    }
    for ip in &answer {
        policy.check_ip(*ip).map_err(ResolveError::Refused)?;
    }
    Ok(answer)
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

async fn answer<A>(lookup: impl Future<Output = io::Result<A>>, deadline: Duration) -> Result<Vec<IpAddr>, ResolveError>
where
    A: Iterator<Item = SocketAddr>,
{
    match tokio::time::timeout(deadline, lookup).await {
        Ok(Ok(addresses)) => Ok(addresses.map(|address| address.ip()).collect()),
        Ok(Err(error)) => Err(ResolveError::Lookup(error)),
        Err(_) => Err(ResolveError::Deadline(deadline)),
    }
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

    async fn get(url: &str, policy: Arc<AddressPolicy>) -> Result<reqwest::Response, reqwest::Error> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let resolver = VettingResolver::new(policy);
        let client = reqwest::Client::builder().no_proxy().dns_resolver(Arc::new(resolver)).build().expect("a client");
        client.get(url).timeout(Duration::from_secs(10)).send().await
    }

    #[test]
    fn one_refused_address_refuses_the_whole_answer() {
        let policy = AddressPolicy::default();
        let public = ips(&["8.8.8.8", "2606:4700::1111"]);
        assert_eq!(vet(&policy, public.clone()).expect("all public"), public);
        let mixed = vet(&policy, ips(&["8.8.8.8", "10.0.0.1"]));
        assert!(matches!(mixed, Err(ResolveError::Refused(Refusal(SpecialRange::Private)))));
        assert!(matches!(vet(&policy, vec![]), Err(ResolveError::NoAddress)));
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
    async fn a_resolver_that_never_answers_fails_at_the_deadline() {
        let silence = std::future::pending::<io::Result<std::vec::IntoIter<SocketAddr>>>();
        let outcome = answer(silence, Duration::from_millis(1)).await;
        assert!(matches!(outcome, Err(ResolveError::Deadline(_))));
    }

    #[tokio::test]
    async fn a_refusal_is_recognised_behind_the_client_and_hides_the_address() {
        let error = get("http://localhost:9/", allowing(&[])).await.expect_err("refused");
        assert_eq!(refusal_in(&error), Some(&Refusal(SpecialRange::Loopback)));
        let chain: Vec<_> =
            std::iter::successors(error.source(), |&cause| cause.source()).map(|cause| cause.to_string()).collect();
        assert!(chain.iter().all(|text| !text.contains("127.0.0.1") && !text.contains("::1")), "{chain:?}");
    }

    #[tokio::test]
    async fn an_allowed_name_is_dialled_at_the_port_of_the_url() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let port = listener.local_addr().expect("its address").port();
        let accepted = tokio::spawn(async move { listener.accept().await.map(|_| ()) });
        let error = get(&format!("http://localhost:{port}/"), allowing(&["127.0.0.0/8"])).await.expect_err("hangs up");
        assert_eq!(refusal_in(&error), None);
        accepted.await.expect("the task").expect("a connection arrived");
    }
}
