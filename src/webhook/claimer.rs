//! Brings what waits in the table into memory when it is due and there is room: retries, what a restart left, what did
//! not fit, and rows that came by SQL.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{Deliverer, Job, registry::Standing};
use crate::{
    event::{WebhookId, now_ms},
    store::StoreError,
};

/// How often the table is asked what nobody told: rows written by other programs.
const LOOK_AGAIN: Duration = Duration::from_secs(3);
/// Pause after the database failed.
const PAUSE: Duration = Duration::from_secs(1);

pub async fn run(deliverer: Arc<Deliverer>, stopping: CancellationToken) {
    let mut look_again = tokio::time::interval(LOOK_AGAIN);
    loop {
        let result = tokio::select! {
            biased;
            () = stopping.cancelled() => return,
            _ = look_again.tick() => look(&deliverer).await,
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

/// Reads the webhooks and what is due again.
async fn look(deliverer: &Deliverer) -> Result<(), StoreError> {
    deliverer.webhooks.refresh().await?;
    for due in deliverer.store.all_due().await? {
        deliverer.note_claimable(due.webhook, due.at_ms);
    }
    Ok(())
}

async fn claim(deliverer: &Deliverer) -> Result<(), StoreError> {
    let mut failed = Ok(());
    for (webhook, room) in deliverer.scheduler.take_dues() {
        // What was claimed before may have filled the memory; a failure fails the rest too. Both stay due.
        if failed.is_err() || !deliverer.scheduler.has_claim_room() {
            deliverer.note_claimable(webhook, now_ms());
            continue;
        }
        let (rows, next) = match deliverer.store.claim_due(webhook, &deliverer.node, room).await {
            Ok(claimed) => claimed,
            Err(error) => {
                deliverer.note_claimable(webhook, now_ms());
                failed = Err(error);
                continue;
            }
        };
        if let Some(next) = next {
            deliverer.note_claimable(webhook, next.at_ms);
        }
        deliverer.scheduler.add(rows.into_iter().map(Job::from).collect());
    }
    failed
}

impl Deliverer {
    /// What a webhook that is switched off was owed waits until it is switched on.
    pub fn note_claimable(&self, webhook: WebhookId, at_ms: i64) {
        // One that is gone is claimed too, to be cancelled.
        if !matches!(self.webhooks.standing(webhook), Standing::Waits) {
            self.scheduler.note_due(webhook, at_ms);
        }
    }
}
