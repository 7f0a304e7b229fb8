//! A backend's subscriber, to copy from: it needs nothing of Jackfield but the protocol (`docs/sockets.md`).
//!
//! It handles every event at least once, over cuts, restarts of the server, and its own restarts: the position is kept in a
//! file, behind the event that was handled. What the server has no more comes as a `gap`, and never in silence.
//!
//! ```sh
//! JACKFIELD_TOKEN=$(jackfield token --tenant dev) cargo run --example subscriber -- ws://127.0.0.1:8000/ws position.txt
//! ```

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, bail};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::{
    connect_async,
    tungstenite::{Error, Message, client::IntoClientRequest},
};

// --- your part ---------------------------------------------------------------------------------------------------------

/// What you do with an event. It may come a second time (when this program ends between this and the note of the
/// position): do it in one transaction with its `id`, or let it be harmless to do twice.
fn handle(event: &Value) -> anyhow::Result<()> {
    println!("{} {} {}", event["id"], event["type"], event["data"]);
    Ok(())
}

/// Events are missing that the server cannot show any more: fetch the state that you build of them anew, from wherever it
/// lives. `GET /api/v1/events?after=…` has what the server keeps on disk.
fn state_is_stale(reason: &str) {
    println!("gap {reason}");
}

/// Tokens end: a backend signs itself one of some minutes, or asks its login service.
fn token() -> anyhow::Result<String> {
    Ok(std::env::var("JACKFIELD_TOKEN").context("JACKFIELD_TOKEN is not set")?.trim().to_owned())
}

// --- the protocol ------------------------------------------------------------------------------------------------------

/// The place behind the last event that was handled. Offsets mean something within their epoch only.
#[derive(Clone)]
struct Position {
    epoch: String,
    offset: u64,
}

struct Subscriber {
    url: String,
    file: PathBuf,
    /// None: begin with what comes from now on.
    position: Option<Position>,
}

/// How a connection ended, where coming back makes sense.
struct Lost {
    why: String,
    /// The server says when: a server that stops spreads its clients over some seconds.
    after: Option<Duration>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let url = args.next().unwrap_or_else(|| "ws://127.0.0.1:8000/ws".to_owned());
    let file = PathBuf::from(args.next().unwrap_or_else(|| "position.txt".to_owned()));
    let kept = std::fs::read_to_string(&file).ok();
    let position = kept.and_then(|text| {
        let (epoch, offset) = text.trim().split_once(':')?;
        Some(Position { epoch: epoch.to_owned(), offset: offset.parse().ok()? })
    });
    let mut subscriber = Subscriber { url, file, position };
    let mut wait = Duration::from_secs(1);
    loop {
        let begun = std::time::Instant::now();
        // An error is what coming back does not mend; it ends the program, and your supervisor may look at it.
        let lost = subscriber.connection().await?;
        if begun.elapsed() > Duration::from_secs(10) {
            wait = Duration::from_secs(1);
        }
        // Jitter, or all subscribers of a dead server come back in the same moment.
        let pause = lost.after.unwrap_or_else(|| wait.mul_f64(0.5 + rand::random::<f64>() / 2.0));
        wait = (wait * 2).min(Duration::from_secs(30));
        eprintln!("{}; back in {pause:?}", lost.why);
        tokio::time::sleep(pause).await;
    }
}

