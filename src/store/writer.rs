//! The group commit: one task puts whatever events and outcomes wait into one transaction.
//!
//! A commit costs an fsync; sharing it is what makes durability cheap. There is no window to wait for: while one
//! transaction is on its way to the disk, the next one fills. Outcomes have no one waiting for them, so a failed
//! transaction keeps them for the next; publishers are told. A value that the database does not take fails alone.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use sqlx::Error;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{
    StoreError,
    events::{self, Committed, NewEvent},
    link::{Failed, Links, explain, is_of_the_values},
    order::{self, Wanted},
    outcomes::{self, Outcome},
    sql::Connection,
};

/// Requests in one transaction at most: bounds the time that the first of them waits.
const MAX_BATCH: usize = 1000;
/// And rows, and bytes of data: one request may bring a thousand events, and each of them many deliveries. What is over goes
/// into the next.
const MAX_ROWS: usize = 4_000;
const MAX_BYTES: usize = 16 << 20;
/// Pause after a transaction failed while outcomes wait for the next.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

pub enum Write {
    Commit(Vec<NewEvent>, CommitReply),
    /// Whoever waits for it to be written is told.
    Outcome(Box<Outcome>, Option<oneshot::Sender<()>>),
    /// Told when all outcomes before it are written.
    Flush(oneshot::Sender<()>),
}

impl Write {
    fn rows(&self) -> usize {
        match self {
            Self::Commit(events, _) => events.len() + events.iter().map(|event| event.owed.len()).sum::<usize>(),
            Self::Outcome(..) => 1,
            Self::Flush(_) => 0,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Commit(events, _) => events.iter().map(|event| event.event.data.len()).sum(),
            Self::Outcome(outcome, _) => outcome.body.as_ref().map_or(0, |body| body.body.len()),
            Self::Flush(_) => 0,
        }
    }
}

type CommitReply = oneshot::Sender<Result<Vec<Committed>, StoreError>>;

/// What the writer works with.
pub struct Writer {
    pub links: Arc<Links>,
    /// This node's number in counts.
    pub slot: Arc<AtomicI64>,
    /// Told when nobody knows whether a commit came through: leases may stand that nobody's memory holds.
    pub in_doubt: Arc<Notify>,
}

impl Writer {
    /// Runs until `closing` and then until nothing waits.
    pub async fn run(self, mut queue: mpsc::Receiver<Write>, closing: CancellationToken) {
        let mut batch = Batch::default();
        let mut received = Vec::with_capacity(MAX_BATCH);
        let mut waiting = VecDeque::with_capacity(MAX_BATCH);
        loop {
            if !waiting.is_empty() {
                // What did not fit into the last one.
            } else if batch.outcomes.is_empty() {
                let count = tokio::select! {
                    biased;
                    count = queue.recv_many(&mut received, MAX_BATCH) => count,
                    () = closing.cancelled() => {
                        queue.close();
                        queue.recv_many(&mut received, MAX_BATCH).await
                    }
                };
                if count == 0 {
                    break;
                }
            } else {
                // The last transaction failed: try its outcomes again with whatever came since.
                tokio::time::sleep(RETRY_PAUSE).await;
                while received.len() < MAX_BATCH
                    && let Ok(write) = queue.try_recv()
                {
                    received.push(write);
                }
            }
            waiting.extend(received.drain(..));
            batch.fill(&mut waiting);
            self.write(&mut batch).await;
            if closing.is_cancelled() && !batch.outcomes.is_empty() {
                tracing::error!(
                    outcomes = batch.outcomes.len(),
                    "stopping with outcomes that could not be written; their deliveries will be sent again"
                );
                break;
            }
        }
        self.links.close().await;
    }

    /// One transaction; afterwards only outcomes that could not be written remain.
    async fn write(&self, batch: &mut Batch) {
        if batch.len() == 0 {
            return batch.answer(Vec::new());
        }
        let failed = match self.try_write(batch).await {
            Ok(committed) => return batch.answer(committed),
            Err(failed) => failed,
        };
        if is_of_the_values(&failed.error) && batch.len() > 1 {
            return self.write_each(batch).await;
        }
        if failed.in_doubt {
            self.in_doubt.notify_one();
        }
        tracing::error!("a group commit failed: {}", explain(&failed.error));
        if is_of_the_values(&failed.error)
            && let Some(outcome) = batch.outcomes.pop()
        {
            // Alone, and never to be taken: kept, it would hold up all that follow.
            tracing::error!(delivery.id = %outcome.delivery, "the outcome of delivery {} is lost", outcome.delivery);
        }
        for (_, reply) in batch.commits.drain(..) {
            let _ = reply.send(Err(failed.as_store_error()));
        }
    }

