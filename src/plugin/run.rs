//! Running a chain over one event: once per (event, target), on a plugin thread, in as few visits as the others' turns permit.

use std::{
    borrow::Cow,
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use serde::Serialize;

use super::{
    Destination, Failure, PluginError, Plugins,
    books::{Account, Books, Ended},
    call::{CallLog, Emitted, Input, Verdict},
    chain::{Chain, OnError, Pins, Step},
    headers::checked,
    instances::Instances,
    journal::Call,
    secrets::Bound,
    version::Version,
};
use crate::event::Event;

/// A visit that took longer leaves the next step to another one: in between it is other tenants' turn.
const LONG_VISIT: Duration = Duration::from_millis(5);

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
    account: Arc<Account>,
    secrets: Arc<Bound>,
}

/// An event on its way through a chain: what the steps so far have left.
struct Way {
    books: Arc<Books>,
    event: Arc<Event>,
    to: Destination,
    steps: Vec<Ready>,
    done: usize,
    attributes: Vec<(String, String)>,
    last: Option<Emitted>,
    applied: Vec<Applied>,
}

impl Plugins {
    /// Runs a chain over an event; `pins` are the versions fixed at its commit.
    pub async fn render(&self, chain: &Chain, pins: Option<&Pins>, event: Arc<Event>, to: Destination) -> Rendered {
        let taking = chain.taking(&event.event_type);
        // Of another chain than the one that is set now: a part of them would be half of each.
        let pins = pins.filter(|pins| taking.iter().all(|(step, _)| pins.contains_key(&step.pin_key)));
        let mut steps = Vec::with_capacity(taking.len());
        for (step, current) in taking {
            match self.version_for(&step, current, pins).await {
                Ok(version) if version.patterns.match_any(&event.event_type) => {
                    let account = self.books.account(&event.tenant, &step.name);
                    let secrets = self.secrets.bound_to(&event.tenant, &step.name);
                    steps.push(Ready { step, version, account, secrets });
                }
                Ok(_) => {}
                Err(PluginError::Gone { .. }) if step.on_error == OnError::Pass => {}
                Err(PluginError::Gone { plugin, number }) => return gone(plugin, number),
                Err(error) => return Rendered::NotReady { reason: error.to_string() },
            }
        }
        if steps.is_empty() {
            return Rendered::Unchanged { applied: Vec::new() };
        }
        let tenant = event.tenant.clone();
        let mut way = Way {
            books: self.books.clone(),
            event,
            to,
            steps,
            done: 0,
            attributes: Vec::new(),
            last: None,
            applied: Vec::new(),
        };
        loop {
            let visit = move |instances: &mut Instances| {
                let rendered = way.visit(instances);
                (way, rendered)
            };
            match self.threads.run(&tenant, visit).await {
                Ok((_, Some(rendered))) => return rendered,
                Ok((left, None)) => way = left,
                Err(error) => return Rendered::NotReady { reason: error.to_string() },
            }
        }
    }

