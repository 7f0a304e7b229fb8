//! The part of the queue that is in memory: bounded, leased, and served in turns between tenants, then webhooks.
//!
//! A job comes in by hand-over from a publish, which reserves its place before the commit, or by a claim from the table.
//! There is room for some jobs of each webhook and for so many bytes in all; what does not fit stays in the table, and the
//! scheduler remembers only when each webhook has something to claim. Fresh work is served ahead of retries and replays,
//! which have every fifth turn. What a [`Gate`] holds back is neither claimed nor served; what somebody asked for by hand
//! passes it.

mod claims;
mod endpoint;
mod gates;
mod job;
mod memory;

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;

use super::gate::Gate;
use crate::{
    event::{DeliveryId, Event, TenantId, WebhookId, now_ms},
    turns::Turns,
};
use endpoint::{Endpoint, Pass};
use gates::Kept;
pub use job::Job;
use job::weight;
use memory::Share;

pub struct Scheduler {
    /// Never held over an await.
    state: Mutex<State>,
    limits: InFlight,
    /// A job may be taken.
    jobs: Notify,
    /// Something may have to be claimed.
    dues: Notify,
    /// Something may have to be released.
    timers: Notify,
}

/// Requests under way at most.
#[derive(Debug, Clone, Copy)]
pub struct InFlight {
    pub per_webhook: usize,
    /// Below what all workers can do: however many of its receivers hang, a tenant leaves some to the others.
    pub per_tenant: usize,
}

#[derive(Default)]
struct State {
    /// Each webhook that has a job and a free slot stands here once, under its tenant.
    ready: Turns<TenantId, WebhookId>,
    /// Or here, while its tenant has as many under way as it may have.
    parked: HashMap<TenantId, VecDeque<WebhookId>>,
    in_flight: HashMap<TenantId, usize>,
    /// All that this node has the lease of or is about to, until what became of it is in the writer's hands.
    known: HashSet<DeliveryId>,
    endpoints: HashMap<WebhookId, Endpoint>,
    /// Only of those of which there is something to say.
    gates: HashMap<WebhookId, Kept>,
    /// When jobs with release times may go.
    timers: BinaryHeap<Reverse<(i64, WebhookId)>>,
    queued: usize,
    queued_bytes: usize,
    /// Something is due and had no room, when so many jobs and bytes were held.
    claims_wait: Option<(usize, usize)>,
}

