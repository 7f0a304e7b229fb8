//! Delivering again what a webhook got, or did not get, in some time: a job in the table, which one node drives at its rate
//! and another goes on with. What is replayed waits behind fresh work and retries.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{Deliverer, Webhook, registry::Standing};
use crate::{
    event::{Fields, Invalid, Pattern, Patterns, WebhookId, now_ms, parse_rfc3339_ms, rfc3339_ms},
    store::{DeliveryState, Due, ReplayFilter, ReplayRow, StoreError},
};

const TICK: Duration = Duration::from_millis(250);
/// How often the table is asked for jobs that nobody drives.
const LOOK: Duration = Duration::from_secs(1);
/// Deliveries a second.
const DEFAULT_RATE: u32 = 100;
const MAX_RATE: u32 = 1_000;
const STATES: [DeliveryState; 4] =
    [DeliveryState::Delivered, DeliveryState::Failed, DeliveryState::Dropped, DeliveryState::PluginFailed];
const DEAD: [DeliveryState; 2] = [DeliveryState::Failed, DeliveryState::PluginFailed];

/// What a tenant asks for.
#[derive(Debug)]
pub struct Replay {
    since_ms: i64,
    until_ms: i64,
    states: Vec<DeliveryState>,
    event_types: Patterns,
    rate: u32,
    pub dry_run: bool,
}

/// All dead deliveries until now.
impl Default for Replay {
    fn default() -> Self {
        Self {
            since_ms: 0,
            // What comes after the job was asked for is not part of it.
            until_ms: now_ms().saturating_add(1),
            states: DEAD.to_vec(),
            event_types: Patterns::all(),
            rate: DEFAULT_RATE,
            dry_run: false,
        }
    }
}

impl Replay {
    /// Reads the fields of a request: without any, it is the default.
    ///
    /// # Errors
    /// Every field at fault.
    pub fn parse(mut fields: Fields) -> Result<Self, Invalid> {
        let since = fields.text("since", parse_rfc3339_ms);
        let until = fields.text("until", parse_rfc3339_ms);
        if let (Some(since), Some(until)) = (since, until)
            && until <= since
        {
            fields.fault("until", "must be later than `since`");
        }
        let states = states(&mut fields);
        let texts = fields.optional::<Vec<String>>("event_types", "a list of patterns");
        let event_types = match texts.map(|texts| Patterns::parse(texts.iter().map(String::as_str))) {
            None => Patterns::all(),
            Some(Ok(patterns)) if patterns.is_empty() => {
                fields.fault("event_types", "must name at least one pattern; leave it out for all types");
                patterns
            }
            Some(Ok(patterns)) => patterns,
            Some(Err(message)) => {
                fields.fault("event_types", message);
                Patterns::all()
            }
        };
        let rate = fields.number("rate", 1..=MAX_RATE.into()).and_then(|rate| rate.try_into().ok());
        let dry_run = fields.optional("dry_run", "true or false").unwrap_or(false);
        fields.finish()?;
        let default = Self::default();
        Ok(Self {
            since_ms: since.unwrap_or(default.since_ms),
            until_ms: until.unwrap_or(i64::MAX).min(default.until_ms),
            states,
            event_types,
            rate: rate.unwrap_or(default.rate),
            dry_run,
        })
    }

    pub fn filter(&self, webhook: WebhookId) -> ReplayFilter {
        let states = self.states.iter().map(|state| state.as_str().to_owned()).collect();
        filter(webhook, self.since_ms, self.until_ms, states, &self.event_types)
    }

    /// The job to be stored.
    pub fn into_job(self, webhook: &Webhook, matches: i64) -> ReplayRow {
        let states: Vec<&str> = self.states.iter().map(|state| state.as_str()).collect();
        ReplayRow {
            id: format!("rpl_{}", ulid::Ulid::generate().to_string().to_lowercase()),
            tenant: webhook.tenant.to_string(),
            webhook: webhook.id,
            state: "running".to_owned(),
            since_ms: self.since_ms,
            until_ms: self.until_ms,
            states: json!(states).to_string(),
            event_types: json!(self.event_types.texts()).to_string(),
            rate: self.rate,
            matches,
            done: 0,
            last_id: String::new(),
            created_ms: now_ms(),
            ended_ms: None,
        }
    }
}

/// A job as the API shows it.
pub fn replay_view(job: &ReplayRow) -> Value {
    let list = |json: &str| serde_json::from_str::<Value>(json).unwrap_or_default();
    json!({
        "id": job.id,
        "webhook_id": job.webhook,
        "state": job.state,
        "matches": job.matches,
        "done": job.done,
        "since": rfc3339_ms(job.since_ms),
        "until": rfc3339_ms(job.until_ms),
        "states": list(&job.states),
        "event_types": list(&job.event_types),
        "rate": job.rate,
        "created_at": rfc3339_ms(job.created_ms),
        "ended_at": job.ended_ms.map(rfc3339_ms),
    })
}

