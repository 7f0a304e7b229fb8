//! Makes the connections that requests are sent on: to vetted addresses only, straight or through the operator's proxy.
//! The client above it names hosts; nothing but this file dials.

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

use super::{
    proxy::{Proxy, ProxyError},
    resolver::{ResolveError, VettingResolver},
};

/// Until the next address is tried beside the last (RFC 8305 calls it the connection attempt delay).
const STAGGER: Duration = Duration::from_millis(250);
/// Of one name: a name with a thousand addresses must not cost a thousand sockets.
const MAX_DIALLED: usize = 6;
/// The longest that a webhook's timeout can be.
const DIAL_DEADLINE: Duration = Duration::from_secs(60);

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Dialling<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

/// Why there is no connection. The texts are shown to tenants: none holds an address.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error("not dialled: {0}")]
    Resolve(#[from] ResolveError),
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    #[error("cannot reach the egress proxy (WEBHOOK_PROXY)")]
    Proxy,
    #[error(transparent)]
    Tunnel(#[from] ProxyError),
    #[error("cannot connect: no connection within {} s", .0.as_secs())]
    Deadline(Duration),
}

/// Dials a URL's host, without TLS.
#[derive(Clone)]
pub struct Connector {
    inner: Arc<Inner>,
}

struct Inner {
    resolver: VettingResolver,
    proxy: Option<Proxy>,
}

impl Connector {
    /// A connector that dials what `resolver` vets, through `proxy` where there is one.
    pub fn new(resolver: VettingResolver, proxy: Option<Proxy>) -> Self {
        Self { inner: Arc::new(Inner { resolver, proxy }) }
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = DialError;
    type Future = Dialling<Self::Response, DialError>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let inner = self.inner.clone();
        Box::pin(async move { inner.dial(&uri).await.map(TokioIo::new) })
    }
}

impl Inner {
    async fn dial(&self, uri: &Uri) -> Result<TcpStream, DialError> {
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
        // An absent host is an empty name, which does not resolve.
        let vetted = self.resolver.resolve(uri.host().unwrap_or_default()).await?;
        let targets = order(vetted, port);
        let Some(proxy) = &self.proxy else {
            return first_of(targets, connect).await.map_err(DialError::Connect);
        };
        let near = self.resolver.resolve_trusted(&proxy.host).await.map_err(|error| {
            tracing::warn!("the host of WEBHOOK_PROXY cannot be looked up: {error}");
            DialError::Proxy
        })?;
        let near = &order(near, proxy.port);
        first_of(targets, |target| async move {
            let mut stream = first_of(near.clone(), connect).await.map_err(|error| {
                tracing::debug!("the egress proxy cannot be reached: {error}");
                DialError::Proxy
            })?;
            proxy.tunnel(&mut stream, target).await?;
            Ok(stream)
        })
        .await
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    // A request is written whole: waiting to fill a packet only delays it.
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The order to dial in: IPv4 first, since a server's IPv6 is more often broken, then in turns.
fn order(ips: Vec<IpAddr>, port: u16) -> Vec<SocketAddr> {
    let (v4, v6): (Vec<_>, Vec<_>) = ips.into_iter().partition(IpAddr::is_ipv4);
    let mut places: Vec<(usize, IpAddr)> = v4.into_iter().enumerate().chain(v6.into_iter().enumerate()).collect();
    // Stable: of one place, IPv4 stays before IPv6.
    places.sort_by_key(|(place, _)| *place);
    places.into_iter().map(|(_, ip)| SocketAddr::new(ip, port)).take(MAX_DIALLED).collect()
}

/// The first connection that stands. The next address is tried when one has failed, or says nothing for a moment; the
/// others' dials end with the first that succeeds. The last error is the one told. `addresses` holds one at least.
async fn first_of<T, E, D>(addresses: Vec<SocketAddr>, dial: impl Fn(SocketAddr) -> D) -> Result<T, E>
where
    D: Future<Output = Result<T, E>>,
{
    let mut waiting = addresses.into_iter().peekable();
    let mut dials = FuturesUnordered::new();
    loop {
        if let Some(address) = waiting.next() {
            dials.push(dial(address));
        }
        tokio::select! {
            Some(outcome) = dials.next() => match outcome {
                Err(error) if dials.is_empty() && waiting.peek().is_none() => return Err(error),
                Err(_) => {}
                stream => return stream,
            },
            () = tokio::time::sleep(STAGGER), if waiting.peek().is_some() => {}
        }
    }
}

/// A connector whose dial ends, TLS included, though nobody waits for it any more: the client finishes in the background
/// what it began when another connection came free first.
#[derive(Clone)]
pub struct Ending<C>(pub C);

impl<C> Service<Uri> for Ending<C>
where
    C: Service<Uri, Error = BoxError>,
    C::Future: Send + 'static,
    C::Response: 'static,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = Dialling<C::Response, BoxError>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let dial = self.0.call(uri);
        Box::pin(async move {
            let ended = tokio::time::timeout(DIAL_DEADLINE, dial).await;
            ended.unwrap_or_else(|_| Err(DialError::Deadline(DIAL_DEADLINE).into()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().expect("an address")).collect()
    }

    #[test]
    fn families_take_turns_and_a_long_answer_is_cut() {
        let ips = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("an address")).collect();
        let mixed = order(ips(&["2606::1", "2606::2", "8.8.8.8", "2606::3", "8.8.4.4"]), 443);
        let expected = ["8.8.8.8:443", "[2606::1]:443", "8.8.4.4:443", "[2606::2]:443", "[2606::3]:443"];
        assert_eq!(mixed, addresses(&expected));
        assert_eq!(order(vec![IpAddr::from([8, 8, 8, 8]); 1000], 80).len(), MAX_DIALLED);
    }

    #[tokio::test]
    async fn a_silent_address_costs_a_moment_and_a_refused_one_nothing() {
        let three = addresses(&["1.1.1.1:1", "1.1.1.2:1", "1.1.1.3:1"]);
        let started = std::time::Instant::now();
        let first = first_of(three.clone(), async |address: SocketAddr| match address.to_string().as_str() {
            "1.1.1.1:1" => std::future::pending().await,
            "1.1.1.2:1" => Err("refused"),
            other => Ok(other.to_owned()),
        });
        assert_eq!(first.await.as_deref(), Ok("1.1.1.3:1"));
        assert!(started.elapsed() >= STAGGER);
        let none = first_of(three, async |address: SocketAddr| Err::<(), _>(address));
        assert_eq!(none.await, Err("1.1.1.3:1".parse().expect("an address")));
    }
}
