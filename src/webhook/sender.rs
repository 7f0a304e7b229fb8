//! One POST: signed headers, one deadline over everything, and a bounded look at the answer.

use std::{
    error::Error,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use reqwest::Client;

use super::{
    Webhook,
    address::AddressPolicy,
    resolver::{VettingResolver, refusal_in},
    retry_after::parse_retry_after,
};
use crate::event::{DeliveryId, EventType};

/// Read of an answer's body, and kept of it.
const MAX_READ_BYTES: usize = 16 << 10;
const MAX_KEPT_BYTES: usize = 4 << 10;
const IDLE_CONNECTIONS_PER_HOST: usize = 64;
const USER_AGENT: &str = concat!("Jackfield/", env!("CARGO_PKG_VERSION"));

#[derive(Debug, thiserror::Error)]
#[error("the HTTP client cannot be made: {0}")]
pub struct SenderError(String);

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
    /// # Errors
    /// When the system's certificates or its sockets cannot be used.
    pub fn new(policy: Arc<AddressPolicy>) -> Result<Self, SenderError> {
        // Set already when another server runs in this process.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            // A proxy from the environment would dial what was not vetted.
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .dns_resolver(VettingResolver::new(policy.clone()))
            .pool_max_idle_per_host(IDLE_CONNECTIONS_PER_HOST)
            .tcp_nodelay(true)
            .build()
            .map_err(|error| SenderError(chain_of(&error)))?;
        Ok(Self { client, policy })
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
        // The resolver is not asked about address literals, and rows come by SQL: so here, at every dial.
        if let Err(refusal) = self.policy.check_url(&webhook.url) {
            return failed(started, format!("not dialled: {refusal}"));
        }
        let mut answer = Answer { status: None, body: None, error: None, retry_after: None, took: Duration::ZERO };
        let exchange = self.exchange(webhook, headers, body, &mut answer);
        if tokio::time::timeout(webhook.timeout, exchange).await.is_err() {
            answer.error = Some(format!("no whole answer within {} s", webhook.timeout.as_secs()));
        }
        answer.took = started.elapsed();
        answer
    }

    async fn exchange(&self, webhook: &Webhook, headers: HeaderMap, body: Bytes, answer: &mut Answer) {
        let request = self.client.post(webhook.url.clone()).headers(headers).body(body);
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(error) => {
                answer.error = Some(explain(&error));
                return;
            }
        };
        answer.status = Some(response.status());
        answer.retry_after = response
            .headers()
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| parse_retry_after(value, SystemTime::now()));
        let mut kept = Vec::new();
        let mut read = 0;
        let cut = loop {
            match response.chunk().await {
                Ok(Some(chunk)) => {
                    read += chunk.len();
                    let room = MAX_KEPT_BYTES - kept.len();
                    kept.extend_from_slice(&chunk[..chunk.len().min(room)]);
                    // Kept as it comes, so that a deadline in the middle leaves what there was.
                    answer.body = Some(String::from_utf8_lossy(&kept).into_owned());
                    if read >= MAX_READ_BYTES {
                        break None;
                    }
                }
                Ok(None) => break None,
                Err(error) => break Some(explain(&error)),
            }
        };
        answer.error = cut;
    }
}

fn failed(started: Instant, error: String) -> Answer {
    Answer { status: None, body: None, error: Some(error), retry_after: None, took: started.elapsed() }
}

/// In words for the tenant: never an address that a name led to.
fn explain(error: &reqwest::Error) -> String {
    if let Some(refusal) = refusal_in(error) {
        return format!("not dialled: the name leads to a {refusal}");
    }
    let cause = innermost(error);
    if error.is_connect() { format!("cannot connect: {cause}") } else { format!("the exchange broke: {cause}") }
}

fn innermost(error: &dyn Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

fn chain_of(error: &dyn Error) -> String {
    format!("{error}: {}", innermost(error))
}
