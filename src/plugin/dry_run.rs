//! Dry runs: what a version would make of events, beside what another version makes of them. Nothing is sent, stored or
//! counted, and events that are on their way do not wait for it.

use std::sync::Arc;

use serde::Serialize;

use super::{
    Destination, Failure, PluginError, PluginName, Plugins,
    registry::Plugin,
    rehearsal::{Rehearsed, rehearse},
    secrets::Bound,
    version::Version,
};
use crate::event::{Event, TenantId};

/// Events that one turn takes: then whoever else waits for a dry run comes.
const EVENTS_A_TURN: usize = 10;
/// What the answer shows of outputs and logs, bytes; events after that are left out, and it says so.
const MAX_SHOWN_BYTES: usize = 4 << 20;

/// What is asked.
pub struct DryRun {
    /// The candidate; the active one when it is not named.
    pub version: Option<u32>,
    /// What it is compared with; the active one, when that is another than the candidate.
    pub against: Option<u32>,
    /// JSON text.
    pub config: Arc<str>,
    pub to: Destination,
    pub events: Vec<Event>,
}

/// What one version said of the configuration, and of each event.
type Answers = Result<Vec<Option<Rehearsed>>, Failure>;

#[derive(Debug, Serialize)]
pub struct DryRunReport {
    pub plugin: String,
    pub version: u32,
    /// None: there was nothing to compare with.
    pub against: Option<u32>,
    /// Why there is no comparison: what the other version says of the configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against_error: Option<String>,
    pub data: Vec<DryRunEvent>,
    pub summary: Summary,
}

#[derive(Debug, Serialize)]
pub struct DryRunEvent {
    pub event_id: String,
    #[serde(rename = "type")]
    pub event_type: String,
    #[serde(flatten)]
    pub answer: Shown,
    /// What the other version made of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against: Option<Shown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<Change>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Shown {
    Called(Box<Rehearsed>),
    /// The plugin's own patterns do not take the event, so a chain would skip it.
    Skipped {
        verdict: &'static str,
        reason: &'static str,
    },
}

/// What becomes of an event when the candidate takes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    Same,
    /// Both let it through, with another output.
    Changed,
    /// It is no longer delivered.
    Dropped,
    /// It was dropped before.
    Delivered,
    /// It fails now.
    Failed,
    /// It failed before.
    Mended,
}

#[derive(Debug, Default, Serialize)]
pub struct Summary {
    pub events: usize,
    /// Events that are not shown, for the answer was long enough.
    pub left_out: usize,
    pub same: usize,
    pub changed: usize,
    pub dropped: usize,
    pub delivered: usize,
    pub failed: usize,
    pub mended: usize,
    pub cost: Cost,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against_cost: Option<Cost>,
}

/// Over the events that a version was called for.
#[derive(Debug, Default, Serialize)]
pub struct Cost {
    pub median_microseconds: u64,
    pub max_microseconds: u64,
    pub max_memory_bytes: usize,
}

impl Plugins {
    /// Rehearses a version of a plugin that the tenant may use.
    ///
    /// # Errors
    /// [`PluginError::Unknown`] and [`PluginError::Gone`]: no such plugin, or version. [`PluginError::Guest`] with the code
    /// `config`: the candidate's words about the configuration.
    pub async fn dry_run(
        &self,
        tenant: &TenantId,
        name: &PluginName,
        asked: DryRun,
    ) -> Result<DryRunReport, PluginError> {
        let DryRun { version, against, config, to, events } = asked;
        let unknown = || PluginError::Unknown(name.to_string());
        let plugin = self.find(&name.of(tenant)).await?.ok_or_else(unknown)?;
        let active = plugin.active.load_full();
        let candidate = match version {
            Some(number) => self.version(&plugin, number).await?,
            None => active.clone().ok_or_else(unknown)?,
        };
        let against = match against {
            Some(number) => Some(self.version(&plugin, number).await?),
            None => active.filter(|active| active.number != candidate.number),
        };
        let events: Arc<[Event]> = events.into();
        let secrets = self.secrets.bound_to(tenant, &name.to_string());
        let settings = (config, secrets);
        let answers = self.answers(&candidate, &settings, &to, &events).await?;
        let answers = answers.map_err(PluginError::Guest)?;
        let other = match &against {
            Some(version) => Some(self.answers(version, &settings, &to, &events).await?),
            None => None,
        };
        Ok(report(&plugin, &candidate, against.as_deref(), &events, answers, other))
    }

