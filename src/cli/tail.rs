//! `jackfield tail`: shows events as they come, to people and scripts. It comes back by itself, from where it was; what
//! cannot be had any more it says. It sends nothing.

mod connection;
mod ends;
mod frame;
mod line;

use std::{
    fmt,
    io::{self, IsTerminal, Write},
    process::ExitCode,
    str::FromStr,
    time::{Duration, Instant},
};

use clap::Args;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{EXIT_UNAVAILABLE, usage_errors};
use crate::{config::ClientSettings, event::Patterns};
use connection::Connection;
use ends::{Backoff, End};

/// A connection that held this long was a good one: the next loss is the first again.
const HELD: Duration = Duration::from_secs(10);
/// From Ctrl-C to the exit, for the goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub struct TailArgs {
    /// Where the socket is: ws:// or wss://
    #[arg(long, default_value = "ws://127.0.0.1:8000/ws", value_parser = socket_url)]
    url: Url,
    /// Only these types, comma-separated: `call.*,agent.*`
    #[arg(long, value_parser = patterns)]
    events: Option<String>,
    /// Begin with what came after this place, as an earlier `tail` has named it
    #[arg(long, value_name = "EPOCH:OFFSET")]
    since: Option<Position>,
    /// Print every frame as it came, one a line: one with `id` is an event
    #[arg(long)]
    json: bool,
    /// Exit after so many events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    #[command(flatten)]
    client: ClientSettings,
}

/// The last event that was shown.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Position {
    epoch: String,
    offset: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.epoch, self.offset)
    }
}

impl FromStr for Position {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.rsplit_once(':').and_then(|(epoch, offset)| Some((epoch, offset.parse().ok()?)));
        match parts {
            Some((epoch, offset)) if !epoch.is_empty() => Ok(Self { epoch: epoch.to_owned(), offset }),
            _ => Err("it has the form EPOCH:OFFSET, such as e73d82e9ff1f:12"),
        }
    }
}

fn socket_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    match url.scheme() {
        "ws" | "wss" if url.has_host() => Ok(url),
        _ => Err("it begins with ws:// or wss:// and names a host".to_owned()),
    }
}

fn patterns(text: &str) -> Result<String, String> {
    let texts = text.split(',').map(str::trim).filter(|text| !text.is_empty());
    Ok(Patterns::parse(texts)?.texts().join(","))
}

/// What is shown, and how far it came.
struct Tail {
    url: Url,
    token: Option<String>,
    events: Option<String>,
    json: bool,
    colour: bool,
    /// None until the first `welcome`.
    position: Option<Position>,
    /// Events still to show; none is no end.
    left: Option<u64>,
}

pub fn run(args: TailArgs) -> ExitCode {
    let token = args.client.token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty());
    if token.as_deref().is_some_and(|token| !token.chars().all(|c| c.is_ascii_graphic())) {
        return usage_errors(&["the token has characters that no token has".to_owned()]);
    }
    let tail = Tail {
        url: args.url,
        token,
        events: args.events,
        json: args.json,
        colour: io::stdout().is_terminal(),
        position: args.since,
        left: args.count,
    };
    // A thread beside this one: where nobody takes the output, printing waits, and Ctrl-C must not.
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            say(&format!("error: the runtime cannot start: {error}"));
            return ExitCode::from(EXIT_UNAVAILABLE);
        }
    };
    let exit = runtime.block_on(async {
        let stop = CancellationToken::new();
        let mut task = tokio::spawn(tail.follow(stop.clone()));
        tokio::select! {
            ended = &mut task => ended.unwrap_or(ExitCode::FAILURE),
            _ = tokio::signal::ctrl_c() => {
                stop.cancel();
                let _ = tokio::time::timeout(GOODBYE, task).await;
                ExitCode::SUCCESS
            }
        }
    });
    runtime.shutdown_background();
    exit
}

impl Tail {
    /// One connection after the other, until one ends for good.
    async fn follow(mut self, stop: CancellationToken) -> ExitCode {
        let mut backoff = Backoff::default();
        loop {
            let begun = Instant::now();
            let end = match stop.run_until_cancelled(Connection::open(&self)).await {
                None => End::Done,
                Some(Err(end)) => end,
                Some(Ok(mut connection)) => connection.show(&mut self, &stop).await,
            };
            match end {
                End::Done => {
                    self.say_where();
                    return ExitCode::SUCCESS;
                }
                End::Stop { why, exit } => {
                    say(&format!("error: {why}"));
                    self.say_where();
                    return ExitCode::from(exit);
                }
                End::Again { why, after } => {
                    if begun.elapsed() >= HELD {
                        backoff = Backoff::default();
                    }
                    let wait = backoff.next(after, rand::random());
                    say(&format!("{why}; trying again in {:.1} s", wait.as_secs_f64()));
                    if stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                        self.say_where();
                        return ExitCode::SUCCESS;
                    }
                }
            }
        }
    }

    fn say_where(&self) {
        if let Some(position) = &self.position {
            say(&format!("to go on from here: --since {position}"));
        }
    }
}

/// To people, beside the events.
fn say(line: &str) {
    // Nobody may be there to read it.
    let _ = writeln!(io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_an_epoch_and_an_offset() {
        let place: Position = "e73d82e9ff1f:12".parse().unwrap();
        assert_eq!(place, Position { epoch: "e73d82e9ff1f".to_owned(), offset: 12 });
        assert_eq!(place.to_string(), "e73d82e9ff1f:12");
        for wrong in ["", "12", ":12", "e:", "e:-1"] {
            assert!(wrong.parse::<Position>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_sockets_are_addresses() {
        assert!(socket_url("wss://events.example/ws").is_ok());
        for wrong in ["http://127.0.0.1:8000/ws", "127.0.0.1:8000", "ws:"] {
            assert!(socket_url(wrong).is_err(), "{wrong}");
        }
    }
}
