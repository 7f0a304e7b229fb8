//! One POST: signed headers, one deadline over everything, and a bounded look at the answer.
//!
//! No answer is ever decompressed: what is kept of a body is what was sent, and a small one cannot become a large one.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::legacy,
    rt::{TokioExecutor, TokioTimer},
};

use super::{
    Webhook,
    address::AddressPolicy,
    connector::{Connector, Ending},
    explain::{explain, is_untouched},
    proxy::Proxy,
    resolver::{ResolverError, VettingResolver},
    retry_after::parse_retry_after,
};
use crate::{
    event::{DeliveryId, EventType},
    https::{self, HttpsError},
};

/// Read of an answer's body, and kept of it.
const MAX_READ_BYTES: usize = 16 << 10;
const MAX_KEPT_BYTES: usize = 4 << 10;
/// Of an answer's headers, with HTTP/1.1 and HTTP/2; the former takes at most 100 of them. It is also the most that is
/// read ahead of a body.
const MAX_HEADER_BYTES: u32 = 32 << 10;
/// HTTP/2 lets a receiver send so much before we have read it: per request, and per connection.
const H2_STREAM_WINDOW_BYTES: u32 = 64 << 10;
const H2_CONNECTION_WINDOW_BYTES: u32 = 1 << 20;
/// A connection that died in silence is found by this, not by one timeout after the other.
const H2_PING_INTERVAL: Duration = Duration::from_secs(20);
const H2_PING_TIMEOUT: Duration = Duration::from_secs(10);
const IDLE_CONNECTIONS_PER_HOST: usize = 64;
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Of one attempt, where the receiver says that it has not begun with the request.
const MAX_SENDS: usize = 3;
const USER_AGENT: &str = concat!("Jackfield/", env!("CARGO_PKG_VERSION"));

/// Why no sender can be made.
#[derive(Debug, thiserror::Error)]
pub enum SenderError {
    #[error(transparent)]
    Resolver(#[from] ResolverError),
    #[error(transparent)]
    Https(#[from] HttpsError),
}

type Client = legacy::Client<Ending<HttpsConnector<Connector>>, Full<Bytes>>;

pub struct Sender {
    client: Client,
    policy: Arc<AddressPolicy>,
}

/// What is sent. Bytes are shared between attempts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub content_type: String,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

/// How a POST went. A remote fault is a value, not an error.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: Option<StatusCode>,
    pub body: Option<String>,
    /// Why there is no status, or no whole answer.
    pub error: Option<String>,
    pub retry_after: Option<Duration>,
    pub took: Duration,
}

impl Answer {
    pub fn delivered(&self) -> bool {
        self.status.is_some_and(|status| status.is_success())
    }
}

impl Sender {
    /// A sender that dials what `policy` admits, asking `name_servers` (none: the system's) and going through `proxy` where
    /// there is one. Proxies named in the environment are not looked for: they would dial what was not vetted.
    ///
    /// # Errors
    /// When the system's name servers or certificates cannot be read.
    pub fn new(
        policy: Arc<AddressPolicy>,
        name_servers: &[SocketAddr],
        proxy: Option<Proxy>,
    ) -> Result<Self, SenderError> {
        let resolver = VettingResolver::new(policy.clone(), name_servers)?;
        Ok(Self { client: client(Connector::new(resolver, proxy))?, policy })
    }

    /// All headers of one attempt.
    pub fn headers(
        webhook: &Webhook,
        delivery: &DeliveryId,
        event_type: &EventType,
        message: &Message,
        at: SystemTime,
    ) -> HeaderMap {
        let at_s = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let signed = webhook.signer.sign(delivery.as_str(), i64::try_from(at_s).unwrap_or(i64::MAX), &message.body);
        let mut headers = HeaderMap::with_capacity(12);
        let mut set = |name: &str, value: &str| {
            // Checked when the webhook or the plugin's answer was taken.
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_str(value)) {
                headers.insert(name, value);
            }
        };
        for (name, value) in webhook.headers.iter().chain(&message.headers) {
            set(name, value);
        }
        for (name, value) in signed.pairs() {
            set(name, value);
        }
        set("x-webhook-event", event_type.as_str());
        set("x-webhook-delivery", delivery.as_str());
        set("content-type", &message.content_type);
        set("user-agent", USER_AGENT);
        headers
    }