impl Subscriber {
    /// One connection, from the handshake to its end.
    async fn connection(&mut self) -> anyhow::Result<Lost> {
        // `since` has a server begin with what was missed. More of a query: `events=call.*,agent.*`.
        let url = match &self.position {
            Some(Position { epoch, offset }) => format!("{}?since={epoch}:{offset}", self.url),
            None => self.url.clone(),
        };
        let mut request = url.into_client_request()?;
        request.headers_mut().insert("authorization", format!("Bearer {}", token()?).parse()?);
        // Every wait has an end: a connection to a machine that is gone says nothing for many minutes.
        let mut socket = match tokio::time::timeout(Duration::from_secs(10), connect_async(request)).await {
            Ok(Ok((socket, _))) => socket,
            Ok(Err(Error::Http(answer))) if (400..429).contains(&answer.status().as_u16()) => {
                bail!("refused with {}: mend the token or the query", answer.status())
            }
            Ok(Err(error)) => return Ok(lost(format!("cannot connect: {error}"))),
            Err(_) => return Ok(lost("cannot connect: no answer")),
        };
        let mut silence = Duration::from_secs(30);
        let mut after = None;
        loop {
            // Server pings arrive here too, and are answered by the library.
            let text = match tokio::time::timeout(silence, socket.next()).await {
                Ok(Some(Ok(Message::Text(text)))) => text,
                Ok(Some(Ok(Message::Close(frame)))) => {
                    let (code, reason) =
                        frame.map_or((1005, String::new()), |f| (u16::from(f.code), f.reason.to_string()));
                    match code {
                        // Bad request, bad token, forbidden, no such session, replaced, revoked: it would end the same way.
                        4400 | 4401 | 4403 | 4404 | 4409 | 4423 => bail!("closed for good: {code} {reason}"),
                        _ => return Ok(Lost { why: format!("closed: {code} {reason}"), after }),
                    }
                }
                Ok(Some(Ok(_))) => continue,
                Ok(Some(Err(error))) => return Ok(Lost { why: format!("broken: {error}"), after }),
                Ok(None) => return Ok(Lost { why: "broken".to_owned(), after }),
                Err(_) => return Ok(lost("nothing was heard")),
            };
            let frame: Value = serde_json::from_str(text.as_str())?;
            // With an `id` it is an event, whatever its type says.
            if frame["id"].is_string() {
                handle(&frame)?;
                // No offset: ephemeral. `offline`: it waited for its user, and moves no position.
                if let (Some(offset), Some(position)) = (frame["offset"].as_u64(), &self.position)
                    && frame["offline"] != true
                {
                    self.note(Position { epoch: position.epoch.clone(), offset })?;
                }
                continue;
            }
            match frame["type"].as_str().unwrap_or_default() {
                "welcome" => {
                    silence = Duration::from_millis(frame["ping_interval_ms"].as_u64().unwrap_or(30_000) * 2 + 5_000);
                    eprintln!("connected");
                    if self.position.is_none() {
                        self.note(position(&frame, frame["offset"].as_u64())?)?;
                    }
                }
                "gap" => {
                    state_is_stale(frame["reason"].as_str().unwrap_or_default());
                    // The next event is `from` or later.
                    self.note(position(&frame, frame["from"].as_u64().map(|from| from.saturating_sub(1)))?)?;
                }
                "auth_expiring" => {
                    let auth = json!({"type": "auth", "token": token()?}).to_string();
                    if let Err(error) = socket.send(Message::text(auth)).await {
                        return Ok(lost(format!("broken: {error}")));
                    }
                }
                // The close comes next.
                "bye" => after = frame["after_ms"].as_u64().map(Duration::from_millis),
                "error" => eprintln!("the server says: {frame}"),
                // Words that this program does not know yet.
                _ => {}
            }
        }
    }

    /// Keeps the position where a restart finds it; in one step, so that it is never half a position.
    fn note(&mut self, position: Position) -> anyhow::Result<()> {
        let unfinished = self.file.with_extension("tmp");
        std::fs::write(&unfinished, format!("{}:{}", position.epoch, position.offset))?;
        std::fs::rename(&unfinished, &self.file)?;
        self.position = Some(position);
        Ok(())
    }
}

fn position(frame: &Value, offset: Option<u64>) -> anyhow::Result<Position> {
    let epoch = frame["epoch"].as_str().context("a frame without its epoch")?.to_owned();
    Ok(Position { epoch, offset: offset.context("a frame without its offset")? })
}

fn lost(why: impl Into<String>) -> Lost {
    Lost { why: why.into(), after: None }
}
