//! This node among those that share the database: it lets its counter grow, and takes over what those held whose counters
//! stand still. Only this machine's monotonic clock is asked, and only while the database answers.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use super::Deliverer;
use crate::store::{NodeRow, StoreError};

const BEAT: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_secs(1);
/// A node whose counter stands still for so long is dead: three beats and a little.
const DEAD_AFTER: Duration = Duration::from_secs(10);

pub async fn run(deliverer: Arc<Deliverer>, stopping: CancellationToken) {
    let shared = deliverer.store.is_shared();
    let (mut beat, mut look) = (tokio::time::interval(BEAT), tokio::time::interval(LOOK));
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut watch = Watch::default();
    loop {
        let result = tokio::select! {
            biased;
            () = stopping.cancelled() => return,
            _ = beat.tick(), if shared => live_on(&deliverer).await,
            _ = look.tick(), if shared => take_over(&deliverer, &mut watch).await,
        };
        if let Err(error) = result {
            // What was not seen to stand still does not count.
            watch = Watch::default();
            tracing::warn!("the nodes of this database could not be looked after: {error}");
        }
    }
}

async fn live_on(deliverer: &Deliverer) -> Result<(), StoreError> {
    if deliverer.store.beat(&deliverer.node).await? {
        return Ok(());
    }
    // Others have what it held by now.
    tracing::warn!("this node was taken for dead, and joins again");
    for job in deliverer.scheduler.drain(None) {
        deliverer.scheduler.forget(&job.id);
    }
    let entered = deliverer.store.enter_node(&deliverer.node).await;
    // Even where that is in doubt: it will not be asked again.
    deliverer.store.doubt();
    entered.map(|_| ())
}

impl Deliverer {
    /// Stops being one of the nodes: what this one still holds is free at once, after all that it knows is written, or
    /// others would send again what it has just sent.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: the others find out in a while.
    pub async fn leave(&self) -> Result<(), StoreError> {
        self.store.flush().await?;
        for node in self.store.nodes().await?.into_iter().filter(|node| *node.id == *self.node) {
            self.store.bury(node).await?;
        }
        Ok(())
    }
}

async fn take_over(deliverer: &Deliverer, watch: &mut Watch) -> Result<(), StoreError> {
    // Asked first: whoever has a lease was entered before.
    let owners = deliverer.store.lease_owners().await?;
    let nodes = deliverer.store.nodes().await?;
    for owner in owners.iter().filter(|owner| nodes.iter().all(|node| node.id != **owner)) {
        // Itself, it finds out at its next beat.
        if **owner != *deliverer.node {
            let released = deliverer.store.release_leases(owner).await?;
            tracing::warn!("node {owner} died after it had been buried; {released} deliveries that it held go on");
            deliverer.look.notify_one();
        }
    }
    for node in watch.dead(nodes, &deliverer.node, Instant::now()) {
        let id = node.id.clone();
        if let Some(released) = deliverer.store.bury(node).await? {
            tracing::warn!("node {id} is dead; {released} deliveries that it held go on");
            deliverer.look.notify_one();
        }
    }
    Ok(())
}

/// Since when each node's counter stands still.
#[derive(Default)]
struct Watch {
    seen: HashMap<String, (i64, Instant)>,
}

impl Watch {
    fn dead(&mut self, nodes: Vec<NodeRow>, own: &str, now: Instant) -> Vec<NodeRow> {
        self.seen.retain(|id, _| nodes.iter().any(|node| node.id == *id));
        let mut dead = Vec::new();
        for node in nodes.into_iter().filter(|node| node.id != own) {
            let (beat, since) = self.seen.entry(node.id.clone()).or_insert((node.beat, now));
            if *beat != node.beat {
                (*beat, *since) = (node.beat, now);
            }
            if now.duration_since(*since) >= DEAD_AFTER {
                dead.push(node);
            }
        }
        dead
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_dead_when_its_counter_stood_still_for_ten_seconds_that_were_watched() {
        let node = |id: &str, beat| NodeRow { id: id.to_owned(), slot: 0, beat };
        let (start, mut watch) = (Instant::now(), Watch::default());
        let mut dead_at = |s: u64, beat| {
            let nodes = vec![node("own", 0), node("other", beat)];
            watch.dead(nodes, "own", start + Duration::from_secs(s)).into_iter().map(|node| node.id).collect::<Vec<_>>()
        };
        assert!(dead_at(0, 7).is_empty());
        assert!(dead_at(9, 7).is_empty());
        assert!(dead_at(11, 8).is_empty(), "it moved");
        assert!(dead_at(20, 8).is_empty());
        assert_eq!(dead_at(21, 8), ["other"]);
    }
}
