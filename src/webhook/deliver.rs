//! One delivery, from the job to its outcome: render, sign, POST, and say what becomes of it.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{
    Job, NodeId, Notice, Notices, RetrySchedule, Scheduler, Sender, Webhook, Webhooks,
    gate::{Consequence, Report},
    registry::Standing,
    retry_after::next_attempt_delay,
    sender::{Answer, Message},
};
use crate::{
    event::{
        DeliveryId, Event, TenantId, WebhookId, now_ms,
        payload::{Payload, PluginFailed},
        rfc3339_ms,
    },
    plugin::{Applied, Destination, Pins, Plugins, Rendered},
    store::{Again, Attempt, DeliveryRow, DeliveryState, Due, GateRow, Next, Outcome, Store, StoreError, StoredBody},
};

/// Until a delivery is tried again that could not be rendered for our own reasons.
const NOT_READY_MS: i64 = 1_000;
/// An outcome is written long before.
const SOON_MS: i64 = 1_000;
const NOTHING_BUT_FAILURES: &str = "nothing but failures for 5 days";

/// What all workers share.
pub struct Deliverer {
    pub store: Store,
    pub webhooks: Arc<Webhooks>,
    pub plugins: Arc<Plugins>,
    pub scheduler: Arc<Scheduler>,
    pub sender: Sender,
    pub schedule: RetrySchedule,
    pub notices: Notices,
    pub node: NodeId,
    /// Told when the table is to be looked into now.
    pub look: Notify,
}

/// What `POST /webhooks/{id}/test` answers.
#[derive(Debug)]
pub struct TestReport(pub Value);

/// Whether the body is stored with the first attempt. One that can be made again from the event alone need not be; what a
/// chain said must not be asked twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    Never,
    /// A chain ran and left the event as it was.
    ForRetries,
    Always,
}

/// A delivery that this node knows of, until its outcome is in the writer's hands or a panic has ended it.
struct Known<'a> {
    scheduler: &'a Scheduler,
    delivery: DeliveryId,
}

impl Drop for Known<'_> {
    fn drop(&mut self) {
        self.scheduler.forget(&self.delivery);
    }
}

/// A message to send, or why there is none.
enum Prepared {
    Send { message: Message, plugins: String, keep: Keep },
    Ended { state: DeliveryState, reason: String, plugins: String },
    Later { reason: String },
}

impl Deliverer {
    /// Takes a job to its outcome; `done` gives its slot back, after the POST and before the record.
    pub async fn deliver<D>(&self, job: Job, done: D) {
        let _known = Known { scheduler: &self.scheduler, delivery: job.id.clone() };
        let now = now_ms();
        let webhook = match self.webhooks.standing(job.webhook) {
            Standing::Live(webhook) if webhook.tenant == job.event.tenant => webhook,
            // Another program gave the id to another tenant's webhook: what the one before was owed is not for this one.
            Standing::Live(_) => {
                drop(done);
                let reason = Some("its webhook is another tenant's now".to_owned());
                let next = Next::End { state: DeliveryState::Cancelled, reason, plugins: None };
                return self.end(&job, None, None, next).await;
            }
            Standing::Waits => {
                drop(done);
                return self.end(&job, None, None, Next::Release { at_ms: now }).await;
            }
            Standing::Gone => {
                drop(done);
                let reason = Some("the webhook was deleted".to_owned());
                let next = Next::End { state: DeliveryState::Cancelled, reason, plugins: None };
                return self.end(&job, None, None, next).await;
            }
        };
        let (message, plugins, keep) = match self.prepare(&webhook, &job).await {
            Prepared::Send { message, plugins, keep } => (message, plugins, keep),
            Prepared::Ended { state, reason, plugins } => {
                drop(done);
                let next = Next::End { state, reason: Some(reason), plugins: Some(plugins) };
                return self.end(&job, None, None, next).await;
            }
            Prepared::Later { reason } => {
                drop(done);
                tracing::debug!(delivery.id = %job.id, "delivery {} waits: {reason}", job.id);
                return self.end(&job, None, None, Next::Release { at_ms: now + NOT_READY_MS }).await;
            }
        };
        let at = SystemTime::now();
        let headers = Sender::headers(&webhook, &job.id, &job.event.event_type, &message, at);
        let answer = self.sender.post(&webhook, headers, message.body.clone()).await;
        let report = report(&answer);
        // Before the slot is free: a probe's end decides whether another one may go.
        let (consequence, gate, put_back) = self.scheduler.report(job.webhook, report);
        drop(done);
        let next = self.next_of(&webhook, &job, &answer);
        let kept = keep == Keep::Always || (keep == Keep::ForRetries && !answer.delivered());
        let body = (kept && job.attempts == 0).then(|| StoredBody {
            content_type: message.content_type,
            headers: json!(message.headers).to_string(),
            body: message.body,
            plugins: plugins.clone(),
        });
        let gone = answer.status.is_some_and(|status| status.as_u16() == 410);
        let mut attempt = attempt(answer, plugins, now);
        if !webhook.chain.is_empty() {
            // A receiver may say again what a plugin sent it.
            let scrub = |body| self.plugins.scrub(&webhook.tenant, body);
            attempt.response_body = attempt.response_body.map(scrub);
        }
        self.end(&job, Some(attempt), body, next).await;
        self.put_back(put_back).await;
        if gone {
            self.disable(&webhook, "the receiver answered 410 Gone").await;
        } else {
            self.follow(&webhook, consequence, gate).await;
        }
    }

