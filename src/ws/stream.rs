//! Server-sent events: the frames of a socket, over plain HTTP, for whoever only listens.
//!
//! Each frame is an unnamed message whose `data` is the frame's JSON; one with a place has it as `id`, which a browser sends back
//! as `Last-Event-ID`. Comments keep the connection alive. A stream ends as a socket does, after `bye`.

use std::{
    convert::Infallible,
    fmt::Write,
    time::{Duration, Instant},
};

use axum::{
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, header},
    response::Response,
};
use futures_util::stream;
use tokio::sync::{mpsc, oneshot};

use super::{
    SocketParts, Sockets,
    control::Control,
    expiry::{Due, Expiry},
    feed::{Feed, MAX_FRAMES_PER_WRITE},
    handshake::Offer,
    seat::{Seat, Who, Wish},
    transport::{CLOSE_DEADLINE, End},
};
use crate::{
    http::Problem,
    hub::{Close, Closing, Position},
};

/// Writes that may wait for the connection; the others wait in the queue of the hub.
const WRITES: usize = 1;

pub async fn stream(State(sockets): State<Sockets>, request: Request) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    let mut offer = Offer::read(&parts, &sockets.0.config);
    let who = sockets.identify(&parts, &offer).await?;
    if let Some(last) = last_event_id(&parts.headers)? {
        offer.wish.since = Some(last);
    }
    let (writes, mut written) = mpsc::channel(WRITES);
    let (answer, answered) = oneshot::channel();
    // A task of its own: whoever hangs up must not leave a connection behind.
    sockets.0.sessions.spawn(run(sockets.clone(), who, offer.wish, answer, writes));
    answered.await.map_err(|_| Problem::unavailable("stopping", "the server is stopping"))??;

    let body = stream::poll_fn(move |cx| written.poll_recv(cx).map(|bytes| bytes.map(Ok::<Bytes, Infallible>)));
    let mut response = Response::new(Body::from_stream(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx would keep it back otherwise.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    // It has been looked at; there are no cookies that a foreign page could borrow.
    if let Some(origin) = parts.headers.get(header::ORIGIN) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(header::VARY, HeaderValue::from_static("origin"));
    }
    Ok(response)
}

/// What a browser says by itself when it comes back.
fn last_event_id(headers: &HeaderMap) -> Result<Option<Position>, Problem> {
    let Some(value) = headers.get("last-event-id").filter(|value| !value.is_empty()) else { return Ok(None) };
    let position = value.to_str().ok().and_then(Position::parse);
    let refused =
        || Problem::bad_request("bad_position", "`Last-Event-ID` must be the `id` of a message of this stream");
    position.map(Some).ok_or_else(refused)
}

async fn run(
    sockets: Sockets,
    who: Who,
    wish: Wish,
    answer: oneshot::Sender<Result<(), Problem>>,
    writes: mpsc::Sender<Bytes>,
) {
    let parts = &*sockets.0;
    let seat = match Seat::take(&parts.api, &parts.config, &who, wish).await {
        Ok(seat) => seat,
        // Whoever asked may be gone.
        Err(problem) => return drop(answer.send(Err(problem))),
    };
    let mut first = String::new();
    // Every later event comes: a client that is cut off before the first one resumes from here.
    let at = (!seat.feed.is_replaying()).then_some(&seat.feed.position);
    message(&mut first, at, &seat.welcome(&who, &parts.config));
    if let Some(gap) = &seat.gap {
        message(&mut first, None, gap.text());
    }
    let Seat { feed, closing, stay, .. } = seat;
    let now = Instant::now();
    let (next_beat, expiry) = (now + parts.config.ping_interval, Expiry::of(&who, now));
    let mut stream = Stream { parts, who, feed, closing, next_beat, expiry, writes };
    let end = match answer.send(Ok(())) {
        Ok(()) => stream.serve(first).await,
        Err(_) => End::Gone,
    };
    // What a stream has read, nobody knows: whoever comes back names the last that it has.
    Seat::leave(&parts.api, stream.feed, None, stay).await;
    if let End::Close(close) = end {
        // A client that is gone, or never reads, needs no goodbye.
        let _ = tokio::time::timeout(CLOSE_DEADLINE, stream.writes.send(goodbye(&close))).await;
    }
}

