//! The claims of the scheduler's webhooks: what the table has for each, when, and how much of it there is room for.

use super::{
    Scheduler,
    endpoint::{Endpoint, Pass, Room},
    pass_of, until,
};
use crate::{
    event::{WebhookId, now_ms},
    store::Due,
};

impl Scheduler {
    /// The table has something for a webhook.
    pub fn note_due(&self, due: Due) {
        if due.fresh_ms.is_none() && due.rest_ms.is_none() {
            return;
        }
        self.state().endpoints.entry(due.webhook).or_default().note(due);
        self.dues.notify_one();
    }

    /// What is due, may be sent and has room, and how much of it; each is taken as seen until it is noted again.
    pub fn take_dues(&self) -> Vec<(WebhookId, Room)> {
        let now = now_ms();
        let mut guard = self.state();
        let state = &mut *guard;
        let mut free = state.free();
        let mut dues = Vec::new();
        for (webhook, endpoint) in &mut state.endpoints {
            let pass = pass_of(&state.gates, *webhook, now);
            let share = free.share_of(endpoint);
            if matches!(pass, Pass::ByHand { .. }) || share.is_nothing() {
                continue;
            }
            if let Some(claim) = endpoint.take_due(now, share, pass == Pass::Probe) {
                let jobs = claim.fresh + claim.rest;
                (free.jobs, free.spare_jobs) = (free.jobs.saturating_sub(jobs), free.spare_jobs.saturating_sub(jobs));
                dues.push((*webhook, claim));
            }
        }
        state.endpoints.retain(|_, endpoint| !endpoint.is_idle(now));
        dues
    }

    /// What a webhook may claim of now, where claims before it have filled the memory.
    pub fn has_room_for(&self, webhook: WebhookId) -> bool {
        let state = self.state();
        let nothing_held = Endpoint::default();
        !state.free().share_of(state.endpoints.get(&webhook).unwrap_or(&nothing_held)).is_nothing()
    }

    /// Waits until something is due that has room, or may be.
    pub async fn due(&self) {
        let noted = self.dues.notified();
        let soonest = {
            let mut guard = self.state();
            let state = &mut *guard;
            let now = now_ms();
            let (free, gates) = (state.free(), &state.gates);
            let mut waits = false;
            let of = |(webhook, endpoint): (&WebhookId, &Endpoint)| {
                let pass = pass_of(gates, *webhook, now);
                let due_ms = endpoint.next_claim_ms(pass == Pass::Probe)?;
                if free.share_of(endpoint).is_nothing() {
                    waits = true;
                    return None;
                }
                Some(if let Pass::ByHand { until_ms } = pass { due_ms.max(until_ms) } else { due_ms })
            };
            let soonest = state.endpoints.iter().filter_map(of).min();
            state.claims_wait = waits.then_some((state.queued, state.queued_bytes));
            soonest
        };
        match soonest {
            None => noted.await,
            Some(at_ms) => {
                let _ = tokio::time::timeout(until(at_ms), noted).await;
            }
        }
    }
}
