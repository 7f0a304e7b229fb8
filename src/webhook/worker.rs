//! The delivery loops. Each drives many POSTs at once and takes the next job when one of its places is free.

use std::{sync::Arc, time::Duration};

use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::{Deliverer, claimer, nodes, replay};

const RESTART_PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy)]
pub struct WorkersConfig {
    pub workers: usize,
    pub max_in_flight: usize,
}

/// The running loops; to be stopped and joined.
pub struct Workers {
    tasks: JoinSet<()>,
    stopping: CancellationToken,
}

impl Workers {
    pub fn start(deliverer: &Arc<Deliverer>, config: WorkersConfig) -> Self {
        let stopping = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let (each, left) = (config.max_in_flight / config.workers, config.max_in_flight % config.workers);
        for n in 0..config.workers {
            tasks.spawn(work(deliverer.clone(), each + usize::from(n < left), stopping.clone()));
        }
        tasks.spawn(keep(claimer::run, "claimer", deliverer.clone(), stopping.clone()));
        tasks.spawn(keep(nodes::run, "watch over the nodes", deliverer.clone(), stopping.clone()));
        tasks.spawn(keep(replay::run, "replay", deliverer.clone(), stopping.clone()));
        tasks.spawn(keep(run_timers, "timers", deliverer.clone(), stopping.clone()));
        Self { tasks, stopping }
    }

    /// Takes nothing new, and waits until what is under way has ended or `grace` is over: what has not ended then is sent
    /// again by the next start.
    pub async fn stop(mut self, grace: Duration) {
        self.stopping.cancel();
        let all_ended = async {
            while let Some(ended) = self.tasks.join_next().await {
                complain(ended);
            }
        };
        if tokio::time::timeout(grace, all_ended).await.is_err() {
            tracing::warn!("some deliveries are still under way; they will be sent again at the next start");
        }
    }
}

/// Without these there are no retries and no takeovers: each is started again whatever ended it.
async fn keep<F>(
    run: impl Fn(Arc<Deliverer>, CancellationToken) -> F + Send + 'static,
    name: &'static str,
    deliverer: Arc<Deliverer>,
    stopping: CancellationToken,
) where
    F: Future<Output = ()> + Send + 'static,
{
    while let Err(error) = tokio::spawn(run(deliverer.clone(), stopping.clone())).await {
        tracing::error!("the {name} ended badly and is started again: {error}");
        tokio::time::sleep(RESTART_PAUSE).await;
    }
}

async fn run_timers(deliverer: Arc<Deliverer>, stopping: CancellationToken) {
    stopping.run_until_cancelled(deliverer.scheduler.run_timers()).await;
}

async fn work(deliverer: Arc<Deliverer>, max_in_flight: usize, stopping: CancellationToken) {
    let mut in_flight = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = stopping.cancelled() => break,
            Some(ended) = in_flight.join_next() => complain(ended),
            (job, slot) = deliverer.scheduler.next(), if in_flight.len() < max_in_flight => {
                let deliverer = deliverer.clone();
                in_flight.spawn(async move { deliverer.deliver(job, slot).await });
            }
        }
    }
    while let Some(ended) = in_flight.join_next().await {
        complain(ended);
    }
}

/// A panic in one delivery must not end its loop. Its lease stays until this node ends.
fn complain(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!("a delivery ended badly: {error}");
    }
}
