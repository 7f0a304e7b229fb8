//! The handshake (RFC 6455 §4.2), and the bare stream that it leaves.

use std::task::{Context, Waker};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts},
    response::Response,
};
use bytes::Bytes;
use hyper::upgrade::OnUpgrade;
use hyper_util::{rt::TokioIo, server::conn::auto::upgrade::downcast};
use tokio::net::TcpStream;
use tungstenite::handshake::derive_accept_key;

use crate::http::Problem;

/// A handshake that may be taken.
pub struct Upgrade {
    accept: String,
    on_upgrade: OnUpgrade,
}

impl Upgrade {
    /// # Errors
    /// 426: it is no WebSocket handshake of version 13.
    pub fn read(parts: &mut Parts) -> Result<Self, Problem> {
        let headers = &parts.headers;
        let key = headers.get(header::SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes);
        let is_handshake = parts.method == Method::GET
            && has(headers, &header::CONNECTION, "upgrade")
            && has(headers, &header::UPGRADE, "websocket")
            && has(headers, &header::SEC_WEBSOCKET_VERSION, "13");
        match (is_handshake, key, parts.extensions.remove::<OnUpgrade>()) {
            (true, Some(key), Some(on_upgrade)) => Ok(Self { accept: derive_accept_key(key), on_upgrade }),
            _ => Err(Problem::upgrade_required()),
        }
    }

    /// The answer, and the stream once the answer is out, with what the client sent right behind its handshake. None: the
    /// client has gone meanwhile.
    pub fn accept(
        self,
        protocol: Option<&'static str>,
    ) -> (Response, impl Future<Output = Option<(TcpStream, Bytes)>> + Send + 'static) {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        if let Ok(accept) = HeaderValue::from_str(&self.accept) {
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        }
        if let Some(protocol) = protocol {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
        }
        let stream = async {
            let upgraded = self.on_upgrade.await.ok()?;
            // The only listener is a TCP one.
            let parts = downcast::<TokioIo<TcpStream>>(upgraded).ok()?;
            let stream = parts.io.into_inner();
            // It still wakes hyper's task, and so keeps the memory of that: nobody waits there any more.
            let _ = stream.poll_read_ready(&mut Context::from_waker(Waker::noop()));
            // A copy: hyper's buffer is 16 KiB, and would live as long as the socket.
            Some((stream, Bytes::copy_from_slice(&parts.read_buf)))
        };
        (response, stream)
    }
}

/// Whether a header is a list with this word in it.
fn has(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(word))
}
