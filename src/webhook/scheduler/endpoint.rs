//! One webhook's jobs in memory, and when the table has more for it.

use std::collections::VecDeque;

use super::{Job, Share};
use crate::{event::TenantId, store::Due};

/// Jobs of one webhook in memory: fresh ones, and retries with replays.
const MAX_FRESH: usize = 1_000;
const MAX_REST: usize = 250;
/// Rows of one claim: bounds the bytes that it may bring.
const MAX_CLAIM: usize = 200;
/// Fresh jobs that are served before it is the others' turn.
const FRESH_TURNS: u32 = 4;
const US_PER_MS: i64 = 1_000;

/// How much a claim may bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    pub fresh: usize,
    pub rest: usize,
    /// Of data and stored bodies.
    pub bytes: usize,
}

/// What a gate lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pass {
    All,
    /// One at a time.
    Probe,
    /// Only what somebody asked for, until then.
    ByHand {
        until_ms: i64,
    },
}

#[derive(Default)]
pub(super) struct Endpoint {
    by_hand: VecDeque<Job>,
    fresh: VecDeque<Job>,
    rest: VecDeque<Job>,
    fresh_served: u32,
    pub reserved: usize,
    /// Of all that is held or reserved.
    pub bytes: usize,
    pub in_flight: usize,
    /// When the rate limit lets the next one go, whatever its release time, in microseconds since the epoch: what a full
    /// house held up comes one by one.
    next_release_us: i64,
    pub is_ready: bool,
    /// A timer is set for then.
    pub wakes_at_ms: Option<i64>,
    /// When the table has something for it.
    fresh_due_ms: Option<i64>,
    rest_due_ms: Option<i64>,
}

impl Endpoint {
    pub fn push(&mut self, job: Job) {
        if job.by_hand {
            self.by_hand.push_back(job);
        } else if job.is_fresh || job.release_at_ms > 0 {
            // Release times were given in order, whatever the jobs are.
            self.fresh.push_back(job);
        } else {
            self.rest.push_back(job);
        }
    }

    /// The next job that may go now.
    pub fn take(&mut self, now: i64, pass: Pass) -> Option<Job> {
        let job = self.pop(now, pass)?;
        self.in_flight += 1;
        Some(job)
    }

    fn pop(&mut self, now: i64, pass: Pass) -> Option<Job> {
        if let Some(job) = self.by_hand.pop_front() {
            return Some(job);
        }
        if !self.lets_through(pass) {
            return None;
        }
        let turn_of_rest = self.fresh_served >= FRESH_TURNS || self.fresh_goes_at_ms().is_none_or(|at_ms| at_ms > now);
        if turn_of_rest && let Some(job) = self.rest.pop_front() {
            self.fresh_served = 0;
            return Some(job);
        }
        if self.fresh_goes_at_ms()? > now {
            return None;
        }
        self.fresh_served += 1;
        let job = self.fresh.pop_front()?;
        if job.release_at_ms > 0 {
            self.next_release_us = self.next_release_us.max(now * US_PER_MS) + job.release_gap_us;
        }
        Some(job)
    }

    fn fresh_goes_at_ms(&self) -> Option<i64> {
        let job = self.fresh.front()?;
        let is_limited = job.release_at_ms > 0;
        Some(if is_limited { job.release_at_ms.max(self.next_release_us / US_PER_MS) } else { 0 })
    }

    fn lets_through(&self, pass: Pass) -> bool {
        match pass {
            Pass::All => true,
            Pass::Probe => self.in_flight == 0,
            Pass::ByHand { .. } => false,
        }
    }

    /// When the next job may go.
    pub fn goes_at_ms(&self, pass: Pass) -> Option<i64> {
        if !self.by_hand.is_empty() {
            return Some(0);
        }
        let next_ms = if self.rest.is_empty() { self.fresh_goes_at_ms() } else { Some(0) };
        match pass {
            // The end of what is under way tells.
            Pass::Probe if self.in_flight > 0 => None,
            Pass::ByHand { until_ms } => next_ms.map(|next_ms| next_ms.max(until_ms)),
            _ => next_ms,
        }
    }

    pub fn tenant(&self) -> Option<TenantId> {
        let mut jobs = self.by_hand.iter().chain(&self.fresh).chain(&self.rest);
        jobs.next().map(|job| job.event.tenant.clone())
    }

    pub fn drain(&mut self, also_by_hand: bool) -> Vec<Job> {
        let mut drained: Vec<Job> = self.fresh.drain(..).chain(self.rest.drain(..)).collect();
        if also_by_hand {
            drained.extend(self.by_hand.drain(..));
        }
        self.bytes -= drained.iter().map(Job::weight).sum::<usize>();
        drained
    }

    pub fn note(&mut self, due: Due) {
        let earlier = |known: Option<i64>, new: Option<i64>| [known, new].into_iter().flatten().min();
        self.fresh_due_ms = earlier(self.fresh_due_ms, due.fresh_ms);
        self.rest_due_ms = earlier(self.rest_due_ms, due.rest_ms);
    }

    pub fn jobs(&self) -> usize {
        self.by_hand.len() + self.fresh.len() + self.rest.len() + self.reserved
    }

    pub fn has_fresh_room(&self) -> bool {
        self.fresh.len() + self.reserved < MAX_FRESH
    }

    pub fn has_fresh_backlog(&self, now: i64) -> bool {
        self.fresh_due_ms.is_some_and(|due| due <= now)
    }

