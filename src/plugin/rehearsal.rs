//! Rehearsing: what a version would answer. A fresh instance under the server's own limits, and nothing is sent, stored or
//! counted. The command line rehearses a file, the server a version that it holds.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Serialize, Serializer, ser::SerializeStruct};
use serde_json::{Value, json};

use super::{
    About, CallLog, Destination, Emitted, Failure, Limits, LogLine, PluginError, Verdict, headers::checked, run::input,
    secrets::Bound, version::Version,
};
use crate::event::Event;

/// What one event came to.
#[derive(Debug)]
pub struct Rehearsed {
    pub answer: Result<Verdict, Failure>,
    pub logs: CallLog,
    /// Of the call alone. The first one of an instance is the slowest.
    pub microseconds: u64,
    /// What the instance's memories held after the call.
    pub memory_bytes: usize,
}

/// Passes events through one fresh instance, in order, as a chain of this one step would. Where the plugin traps, the next
/// event gets another instance.
///
/// # Errors
/// [`PluginError::Guest`] with the code `config`: the plugin's own words about the configuration. [`PluginError::Busy`]
/// is ours.
pub fn rehearse(
    version: &Version,
    (config, secrets): (&str, &Arc<Bound>),
    to: &Destination,
    events: &[Event],
) -> Result<Vec<Rehearsed>, PluginError> {
    let mut instance = version.instantiate_with(config, secrets.clone())?;
    let mut rehearsed = Vec::with_capacity(events.len());
    for event in events {
        let started = Instant::now();
        let called = instance.call(to, &input(event, &event.data, &[]));
        let microseconds = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        let (logs, memory_bytes) = (instance.take_log(), instance.memory_bytes());
        let answer = match called {
            Ok(Verdict::Emit(output)) => checked(output).map(Verdict::Emit),
            Ok(verdict) => Ok(verdict),
            Err((failure, sound)) => {
                if !sound {
                    instance = version.instantiate_with(config, secrets.clone())?;
                }
                Err(failure)
            }
        };
        rehearsed.push(Rehearsed { answer, logs, microseconds, memory_bytes });
    }
    Ok(rehearsed)
}

/// A component on its own, loaded as a server loads it.
pub struct Rehearsal {
    version: Version,
    secrets: Arc<Bound>,
}

impl Rehearsal {
    /// Compiles a component and asks it what it is: as long as compiling takes.
    ///
    /// # Errors
    /// [`PluginError`], which says what to do about the component.
    pub fn load(wasm: &[u8], limits: Limits) -> Result<Self, PluginError> {
        Ok(Self { version: Version::here(wasm, limits)?, secrets: Arc::default() })
    }

    /// Lets the plugin read these values.
    #[must_use]
    pub fn with_secrets(self, values: BTreeMap<String, Arc<str>>) -> Self {
        Self { secrets: Arc::new(Bound::of(values)), ..self }
    }

    pub fn about(&self) -> &About {
        &self.version.about
    }

    /// Whether it only chooses.
    pub fn is_filter(&self) -> bool {
        !self.version.exports.iter().any(|name| name.starts_with("jackfield:plugin/transformer@"))
    }

    /// Whether the plugin's own patterns take events of this type: a chain skips it for others.
    pub fn understands(&self, event: &Event) -> bool {
        self.version.patterns.match_any(&event.event_type)
    }

    /// # Errors
    /// As [`rehearse`].
    pub fn run(&self, config: &str, to: &Destination, events: &[Event]) -> Result<Vec<Rehearsed>, PluginError> {
        rehearse(&self.version, (config, &self.secrets), to, events)
    }

    /// What a fresh, configured instance holds.
    ///
    /// # Errors
    /// As [`rehearse`].
    pub fn memory_bytes(&self, config: &str) -> Result<usize, PluginError> {
        Ok(self.version.instantiate(config)?.memory_bytes())
    }
}

impl Rehearsed {
    pub fn verdict(&self) -> &'static str {
        match &self.answer {
            Ok(Verdict::Emit(_)) => "emit",
            Ok(Verdict::Pass) => "pass",
            Ok(Verdict::Drop(_)) => "drop",
            Err(_) => "fail",
        }
    }
}

impl Rehearsed {
    /// Bytes that its answer and its log hold.
    pub fn size(&self) -> usize {
        let answer = match &self.answer {
            Ok(Verdict::Emit(output)) => output.size(),
            Ok(Verdict::Drop(reason)) => reason.as_ref().map_or(0, String::len),
            Ok(Verdict::Pass) => 0,
            Err(failure) => failure.code.len() + failure.message.len(),
        };
        answer + self.logs.lines.iter().map(|line| line.level.len() + line.message.len()).sum::<usize>()
    }
}

impl Serialize for Rehearsed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut shown = serializer.serialize_struct("Rehearsed", 7)?;
        shown.serialize_field("verdict", self.verdict())?;
        match &self.answer {
            Ok(Verdict::Emit(output)) => shown.serialize_field("output", &shown_output(output))?,
            Ok(Verdict::Drop(reason)) => shown.serialize_field("reason", reason)?,
            Ok(Verdict::Pass) => {}
            Err(failure) => {
                shown.serialize_field("failure", &json!({"code": failure.code, "message": failure.message}))?;
            }
        }
        let line = |LogLine { level, message }: &LogLine| json!({"level": level, "message": message});
        shown.serialize_field("logs", &self.logs.lines.iter().map(line).collect::<Vec<_>>())?;
        shown.serialize_field("logs_dropped", &self.logs.dropped)?;
        shown.serialize_field("microseconds", &self.microseconds)?;
        shown.serialize_field("memory_bytes", &self.memory_bytes)?;
        shown.end()
    }
}

/// A body that is no text is shown in base64.
fn shown_output(output: &Emitted) -> Value {
    let pairs = |pairs: &[(String, String)]| {
        pairs.iter().map(|(name, value)| json!({"key": name, "value": value})).collect::<Vec<_>>()
    };
    let (field, body) = match std::str::from_utf8(&output.body) {
        Ok(text) if output.is_text => ("body", text.to_owned()),
        _ => ("body_base64", STANDARD.encode(&output.body)),
    };
    json!({
        "content_type": output.content_type,
        "headers": pairs(&output.headers),
        field: body,
        "attributes": pairs(&output.attributes),
    })
}
