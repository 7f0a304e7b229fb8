//! The part of the queue that is in memory: bounded, leased, and served in turns between tenants, then webhooks.
//!
//! A job comes in by hand-over from a publish, which reserves its place before the commit, or by a claim from the table.
//! There is room for some jobs of each webhook and for so many bytes in all; what does not fit stays in the table, and the
//! scheduler remembers only when each webhook has something to claim.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;

use crate::{
    event::{DeliveryId, Event, TenantId, WebhookId, now_ms},
    store::{DeliveryRow, StoredBody},
    turns::Turns,
};

/// Jobs of one webhook in memory.
const MAX_QUEUED_PER_WEBHOOK: usize = 1_000;
/// Jobs in memory, and bytes of their events.
const MAX_QUEUED: usize = 20_000;
const MAX_QUEUED_BYTES: usize = 64 << 20;
/// Rows of one claim: bounds the bytes that it may bring.
const MAX_CLAIM: usize = 200;
/// What an event weighs besides its data.
const EVENT_OVERHEAD_BYTES: usize = 512;

/// One delivery that this node holds the lease of.
#[derive(Debug, Clone)]
pub struct Job {
    pub id: DeliveryId,
    pub webhook: WebhookId,
    pub event: Arc<Event>,
    pub attempts: u32,
    pub pins: Option<Arc<str>>,
    pub body: Option<StoredBody>,
}

impl From<DeliveryRow> for Job {
    fn from(row: DeliveryRow) -> Self {
        Self {
            id: row.id,
            webhook: row.webhook,
            event: Arc::new(row.event),
            attempts: row.attempts,
            pins: row.pins.map(Into::into),
            body: row.body,
        }
    }
}

impl Job {
    fn weight(&self) -> usize {
        weight(&self.event) + self.body.as_ref().map_or(0, |body| body.body.len())
    }
}

fn weight(event: &Event) -> usize {
    event.data.len() + EVENT_OVERHEAD_BYTES
}

pub struct Scheduler {
    /// Never held over an await.
    state: Mutex<State>,
    max_in_flight_per_webhook: usize,
    /// A job may be taken.
    jobs: Notify,
    /// Something may have to be claimed.
    dues: Notify,
}

#[derive(Default)]
struct State {
    /// Each webhook that has a job and a free slot stands here once, under its tenant.
    ready: Turns<TenantId, WebhookId>,
    endpoints: HashMap<WebhookId, Endpoint>,
    queued: usize,
    queued_bytes: usize,
    /// Something is due, but memory is full.
    claims_wait: bool,
}

#[derive(Default)]
struct Endpoint {
    jobs: std::collections::VecDeque<Job>,
    reserved: usize,
    in_flight: usize,
    is_ready: bool,
    /// When the table has something for it.
    due_ms: Option<i64>,
}

/// A place for one job, taken before the commit and filled after it.
pub struct Reservation {
    scheduler: Arc<Scheduler>,
    webhook: WebhookId,
    weight: usize,
    filled: bool,
}

/// A job under way: gives its slot back when dropped.
pub struct Slot {
    scheduler: Arc<Scheduler>,
    tenant: TenantId,
    webhook: WebhookId,
}

