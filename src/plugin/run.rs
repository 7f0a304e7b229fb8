//! Running a chain over one event: once per (event, target), on a plugin thread, all steps in one visit.

use std::{borrow::Cow, sync::Arc, time::Instant};

use serde::Serialize;

use super::{
    Destination, Failure, PluginError, Plugins,
    call::{CallLog, Emitted, Input, LogLine, Verdict},
    chain::{Chain, OnError, Pins, Step},
    headers::checked,
    instances::Instances,
    stats::CallStats,
    version::Version,
};
use crate::event::{Event, TenantId};

/// What one step did: kept with each attempt, so that a tenant sees which version answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Applied {
    pub plugin: String,
    pub version: u32,
    pub verdict: &'static str,
    pub microseconds: u64,
}

/// What a chain made of an event.
#[derive(Debug)]
pub enum Rendered {
    /// Nobody emitted: the envelope goes as it is.
    Unchanged {
        applied: Vec<Applied>,
    },
    Emitted {
        output: Emitted,
        applied: Vec<Applied>,
    },
    Dropped {
        reason: String,
        applied: Vec<Applied>,
    },
    Failed {
        plugin: String,
        version: u32,
        failure: Failure,
        applied: Vec<Applied>,
    },
    /// Ours: a plugin is busy, not compiled, or gone. Try again later.
    NotReady {
        reason: String,
    },
}

/// A step with the version that this event goes through.
struct Ready {
    step: Arc<Step>,
    version: Arc<Version>,
    stats: Arc<CallStats>,
}

impl Plugins {
    /// Runs a chain over an event; `pins` are the versions fixed at its commit.
    pub async fn render(&self, chain: &Chain, pins: Option<&Pins>, event: Arc<Event>, to: Destination) -> Rendered {
        let taking = chain.taking(&event.event_type);
        // Of another chain than the one that is set now: a part of them would be half of each.
        let pins = pins.filter(|pins| taking.iter().all(|(step, _)| pins.contains_key(&step.pin_key)));
        let mut ready = Vec::with_capacity(taking.len());
        for (step, current) in taking {
            match self.version_for(&step, current, pins).await {
                Ok((version, stats)) if version.patterns.match_any(&event.event_type) => {
                    ready.push(Ready { step, version, stats });
                }
                Ok(_) => {}
                Err(PluginError::Gone { .. }) if step.on_error == OnError::Pass => {}
                Err(PluginError::Gone { plugin, number }) => return gone(plugin, number),
                Err(error) => return Rendered::NotReady { reason: error.to_string() },
            }
        }
        if ready.is_empty() {
            return Rendered::Unchanged { applied: Vec::new() };
        }
        let tenant = event.tenant.clone();
        match self.threads.run(&tenant, move |instances| run(instances, &ready, &event, &to)).await {
            Ok(rendered) => rendered,
            Err(error) => Rendered::NotReady { reason: error.to_string() },
        }
    }

    async fn version_for(
        &self,
        step: &Step,
        current: Option<Arc<Version>>,
        pins: Option<&Pins>,
    ) -> Result<(Arc<Version>, Arc<CallStats>), PluginError> {
        let plugin = self.plugin(&step.plugin).ok_or_else(|| PluginError::Unknown(step.plugin.to_string()))?;
        let pinned = pins.and_then(|pins| pins.get(&step.pin_key)).copied();
        let version = match (pinned, current) {
            (Some(number), Some(current)) if current.number == number => current,
            (Some(number), _) => self.version(&plugin, number).await?,
            (None, Some(current)) => current,
            (None, None) if plugin.is_deleted() => {
                return Err(PluginError::Gone { plugin: step.plugin.to_string(), number: 0 });
            }
            (None, None) => return Err(PluginError::Unknown(step.plugin.to_string())),
        };
        Ok((version, plugin.stats.clone()))
    }
}

/// The event cannot be rendered any more as it was to be, however long it waits.
fn gone(plugin: String, version: u32) -> Rendered {
    let message = match version {
        0 => "the plugin was deleted: upload it again or change the chain, then retry the delivery",
        _ => "this version, fixed when the event was taken, was deleted: retry the delivery to run the chain anew",
    };
    Rendered::Failed { plugin, version, failure: Failure::new("deleted", message), applied: Vec::new() }
}

