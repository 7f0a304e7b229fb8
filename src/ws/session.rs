//! One connection's life: welcome, frames out, messages in, pings, the token's end, and the close.

use std::{
    error::Error as _,
    time::{Duration, Instant},
};

use axum::{
    body::Bytes,
    extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket},
};
use futures_util::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use governor::DefaultDirectRateLimiter;
use serde_json::Value;

use super::{
    client::{self, ClientFrame},
    control::Control,
    handshake::Offer,
    limits,
    replay::{Replay, Step},
};
use crate::{
    config::SocketConfig,
    event::{Patterns, SessionId, TenantId},
    http::{Api, Identity, Problem},
    hub::{Close, ConnectionLimits, Filter, Frame, JoinError, Joined, Page, Position, Resume, Viewer},
    store::SessionState,
};

/// Frames put into one write.
const MAX_FRAMES_PER_WRITE: usize = 64;
/// A member is told this long before its token ends, and closed this long after.
const EXPIRY_NOTICE: Duration = Duration::from_secs(60);
const EXPIRY_GRACE: Duration = Duration::from_secs(25);
/// How long a close may take that a slow client has to read its way to.
const CLOSE_DEADLINE: Duration = Duration::from_secs(10);
const ANSWER_DEADLINE: Duration = Duration::from_secs(2);
/// What may wait for a visitor.
const MAX_VISITOR_QUEUE_BYTES: usize = 128 * 1024;
/// Messages over the limit that are answered before the connection is closed.
const MAX_RATE_WARNINGS: u32 = 20;

pub enum Who {
    Member(Identity),
    Visitor { tenant: TenantId, session: SessionId },
}

pub struct Session<'a> {
    api: &'a Api,
    config: &'a SocketConfig,
    who: Who,
    joined: Joined,
    /// What it missed and has not been shown yet.
    replay: Option<Replay>,
    sink: SplitSink<WebSocket, Message>,
    stream: SplitStream<WebSocket>,
    last_heard: Instant,
    next_ping: Instant,
    /// When to tell of the token's end, and when it has come.
    notice_at: Option<Instant>,
    expires_at: Option<Instant>,
    rate: Option<DefaultDirectRateLimiter>,
    rate_warnings: u32,
}

/// Why a session ends.
enum End {
    /// We close, for a reason.
    Close(Close),
    /// The client closed, or is gone.
    Gone,
}

impl<'a> Session<'a> {
    pub async fn run(api: &'a Api, config: &'a SocketConfig, who: Who, offer: Offer, socket: WebSocket) {
        let (tenant, viewer, max_queue_bytes) = match &who {
            Who::Member(identity) => {
                let viewer = Viewer::Member { user: identity.user.clone() };
                (identity.tenant.clone(), viewer, config.max_queue_bytes)
            }
            Who::Visitor { tenant, session } => {
                let viewer = Viewer::Visitor { session: session.clone() };
                (tenant.clone(), viewer, MAX_VISITOR_QUEUE_BYTES.min(config.max_queue_bytes))
            }
        };
        let limits =
            ConnectionLimits { max_queue_bytes, max_connections_per_tenant: config.max_connections_per_tenant };
        let allowed = match &who {
            Who::Member(identity) => identity.events.clone(),
            Who::Visitor { .. } => None,
        };
        // Given with the join: no event may come in between.
        let filter = Filter { allowed, wanted: offer.events.clone().unwrap_or_else(Patterns::all) };
        // Until the end: the tenant's events come from all nodes.
        let _stay = match api.relay.enter(&tenant).await {
            Ok(stay) => stay,
            Err(error) => {
                tracing::warn!("a connection was put off: {error}");
                return close_at_once(socket, Close { code: 1013, reason: "overloaded", after_ms: Some(1000) }).await;
            }
        };
        let joined = match api.hub.join(&tenant, viewer, filter, limits, offer.since.as_ref()) {
            Ok(joined) => joined,
            Err(refused) => {
                let reason = match refused {
                    JoinError::TenantFull => "too_many_connections",
                    JoinError::Stopping => "draining",
                };
                return close_at_once(socket, Close { code: 1013, reason, after_ms: Some(1000) }).await;
            }
        };
        let (sink, stream) = socket.split();
        let now = Instant::now();
        let rate = matches!(who, Who::Visitor { .. }).then(limits::visitor_messages);
        let mut session = Self {
            api,
            config,
            who,
            replay: Replay::at_start(joined.resume, &joined.position),
            joined,
            sink,
            stream,
            last_heard: now,
            next_ping: now + config.ping_interval,
            notice_at: None,
            expires_at: None,
            rate,
            rate_warnings: 0,
        };
        session.note_expiry();
        let end = match session.begin().await {
            Ok(()) => session.serve().await,
            Err(end) => end,
        };
        api.hub.leave(&session.joined.connection);
        if let End::Close(close) = end {
            close_politely(&mut session.sink, &close).await;
        }
        // Ours is to be read, or the client's own to be answered.
        await_answer(&mut session.stream).await;
    }

