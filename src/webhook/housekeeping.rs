//! What is old is deleted, and what belongs to nobody is cancelled: in small pieces with pauses between them, by one node.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use super::Deliverer;
use crate::{
    event::now_ms,
    store::{StoreError, Swept},
};

/// Duplicates are told for so long at least, whatever is kept.
const MIN_EVENTS: Duration = Duration::from_secs(24 * 3600);
/// A key behind which nothing has come for so long is forgotten.
const KEYS: Duration = Duration::from_secs(24 * 3600);
/// After the start, and between two passes.
const FIRST_PASS: Duration = Duration::from_secs(5);
const PASS_EVERY: Duration = Duration::from_secs(600);
/// Between two pieces at least; otherwise as long as the piece took: never more than half of the time.
const PAUSE: Duration = Duration::from_millis(20);

/// How long things are kept.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    pub events: Duration,
    pub deliveries: Duration,
    /// A list of missed events, from the last one that was put into it.
    pub offline: Duration,
}

pub async fn run(deliverer: Arc<Deliverer>, retention: Retention, stopping: CancellationToken) {
    let mut wait = FIRST_PASS;
    while stopping.run_until_cancelled(tokio::time::sleep(wait)).await.is_some() {
        let pass = async {
            match is_first(&deliverer).await {
                Ok(true) => sweep(&deliverer, retention).await,
                Ok(false) => Ok(()),
                Err(error) => Err(error),
            }
        };
        match stopping.run_until_cancelled(pass).await {
            Some(Err(error)) => tracing::warn!("old events and deliveries stay for now: {error}"),
            Some(Ok(())) => {}
            None => return,
        }
        wait = PASS_EVERY;
    }
}

/// Of several nodes, the one with the lowest number does it.
async fn is_first(deliverer: &Deliverer) -> Result<bool, StoreError> {
    let nodes = deliverer.store.nodes().await?;
    Ok(nodes.first().is_none_or(|node| *node.id == *deliverer.node))
}

async fn sweep(deliverer: &Deliverer, retention: Retention) -> Result<(), StoreError> {
    let store = &deliverer.store;
    for webhook in store.owed_but_gone().await? {
        while store.cancel_some_of(webhook).await? {
            tokio::time::sleep(PAUSE).await;
        }
    }
    let now = now_ms();
    let before = |kept: Duration| now.saturating_sub(i64::try_from(kept.as_millis()).unwrap_or(i64::MAX));
    let deliveries = pieces(|from| store.sweep_deliveries(before(retention.deliveries), from)).await?;
    let events = pieces(|from| store.sweep_events(before(retention.events.max(MIN_EVENTS)), from)).await?;
    pieces(|_| store.sweep_sessions(before(retention.events.max(MIN_EVENTS)))).await?;
    pieces(|from| store.sweep_offline(before(retention.offline), from)).await?;
    let keys = pieces(|from| store.sweep_keys(before(KEYS), from)).await?;
    store.sweep_replays(before(retention.deliveries)).await?;
    if deliveries + events > 0 {
        tracing::info!("deleted {events} events and {deliveries} deliveries that were old, and {keys} keys");
    }
    Ok(())
}

async fn pieces<F>(sweep: impl Fn(Option<String>) -> F) -> Result<u64, StoreError>
where
    F: Future<Output = Result<Swept, StoreError>>,
{
    let (mut from, mut deleted) = (None, 0);
    loop {
        let started = Instant::now();
        let swept = sweep(from).await?;
        deleted += swept.deleted;
        from = swept.next;
        if from.is_none() {
            return Ok(deleted);
        }
        tokio::time::sleep(started.elapsed().max(PAUSE)).await;
    }
}