/// One state, or a list of them.
fn states(fields: &mut Fields) -> Vec<DeliveryState> {
    let Some(raw) = fields.raw("state") else { return DEAD.to_vec() };
    let texts = match serde_json::from_str::<String>(raw.get()) {
        Ok(text) => vec![text],
        Err(_) => serde_json::from_str::<Vec<String>>(raw.get()).unwrap_or_default(),
    };
    let known = |text: &String| STATES.into_iter().find(|state| state.as_str() == text);
    match texts.iter().map(known).collect::<Option<Vec<_>>>() {
        Some(states) if !states.is_empty() => states,
        _ => {
            let known = STATES.map(|state| format!("`{}`", state.as_str())).join(", ");
            fields.fault("state", format!("must be one of {known}, or a list of them"));
            Vec::new()
        }
    }
}

fn filter(webhook: WebhookId, since_ms: i64, until_ms: i64, states: Vec<String>, types: &Patterns) -> ReplayFilter {
    let (mut exact, mut below, mut all_types) = (Vec::new(), Vec::new(), false);
    for pattern in types.iter() {
        match pattern {
            Pattern::All => all_types = true,
            Pattern::Below(prefix) => below.push(prefix.clone()),
            Pattern::Exact(event_type) => exact.push(event_type.to_string()),
        }
    }
    ReplayFilter { webhook, since_ms, until_ms, states, exact, below, all_types }
}

fn filter_of(job: &ReplayRow) -> Option<ReplayFilter> {
    let states = serde_json::from_str(&job.states).ok()?;
    let types: Vec<String> = serde_json::from_str(&job.event_types).ok()?;
    let types = Patterns::parse(types.iter().map(String::as_str)).ok()?;
    Some(filter(job.webhook, job.since_ms, job.until_ms, states, &types))
}

/// Drives the jobs that this node has leased.
pub async fn run(deliverer: Arc<Deliverer>, stopping: CancellationToken) {
    let (mut tick, mut look) = (tokio::time::interval(TICK), tokio::time::interval(LOOK));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut driven: HashMap<String, Driven> = HashMap::new();
    loop {
        let result = tokio::select! {
            biased;
            () = stopping.cancelled() => return,
            _ = look.tick() => take(&deliverer, &mut driven).await,
            _ = tick.tick(), if !driven.is_empty() => drive(&deliverer, &mut driven).await,
        };
        if let Err(error) = result {
            tracing::warn!("a replay waits: {error}");
        }
    }
}

/// A job with what it may move yet.
struct Driven {
    job: ReplayRow,
    budget: f64,
    since: Instant,
}

async fn take(deliverer: &Deliverer, driven: &mut HashMap<String, Driven>) -> Result<(), StoreError> {
    let known = driven.keys().cloned().collect();
    for job in deliverer.store.take_replays(&deliverer.node, known).await? {
        driven.insert(job.id.clone(), Driven { job, budget: 1.0, since: Instant::now() });
    }
    Ok(())
}

/// A job that could not be moved is forgotten: the next look takes it from the place that the table has.
async fn drive(deliverer: &Deliverer, driven: &mut HashMap<String, Driven>) -> Result<(), StoreError> {
    let mut failed = Ok(());
    for (id, mut job) in std::mem::take(driven) {
        match job.drive(deliverer).await {
            Ok(true) => {
                driven.insert(id, job);
            }
            Ok(false) => {}
            Err(error) => failed = Err(error),
        }
    }
    failed
}

impl Driven {
    /// Moves as much as its rate permits by now; false when this node has nothing more to do with it.
    async fn drive(&mut self, deliverer: &Deliverer) -> Result<bool, StoreError> {
        let rate = f64::from(self.job.rate);
        // What could not be moved in time is not caught up with.
        self.budget = (self.budget + rate * self.since.elapsed().as_secs_f64()).min(rate.max(1.0));
        self.since = Instant::now();
        let is_gone = matches!(deliverer.webhooks.standing(self.job.webhook), Standing::Gone);
        let Some(filter) = filter_of(&self.job).filter(|_| !is_gone) else {
            // Its webhook is gone, or another program made of it what is no replay.
            deliverer.store.cancel_replay(self.job.clone(), &deliverer.node).await?;
            return Ok(false);
        };
        let limit = self.budget as usize;
        if limit == 0 {
            return Ok(true);
        }
        let moved = deliverer.store.replay_some(self.job.clone(), filter, &deliverer.node, limit).await?;
        let Some(job) = moved else { return Ok(false) };
        self.budget -= (job.done - self.job.done) as f64;
        self.job = job;
        deliverer.note_claimable(Due::released(self.job.webhook, false, now_ms()));
        Ok(self.job.ended_ms.is_none())
    }
}