    async fn begin(&mut self) -> Result<(), End> {
        if let Who::Visitor { session, .. } = &self.who {
            // It may have ended between the handshake and the join, when there was no connection yet to be closed.
            match self.api.store.session(session).await {
                Ok(SessionState::Live(_)) => {}
                Ok(_) => return Err(ours(4404, "session_ended")),
                Err(_) => return Err(ours(4500, "database_unavailable")),
            }
        }
        self.welcome().await
    }

    async fn welcome(&mut self) -> Result<(), End> {
        let Position { epoch, offset } = self.joined.position.clone();
        let (user, expires_in_ms) = match &self.who {
            Who::Member(identity) => (Some(identity.user.as_str().to_owned()), Some(identity.expires_in_ms())),
            Who::Visitor { .. } => (None, None),
        };
        let connection = &self.joined.connection;
        let welcome = Control::Welcome {
            connection_id: &connection.id,
            user_id: user.as_deref(),
            tenant_id: connection.tenant.as_str(),
            epoch: &epoch,
            offset,
            ping_interval_ms: u64::try_from(self.config.ping_interval.as_millis()).unwrap_or(u64::MAX),
            expires_in_ms,
            offline: 0,
        };
        let frame = welcome.to_json();
        self.say_json(frame).await?;
        self.tell_gap(self.joined.resume, &epoch).await
    }

    async fn serve(&mut self) -> End {
        let mut frames = Vec::with_capacity(MAX_FRAMES_PER_WRITE);
        loop {
            let wake = self.next_wake();
            // Looked at first: a connection that always has something to read or write would never come to it.
            if Instant::now() >= wake {
                if let Err(end) = self.look_at_clock().await {
                    return end;
                }
                continue;
            }
            let ended = tokio::select! {
                biased;
                close = self.joined.closing.closed() => Err(End::Close(close)),
                message = self.stream.next() => self.hear(message).await,
                () = std::future::ready(()), if self.replay.is_some() => self.show_missed(&mut frames).await,
                received = self.joined.mailbox.frames(&mut frames, MAX_FRAMES_PER_WRITE) => {
                    if received == 0 { Err(End::Gone) } else { self.write(&mut frames).await }
                }
                () = tokio::time::sleep_until(wake.into()) => Ok(()),
            };
            if let Err(end) = ended {
                return end;
            }
        }
    }

    fn next_wake(&self) -> Instant {
        let silence = self.last_heard + self.config.pong_timeout;
        [self.notice_at, self.expires_at].into_iter().flatten().fold(self.next_ping.min(silence), Instant::min)
    }

    async fn look_at_clock(&mut self) -> Result<(), End> {
        let now = Instant::now();
        if now >= self.last_heard + self.config.pong_timeout {
            return Err(ours(4512, "no_pong"));
        }
        if self.expires_at.is_some_and(|at| now >= at) {
            return Err(ours(4419, "token_expired"));
        }
        if self.notice_at.is_some_and(|at| now >= at) {
            self.notice_at = None;
            if let Who::Member(identity) = &self.who {
                let notice = Control::AuthExpiring { expires_in_ms: identity.expires_in_ms().max(0) };
                self.say(notice).await?;
            }
        }
        if now >= self.next_ping {
            self.next_ping = now + self.config.ping_interval;
            self.send(Message::Ping(Bytes::new())).await?;
        }
        Ok(())
    }