fn run(instances: &mut Instances, steps: &[Ready], event: &Event, to: &Destination) -> Rendered {
    let mut applied = Vec::with_capacity(steps.len());
    let mut attributes = Vec::new();
    let mut last: Option<Emitted> = None;
    for Ready { step, version, stats } in steps {
        let outcome = match last.as_ref().map_or(Ok(Cow::Borrowed(&*event.data)), json_text) {
            Ok(data) => {
                let input = input(event, &data, &attributes);
                let started = Instant::now();
                let called = call(instances, &event.tenant, step, version, to, &input);
                let took = started.elapsed();
                stats.record(took, matches!(called, Ok(Err(_))));
                (called, took)
            }
            Err(failure) => (Ok(Err(failure)), std::time::Duration::ZERO),
        };
        let (called, took) = outcome;
        let done = |verdict| Applied {
            plugin: version.plugin.clone(),
            version: version.number,
            verdict,
            microseconds: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        };
        match called {
            Ok(Ok(Verdict::Pass)) => applied.push(done("pass")),
            Ok(Ok(Verdict::Emit(output))) => {
                applied.push(done("emit"));
                attributes.extend(output.attributes.iter().cloned());
                last = Some(output);
            }
            Ok(Ok(Verdict::Drop(reason))) => {
                applied.push(done("drop"));
                let reason = reason.unwrap_or_else(|| "does not match".to_owned());
                return Rendered::Dropped { reason: format!("{}: {reason}", version.plugin), applied };
            }
            Ok(Err(failure)) => {
                applied.push(done("fail"));
                if step.on_error == OnError::Fail {
                    let (plugin, version) = (version.plugin.clone(), version.number);
                    return Rendered::Failed { plugin, version, failure, applied };
                }
            }
            Err(error) => return Rendered::NotReady { reason: error.to_string() },
        }
    }
    match last {
        Some(output) => Rendered::Emitted { output, applied },
        None => Rendered::Unchanged { applied },
    }
}

/// The outer error is ours, the inner one the plugin's.
fn call(
    instances: &mut Instances,
    tenant: &TenantId,
    step: &Step,
    version: &Arc<Version>,
    to: &Destination,
    input: &Input,
) -> Result<Result<Verdict, Failure>, PluginError> {
    let called = instances.with(tenant, version, &step.config, |instance| {
        let called = instance.call(to, input);
        tell(&version.plugin, instance.take_log());
        match called {
            Ok(verdict) => (Ok(verdict), true),
            Err((failure, sound)) => (Err(failure), sound),
        }
    });
    match called {
        Ok(Ok(Verdict::Emit(output))) => Ok(checked(output).map(Verdict::Emit)),
        Ok(other) => Ok(other),
        Err(PluginError::Guest(failure)) => Ok(Err(failure)),
        Err(error) => Err(error),
    }
}

fn tell(plugin: &str, log: CallLog) {
    for LogLine { level, message } in log.lines {
        tracing::debug!(target: "jackfield::plugin::log", plugin, level, "{message}");
    }
    if log.dropped > 0 {
        tracing::debug!(target: "jackfield::plugin::log", plugin, dropped = log.dropped, "logged more than is kept");
    }
}

pub(super) fn input<'a>(event: &'a Event, data: &'a str, attributes: &'a [(String, String)]) -> Input<'a> {
    Input {
        id: event.id.as_str(),
        event_type: event.event_type.as_str(),
        tenant: event.tenant.as_str(),
        user: event.user.as_ref().map(|user| user.as_str()),
        session: event.session.as_ref().map(|session| session.as_str()),
        key: event.key.as_deref(),
        source: event.source.as_deref(),
        time_ms: event.timestamp_ms.max(0).unsigned_abs(),
        attributes,
        data,
    }
}

/// What a plugin emitted, as the next step's data.
fn json_text(output: &Emitted) -> Result<Cow<'_, str>, Failure> {
    let not_json = || {
        let message = "the step before emitted something that is not JSON text; only the last step may";
        Failure::new("not-json", message)
    };
    let text = std::str::from_utf8(&output.body).map_err(|_| not_json())?;
    if !output.is_text || serde_json::from_str::<serde::de::IgnoredAny>(text).is_err() {
        return Err(not_json());
    }
    Ok(Cow::Borrowed(text))
}

/// The body for a socket: JSON text that fits a frame.
///
/// # Errors
/// The failure that the plugin is charged with.
pub fn socket_data(output: &Emitted, max_bytes: usize) -> Result<&str, Failure> {
    if output.body.len() > max_bytes {
        let message = format!("{} bytes are too many for a frame: at most {max_bytes}", output.body.len());
        return Err(Failure::new("output-too-large", message));
    }
    match json_text(output) {
        Ok(Cow::Borrowed(text)) => Ok(text),
        _ => Err(Failure::new("not-json", "sockets take JSON text only")),
    }
}

impl Rendered {
    pub fn applied(&self) -> &[Applied] {
        match self {
            Self::Unchanged { applied }
            | Self::Emitted { applied, .. }
            | Self::Dropped { applied, .. }
            | Self::Failed { applied, .. } => applied,
            Self::NotReady { .. } => &[],
        }
    }
}