/// A place for one job, taken before the commit and filled after it.
pub struct Reservation {
    scheduler: Arc<Scheduler>,
    webhook: WebhookId,
    delivery: DeliveryId,
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
    pub fn new(limits: InFlight) -> Self {
        Self { state: Mutex::default(), limits, jobs: Notify::new(), dues: Notify::new(), timers: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place in memory for a delivery that is about to be committed; none when there is no room, when older fresh ones
    /// wait in the table, which come first, or when nothing is sent now.
    pub fn reserve(self: &Arc<Self>, webhook: WebhookId, event: &Event, delivery: &DeliveryId) -> Option<Reservation> {
        let weight = weight(event);
        let mut state = self.state();
        if state.pass(webhook, event.timestamp_ms) != Pass::All {
            return None;
        }
        let free = state.free();
        let endpoint = state.endpoints.entry(webhook).or_default();
        let share = free.share_of(endpoint);
        if endpoint.has_fresh_backlog(event.timestamp_ms)
            || !endpoint.has_fresh_room()
            || share.jobs == 0
            || share.bytes < weight
        {
            return None;
        }
        endpoint.reserved += 1;
        endpoint.bytes += weight;
        state.queued += 1;
        state.queued_bytes += weight;
        state.known.insert(delivery.clone());
        let (scheduler, delivery) = (self.clone(), delivery.clone());
        Some(Reservation { scheduler, webhook, delivery, weight, filled: false })
    }

    /// This node is about to take a delivery: its lease is not one that nobody knows of. False: it was known already.
    pub fn expect(&self, delivery: &DeliveryId) -> bool {
        self.state().known.insert(delivery.clone())
    }

    /// What became of a delivery is in the writer's hands.
    pub fn forget(&self, delivery: &DeliveryId) {
        self.state().known.remove(delivery);
    }

    /// Those of which this node knows nothing.
    pub fn unknown(&self, deliveries: Vec<DeliveryId>) -> Vec<DeliveryId> {
        let state = self.state();
        deliveries.into_iter().filter(|id| !state.known.contains(id)).collect()
    }

    /// Adds jobs that were claimed, or asked for by hand.
    pub fn add(&self, jobs: Vec<Job>) {
        let mut state = self.state();
        for job in jobs {
            let weight = job.weight();
            state.queued += 1;
            state.queued_bytes += weight;
            state.endpoints.entry(job.webhook).or_default().bytes += weight;
            state.known.insert(job.id.clone());
            state.push(job, self.limits);
        }
        drop(state);
        self.timers.notify_one();
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
        let now = now_ms();
        let (tenant, webhook, job) = loop {
            let (tenant, webhook) = state.ready.pop()?;
            if state.in_flight.get(&tenant).is_some_and(|count| *count >= self.limits.per_tenant) {
                // It stays marked as ready: the end of what is under way brings it back.
                state.parked.entry(tenant).or_default().push_back(webhook);
                continue;
            }
            let pass = state.pass(webhook, now);
            if let Some(endpoint) = state.endpoints.get_mut(&webhook) {
                endpoint.is_ready = false;
                if let Some(job) = endpoint.take(now, pass) {
                    endpoint.bytes -= job.weight();
                    break (tenant, webhook, job);
                }
            }
            // Nothing that may go now: a timer tells when, and its place is for the next one of the tenant.
            state.make_ready(&tenant, webhook, self.limits);
            state.unpark(&tenant);
        };
        state.queued -= 1;
        state.queued_bytes -= job.weight();
        *state.in_flight.entry(tenant.clone()).or_default() += 1;
        state.make_ready(&tenant, webhook, self.limits);
        let more = !state.ready.is_empty();
        let due = state.endpoints.get_mut(&webhook).is_some_and(Endpoint::has_just_made_room);
        let due = state.has_just_made_room() || due;
        drop(guard);
        if more {
            self.jobs.notify_one();
        }
        if due {
            self.dues.notify_one();
        }
        self.timers.notify_one();
        Some((job, Slot { scheduler: self.clone(), tenant, webhook }))
    }

    /// Lets jobs go whose release time has come. Runs for ever.
    pub async fn run_timers(&self) {
        loop {
            let set = self.timers.notified();
            let now = now_ms();
            let (next, woken) = {
                let mut guard = self.state();
                let state = &mut *guard;
                let mut woken = false;
                while let Some(Reverse((at_ms, webhook))) = state.timers.peek().copied() {
                    if at_ms > now {
                        break;
                    }
                    state.timers.pop();
                    if let Some(endpoint) = state.endpoints.get_mut(&webhook)
                        && endpoint.wakes_at_ms == Some(at_ms)
                    {
                        endpoint.wakes_at_ms = None;
                    }
                    if let Some(tenant) = state.endpoints.get(&webhook).and_then(Endpoint::tenant) {
                        woken |= state.make_ready(&tenant, webhook, self.limits);
                    }
                }
                (state.timers.peek().map(|Reverse((at_ms, _))| *at_ms), woken)
            };
            if woken {
                self.jobs.notify_one();
            }
            match next {
                None => set.await,
                Some(at_ms) => {
                    let _ = tokio::time::timeout(until(at_ms), set).await;
                }
            }
        }
    }

    /// Takes out what waits: for one webhook, but for what somebody asked for by hand, or all of it.
    pub fn drain(&self, webhook: Option<WebhookId>) -> Vec<Job> {
        let mut guard = self.state();
        let state = &mut *guard;
        let mut drained = Vec::new();
        for (id, endpoint) in &mut state.endpoints {
            if webhook.is_none_or(|webhook| webhook == *id) {
                drained.append(&mut endpoint.drain(webhook.is_none()));
            }
        }
        state.queued -= drained.len();
        state.queued_bytes -= drained.iter().map(Job::weight).sum::<usize>();
        drained
    }

    /// Lets a webhook's jobs in memory go, where nothing holds them any more.
    fn wake(&self, state: &mut State, webhook: WebhookId) {
        if let Some(tenant) = state.endpoints.get(&webhook).and_then(Endpoint::tenant)
            && state.make_ready(&tenant, webhook, self.limits)
        {
            self.jobs.notify_one();
        }
        self.timers.notify_one();
    }

    fn release(&self, reservation: &Reservation) {
        let mut state = self.state();
        state.queued -= 1;
        state.queued_bytes -= reservation.weight;
        state.known.remove(&reservation.delivery);
        if let Some(endpoint) = state.endpoints.get_mut(&reservation.webhook) {
            endpoint.reserved -= 1;
            endpoint.bytes -= reservation.weight;
        }
    }

    fn finish(&self, tenant: &TenantId, webhook: WebhookId) {
        let mut state = self.state();
        if let Some(endpoint) = state.endpoints.get_mut(&webhook) {
            endpoint.in_flight -= 1;
        }
        if let Some(count) = state.in_flight.get_mut(tenant) {
            *count -= 1;
            if *count == 0 {
                state.in_flight.remove(tenant);
            }
        }
        let mut ready = state.make_ready(tenant, webhook, self.limits);
        ready |= state.unpark(tenant);
        // A probe that has ended lets the next one be claimed.
        let claims = state.gates.contains_key(&webhook);
        let waits = !state.timers.is_empty();
        drop(state);
        // The one that has a slot now may have to wait for its time.
        if waits {
            self.timers.notify_one();
        }
        if ready {
            self.jobs.notify_one();
        }
        if claims {
            self.dues.notify_one();
        }
    }
}

fn pass_of(gates: &HashMap<WebhookId, Kept>, webhook: WebhookId, now: i64) -> Pass {
    gates.get(&webhook).map_or(Pass::All, |kept| gates::pass(&kept.gate, now))
}

fn until(at_ms: i64) -> Duration {
    Duration::from_millis(at_ms.saturating_sub(now_ms()).max(0).unsigned_abs())
}

impl State {
    fn gate(&self, webhook: WebhookId) -> Gate {
        self.gates.get(&webhook).map(|kept| kept.gate).unwrap_or_default()
    }

    fn pass(&self, webhook: WebhookId, now: i64) -> Pass {
        pass_of(&self.gates, webhook, now)
    }

    fn push(&mut self, job: Job, limits: InFlight) -> bool {
        let (webhook, tenant) = (job.webhook, job.event.tenant.clone());
        self.endpoints.entry(webhook).or_default().push(job);
        self.make_ready(&tenant, webhook, limits)
    }

    /// Brings a webhook of the tenant back into the ring that waited for a place of the tenant's.
    fn unpark(&mut self, tenant: &TenantId) -> bool {
        let Some(parked) = self.parked.get_mut(tenant) else { return false };
        let webhook = parked.pop_front();
        if parked.is_empty() {
            self.parked.remove(tenant);
        }
        webhook.map(|webhook| self.ready.push(tenant.clone(), webhook)).is_some()
    }

    /// Puts a webhook into the ring if it has a job that may go and a free slot, and is not there yet.
    fn make_ready(&mut self, tenant: &TenantId, webhook: WebhookId, limits: InFlight) -> bool {
        let now = now_ms();
        let pass = self.pass(webhook, now);
        let Some(endpoint) = self.endpoints.get_mut(&webhook) else { return false };
        if endpoint.is_ready || endpoint.in_flight >= limits.per_webhook {
            return false;
        }
        match endpoint.goes_at_ms(pass) {
            Some(at_ms) if at_ms <= now => {
                endpoint.is_ready = true;
                self.ready.push(tenant.clone(), webhook);
                true
            }
            Some(at_ms) => {
                if endpoint.wakes_at_ms.is_none_or(|wakes_at_ms| at_ms < wakes_at_ms) {
                    endpoint.wakes_at_ms = Some(at_ms);
                    self.timers.push(Reverse((at_ms, webhook)));
                }
                false
            }
            None => false,
        }
    }
}

impl Reservation {
    /// Hands the committed delivery over.
    pub fn fill(mut self, job: Job) {
        let mut state = self.scheduler.state();
        if let Some(endpoint) = state.endpoints.get_mut(&self.webhook) {
            endpoint.reserved -= 1;
        }
        let ready = state.push(job, self.scheduler.limits);
        drop(state);
        if ready {
            self.scheduler.jobs.notify_one();
        } else {
            // It may have to wait for its time.
            self.scheduler.timers.notify_one();
        }
        // The job has the place now.
        self.filled = true;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.filled {
            self.scheduler.release(self);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.scheduler.finish(&self.tenant, self.webhook);
    }
}

#[cfg(test)]
mod tests {
    use super::{
        memory::{MAX_QUEUED, MAX_QUEUED_BYTES},
        *,
    };
    use crate::event::{Draft, EventType, Origin};

    const LIMITS: InFlight = InFlight { per_webhook: 2, per_tenant: 3 };

    fn event(tenant: &str, bytes: usize) -> Arc<Event> {
        let event_type = EventType::parse("call.ended").unwrap();
        let data = format!("\"{}\"", "x".repeat(bytes));
        let draft = Draft::new(event_type, data);
        Arc::new(draft.receive(&TenantId::parse(tenant).unwrap(), now_ms(), Origin::Published))
    }

    fn job(webhook: i64, event: &Arc<Event>) -> Job {
        Job::fresh(DeliveryId::generate(), WebhookId(webhook), event.clone(), None)
    }

    #[test]
    fn slow_webhooks_with_large_events_leave_room_for_others() {
        let scheduler = Arc::new(Scheduler::new(LIMITS));
        let large = event("slow", 200_000);
        let mut held = Vec::new();
        for webhook in 1..=30 {
            let from = held.len();
            while let Some(place) = scheduler.reserve(WebhookId(webhook), &large, &DeliveryId::generate()) {
                held.push(place);
            }
            assert!(held.len() - from >= 2, "webhook {webhook} found room");
        }
        assert!(scheduler.state().queued_bytes <= 2 * MAX_QUEUED_BYTES);
        drop(held);
        assert_eq!(scheduler.state().queued_bytes, 0);
        assert!(scheduler.state().known.is_empty());
    }

    #[test]
    fn many_slow_webhooks_leave_room_for_others() {
        let scheduler = Arc::new(Scheduler::new(LIMITS));
        let small = event("slow", 10);
        let mut held = Vec::new();
        for webhook in 1..=60 {
            for _ in 0..MAX_QUEUED {
                held.extend(scheduler.reserve(WebhookId(webhook), &small, &DeliveryId::generate()));
            }
        }
        assert!(scheduler.reserve(WebhookId(61), &small, &DeliveryId::generate()).is_some());
        assert!(scheduler.has_room_for(WebhookId(61)));
    }

    #[test]
    fn a_tenant_whose_receivers_hang_leaves_places_to_others_and_goes_on_when_one_ends() {
        let scheduler = Arc::new(Scheduler::new(LIMITS));
        let (slow, other) = (event("slow", 10), event("other", 10));
        scheduler.add((1..=3).flat_map(|webhook| [job(webhook, &slow), job(webhook, &slow)]).collect());
        let mut under_way: Vec<_> = std::iter::from_fn(|| scheduler.take()).collect();
        assert_eq!(under_way.len(), 3, "its share");
        scheduler.add(vec![job(9, &other)]);
        let (taken, _slot) = scheduler.take().expect("the other's");
        assert_eq!(taken.webhook, WebhookId(9));
        for _ in 0..3 {
            assert!(scheduler.take().is_none());
            under_way.remove(0);
            under_way.push(scheduler.take().expect("one has ended"));
        }
        under_way.clear();
        assert!(scheduler.take().is_none());
        assert!(scheduler.state().in_flight.len() == 1 && scheduler.state().parked.is_empty());
    }

    #[test]
    fn a_webhook_that_waited_for_a_place_and_has_nothing_any_more_gives_it_to_the_next() {
        let scheduler = Arc::new(Scheduler::new(LIMITS));
        let slow = event("slow", 10);
        scheduler.add((1..=8).map(|webhook| job(webhook, &slow)).collect());
        let mut under_way: Vec<_> = std::iter::from_fn(|| scheduler.take()).collect();
        let waiting: Vec<_> = scheduler.state().parked.values().flatten().copied().collect();
        let (last, others) = waiting.split_last().expect("five wait");
        for webhook in others {
            assert_eq!(scheduler.drain(Some(*webhook)).len(), 1);
        }
        under_way.pop();
        let (taken, _slot) = scheduler.take().expect("the only one that is left");
        assert_eq!(taken.webhook, *last);
    }
}