    fn note_expiry(&mut self) {
        let Who::Member(identity) = &self.who else { return };
        let left = Duration::from_millis(identity.expires_in_ms().max(0).unsigned_abs());
        let now = Instant::now();
        self.notice_at = now.checked_add(left.saturating_sub(EXPIRY_NOTICE));
        self.expires_at = now.checked_add(left + EXPIRY_GRACE);
    }

    async fn hear(&mut self, message: Option<Result<Message, axum::Error>>) -> Result<(), End> {
        self.last_heard = Instant::now();
        match message {
            Some(Ok(Message::Text(text))) => self.obey(&text).await,
            Some(Ok(Message::Binary(_))) => Err(ours(1003, "text_only")),
            // Pings are answered below us.
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
            Some(Ok(Message::Close(_))) | None => Err(End::Gone),
            Some(Err(error)) => Err(protocol_end(&error)),
        }
    }

    async fn obey(&mut self, text: &str) -> Result<(), End> {
        if self.rate.as_ref().is_some_and(|rate| rate.check().is_err()) {
            self.rate_warnings += 1;
            if self.rate_warnings > MAX_RATE_WARNINGS {
                return Err(ours(4429, "rate_limited"));
            }
            let message = "at most 5 messages a second; this one was not taken";
            return self.say(Control::Error { code: "rate_limited", message, reference: &Value::Null }).await;
        }
        let connection = &self.joined.connection;
        let (reference, frame) = client::parse(text, &connection.tenant, &connection.viewer);
        match frame {
            Ok(ClientFrame::Ping) => self.say(Control::Pong { reference: &reference }).await,
            Ok(ClientFrame::Subscribe(patterns)) => {
                let texts = patterns.texts();
                connection.subscribe(patterns);
                self.say(Control::Subscribed { events: &texts, reference: &reference }).await
            }
            Ok(ClientFrame::Resume(since)) => self.resume(&since, &reference).await,
            Ok(ClientFrame::Auth { token }) => self.renew(&token, &reference).await,
            Ok(ClientFrame::Publish(draft)) => {
                let tenant = connection.tenant.clone();
                match self.api.broadcaster.publish(&tenant, *draft).await {
                    Ok(_) => Ok(()),
                    Err(error) => {
                        let message = error.to_string();
                        let code = Problem::from(error).code;
                        self.say(Control::Error { code, message: &message, reference: &reference }).await
                    }
                }
            }
            Err(refused) => {
                self.say(Control::Error { code: refused.code, message: &refused.message, reference: &reference }).await
            }
        }
    }

    async fn renew(&mut self, token: &str, reference: &Value) -> Result<(), End> {
        let Who::Member(current) = &self.who else { return Ok(()) };
        let refused = match self.api.tokens.verify(token) {
            Ok(new) if new.tenant == current.tenant && new.user == current.user => {
                let renewed = Control::AuthOk { expires_in_ms: new.expires_in_ms() };
                self.joined.connection.allow(new.events.clone());
                self.who = Who::Member(new);
                self.note_expiry();
                return self.say(renewed).await;
            }
            Ok(_) => "the token is for another tenant or user",
            Err(_) => "the token is not valid",
        };
        self.say(Control::Error { code: "invalid_token", message: refused, reference }).await
    }

    async fn resume(&mut self, since: &Position, reference: &Value) -> Result<(), End> {
        if self.replay.is_some() {
            let message = "a resume is under way: wait for its events";
            return self.say(Control::Error { code: "busy", message, reference }).await;
        }
        let (resume, top) = self.api.hub.rewind(&self.joined.connection, since);
        self.replay = Replay::later(resume, &self.joined.position, &top);
        self.tell_gap(resume, &top.epoch).await
    }

    async fn tell_gap(&mut self, resume: Resume, epoch: &str) -> Result<(), End> {
        match resume {
            Resume::Gap { from, reason } => self.write(&mut vec![Frame::gap(epoch, from, reason)]).await,
            Resume::None | Resume::After(_) => Ok(()),
        }
    }