    /// What an attempt's result means for the whole webhook.
    async fn follow(&self, webhook: &Webhook, consequence: Consequence, gate: GateRow) {
        if consequence.disable {
            self.disable(webhook, NOTHING_BUT_FAILURES).await;
        }
        if consequence.changed
            && let Err(error) = self.store.put_gate(webhook.id, gate).await
        {
            tracing::warn!(webhook.id = %webhook.id, "the other nodes were not told how {} stands: {error}", webhook.id);
        }
    }

    /// Gives jobs of this node's memory back to the table, where they wait until their webhook may be sent to.
    pub async fn put_back(&self, jobs: Vec<Job>) {
        let at_ms = now_ms();
        for job in jobs {
            let due = Due::released(job.webhook, job.is_fresh, at_ms);
            let outcome = self.outcome(&job, None, None, Next::Release { at_ms });
            complain(self.store.record(outcome).await, &job);
            self.scheduler.forget(&job.id);
            self.note_claimable(due);
        }
    }

    /// What failed before says nothing about a webhook any more.
    pub async fn renew(&self, webhook: WebhookId) -> Result<(), StoreError> {
        self.scheduler.forget_gate(webhook);
        self.store.clear_gate(webhook).await
    }

    async fn prepare(&self, webhook: &Webhook, job: &Job) -> Prepared {
        if let Some(stored) = &job.body {
            let headers = serde_json::from_str(&stored.headers).unwrap_or_default();
            let message = Message { content_type: stored.content_type.clone(), headers, body: stored.body.clone() };
            return Prepared::Send { message, plugins: stored.plugins.clone(), keep: Keep::Always };
        }
        let event = &job.event;
        // No stored body after an attempt: the envelope was sent, whatever the chain is by now.
        if job.attempts > 0 || !webhook.chain.takes(&event.event_type) {
            return Prepared::Send { message: unchanged(event), plugins: "[]".to_owned(), keep: Keep::Never };
        }
        let pins: Option<Pins> = job.pins.as_deref().and_then(|pins| serde_json::from_str(pins).ok());
        let rendered = self.plugins.render(&webhook.chain, pins.as_ref(), event.clone(), destination(webhook)).await;
        let plugins = plugins_json(rendered.applied());
        match rendered {
            Rendered::Unchanged { .. } => {
                let keep = if rendered.applied().is_empty() { Keep::Never } else { Keep::ForRetries };
                Prepared::Send { message: unchanged(event), plugins, keep }
            }
            Rendered::Emitted { output, .. } => {
                let message = Message { content_type: output.content_type, headers: output.headers, body: output.body };
                Prepared::Send { message, plugins, keep: Keep::Always }
            }
            Rendered::Dropped { reason, .. } => Prepared::Ended { state: DeliveryState::Dropped, reason, plugins },
            Rendered::Failed { plugin, version, failure, .. } => {
                let reason = format!("{plugin} version {version}: {failure}");
                // News of a failure that fails in the same plugin makes no further news.
                if event.event_type.as_str() != PluginFailed::TYPE && !failure.is_rest() {
                    let target = format!("webhook {}", webhook.id);
                    let tenant = webhook.tenant.clone();
                    self.notify(Notice::PluginFailed { tenant, plugin, version, target, failure }).await;
                }
                Prepared::Ended { state: DeliveryState::PluginFailed, reason, plugins }
            }
            Rendered::NotReady { reason } => Prepared::Later { reason },
        }
    }

