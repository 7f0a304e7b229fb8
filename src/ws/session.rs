//! One socket's life: welcome, frames out, messages in, pings, the token's end, and the close.

use std::{sync::Arc, time::Instant};

use serde_json::Value;

use super::{
    SocketParts,
    client::{self, ClientFrame},
    control::Control,
    expiry::{Due, Expiry},
    feed::{Busy, Feed},
    handshake::close_of,
    letters::Letters,
    limits::{Over, Pace},
    seat::{Seat, Who, Wish},
    transport::{End, Transport},
    wire::{Opcode, Said, encode},
};
use crate::{
    broadcaster::Stay,
    event::Draft,
    http::Problem,
    hub::{Closing, Frame, Position},
};

pub struct Session {
    parts: Arc<SocketParts>,
    who: Who,
    transport: Transport,
    feed: Feed,
    closing: Closing,
    /// What the hub queues waits until all that was missed is shown: it comes after that.
    held: bool,
    /// Asked for while another was under way, whose end the client cannot see.
    next_resume: Option<Position>,
    last_heard: Instant,
    next_ping: Instant,
    expiry: Expiry,
    pace: Pace,
    letters: Letters,
    stay: Stay,
}

impl Session {
    /// Takes a place among the tenant's connections and says welcome. None: it has ended already.
    ///
    /// In a box: a future that it is moved into keeps room for each place where it was.
    pub async fn open(parts: Arc<SocketParts>, who: Who, wish: Wish, transport: Transport) -> Option<Box<Self>> {
        let seat = match Seat::take(&parts.api, &parts.config, &who, wish).await {
            Ok(seat) => seat,
            Err(problem) => {
                transport.end(End::Close(close_of(&problem))).await;
                return None;
            }
        };
        let (welcome, pace) = (seat.welcome(&who, &parts.config), Pace::of(&who));
        let Seat { feed, closing, gap, waiting, stay } = seat;
        let letters = Letters::new(feed.connection.viewer.user().cloned(), waiting, feed.covered_from());
        let now = Instant::now();
        let (next_ping, expiry) = (now + parts.config.ping_interval, Expiry::of(&who, now));
        let mut session = Box::new(Self {
            parts,
            who,
            transport,
            feed,
            closing,
            held: true,
            next_resume: None,
            last_heard: now,
            next_ping,
            expiry,
            pace,
            letters,
            stay,
        });
        match session.begin(welcome, gap).await {
            Ok(()) => Some(session),
            Err(end) => {
                session.leave(end).await;
                None
            }
        }
    }

    /// Lives until the end. What happens once, or seldom, has a place of its own: an idle connection holds none of it.
    pub async fn run(mut self: Box<Self>) {
        let end = self.serve().await;
        Box::pin(self.leave(end)).await;
    }

    async fn leave(self: Box<Self>, end: End) {
        let Self { parts, transport, feed, mut letters, stay, .. } = *self;
        if matches!(end, End::Closed) {
            letters.closed_cleanly(transport.written(), &parts.api.presence.mail, &feed.connection).await;
        }
        transport.hold();
        Seat::leave(&parts.api, feed, letters.confirmed(), stay).await;
        transport.end(end).await;
    }

    async fn begin(&mut self, welcome: String, gap: Option<Frame>) -> Result<(), End> {
        let first = std::iter::once(Frame::new(welcome)).chain(gap);
        self.transport.send_all(first, self.closing.closed()).await?;
        self.transport.attach(&self.feed.outbox(), &self.parts.shards);
        self.show_letters().await
    }

    /// What waited for the user: so much of it that its pong is soon known.
    async fn show_letters(&mut self) -> Result<(), End> {
        let mut letters = self.letters.next(&self.parts.api.presence.mail, &self.feed.connection).await;
        self.write(&mut letters).await?;
        if self.letters.wants_ping() { self.ping().await } else { Ok(()) }
    }

    async fn ping(&mut self) -> Result<(), End> {
        let ping = encode(Opcode::Ping, &self.letters.ping(self.transport.written()));
        self.transport.send_raw(ping, self.closing.closed()).await
    }

    async fn serve(&mut self) -> End {
        let (wire, mut missed) = (self.transport.wire(), Vec::new());
        loop {
            if self.held && !self.feed.is_replaying() {
                if let Some(since) = self.next_resume.take() {
                    if let Err(end) = Box::pin(self.resume(since, &Value::Null)).await {
                        return end;
                    }
                    continue;
                }
                self.held = false;
                self.transport.follow(self.feed.outbox());
            }
            let wake = self.next_wake();
            // Looked at first: a connection that always has something to read or write would never come to it.
            if Instant::now() >= wake {
                if let Err(end) = Box::pin(self.look_at_clock()).await {
                    return end;
                }
                continue;
            }
            let ended = tokio::select! {
                biased;
                close = self.closing.closed() => Err(End::Close(close)),
                said = self.transport.hear() => Box::pin(self.hear(said)).await,
                more = self.feed.missed(&self.parts.api, &mut missed), if self.feed.is_replaying() => {
                    if more { Box::pin(self.write(&mut missed)).await } else { Ok(()) }
                }
                () = wire.attend() => Err(End::Gone),
                () = tokio::time::sleep_until(wake.into()) => Ok(()),
            };
            if let Err(end) = ended {
                return end;
            }
        }
    }

    fn next_wake(&self) -> Instant {
        let silence = self.last_heard + self.parts.config.pong_timeout;
        self.expiry.next().into_iter().fold(self.next_ping.min(silence), Instant::min)
    }