struct Stream<'a> {
    parts: &'a SocketParts,
    who: Who,
    feed: Feed,
    closing: Closing,
    next_beat: Instant,
    expiry: Expiry,
    writes: mpsc::Sender<Bytes>,
}

impl Stream<'_> {
    async fn serve(&mut self, first: String) -> End {
        if let Err(end) = self.write(first).await {
            return end;
        }
        let mut frames = Vec::with_capacity(MAX_FRAMES_PER_WRITE);
        loop {
            let wake = self.expiry.next().map_or(self.next_beat, |at| at.min(self.next_beat));
            if Instant::now() >= wake {
                if let Err(end) = self.look_at_clock().await {
                    return end;
                }
                continue;
            }
            tokio::select! {
                biased;
                close = self.closing.closed() => return End::Close(close),
                () = self.writes.closed() => return End::Gone,
                () = self.feed.next(&self.parts.api, &mut frames) => {}
                () = tokio::time::sleep_until(wake.into()) => continue,
            }
            let mut text = String::new();
            for frame in frames.drain(..) {
                message(&mut text, frame.position(), frame.text());
            }
            if let Err(end) = self.write(text).await {
                return end;
            }
        }
    }

    async fn look_at_clock(&mut self) -> Result<(), End> {
        let now = Instant::now();
        match self.expiry.due(now) {
            Due::Nothing => {}
            Due::Notice => {
                let mut text = String::new();
                message(&mut text, None, &Control::auth_expiring(&self.who).to_json());
                self.write(text).await?;
            }
            Due::End => return Err(End::ours(4419, "token_expired")),
        }
        if now >= self.next_beat {
            self.next_beat = now + self.parts.config.ping_interval;
            self.write(":\n\n".to_owned()).await?;
        }
        Ok(())
    }

    /// A client that does not read holds us here: until its queue is over its limit, or for the time that a socket has for its
    /// pong.
    async fn write(&mut self, text: String) -> Result<(), End> {
        tokio::select! {
            biased;
            sent = self.writes.send(text.into()) => sent.map_err(|_| End::Gone),
            close = self.closing.closed() => Err(End::Close(close)),
            () = tokio::time::sleep(self.parts.config.pong_timeout) => Err(End::ours(4508, "slow_consumer")),
        }
    }
}

fn goodbye(close: &Close) -> Bytes {
    let mut text = String::new();
    if let Some(after_ms) = close.after_ms {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "retry: {}", Duration::from_millis(after_ms).as_millis());
    }
    message(&mut text, None, &Control::bye(close).to_json());
    text.into()
}

/// JSON may have line ends between its parts, as its publisher wrote it: each line is a `data` of its own.
fn message(into: &mut String, at: Option<&Position>, json: &str) {
    if let Some(at) = at {
        // Writing to a String cannot fail.
        let _ = writeln!(into, "id: {at}");
    }
    for line in json.split(['\n', '\r']) {
        into.push_str("data: ");
        into.push_str(line);
        into.push('\n');
    }
    into.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_its_place_and_its_lines() {
        let mut text = String::new();
        message(&mut text, Some(&Position { epoch: "e".into(), offset: 7 }), "{\"a\":\n1}");
        message(&mut text, None, "{}");
        assert_eq!(text, "id: e:7\ndata: {\"a\":\ndata: 1}\n\ndata: {}\n\n");
    }

    #[test]
    fn a_goodbye_says_when_to_come_back() {
        let close = Close { code: 1012, reason: "drain", after_ms: Some(1500) };
        let text = String::from_utf8(goodbye(&close).to_vec()).unwrap();
        assert!(text.starts_with("retry: 1500\ndata: {\"type\":\"bye\",\"code\":1012,"), "{text}");
    }
}