    /// Room for claims, once half of each queue is free: claims of a few at a time would cost more than they bring. A
    /// webhook that is probed has room for one of either kind, while nothing is under way.
    fn room(&self, probed: bool) -> (usize, usize) {
        if probed {
            let idle = self.in_flight == 0 && self.reserved == 0 && self.fresh.is_empty() && self.rest.is_empty();
            return (usize::from(idle), usize::from(idle));
        }
        let room = |max: usize, used: usize| {
            let room = max.saturating_sub(used);
            if room * 2 >= max { room.min(MAX_CLAIM) } else { 0 }
        };
        (room(MAX_FRESH, self.fresh.len() + self.reserved), room(MAX_REST, self.rest.len()))
    }

    /// The claim to make now, if there is something due and room for it.
    pub fn take_due(&mut self, now: i64, share: Share, probed: bool) -> Option<Room> {
        let (fresh_room, rest_room) = self.room(probed);
        let is_due = |due_ms: Option<i64>| due_ms.is_some_and(|due| due <= now);
        let rest = if is_due(self.rest_due_ms) { rest_room.min(share.jobs) } else { 0 };
        // Fresh ones do not wait for retries that may be hours away.
        let is_probe_found = probed && rest > 0;
        let fresh = if is_due(self.fresh_due_ms) && !is_probe_found { fresh_room.min(share.jobs - rest) } else { 0 };
        if fresh + rest == 0 {
            return None;
        }
        // The claim tells when the next ones are, of both kinds.
        (self.fresh_due_ms, self.rest_due_ms) = (None, None);
        Some(Room { fresh, rest, bytes: share.bytes })
    }

    /// When the next claim may be made.
    pub fn next_claim_ms(&self, probed: bool) -> Option<i64> {
        let (fresh_room, rest_room) = self.room(probed);
        let fresh = self.fresh_due_ms.filter(|_| fresh_room > 0);
        let rest = self.rest_due_ms.filter(|_| rest_room > 0);
        [fresh, rest].into_iter().flatten().min()
    }

    /// Whether there is something to claim, and the job that was taken made room for it.
    pub fn has_just_made_room(&mut self) -> bool {
        let fresh = MAX_FRESH.saturating_sub(self.fresh.len() + self.reserved);
        let rest = MAX_REST.saturating_sub(self.rest.len());
        let fresh = self.fresh_due_ms.is_some() && (fresh * 2 == MAX_FRESH || self.fresh.is_empty());
        let rest = self.rest_due_ms.is_some() && (rest * 2 == MAX_REST || self.rest.is_empty());
        fresh || rest
    }

    pub fn is_idle(&self, now: i64) -> bool {
        let empty = self.by_hand.is_empty() && self.fresh.is_empty() && self.rest.is_empty();
        let nothing_due = self.fresh_due_ms.is_none() && self.rest_due_ms.is_none();
        let is_free = self.next_release_us <= now * US_PER_MS;
        empty && nothing_due && is_free && !self.is_ready && self.reserved == 0 && self.in_flight == 0
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn share(jobs: usize) -> Share {
        Share { jobs, bytes: 1, spare_jobs: 0, spare_bytes: 0 }
    }
    use crate::event::{DeliveryId, Draft, EventType, Origin, WebhookId};

    fn job(release_at_ms: i64, release_gap_us: i64) -> Job {
        let event_type = EventType::parse("call.ended").expect("a type");
        let tenant = TenantId::parse("acme").expect("a tenant");
        let event = Draft::new(event_type, "null").receive(&tenant, 0, Origin::Published);
        let job = Job::fresh(DeliveryId::generate(), WebhookId(1), Arc::new(event), None);
        Job { release_at_ms, release_gap_us, ..job }
    }

    #[test]
    fn a_probe_is_found_among_what_is_due_and_retries_that_are_far_off_hide_nothing() {
        let mut endpoint = Endpoint::default();
        endpoint.note(Due { webhook: WebhookId(1), fresh_ms: Some(10), rest_ms: Some(3_600_000) });
        assert_eq!(endpoint.next_claim_ms(true), Some(10));
        assert_eq!(endpoint.take_due(20, share(100), true), Some(Room { fresh: 1, rest: 0, bytes: 1 }));
        endpoint.note(Due { webhook: WebhookId(1), fresh_ms: Some(10), rest_ms: Some(15) });
        assert_eq!(
            endpoint.take_due(20, share(100), true),
            Some(Room { fresh: 0, rest: 1, bytes: 1 }),
            "one at a time"
        );
    }

    proptest::proptest! {
        #[test]
        fn no_second_has_more_than_the_limit_however_long_slots_are_taken(
            rate in 1_u32..300, stalls_ms in proptest::collection::vec(0..900_i64, 1..12),
        ) {
            let gap_us = i64::from(1_000_000_u32.div_ceil(rate));
            let mut endpoint = Endpoint::default();
            let count = 2 * rate as usize + 5;
            for n in 0..count as i64 {
                endpoint.push(job(1_000 + (n * gap_us + 999) / 1_000, gap_us));
            }
            let (mut now, mut sent) = (1_000, Vec::new());
            while sent.len() < count {
                // Nobody may take one for a while, and then as many as go.
                now += stalls_ms[sent.len() % stalls_ms.len()];
                while endpoint.take(now, Pass::All).is_some() {
                    sent.push(now);
                }
                now = endpoint.goes_at_ms(Pass::All).map_or(now, |at_ms| at_ms.max(now));
            }
            for window in sent.windows(rate as usize + 1) {
                proptest::prop_assert!(window[rate as usize] - window[0] >= 1_000, "{:?}", sent);
            }
        }
    }
}