    async fn look_at_clock(&mut self) -> Result<(), End> {
        let now = Instant::now();
        if now >= self.last_heard + self.parts.config.pong_timeout {
            return Err(End::ours(4512, "no_pong"));
        }
        match self.expiry.due(now) {
            Due::Nothing => {}
            Due::Notice => self.say(Control::auth_expiring(&self.who)).await?,
            Due::End => return Err(End::ours(4419, "token_expired")),
        }
        if now >= self.next_ping {
            self.next_ping = now + self.parts.config.ping_interval;
            self.ping().await?;
        }
        Ok(())
    }

    async fn hear(&mut self, said: Result<Said, End>) -> Result<(), End> {
        self.last_heard = Instant::now();
        match said? {
            Said::Text(text) if self.may_speak().await? => self.obey(&text).await,
            // Each of its pings is answered below us.
            Said::Ping(_) => self.may_speak().await.map(|_| ()),
            Said::Binary(_) => Err(End::ours(1003, "text_only")),
            Said::Pong(payload) => {
                self.letters.pong(&payload, &self.parts.api.presence.mail, &self.feed.connection).await;
                self.show_letters().await
            }
            Said::Text(_) | Said::Close(_) => Ok(()),
        }
    }

    /// Whether the connection, and its tenant, may say one thing more now.
    async fn may_speak(&mut self) -> Result<bool, End> {
        let connection = &self.feed.connection;
        let message = match self.pace.check(self.last_heard) {
            Err(Over::Closed) => return Err(End::ours(4429, "rate_limited")),
            Err(Over::Refused) => {
                format!("at most {} messages a second; this one was not taken", self.pace.per_second)
            }
            Ok(()) if self.parts.tenants.has_room(&connection.viewer, &connection.tenant) => return Ok(true),
            Ok(()) => "the tenant's connections send more than they may; this message was not taken".to_owned(),
        };
        self.say(Control::Error { code: "rate_limited", message: &message, reference: &Value::Null }).await?;
        Ok(false)
    }

    async fn obey(&mut self, text: &str) -> Result<(), End> {
        let connection = &self.feed.connection;
        let (reference, frame) = client::parse(text, &connection.tenant, &connection.viewer);
        match frame {
            Ok(ClientFrame::Ping) => self.say(Control::Pong { reference: &reference }).await,
            Ok(ClientFrame::Subscribe(patterns)) => {
                let texts = patterns.texts();
                connection.subscribe(patterns);
                self.say(Control::Subscribed { events: &texts, reference: &reference }).await
            }
            Ok(ClientFrame::Resume(since)) => self.resume(since, &reference).await,
            Ok(ClientFrame::Auth { token }) => self.renew(&token, &reference).await,
            Ok(ClientFrame::Publish(draft)) => self.publish(*draft, &reference).await,
            Err(refused) => {
                self.say(Control::Error { code: refused.code, message: &refused.message, reference: &reference }).await
            }
        }
    }

    async fn publish(&mut self, draft: Draft, reference: &Value) -> Result<(), End> {
        let tenant = self.feed.connection.tenant.clone();
        let published = tokio::select! {
            biased;
            // Revoked or stopped while the database takes its time. The event goes its way all the same.
            close = self.closing.closed() => return Err(End::Close(close)),
            published = self.parts.api.broadcaster.publish(&tenant, draft) => published,
        };
        match published {
            Ok(_) => Ok(()),
            Err(error) => {
                let message = error.to_string();
                let code = Problem::from(error).code;
                self.say(Control::Error { code, message: &message, reference }).await
            }
        }
    }

    async fn renew(&mut self, token: &str, reference: &Value) -> Result<(), End> {
        let Who::Member(current) = &self.who else { return Ok(()) };
        let verified = tokio::select! {
            biased;
            // Its key may have to be fetched.
            close = self.closing.closed() => return Err(End::Close(close)),
            verified = self.parts.api.tokens.verify(token) => verified,
        };
        let (code, message) = match verified {
            Ok(new) if self.parts.api.check_revoked(&new).is_err() => {
                ("invalid_token", "the token was issued before the user was put out")
            }
            Ok(new) if new.tenant == current.tenant && new.user == current.user => {
                let renewed = Control::AuthOk { expires_in_ms: new.expires_in_ms() };
                self.feed.connection.allow(new.events.clone(), new.issued_s);
                self.who = Who::Member(new);
                self.expiry = Expiry::of(&self.who, Instant::now());
                return self.say(renewed).await;
            }
            Ok(_) => ("invalid_token", "the token is for another tenant or user"),
            Err(Problem { code: code @ "keys_unavailable", .. }) => (code, "the token's key cannot be had now"),
            Err(_) => ("invalid_token", "the token is not valid"),
        };
        self.say(Control::Error { code, message, reference }).await
    }

    async fn resume(&mut self, since: Position, reference: &Value) -> Result<(), End> {
        self.held = true;
        self.transport.hold();
        match self.feed.rewind(&self.parts.api, &since) {
            Ok(gap) => self.write(&mut gap.into_iter().collect()).await,
            Err(Busy) if self.next_resume.is_none() => {
                self.next_resume = Some(since);
                Ok(())
            }
            Err(Busy) => {
                let message = "two resumes are under way: wait for their events";
                self.say(Control::Error { code: "busy", message, reference }).await
            }
        }
    }

    async fn write(&mut self, frames: &mut Vec<Frame>) -> Result<(), End> {
        if frames.is_empty() {
            return Ok(());
        }
        self.transport.send_all(frames.drain(..), self.closing.closed()).await
    }

    async fn say(&mut self, control: Control<'_>) -> Result<(), End> {
        self.say_json(control.to_json()).await
    }

    /// For a frame that borrows from this session.
    async fn say_json(&mut self, json: String) -> Result<(), End> {
        self.transport.send_all(std::iter::once(Frame::new(json)), self.closing.closed()).await
    }
}
