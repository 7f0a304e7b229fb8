//! Brings what waits in the table into memory when it is due and there is room: retries, what a restart left, what did
//! not fit, and rows that came by SQL. Whatever holds a whole webhook back is read with it.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use super::{Deliverer, Job, registry::Standing};
use crate::{
    event::{WebhookId, now_ms},
    store::{Claim, Due, StoreError},
};

/// How often the table is asked what nobody told: rows written by other programs and nodes.
const LOOK_AGAIN: Duration = Duration::from_secs(3);
/// Pause after the database failed.
const PAUSE: Duration = Duration::from_secs(1);
/// What a deleted webhook was owed is looked for so long: another node may not have heard of it yet.
const CANCEL_FOR: Duration = Duration::from_secs(15);
/// Pieces that are cancelled before it is the others' turn.
const PIECES: usize = 20;

pub async fn run(deliverer: Arc<Deliverer>, stopping: CancellationToken) {
    let mut look_again = tokio::time::interval(LOOK_AGAIN);
    let mut cancelling = HashMap::new();
    loop {
        let result = tokio::select! {
            biased;
            () = stopping.cancelled() => return,
            _ = look_again.tick() => look(&deliverer, &mut cancelling).await,
            () = deliverer.look.notified() => look(&deliverer, &mut cancelling).await,
            () = deliverer.scheduler.due() => claim(&deliverer).await,
        };
        if let Err(error) = result {
            tracing::warn!("deliveries that wait could not be claimed: {error}");
            tokio::select! {
                () = stopping.cancelled() => return,
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }
}

/// Reads the webhooks, how they stand, and what is due.
async fn look(deliverer: &Deliverer, cancelling: &mut HashMap<WebhookId, Instant>) -> Result<(), StoreError> {
    deliverer.webhooks.refresh().await?;
    let turns = deliverer.webhooks.take_turns();
    cancelling.extend(turns.gone.into_iter().map(|webhook| (webhook, Instant::now() + CANCEL_FOR)));
    for webhook in turns.renewed {
        deliverer.renew(webhook).await?;
    }
    let held = deliverer.scheduler.take_gates(deliverer.store.gates().await?);
    deliverer.put_back(held).await;
    for due in deliverer.store.all_due().await? {
        deliverer.note_claimable(due);
    }
    for (webhook, until) in std::mem::take(cancelling) {
        if cancel(deliverer, webhook).await? || Instant::now() < until {
            cancelling.insert(webhook, until);
        }
    }
    Ok(())
}

/// Cancels some of what a deleted webhook was owed; true when there may be more.
async fn cancel(deliverer: &Deliverer, webhook: WebhookId) -> Result<bool, StoreError> {
    for _ in 0..PIECES {
        if !deliverer.store.cancel_some_of(webhook).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn claim(deliverer: &Deliverer) -> Result<(), StoreError> {
    let mut failed = Ok(());
    for (webhook, room) in deliverer.scheduler.take_dues() {
        let Standing::Live(live) = deliverer.webhooks.standing(webhook) else { continue };
        // What was claimed before may have filled the memory; a failure fails the rest too. Both stay due.
        let due_still = || {
            let now = now_ms();
            Due { webhook, fresh_ms: (room.fresh > 0).then_some(now), rest_ms: (room.rest > 0).then_some(now) }
        };
        if failed.is_err() || !deliverer.scheduler.has_claim_room() {
            deliverer.note_claimable(due_still());
            continue;
        }
        let wanted = Claim {
            webhook,
            node: deliverer.node.clone(),
            fresh: room.fresh,
            rest: room.rest,
            rate_limit: live.rate_limit,
        };
        match deliverer.store.claim(wanted).await {
            Ok((rows, due)) => {
                deliverer.scheduler.add(rows.into_iter().map(Job::from).collect());
                deliverer.note_claimable(due);
            }
            Err(error) => {
                deliverer.note_claimable(due_still());
                failed = Err(error);
            }
        }
    }
    failed
}

impl Deliverer {
    /// What a webhook that is switched off was owed waits until it is switched on; what a deleted one was owed is
    /// cancelled.
    pub fn note_claimable(&self, due: Due) {
        if matches!(self.webhooks.standing(due.webhook), Standing::Live(_)) {
            self.scheduler.note_due(due);
        }
    }
}