    /// On a thread that no event waits for, a few events a turn.
    async fn answers(
        &self,
        version: &Arc<Version>,
        settings: &(Arc<str>, Arc<Bound>),
        to: &Destination,
        events: &Arc<[Event]>,
    ) -> Result<Answers, PluginError> {
        let mut answers = Vec::with_capacity(events.len());
        // Once at least: a configuration is tried without events too.
        for start in (0..events.len().max(1)).step_by(EVENTS_A_TURN) {
            // Closed never.
            let _turn = self.dry_runs.acquire().await.map_err(|_| PluginError::Busy)?;
            let (version, settings, to, events) = (version.clone(), settings.clone(), to.clone(), events.clone());
            let turn = tokio::task::spawn_blocking(move || {
                let turn = &events[start..events.len().min(start + EVENTS_A_TURN)];
                rehearse_understood(&version, &settings, &to, turn)
            });
            match turn.await {
                Ok(Ok(these)) => answers.extend(these),
                Ok(Err(PluginError::Guest(failure))) => return Ok(Err(failure)),
                Ok(Err(error)) => return Err(error),
                Err(error) => return Err(PluginError::Engine(format!("the dry run ended badly: {error}"))),
            }
        }
        Ok(Ok(answers))
    }
}

fn rehearse_understood(
    version: &Version,
    (config, secrets): &(Arc<str>, Arc<Bound>),
    to: &Destination,
    events: &[Event],
) -> Result<Vec<Option<Rehearsed>>, PluginError> {
    let understands = |event: &&Event| version.patterns.match_any(&event.event_type);
    let understood: Vec<Event> = events.iter().filter(understands).cloned().collect();
    let mut rehearsed = rehearse(version, (config, secrets), to, &understood)?.into_iter();
    Ok(events.iter().map(|event| if understands(&event) { rehearsed.next() } else { None }).collect())
}

fn report(
    plugin: &Plugin,
    candidate: &Version,
    against: Option<&Version>,
    events: &[Event],
    answers: Vec<Option<Rehearsed>>,
    other: Option<Answers>,
) -> DryRunReport {
    let (other, against_error) = match other {
        None => (None, None),
        Some(Ok(answers)) => (Some(answers), None),
        Some(Err(failure)) => (None, Some(failure.message)),
    };
    let mut summary = Summary {
        events: events.len(),
        cost: Cost::of(&answers),
        against_cost: other.as_ref().map(|other| Cost::of(other)),
        ..Summary::default()
    };
    let mut room = MAX_SHOWN_BYTES;
    let mut data = Vec::with_capacity(events.len());
    let mut other = other.map(Vec::into_iter);
    for (event, answer) in events.iter().zip(answers) {
        let before = other.as_mut().and_then(Iterator::next);
        let change = before.as_ref().map(|before| change(before.as_ref(), answer.as_ref()));
        summary.count(change);
        let bytes = [answer.as_ref(), before.as_ref().and_then(Option::as_ref)];
        let bytes: usize = bytes.into_iter().flatten().map(Rehearsed::size).sum();
        if bytes > room {
            room = 0;
            summary.left_out += 1;
            continue;
        }
        room -= bytes;
        data.push(DryRunEvent {
            event_id: event.id.to_string(),
            event_type: event.event_type.to_string(),
            answer: answer.into(),
            against: before.map(Shown::from),
            change,
        });
    }
    let (plugin, version) = (plugin.id.to_string(), candidate.number);
    DryRunReport { plugin, version, against: against.map(|version| version.number), against_error, data, summary }
}

fn change(before: Option<&Rehearsed>, now: Option<&Rehearsed>) -> Change {
    let verdict = |it: Option<&Rehearsed>| it.map_or("pass", Rehearsed::verdict);
    match (verdict(before), verdict(now)) {
        ("fail", "fail") => Change::Same,
        ("fail", _) => Change::Mended,
        (_, "fail") => Change::Failed,
        ("drop", "drop") => Change::Same,
        ("drop", _) => Change::Delivered,
        (_, "drop") => Change::Dropped,
        ("pass", "pass") => Change::Same,
        _ if before.map(|it| &it.answer) == now.map(|it| &it.answer) => Change::Same,
        _ => Change::Changed,
    }
}

impl Summary {
    fn count(&mut self, change: Option<Change>) {
        match change {
            None => {}
            Some(Change::Same) => self.same += 1,
            Some(Change::Changed) => self.changed += 1,
            Some(Change::Dropped) => self.dropped += 1,
            Some(Change::Delivered) => self.delivered += 1,
            Some(Change::Failed) => self.failed += 1,
            Some(Change::Mended) => self.mended += 1,
        }
    }
}

impl Cost {
    fn of(answers: &[Option<Rehearsed>]) -> Self {
        let called = || answers.iter().flatten();
        let mut times: Vec<u64> = called().map(|it| it.microseconds).collect();
        times.sort_unstable();
        Self {
            median_microseconds: times.get(times.len() / 2).copied().unwrap_or_default(),
            max_microseconds: times.last().copied().unwrap_or_default(),
            max_memory_bytes: called().map(|it| it.memory_bytes).max().unwrap_or_default(),
        }
    }
}

impl From<Option<Rehearsed>> for Shown {
    fn from(answer: Option<Rehearsed>) -> Self {
        match answer {
            Some(called) => Self::Called(Box::new(called)),
            None => Self::Skipped { verdict: "skip", reason: "the plugin's own patterns do not take this type" },
        }
    }
}