impl Scheduler {
    pub fn new(max_in_flight_per_webhook: usize) -> Self {
        Self { state: Mutex::default(), max_in_flight_per_webhook, jobs: Notify::new(), dues: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place in memory for a delivery that is about to be committed; none when there is no room, or when older ones
    /// wait in the table, which come first.
    pub fn reserve(self: &Arc<Self>, webhook: WebhookId, event: &Event) -> Option<Reservation> {
        let weight = weight(event);
        let mut state = self.state();
        let full = state.queued >= MAX_QUEUED || state.queued_bytes + weight > MAX_QUEUED_BYTES;
        let endpoint = state.endpoints.entry(webhook).or_default();
        let backlog = endpoint.due_ms.is_some_and(|due| due <= event.timestamp_ms);
        if full || backlog || endpoint.jobs.len() + endpoint.reserved >= MAX_QUEUED_PER_WEBHOOK {
            return None;
        }
        endpoint.reserved += 1;
        state.queued += 1;
        state.queued_bytes += weight;
        Some(Reservation { scheduler: self.clone(), webhook, weight, filled: false })
    }

    /// Adds jobs that were claimed.
    pub fn add(&self, jobs: Vec<Job>) {
        let mut state = self.state();
        for job in jobs {
            state.queued += 1;
            state.queued_bytes += job.weight();
            state.push(job, self.max_in_flight_per_webhook);
        }
        drop(state);
        self.jobs.notify_waiters();
        self.jobs.notify_one();
    }

    /// The next job in turn. Waits for one.
    pub async fn next(self: &Arc<Self>) -> (Job, Slot) {
        loop {
            // Registered before looking, so that no wake-up is lost in between.
            let woken = self.jobs.notified();
            if let Some(taken) = self.take() {
                return taken;
            }
            woken.await;
        }
    }

    fn take(self: &Arc<Self>) -> Option<(Job, Slot)> {
        let mut guard = self.state();
        let state = &mut *guard;
        let (tenant, webhook) = state.ready.pop()?;
        let endpoint = state.endpoints.get_mut(&webhook)?;
        endpoint.is_ready = false;
        let job = endpoint.jobs.pop_front()?;
        endpoint.in_flight += 1;
        state.queued -= 1;
        state.queued_bytes -= job.weight();
        state.make_ready(&tenant, webhook, self.max_in_flight_per_webhook);
        let more = !state.ready.is_empty();
        let due = state.endpoints.get(&webhook).is_some_and(Endpoint::has_just_made_room);
        let due = state.has_just_made_room() || due;
        drop(guard);
        if more {
            self.jobs.notify_one();
        }
        if due {
            self.dues.notify_one();
        }
        Some((job, Slot { scheduler: self.clone(), tenant, webhook }))
    }

    /// The table has something for a webhook at this time.
    pub fn note_due(&self, webhook: WebhookId, at_ms: i64) {
        let mut state = self.state();
        let due = &mut state.endpoints.entry(webhook).or_default().due_ms;
        *due = Some(due.map_or(at_ms, |earlier| earlier.min(at_ms)));
        drop(state);
        self.dues.notify_one();
    }

    /// What is due and has room, and how much of it; each is taken as seen until it is noted again.
    pub fn take_dues(&self) -> Vec<(WebhookId, usize)> {
        let now = now_ms();
        let mut guard = self.state();
        let state = &mut *guard;
        let mut room = state.claim_room();
        let mut dues = Vec::new();
        for (webhook, endpoint) in &mut state.endpoints {
            let own_room = endpoint.claim_room().min(MAX_CLAIM).min(room);
            if own_room > 0 && endpoint.due_ms.is_some_and(|due| due <= now) {
                endpoint.due_ms = None;
                room -= own_room;
                dues.push((*webhook, own_room));
            }
        }
        state.endpoints.retain(|_, endpoint| !endpoint.is_idle());
        dues
    }

    pub fn has_claim_room(&self) -> bool {
        self.state().claim_room() > 0
    }

    /// Waits until something is due that has room, or may be.
    pub async fn due(&self) {
        let noted = self.dues.notified();
        let soonest = {
            let mut state = self.state();
            state.claims_wait = state.claim_room() == 0;
            let wait = state.claims_wait;
            let roomy = state.endpoints.values().filter(|endpoint| !wait && endpoint.claim_room() > 0);
            roomy.filter_map(|endpoint| endpoint.due_ms).min()
        };
        match soonest {
            None => noted.await,
            Some(at_ms) => {
                let wait = Duration::from_millis(at_ms.saturating_sub(now_ms()).max(0).unsigned_abs());
                let _ = tokio::time::timeout(wait, noted).await;
            }
        }
    }

    fn release(&self, webhook: WebhookId, weight: usize) {
        let mut state = self.state();
        state.queued -= 1;
        state.queued_bytes -= weight;
        if let Some(endpoint) = state.endpoints.get_mut(&webhook) {
            endpoint.reserved -= 1;
        }
    }

    fn finish(&self, tenant: &TenantId, webhook: WebhookId) {
        let mut state = self.state();
        if let Some(endpoint) = state.endpoints.get_mut(&webhook) {
            endpoint.in_flight -= 1;
        }
        let ready = state.make_ready(tenant, webhook, self.max_in_flight_per_webhook);
        drop(state);
        if ready {
            self.jobs.notify_one();
        }
    }
}

impl State {
    /// Room for claims in all, once half of the memory is free.
    fn claim_room(&self) -> usize {
        if self.queued_bytes * 2 > MAX_QUEUED_BYTES || self.queued * 2 > MAX_QUEUED {
            return 0;
        }
        MAX_QUEUED - self.queued
    }

    /// True once, when claims that had to wait for memory may go on.
    fn has_just_made_room(&mut self) -> bool {
        let room = self.claims_wait && self.claim_room() > 0;
        if room {
            self.claims_wait = false;
        }
        room
    }

    fn push(&mut self, job: Job, max_in_flight: usize) -> bool {
        let (webhook, tenant) = (job.webhook, job.event.tenant.clone());
        self.endpoints.entry(webhook).or_default().jobs.push_back(job);
        self.make_ready(&tenant, webhook, max_in_flight)
    }

    /// Puts a webhook into the ring if it has a job and a free slot and is not there yet.
    fn make_ready(&mut self, tenant: &TenantId, webhook: WebhookId, max_in_flight: usize) -> bool {
        let Some(endpoint) = self.endpoints.get_mut(&webhook) else { return false };
        let ready = !endpoint.is_ready && !endpoint.jobs.is_empty() && endpoint.in_flight < max_in_flight;
        if ready {
            endpoint.is_ready = true;
            self.ready.push(tenant.clone(), webhook);
        }
        ready
    }
}

impl Endpoint {
    /// Room for a claim, once half of the queue is free: claims of a few at a time would cost more than they bring.
    fn claim_room(&self) -> usize {
        let room = MAX_QUEUED_PER_WEBHOOK.saturating_sub(self.jobs.len() + self.reserved);
        if room * 2 >= MAX_QUEUED_PER_WEBHOOK { room } else { 0 }
    }

    /// Whether there is something to claim, and this job was the one that made room for a claim.
    fn has_just_made_room(&self) -> bool {
        let room = MAX_QUEUED_PER_WEBHOOK.saturating_sub(self.jobs.len() + self.reserved);
        self.due_ms.is_some() && (room * 2 == MAX_QUEUED_PER_WEBHOOK || self.jobs.is_empty())
    }

    fn is_idle(&self) -> bool {
        self.jobs.is_empty() && self.reserved == 0 && self.in_flight == 0 && self.due_ms.is_none()
    }
}

impl Reservation {
    /// Hands the committed delivery over.
    pub fn fill(mut self, job: Job) {
        let mut state = self.scheduler.state();
        if let Some(endpoint) = state.endpoints.get_mut(&self.webhook) {
            endpoint.reserved -= 1;
        }
        let ready = state.push(job, self.scheduler.max_in_flight_per_webhook);
        drop(state);
        if ready {
            self.scheduler.jobs.notify_one();
        }
        // The job has the place now.
        self.filled = true;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.filled {
            self.scheduler.release(self.webhook, self.weight);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.scheduler.finish(&self.tenant, self.webhook);
    }
}
