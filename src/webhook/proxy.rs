//! The operator's egress proxy: asked by CONNECT for an address that was vetted here, never for a name, so that a proxy
//! with its own idea of names cannot lead a webhook elsewhere. After its 2xx the connection is as one to the receiver.

use std::net::SocketAddr;

use base64::{Engine, engine::general_purpose::STANDARD};
use percent_encoding::percent_decode_str;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use url::Url;

/// Of the proxy's answer to CONNECT.
const MAX_ANSWER_BYTES: usize = 8 << 10;

/// Where `WEBHOOK_PROXY` points.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    pub host: String,
    pub port: u16,
    /// The value of `proxy-authorization`.
    authorization: Option<String>,
}

/// Why a tunnel was not made. Shown to tenants: it names the setting and no address.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    #[error("the egress proxy (WEBHOOK_PROXY) answered CONNECT with {0}")]
    Status(u16),
    #[error("the egress proxy (WEBHOOK_PROXY) gave no answer to CONNECT that can be read")]
    Garbled,
    #[error("the egress proxy (WEBHOOK_PROXY) broke off: {0}")]
    Broke(#[from] std::io::Error),
}

/// The password is nobody's to print.
impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxy").field("host", &self.host).field("port", &self.port).finish_non_exhaustive()
    }
}

impl Proxy {
    /// Reads `http://[user:password@]host[:port]`; the port is 80 where none is named.
    ///
    /// # Errors
    /// What is wrong with it, without the text itself: it may hold a password.
    pub fn parse(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|error| format!("is no URL such as http://proxy.internal:3128: {error}"))?;
        if url.scheme() != "http" {
            return Err(format!("has the scheme {:?}: only http:// proxies are spoken to", url.scheme()));
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err("must end after the port: a proxy has no path".to_owned());
        }
        if url.port() == Some(0) {
            return Err("has the port 0, which cannot be dialled".to_owned());
        }
        let host = url.host_str().unwrap_or_default().to_owned();
        let port = url.port_or_known_default().unwrap_or(80);
        let authorization = (!url.username().is_empty() || url.password().is_some()).then(|| {
            let mut words: Vec<u8> = percent_decode_str(url.username()).collect();
            words.push(b':');
            words.extend(percent_decode_str(url.password().unwrap_or_default()));
            format!("Basic {}", STANDARD.encode(words))
        });
        Ok(Self { host, port, authorization })
    }

    /// Asks the proxy at the other end of `stream` for a tunnel to `target`.
    ///
    /// # Errors
    /// Every [`ProxyError`]; the stream is then of no use.
    pub async fn tunnel<S>(&self, stream: &mut S, target: SocketAddr) -> Result<(), ProxyError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut request = format!("CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n");
        if let Some(authorization) = &self.authorization {
            request.push_str(&format!("proxy-authorization: {authorization}\r\n"));
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::with_capacity(512);
        loop {
            if stream.read_buf(&mut answer).await? == 0 {
                return Err(ProxyError::Garbled);
            }
            if let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") {
                let status = status_of(&answer).ok_or(ProxyError::Garbled)?;
                return match status {
                    // The receiver speaks after us only: more bytes are none of its.
                    200..=299 if answer.len() == end + 4 => Ok(()),
                    200..=299 => Err(ProxyError::Garbled),
                    status => Err(ProxyError::Status(status)),
                };
            }
            if answer.len() >= MAX_ANSWER_BYTES {
                return Err(ProxyError::Garbled);
            }
        }
    }
}

/// The status of `HTTP/1.1 200 OK`.
fn status_of(answer: &[u8]) -> Option<u16> {
    let status = answer.strip_prefix(b"HTTP/1.")?.get(2..5)?;
    std::str::from_utf8(status).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn asked(proxy: &str, target: &str, answer: &[u8]) -> (Result<(), ProxyError>, String) {
        let (mut ours, mut theirs) = tokio::io::duplex(64 << 10);
        theirs.write_all(answer).await.expect("room for the answer");
        let proxy = Proxy::parse(proxy).expect("a proxy");
        let outcome = proxy.tunnel(&mut ours, target.parse().expect("an address")).await;
        drop(ours);
        let mut request = String::new();
        theirs.read_to_string(&mut request).await.expect("what was asked");
        (outcome, request)
    }

    #[tokio::test]
    async fn a_tunnel_is_asked_for_by_address_with_the_credentials() {
        let (outcome, request) =
            asked("http://kim:p%40ss%3A1@proxy.internal", "93.184.216.34:443", b"HTTP/1.0 200 ok\r\nvia: p\r\n\r\n")
                .await;
        outcome.expect("a tunnel");
        let credentials = STANDARD.encode("kim:p@ss:1");
        assert_eq!(
            request,
            format!(
                "CONNECT 93.184.216.34:443 HTTP/1.1\r\nhost: 93.184.216.34:443\r\nproxy-authorization: Basic {credentials}\r\n\r\n"
            )
        );
        let (_, request) = asked("http://10.0.0.5:3128", "[2606:4700::1111]:80", b"HTTP/1.1 200\r\n\r\n").await;
        assert_eq!(request, "CONNECT [2606:4700::1111]:80 HTTP/1.1\r\nhost: [2606:4700::1111]:80\r\n\r\n");
    }

    #[tokio::test]
    async fn an_answer_that_opens_no_tunnel_is_an_error() {
        let ask = async |answer: &[u8]| asked("http://proxy", "1.1.1.1:443", answer).await.0.expect_err("no tunnel");
        assert!(matches!(ask(b"HTTP/1.1 407 who\r\n\r\n").await, ProxyError::Status(407)));
        for garbled in
            [&b"SSH-2.0-x\r\n\r\n"[..], b"HTTP/1.1 2x0\r\n\r\n", b"HTTP/1.1 200 ok\r\n\r\nmore", &[b'x'; 9000]]
        {
            assert!(matches!(ask(garbled).await, ProxyError::Garbled));
        }
    }

    #[test]
    fn what_is_no_proxy_is_refused_without_its_password() {
        for text in
            ["proxy:3128", "https://u:hunter2@p", "socks5://u:hunter2@p", "http://u:hunter2@p/path", "http://p:0", ""]
        {
            let why = Proxy::parse(text).expect_err(text);
            assert!(!why.contains("hunter2"), "{why}");
        }
        let proxy = Proxy::parse("http://u:hunter2@p:3128/").expect("a proxy");
        assert_eq!((proxy.host.as_str(), proxy.port), ("p", 3128));
        assert!(!format!("{proxy:?}").contains("hunter2"));
    }
}