    /// Sends once, within the webhook's timeout, and never follows a redirect.
    pub async fn post(&self, webhook: &Webhook, headers: HeaderMap, body: Bytes) -> Answer {
        let started = Instant::now();
        let mut answer = Answer { status: None, body: None, error: None, retry_after: None, took: Duration::ZERO };
        // Rows come by SQL, and what was allowed once may not be now: so here, at every attempt.
        if let Err(refusal) = self.policy.check_url(&webhook.url) {
            answer.error = Some(format!("not dialled: {refusal}"));
        } else {
            let exchange = self.exchange(webhook, headers, body, &mut answer);
            if tokio::time::timeout(webhook.timeout, exchange).await.is_err() {
                answer.error = Some(format!("no whole answer within {} s", webhook.timeout.as_secs()));
            }
        }
        answer.took = started.elapsed();
        answer
    }

    async fn exchange(&self, webhook: &Webhook, headers: HeaderMap, body: Bytes, answer: &mut Answer) {
        let response = match self.send(webhook, &headers, &body).await {
            Ok(response) => response,
            Err(why) => {
                answer.error = Some(why);
                return;
            }
        };
        answer.status = Some(response.status());
        answer.retry_after = response
            .headers()
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| parse_retry_after(value, SystemTime::now()));
        let mut incoming = response.into_body();
        let mut kept = Vec::new();
        let mut read = 0;
        while read < MAX_READ_BYTES {
            let chunk = match incoming.frame().await {
                // Trailers say nothing to us.
                Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
                Some(Err(error)) => {
                    answer.error = Some(explain(&error));
                    return;
                }
                None => return,
            };
            read += chunk.len();
            let room = MAX_KEPT_BYTES - kept.len();
            kept.extend_from_slice(&chunk[..chunk.len().min(room)]);
            // Kept as it comes, so that a deadline in the middle leaves what there was.
            answer.body = Some(text_of(&kept));
        }
    }

    /// The head of the answer. A request that the receiver has not begun with, as when it closes a connection after so
    /// many, is sent again at once.
    async fn send(&self, webhook: &Webhook, headers: &HeaderMap, body: &Bytes) -> Result<Response<Incoming>, String> {
        let uri = Uri::try_from(webhook.url.as_str()).map_err(|error| format!("not dialled: {error}"))?;
        let mut sends = 1;
        loop {
            let mut request = Request::post(&uri).body(Full::new(body.clone())).map_err(|error| error.to_string())?;
            request.headers_mut().clone_from(headers);
            match self.client.request(request).await {
                Ok(response) => return Ok(response),
                Err(error) if sends < MAX_SENDS && is_untouched(&error) => sends += 1,
                Err(error) => return Err(explain(&error)),
            }
        }
    }
}

/// At most 4 KiB of text that any database takes: what is no UTF-8, and NUL, which Postgres refuses, is U+FFFD.
fn text_of(kept: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(kept).replace('\0', "\u{fffd}");
    // A byte that is no UTF-8 takes three in the text.
    text.truncate(text.floor_char_boundary(MAX_KEPT_BYTES));
    text
}

/// HTTP/1.1 and HTTP/2, with pools of idle connections.
fn client(connector: Connector) -> Result<Client, SenderError> {
    let https = https::over(connector)?;
    Ok(legacy::Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(IDLE_CONNECTIONS_PER_HOST)
        .http1_max_buf_size(MAX_HEADER_BYTES as usize)
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .http2_initial_stream_window_size(H2_STREAM_WINDOW_BYTES)
        .http2_initial_connection_window_size(H2_CONNECTION_WINDOW_BYTES)
        .http2_keep_alive_interval(H2_PING_INTERVAL)
        .http2_keep_alive_timeout(H2_PING_TIMEOUT)
        .http2_keep_alive_while_idle(true)
        .build(Ending(https)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_text_of_at_most_4_kib() {
        assert_eq!(text_of("grüß dich".as_bytes()), "grüß dich");
        assert_eq!(text_of(b"a\0b\xffc"), "a\u{fffd}b\u{fffd}c");
        let binary = text_of(&[0; MAX_KEPT_BYTES]);
        assert_eq!((binary.len(), binary.chars().count()), (4095, 1365));
    }
}
