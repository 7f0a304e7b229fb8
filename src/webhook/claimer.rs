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
/// How often leases are looked for of which nobody knows.
const GIVE_BACK_EVERY: Duration = Duration::from_secs(60);
/// Pieces that are cancelled before it is the others' turn.
const PIECES: usize = 20;

pub async fn run(deliverer: Arc<Deliverer>, stopping: CancellationToken) {
    let mut look_again = tokio::time::interval(LOOK_AGAIN);
    let mut known = Known::default();
    let mut give_back_every = tokio::time::interval(GIVE_BACK_EVERY);
    loop {
        let result = tokio::select! {
            biased;
            () = stopping.cancelled() => return,
            () = deliverer.store.in_doubt() => give_back(&deliverer).await,
            _ = give_back_every.tick() => give_back(&deliverer).await,
            _ = look_again.tick() => look(&deliverer, &mut known).await,
            () = deliverer.look.notified() => look(&deliverer, &mut known).await,
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

/// What has come to webhooks and is not dealt with yet: a failing database does not make it forgotten.
#[derive(Default)]
struct Known {
    /// Deleted, and until when what they were owed is looked for.
    cancelling: HashMap<WebhookId, Instant>,
    renewed: Vec<WebhookId>,
}

/// Gives back leases that stand for this node and of which its memory knows nothing: after a commit that broke off, or a
/// delivery that ended badly. Here, since nothing is being claimed meanwhile.
async fn give_back(deliverer: &Deliverer) -> Result<(), StoreError> {
    let given_back = async {
        let store = &deliverer.store;
        let unknown = deliverer.scheduler.unknown(store.leases_of(&deliverer.node).await?);
        if unknown.is_empty() {
            return Ok(0);
        }
        // What became of some of them may be on its way to the table.
        store.flush().await?;
        let unknown = deliverer.scheduler.unknown(unknown);
        store.release_some(&deliverer.node, unknown).await
    };
    match given_back.await {
        Ok(0) => Ok(()),
        Ok(released) => {
            tracing::info!("{released} deliveries go on of which this node's memory knew nothing");
            deliverer.look.notify_one();
            Ok(())
        }
        Err(error) => {
            // Not given up: nobody else can tell that these are free.
            deliverer.store.doubt();
            Err(error)
        }
    }
}

/// Reads the webhooks, how they stand, and what is due.
async fn look(deliverer: &Deliverer, known: &mut Known) -> Result<(), StoreError> {
    deliverer.webhooks.refresh().await?;
    let turns = deliverer.webhooks.take_turns();
    known.cancelling.extend(turns.gone.into_iter().map(|webhook| (webhook, Instant::now() + CANCEL_FOR)));
    known.renewed.extend(turns.renewed);
    while let Some(webhook) = known.renewed.last() {
        deliverer.renew(*webhook).await?;
        known.renewed.pop();
    }
    for webhook in turns.paced {
        deliverer.put_back(deliverer.scheduler.drain(Some(webhook))).await;
        // What is due is read below: with these.
        deliverer.store.flush().await?;
    }
    let held = deliverer.scheduler.take_gates(deliverer.store.gates().await?);
    deliverer.put_back(held).await;
    for due in deliverer.store.all_due().await? {
        deliverer.note_claimable(due);
    }
    for webhook in known.cancelling.keys().copied().collect::<Vec<_>>() {
        let is_gone = matches!(deliverer.webhooks.standing(webhook), Standing::Gone);
        let may_be_more = is_gone && cancel(deliverer, webhook).await?;
        known.cancelling.retain(|id, until| *id != webhook || may_be_more || (is_gone && Instant::now() < *until));
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
        if failed.is_err() || !deliverer.scheduler.has_room_for(webhook) {
            deliverer.note_claimable(due_still());
            continue;
        }
        let wanted = Claim {
            webhook,
            node: deliverer.node.clone(),
            fresh: room.fresh,
            rest: room.rest,
            bytes: room.bytes,
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