    /// Finds the one that the database does not take.
    async fn write_each(&self, batch: &mut Batch) {
        let whole = std::mem::take(batch);
        for commit in whole.commits {
            let mut one = Batch { commits: vec![commit], ..Batch::default() };
            Box::pin(self.write(&mut one)).await;
        }
        for outcome in whole.outcomes {
            let mut one = Batch { outcomes: vec![outcome], ..Batch::default() };
            Box::pin(self.write(&mut one)).await;
            batch.outcomes.append(&mut one.outcomes);
        }
        batch.told = whole.told;
        if batch.outcomes.is_empty() {
            batch.answer(Vec::new());
        }
    }

    async fn try_write(&self, batch: &Batch) -> Result<Vec<Committed>, Failed> {
        let slot = self.slot.load(Ordering::Relaxed);
        // Some outcomes may have come too late, and a count does not say which: then all of it is written anew, with those
        // alone that were in time, which are locked first.
        for some_are_late in [false, true] {
            let written = self.links.transaction_if(&(batch, slot, some_are_late), &write, Option::is_some).await?;
            if let Some(committed) = written {
                return Ok(committed);
            }
        }
        Err(Error::RowNotFound.into())
    }
}

type WriteArgs<'b> = (&'b Batch, i64, bool);

fn write<'c>(
    connection: &'c mut Connection,
    (batch, slot, some_are_late): &'c WriteArgs<'_>,
) -> BoxFuture<'c, Result<Option<Vec<Committed>>, Error>> {
    Box::pin(batch.write_in(connection, *slot, *some_are_late))
}

#[derive(Default)]
struct Batch {
    commits: Vec<(Vec<NewEvent>, CommitReply)>,
    outcomes: Vec<Outcome>,
    /// Those who wait for an outcome of this batch.
    told: Vec<oneshot::Sender<()>>,
}

impl Batch {
    fn fill(&mut self, waiting: &mut VecDeque<Write>) {
        let (mut rows, mut bytes) = (0, 0);
        while rows < MAX_ROWS
            && bytes < MAX_BYTES
            && let Some(write) = waiting.pop_front()
        {
            rows += write.rows();
            bytes += write.bytes();
            match write {
                Write::Commit(events, reply) => self.commits.push((events, reply)),
                Write::Outcome(outcome, told) => {
                    self.outcomes.push(*outcome);
                    self.told.extend(told);
                }
                Write::Flush(told) => self.told.push(told),
            }
        }
    }

    fn len(&self) -> usize {
        self.commits.len() + self.outcomes.len()
    }

    fn answer(&mut self, committed: Vec<Committed>) {
        self.outcomes.clear();
        for told in self.told.drain(..) {
            let _ = told.send(());
        }
        let mut results = committed.into_iter();
        for (events, reply) in self.commits.drain(..) {
            // Whoever asked may have gone.
            let _ = reply.send(Ok(results.by_ref().take(events.len()).collect()));
        }
    }

    fn keys(&self) -> Wanted {
        let mut keys = Wanted::new();
        for delivery in self.commits.iter().flat_map(|(events, _)| events).flat_map(|event| &event.owed) {
            if let Some(key) = &delivery.order_key {
                *keys.entry((delivery.webhook, key.to_string())).or_default() += 1;
            }
        }
        for outcome in self.outcomes.iter().filter(|outcome| outcome.ends()) {
            if let Some(key) = &outcome.order_key {
                keys.entry((outcome.webhook, key.to_string())).or_default();
            }
        }
        keys
    }

    /// Everything between begin and commit. None: some outcomes came too late, which must be known from the beginning.
    async fn write_in(
        &self,
        connection: &mut Connection,
        slot: i64,
        some_are_late: bool,
    ) -> Result<Option<Vec<Committed>>, Error> {
        let keys = self.keys();
        let mut places = if keys.is_empty() { Wanted::new() } else { order::lock(connection, &keys).await? };
        let events: Vec<&NewEvent> = self.commits.iter().flat_map(|(events, _)| events).collect();
        let committed = events::insert(connection, &events, &mut places).await?;
        let in_time = match some_are_late {
            true => outcomes::in_time(connection, &self.outcomes).await?,
            false => self.outcomes.iter().collect(),
        };
        if !outcomes::record(connection, &in_time, slot).await? {
            return Ok(None);
        }
        if !keys.is_empty() {
            order::promote(connection, &keys).await?;
        }
        Ok(Some(committed))
    }
}