    fn next_of(&self, webhook: &Webhook, job: &Job, answer: &Answer) -> Next {
        if answer.delivered() {
            return Next::End { state: DeliveryState::Delivered, reason: None, plugins: None };
        }
        let status = answer.status.map(|status| status.as_u16());
        let said = answer.error.clone().or_else(|| status.map(|status| format!("answered {status}")));
        // Counted from the last retry by hand or replay: it has a schedule of its own.
        let counted = job.attempts.saturating_sub(job.retry_from);
        if status == Some(410) || counted >= webhook.retry_count {
            return Next::End { state: DeliveryState::Failed, reason: said, plugins: None };
        }
        let delay = self.schedule.delay(counted + 1, rand::random());
        let delay = next_attempt_delay(delay, asked_to_wait(answer));
        Next::Retry { at_ms: now_ms().saturating_add(millis(delay)) }
    }

    fn outcome(&self, job: &Job, attempt: Option<Attempt>, body: Option<StoredBody>, next: Next) -> Outcome {
        Outcome {
            delivery: job.id.clone(),
            webhook: job.webhook,
            event_id: job.event.id.clone(),
            event_type: job.event.event_type.clone(),
            node: self.node.clone(),
            order_key: job.order_key.clone(),
            attempts_before: job.attempts,
            attempt,
            body,
            next,
        }
    }

    async fn end(&self, job: &Job, attempt: Option<Attempt>, body: Option<StoredBody>, next: Next) {
        let due = match next {
            Next::Retry { at_ms } => Some(Due::released(job.webhook, false, at_ms)),
            Next::Release { at_ms } => Some(Due::released(job.webhook, job.is_fresh, at_ms)),
            // The next one of the key is due now, whatever it is.
            Next::End { .. } => job.order_key.as_ref().map(|_| Due::any(job.webhook, now_ms())),
        };
        let outcome = self.outcome(job, attempt, body, next);
        let recorded = match &due {
            // What is due soon can be claimed once it is written.
            Some(due) if due.is_by(now_ms() + SOON_MS) => self.store.record_and_wait(outcome).await,
            _ => self.store.record(outcome).await,
        };
        complain(recorded, job);
        if let Some(due) = due {
            self.note_claimable(due);
        }
    }

    async fn disable(&self, webhook: &Webhook, reason: &str) {
        match self.webhooks.disable(webhook.id, reason).await {
            Ok(true) => {
                let (tenant, webhook) = (webhook.tenant.clone(), webhook.id);
                self.notify(Notice::Disabled { tenant, webhook, reason: reason.to_owned() }).await;
            }
            Ok(false) => {}
            Err(error) => {
                tracing::error!(webhook.id = %webhook.id, "webhook {} could not be disabled: {error}", webhook.id);
            }
        }
    }

    /// Takes a delivery and delivers it past everything that waits.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], [`StoreError::InDoubt`].
    pub async fn deliver_again(self: &Arc<Self>, tenant: &TenantId, id: &DeliveryId) -> Result<Again, StoreError> {
        let (deliverer, tenant, id) = (self.clone(), tenant.clone(), id.clone());
        // In a task of its own: whoever asked may go away once it is taken, and nobody else would deliver it.
        let taken = tokio::spawn(async move {
            let is_new = deliverer.scheduler.expect(&id);
            let again = deliverer.store.take_again(&tenant, &id, &deliverer.node).await;
            match &again {
                Ok(Again::Held(row)) => {
                    let row = DeliveryRow::clone(row);
                    deliverer.scheduler.add(vec![Job { by_hand: true, ..Job::from(row) }]);
                }
                _ if is_new => deliverer.scheduler.forget(&id),
                // Under way here.
                _ => {}
            }
            again
        });
        taken.await.unwrap_or(Err(StoreError::Closed))
    }

