//! {{name}}: announces an incoming call as a line of text. The configuration is `{"prefix": "Call from "}`.

use jackfield_plugin::{Destination, Event, Failure, Transform, Verdict};
use serde::{Deserialize, Serialize};

/// The step's configuration. A field that is not here is refused, by name.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    prefix: String,
}

impl Default for Config {
    fn default() -> Self {
        Self { prefix: "Incoming call from ".to_owned() }
    }
}

/// What it reads of an event's `data`.
#[derive(Deserialize)]
struct Call {
    caller: String,
}

/// What it sends instead.
#[derive(Serialize)]
struct Message {
    text: String,
}

pub struct Announce(Config);

impl Transform for Announce {
    type Config = Config;
    const NAME: Option<&'static str> = Some("{{name}}");
    /// What it understands; a chain skips it for others.
    const EVENTS: &'static [&'static str] = &["call.*"];

    /// Runs once. An error refuses the configuration, and the tenant reads it.
    fn new(config: Config) -> Result<Self, String> {
        Ok(Self(config))
    }

    /// A failure fails this one event.
    fn transform(&self, event: &Event, _to: &Destination) -> Result<Verdict, Failure> {
        let call: Call = event.data()?;
        if call.caller == "anonymous" {
            return Ok(Verdict::drop("anonymous caller"));
        }
        Verdict::emit_json(&Message { text: format!("{}{}", self.0.prefix, call.caller) })
    }
}

jackfield_plugin::export!(transform: Announce);
