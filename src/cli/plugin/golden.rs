//! Golden cases in a component: the same files as the SDK runs natively, judged by the same code.

// Not a copy: one file says what a case is, for the SDK's runner and for this one.
#[path = "../../../plugins/sdk/src/golden/case.rs"]
mod case;

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};

pub use case::Envelope;
use case::{Case, To, differences};

use crate::{
    broadcaster::MAX_SOCKET_DATA_BYTES,
    event::{Event, EventId, EventType, Origin, SessionId, TenantId, UserId},
    plugin::{Destination, Emitted, PluginError, Rehearsal, Rehearsed, Verdict, socket_data},
};

/// How one case went.
pub struct Outcome {
    pub name: String,
    pub file: String,
    /// None: as written.
    pub differences: Vec<String>,
}

/// Runs each case of a folder, in a fresh instance each.
///
/// # Errors
/// A case cannot be read, or is none.
pub fn run(rehearsal: &Rehearsal, folder: &Path) -> Result<Vec<Outcome>> {
    let cases = case::read(folder).map_err(|why| anyhow!(why))?;
    cases.into_iter().map(|case| outcome(rehearsal, case)).collect()
}

/// What a plugin answers, and would be charged with, on its way to a destination.
///
/// # Errors
/// The plugin's words about its configuration, or what is ours.
pub fn rehearse(
    rehearsal: &Rehearsal,
    config: &str,
    to: &Destination,
    events: &[Event],
) -> Result<Vec<Rehearsed>, PluginError> {
    let mut rehearsed = rehearsal.run(config, to, events)?;
    for one in rehearsed.iter_mut().filter(|_| to.kind == "sockets") {
        let Ok(Verdict::Emit(output)) = &one.answer else { continue };
        if let Err(failure) = socket_data(output, MAX_SOCKET_DATA_BYTES) {
            one.answer = Err(failure);
        }
    }
    Ok(rehearsed)
}

fn outcome(rehearsal: &Rehearsal, case: Case) -> Result<Outcome> {
    let file = case.path.display().to_string();
    let to = destination(&case.to).with_context(|| file.clone())?;
    let event = event(&case.event).with_context(|| file.clone())?;
    let answer = match rehearse(rehearsal, case.config(), &to, &[event]) {
        Ok(rehearsed) => rehearsed.first().map_or(Value::Null, |rehearsed| answer(rehearsal, rehearsed)),
        Err(PluginError::Guest(failure)) if failure.code == "config" => json!({"configure_error": failure.message}),
        Err(PluginError::Guest(failure)) => json!({"failure": {"code": failure.code, "message": failure.message}}),
        Err(error) => return Err(error.into()),
    };
    Ok(Outcome { name: case.name, file, differences: differences(&case.expect, &answer) })
}

/// In the words of a case's `expect`.
fn answer(rehearsal: &Rehearsal, rehearsed: &Rehearsed) -> Value {
    match &rehearsed.answer {
        Ok(verdict) if rehearsal.is_filter() => json!({"matches": *verdict == Verdict::Pass}),
        Ok(Verdict::Pass) => json!({"verdict": "pass"}),
        Ok(Verdict::Drop(reason)) => json!({"verdict": "drop", "reason": reason}),
        Ok(Verdict::Emit(output)) => emitted(output),
        Err(failure) => json!({"failure": {"code": failure.code, "message": failure.message}}),
    }
}

/// `body` is to be compared as JSON, `text` byte for byte.
fn emitted(output: &Emitted) -> Value {
    let (body, text) = match std::str::from_utf8(&output.body) {
        Ok(text) if output.is_text => (serde_json::from_str(text).unwrap_or_else(|_| text.into()), text.into()),
        _ => (json!(output.body.to_vec()), Value::Null),
    };
    let headers = output.headers.iter().map(|(name, value)| (name.clone(), value.as_str().into()));
    json!({
        "verdict": "emit", "content_type": output.content_type, "body": body, "text": text,
        "headers": Value::Object(headers.collect()),
    })
}

/// Where the answer would go.
///
/// # Errors
/// No server knows such a kind.
fn destination(to: &To) -> Result<Destination> {
    let kind = match to.kind.as_str() {
        "webhook" => "webhook",
        "sockets" => "sockets",
        kind => bail!("`{kind}` is no kind of destination: webhook or sockets"),
    };
    Ok(Destination { kind, id: to.id.clone(), name: to.name.clone() })
}

/// An event as a plugin meets it.
///
/// # Errors
/// Names the field that no server would have taken.
pub fn event(envelope: &Envelope) -> Result<Event> {
    fn typed<T>(field: &str, text: &str, parse: impl FnOnce(&str) -> Result<T, &'static str>) -> Result<T> {
        parse(text).map_err(|why| anyhow!("{field} of the event: {why}"))
    }
    let optional = |text: &Option<String>| text.as_deref().map(Into::into);
    Ok(Event {
        id: typed("id", &envelope.id, EventId::parse)?,
        event_type: typed("type", &envelope.event_type, EventType::parse)?,
        tenant: typed("tenant_id", &envelope.tenant_id, TenantId::parse)?,
        timestamp_ms: i64::try_from(envelope.time_ms().map_err(|why| anyhow!(why))?)?,
        user: envelope.user_id.as_deref().map(|text| typed("user_id", text, UserId::parse)).transpose()?,
        session: envelope.session_id.as_deref().map(|text| typed("session_id", text, SessionId::parse)).transpose()?,
        key: optional(&envelope.key),
        source: optional(&envelope.source),
        data: envelope.data().into(),
        origin: Origin::Published,
    })
}