    /// One page of what the client missed.
    async fn show_missed(&mut self, frames: &mut Vec<Frame>) -> Result<(), End> {
        let Some(replay) = &mut self.replay else { return Ok(()) };
        match replay.step() {
            Step::Drain => self.joined.mailbox.waiting(frames),
            Step::Page { after, until } => {
                match self.api.hub.page(&self.joined.connection, &replay.epoch, after, until) {
                    Page::Frames(page, next) => {
                        replay.after = next;
                        frames.extend(page);
                    }
                    Page::Live => self.replay = None,
                    Page::Trimmed { start } => {
                        let connection = &self.joined.connection;
                        match self.api.relay.older(&connection.tenant, &replay.epoch, after, start).await {
                            Some((older, next)) => {
                                let seen = older.into_iter().filter(|(routing, _)| connection.sees(routing));
                                frames.extend(seen.map(|(_, frame)| frame));
                                replay.after = next;
                            }
                            None => {
                                frames.push(Frame::gap(&replay.epoch, after + 1, "trimmed"));
                                replay.after = start;
                            }
                        }
                    }
                }
            }
        }
        self.write(frames).await
    }

    async fn write(&mut self, frames: &mut Vec<Frame>) -> Result<(), End> {
        if frames.is_empty() {
            return Ok(());
        }
        // Made from a String, so it is UTF-8.
        let text = |frame: Frame| Message::Text(Utf8Bytes::try_from(frame.bytes()).unwrap_or_default());
        self.send_all(frames.drain(..).map(text)).await
    }

    async fn say(&mut self, control: Control<'_>) -> Result<(), End> {
        self.say_json(control.to_json()).await
    }

    /// For a frame that borrows from this session.
    async fn say_json(&mut self, json: String) -> Result<(), End> {
        self.send(Message::Text(json.into())).await
    }

    async fn send(&mut self, message: Message) -> Result<(), End> {
        self.send_all(std::iter::once(message)).await
    }

    /// Feeds all, flushes once. A client that does not read holds us here: until its queue is over its limit, or for the
    /// time in which it should have been heard of.
    async fn send_all(&mut self, messages: impl Iterator<Item = Message>) -> Result<(), End> {
        let sink = &mut self.sink;
        let sending = async {
            for message in messages {
                sink.feed(message).await?;
            }
            sink.flush().await
        };
        tokio::select! {
            biased;
            sent = sending => sent.map_err(|_| End::Gone),
            close = self.joined.closing.closed() => Err(End::Close(close)),
            () = tokio::time::sleep(self.config.pong_timeout) => Err(ours(4512, "no_pong")),
        }
    }
}

fn ours(code: u16, reason: &'static str) -> End {
    End::Close(Close { code, reason, after_ms: None })
}

/// Each fault of the protocol has its code (RFC 6455 §7.4.1).
fn protocol_end(error: &axum::Error) -> End {
    use tungstenite::Error;
    match error.source().and_then(|source| source.downcast_ref::<Error>()) {
        Some(Error::Capacity(_)) => ours(1009, "too_big"),
        Some(Error::Utf8(_)) => ours(1007, "not_utf8"),
        Some(Error::Protocol(_)) => ours(1002, "protocol_error"),
        _ => End::Gone,
    }
}

/// Says goodbye and closes, within one deadline.
async fn close_politely<S>(sink: &mut S, close: &Close)
where
    S: futures_util::Sink<Message> + Unpin,
{
    let frame = CloseFrame { code: close.code, reason: Utf8Bytes::from_static(close.reason) };
    let goodbye = async {
        // 1002, 1003, 1007 and 1009 say it all: the client does not speak our protocol.
        if !matches!(close.code, 1002 | 1003 | 1007 | 1009) {
            sink.feed(Message::Text(Control::bye(close).to_json().into())).await?;
        }
        sink.feed(Message::Close(Some(frame))).await?;
        sink.flush().await
    };
    // A client that is gone, or never reads, needs no goodbye.
    let _ = tokio::time::timeout(CLOSE_DEADLINE, goodbye).await;
}

/// Waits for the client's own close: hanging up before it has read ours could take the code with it.
async fn await_answer<S>(stream: &mut S)
where
    S: futures_util::Stream<Item = Result<Message, axum::Error>> + Unpin,
{
    let answered = async { while let Some(Ok(_)) = stream.next().await {} };
    let _ = tokio::time::timeout(ANSWER_DEADLINE, answered).await;
}

/// Refuses a client that cannot read a status.
pub async fn close_at_once(mut socket: WebSocket, close: Close) {
    close_politely(&mut socket, &close).await;
    await_answer(&mut socket).await;
}