    async fn notify(&self, notice: Notice) {
        // Closed only while the server stops.
        let _ = self.notices.send(notice).await;
    }

    /// Sends an event to one webhook now, through its chain, and tells everything; nothing is stored or retried.
    pub async fn test(&self, webhook: &Webhook, event: Arc<Event>) -> TestReport {
        let id = DeliveryId::generate();
        let job = Job::fresh(id, webhook.id, event, None);
        let (message, plugins) = match self.prepare(webhook, &job).await {
            Prepared::Send { message, plugins, .. } => (message, plugins),
            Prepared::Ended { state, reason, plugins } => {
                let plugins = serde_json::from_str::<Value>(&plugins).unwrap_or_default();
                let state = state.as_str();
                return TestReport(json!({"delivered": false, "state": state, "reason": reason, "plugins": plugins}));
            }
            Prepared::Later { reason } => {
                return TestReport(json!({"delivered": false, "state": "pending", "reason": reason}));
            }
        };
        let headers = Sender::headers(webhook, &job.id, &job.event.event_type, &message, SystemTime::now());
        let shown: serde_json::Map<String, Value> = headers
            .iter()
            .filter(|(name, _)| *name != http::header::AUTHORIZATION)
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()))
            .collect();
        let answer = self.sender.post(webhook, headers, message.body.clone()).await;
        let state = if answer.delivered() { DeliveryState::Delivered } else { DeliveryState::Failed };
        TestReport(json!({
            "delivered": answer.delivered(),
            "state": state.as_str(),
            "delivery_id": job.id.as_str(),
            "request": {
                "method": "POST",
                "url": webhook.url.as_str(),
                "headers": shown,
                "body": String::from_utf8_lossy(&message.body),
            },
            "response": answer.status.map(|status| json!({"status": status.as_u16(), "body": answer.body})),
            "error": answer.error,
            "duration_ms": u64::try_from(answer.took.as_millis()).unwrap_or(u64::MAX),
            "plugins": serde_json::from_str::<Value>(&plugins).unwrap_or_default(),
            "at": rfc3339_ms(now_ms()),
        }))
    }
}

/// Closed: the server stops. Sent but not recorded, so the next start sends it again.
fn complain(recorded: Result<(), StoreError>, job: &Job) {
    if recorded.is_err() {
        tracing::warn!(delivery.id = %job.id, "the outcome of delivery {} was not recorded", job.id);
    }
}

fn destination(webhook: &Webhook) -> Destination {
    Destination { kind: "webhook", id: webhook.id.to_string(), name: webhook.name.clone() }
}

fn unchanged(event: &Event) -> Message {
    Message { content_type: "application/json".to_owned(), headers: Vec::new(), body: event.envelope().into() }
}

fn plugins_json(applied: &[Applied]) -> String {
    serde_json::to_string(applied).unwrap_or_else(|_| "[]".to_owned())
}

/// What an answer means for the whole webhook.
fn report(answer: &Answer) -> Report {
    if answer.delivered() {
        return Report::Success;
    }
    match asked_to_wait(answer) {
        Some(wait) => Report::Pause { until_ms: now_ms().saturating_add(millis(wait)) },
        None => Report::Failure,
    }
}

/// What the receiver asks for, where that is to be followed.
fn asked_to_wait(answer: &Answer) -> Option<Duration> {
    let status = answer.status.map(|status| status.as_u16());
    answer.retry_after.filter(|_| matches!(status, Some(429 | 503)))
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn attempt(answer: Answer, plugins: String, at_ms: i64) -> Attempt {
    Attempt {
        succeeded: answer.delivered(),
        response_status: answer.status.map(|status| status.as_u16()),
        response_body: answer.body,
        error: answer.error,
        duration_ms: u64::try_from(answer.took.as_millis()).unwrap_or(u64::MAX),
        plugins,
        at_ms,
    }
}