    async fn version_for(
        &self,
        step: &Step,
        current: Option<Arc<Version>>,
        pins: Option<&Pins>,
    ) -> Result<Arc<Version>, PluginError> {
        let plugin = self.plugin(&step.plugin).ok_or_else(|| PluginError::Unknown(step.name.clone()))?;
        let pinned = pins.and_then(|pins| pins.get(&step.pin_key)).copied();
        match (pinned, current) {
            (Some(number), Some(current)) if current.number == number => Ok(current),
            (Some(number), _) => self.version(&plugin, number).await,
            (None, Some(current)) => Ok(current),
            (None, None) if plugin.is_deleted() => Err(PluginError::Gone { plugin: step.name.clone(), number: 0 }),
            (None, None) => Err(PluginError::Unknown(step.name.clone())),
        }
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

impl Way {
    /// Goes on until the end of the chain; nothing where others are to have their turn first.
    fn visit(&mut self, instances: &mut Instances) -> Option<Rendered> {
        let began = Instant::now();
        while self.done < self.steps.len() {
            if let Some(rendered) = self.step(instances) {
                return Some(rendered);
            }
            self.done += 1;
            if self.done < self.steps.len() && began.elapsed() > LONG_VISIT {
                return None;
            }
        }
        let applied = mem::take(&mut self.applied);
        Some(match self.last.take() {
            Some(output) => Rendered::Emitted { output, applied },
            None => Rendered::Unchanged { applied },
        })
    }

    /// The next step; what it came to, where it is the last one.
    fn step(&mut self, instances: &mut Instances) -> Option<Rendered> {
        let Ready { step, version, .. } = &self.steps[self.done];
        let (plugin, number, on_error) = (version.plugin.clone(), version.number, step.on_error);
        let (called, took) = match self.call(instances) {
            Ok(called) => called,
            Err(error) => return Some(Rendered::NotReady { reason: error.to_string() }),
        };
        let verdict = match &called {
            Ok(Verdict::Pass) => "pass",
            Ok(Verdict::Emit(_)) => "emit",
            Ok(Verdict::Drop(_)) => "drop",
            Err(_) => "fail",
        };
        let microseconds = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.applied.push(Applied { plugin: plugin.clone(), version: number, verdict, microseconds });
        match called {
            Ok(Verdict::Pass) => None,
            Ok(Verdict::Emit(output)) => {
                self.attributes.extend(output.attributes.iter().cloned());
                self.last = Some(output);
                None
            }
            Ok(Verdict::Drop(reason)) => {
                let reason = reason.unwrap_or_else(|| "does not match".to_owned());
                Some(Rendered::Dropped { reason: format!("{plugin}: {reason}"), applied: mem::take(&mut self.applied) })
            }
            Err(_) if on_error == OnError::Pass => None,
            Err(failure) => {
                Some(Rendered::Failed { plugin, version: number, failure, applied: mem::take(&mut self.applied) })
            }
        }
    }

    /// The outer error is ours, the inner one the plugin's.
    fn call(&self, instances: &mut Instances) -> Result<(Result<Verdict, Failure>, Duration), PluginError> {
        let Ready { step, version, account, secrets } = &self.steps[self.done];
        let data = match self.last.as_ref().map_or(Ok(Cow::Borrowed(&*self.event.data)), json_text) {
            Ok(data) => data,
            Err(failure) => return Ok((Err(failure), Duration::ZERO)),
        };
        if let Err(failure) = account.admit(version.number) {
            return Ok((Err(failure), Duration::ZERO));
        }
        let input = input(&self.event, &data, &self.attributes);
        let began = Instant::now();
        let called = instances.with(&self.event.tenant, version, &step.config, secrets, |instance| {
            let called = instance.call(&self.to, &input);
            let (log, memory_bytes) = (instance.take_log(), instance.memory_bytes());
            let is_sound = !matches!(called, Err((_, false)));
            ((called, log, memory_bytes), is_sound)
        });
        let (called, fault, log, memory_bytes) = match called {
            Ok((Ok(Verdict::Emit(output)), log, bytes)) => {
                let scrub = |failure: Failure| Failure::new(failure.code, secrets.scrub(failure.message));
                (checked(output).map(Verdict::Emit).map_err(scrub), false, log, bytes)
            }
            Ok((Ok(verdict), log, bytes)) => (Ok(verdict), false, log, bytes),
            Ok((Err((failure, is_sound)), log, bytes)) => (Err(failure), !is_sound, log, bytes),
            // No instance could be made. That `configure` says no, in its own words, is no fault.
            Err(PluginError::Guest(failure)) => {
                let fault = failure.code != "config";
                (Err(failure), fault, CallLog::default(), 0)
            }
            Err(error) => return Err(error),
        };
        let took = began.elapsed();
        let ended = Ended {
            took,
            cpu: instances.lap(),
            memory_bytes,
            dropped: matches!(called, Ok(Verdict::Drop(_))),
            failure: called.as_ref().err(),
            fault,
            log,
        };
        let call = Call {
            tenant: &self.event.tenant,
            plugin: &step.name,
            version: version.number,
            event: Some(&self.event.id),
        };
        self.books.enter(account, call, ended);
        Ok((called, took))
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
