//! One connection: the handshake, and frames until it ends.

use std::{
    io::{self, Write},
    time::Duration,
};

use futures_util::StreamExt;
use http::{HeaderValue, header};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async_with_config,
    tungstenite::{Error, Message, client::IntoClientRequest, handshake::client::Request, protocol::WebSocketConfig},
};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{
    Position, Tail,
    ends::End,
    frame::{Control, Frame},
    line, say,
};
use crate::cli::{EXIT_UNAVAILABLE, EXIT_USAGE};

/// For the address, the connection and the handshake; and then for the first frame.
const PATIENCE: Duration = Duration::from_secs(10);
/// The server pings twice in this, or it is gone.
const PINGS_MISSED: u32 = 2;
/// Of one frame. A server's are at most 256 KiB and an envelope.
const MAX_FRAME_BYTES: usize = 16 << 20;
/// For the other side to hear our goodbye.
const CLOSING: Duration = Duration::from_millis(500);

pub struct Connection {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// Silence beyond this is the end.
    silence: Duration,
    /// What `bye` has said.
    bye: Option<End>,
}

impl Connection {
    /// # Errors
    /// What a refusal, or nobody there, means.
    pub async fn open(tail: &Tail) -> Result<Self, End> {
        let config =
            WebSocketConfig::default().max_message_size(Some(MAX_FRAME_BYTES)).max_frame_size(Some(MAX_FRAME_BYTES));
        let dialled = connect_async_with_config(request(tail)?, Some(config), true);
        match tokio::time::timeout(PATIENCE, dialled).await {
            Ok(Ok((stream, _))) => Ok(Self { stream, silence: PATIENCE, bye: None }),
            Ok(Err(error)) => Err(unreached(&shown(&tail.url), error)),
            Err(_) => Err(End::again(format!("{} does not answer", shown(&tail.url)))),
        }
    }

    /// Shows what comes until it ends, or `stop` says so.
    pub async fn show(&mut self, tail: &mut Tail, stop: &CancellationToken) -> End {
        loop {
            let next = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                next = tokio::time::timeout(self.silence, self.stream.next()) => next,
            };
            let message = match next {
                Ok(Some(Ok(message))) => message,
                Ok(Some(Err(error))) => return self.end(format!("the connection broke: {error}")),
                Ok(None) => return self.end("the connection broke"),
                Err(_) => return self.end(format!("nothing was heard for {} s", self.silence.as_secs())),
            };
            match message {
                Message::Text(text) => match self.take(tail, text.as_str()) {
                    Ok(()) if tail.left == Some(0) => break,
                    Ok(()) => {}
                    Err(end) => return end,
                },
                Message::Close(close) => {
                    let (code, reason) = close.map_or((1005, String::new()), |c| (c.code.into(), c.reason.to_string()));
                    return self.bye.take().unwrap_or_else(|| End::of_code(code, &reason, true, None));
                }
                // Pings are answered below us.
                _ => {}
            }
        }
        // A goodbye, so that the server knows at once; without it, it would find out a moment later.
        let _ = tokio::time::timeout(CLOSING, self.stream.close(None)).await;
        End::Done
    }

    /// Without a close frame.
    fn end(&mut self, why: impl Into<String>) -> End {
        self.bye.take().unwrap_or_else(|| End::again(why))
    }

    fn take(&mut self, tail: &mut Tail, text: &str) -> Result<(), End> {
        let frame = Frame::parse(text)
            .map_err(|error| End::stop(format!("what came is no frame of Jackfield ({error})"), EXIT_UNAVAILABLE))?;
        match &frame {
            Frame::Event(event) => {
                tail.print(&if tail.json { line::raw(text) } else { line::readable(event, tail.colour) })?;
                tail.left = tail.left.map(|left| left.saturating_sub(1));
                // Printed first: what is shown twice is seen, what is skipped is not.
                if let (Some(offset), Some(position), false) = (event.offset, &mut tail.position, event.offline) {
                    position.offset = offset;
                }
            }
            Frame::Control(control) => {
                if tail.json {
                    tail.print(&line::raw(text))?;
                }
                self.heed(tail, control);
            }
        }
        Ok(())
    }

    fn heed(&mut self, tail: &mut Tail, control: &Control) {
        match control {
            Control::Welcome { user_id, tenant_id, epoch, offset, ping_interval_ms } => {
                self.silence = Duration::from_millis(*ping_interval_ms) * PINGS_MISSED + PATIENCE;
                let who = user_id.as_deref().map_or_else(|| "a visitor".to_owned(), |user| format!("{user:?}"));
                say(&format!("connected to {} as {who} of tenant {tenant_id:?}", shown(&tail.url)));
                // Where we were stays: what came since is on its way, or a gap.
                tail.position.get_or_insert_with(|| Position { epoch: epoch.clone(), offset: *offset });
            }
            Control::Gap { epoch, from, reason } => {
                say(&format!("GAP: events from {epoch}:{from} on may be missing, and cannot be had here ({reason})"));
                tail.position = Some(Position { epoch: epoch.clone(), offset: from.saturating_sub(1) });
            }
            Control::AuthExpiring { expires_in_ms } => {
                say(&format!("the token expires in {} s; then this ends", expires_in_ms / 1000));
            }
            Control::Bye { code, reason, reconnect, after_ms } => {
                let after = after_ms.map(Duration::from_millis);
                self.bye = Some(End::of_code(*code, reason, *reconnect, after));
            }
            Control::Error { code, message } => say(&format!("the server says {code:?}: {message:?}")),
            Control::Other => {}
        }
    }
}

impl Tail {
    fn print(&self, line: &str) -> Result<(), End> {
        writeln!(io::stdout(), "{line}").map_err(|error| match error.kind() {
            // `tail | head` has seen enough.
            io::ErrorKind::BrokenPipe => End::Done,
            _ => End::stop(format!("the output cannot be written: {error}"), EXIT_UNAVAILABLE),
        })
    }
}

fn request(tail: &Tail) -> Result<Request, End> {
    let mut url = tail.url.clone();
    if let Some(events) = &tail.events {
        url.query_pairs_mut().append_pair("events", events);
    }
    if let Some(position) = &tail.position {
        url.query_pairs_mut().append_pair("since", &position.to_string());
    }
    let wrong = |what: &str| End::stop(format!("{what} cannot be sent"), EXIT_USAGE);
    let mut request = url.as_str().into_client_request().map_err(|_| wrong("--url"))?;
    if let Some(token) = &tail.token {
        let bearer = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| wrong("--token"))?;
        request.headers_mut().insert(header::AUTHORIZATION, bearer);
    }
    Ok(request)
}

/// The address without its query and password: a token may stand there.
fn shown(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
}

fn unreached(url: &str, error: Error) -> End {
    match error {
        Error::Http(answer) => {
            let after = answer.headers().get(header::RETRY_AFTER).and_then(|after| after.to_str().ok()?.parse().ok());
            let problem = answer.body().as_deref().and_then(|body| serde_json::from_slice(body).ok());
            let problem: serde_json::Value = problem.unwrap_or_default();
            let detail = problem["detail"].as_str().unwrap_or_default();
            End::of_status(answer.status().as_u16(), detail, after.map(Duration::from_secs))
        }
        // What rustls says of a certificate, or of a server that speaks no TLS.
        Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
            End::stop(format!("there is no trusted connection to {url}: {error}"), EXIT_UNAVAILABLE)
        }
        Error::Io(error) => End::again(format!("{url} cannot be reached: {error}")),
        error => End::again(format!("{url} does not speak WebSocket: {error}")),
    }
}
