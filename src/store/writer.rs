//! The group commit: one task owns the one writing connection and puts whatever waits into one transaction.
//!
//! A commit costs an fsync; sharing it is what makes durability cheap. There is no window to wait for: while one
//! transaction is on its way to the disk, the next one fills. Outcomes have no one waiting for them, so a failed
//! transaction keeps them for the next; everybody else is told.

use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::{Connection, SqliteConnection};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{
    StoreError,
    events::{self, Committed, NewEvent},
    explain,
    outcomes::{self, Outcome},
};

/// Requests in one transaction at most: bounds the time that the first of them waits.
const MAX_BATCH: usize = 1000;
/// Pause after a transaction failed while outcomes wait for the next.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

pub enum Write {
    Commit(Vec<NewEvent>, CommitReply),
    Outcome(Box<Outcome>),
    Statements(Statements),
}

type CommitReply = oneshot::Sender<Result<Vec<Committed>, StoreError>>;

/// Runs within the transaction, in a savepoint of its own; what it returns is called once the transaction ended.
pub type Statements = Box<dyn for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Reply> + Send>;
type Reply = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

pub fn statements<T, F>(run: F, reply: oneshot::Sender<Result<T, StoreError>>) -> Statements
where
    T: Send + 'static,
    F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, sqlx::Error>> + Send + 'static,
{
    Box::new(move |connection| {
        Box::pin(async move {
            let result = in_savepoint(connection, run).await;
            let when_ended: Reply = Box::new(move |ended| {
                let answer = match (result, ended) {
                    (Ok(value), Ok(())) => Ok(value),
                    (Err(error), _) => Err(error.into()),
                    (_, Err(error)) => Err(error),
                };
                // Whoever asked may have gone.
                let _ = reply.send(answer);
            });
            when_ended
        })
    })
}

async fn in_savepoint<T, F>(connection: &mut SqliteConnection, run: F) -> Result<T, sqlx::Error>
where
    F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, sqlx::Error>>,
{
    sqlx::query("SAVEPOINT one").execute(&mut *connection).await?;
    let result = run(&mut *connection).await;
    if result.is_err() {
        sqlx::query("ROLLBACK TO one").execute(&mut *connection).await?;
    }
    sqlx::query("RELEASE one").execute(&mut *connection).await?;
    result
}

/// Runs until `closing` and then until nothing waits.
pub async fn run(mut connection: SqliteConnection, mut queue: mpsc::Receiver<Write>, closing: CancellationToken) {
    let mut batch = Batch::default();
    let mut waiting = Vec::with_capacity(MAX_BATCH);
    loop {
        if batch.outcomes.is_empty() {
            let received = tokio::select! {
                biased;
                received = queue.recv_many(&mut waiting, MAX_BATCH) => received,
                () = closing.cancelled() => {
                    queue.close();
                    queue.recv_many(&mut waiting, MAX_BATCH).await
                }
            };
            if received == 0 {
                break;
            }
        } else {
            // The last transaction failed: try its outcomes again with whatever came since.
            tokio::time::sleep(RETRY_PAUSE).await;
            while waiting.len() < MAX_BATCH
                && let Ok(write) = queue.try_recv()
            {
                waiting.push(write);
            }
        }
        batch.fill(waiting.drain(..));
        batch.write(&mut connection).await;
        if closing.is_cancelled() && !batch.outcomes.is_empty() {
            tracing::error!(
                outcomes = batch.outcomes.len(),
                "stopping with outcomes that could not be written; their deliveries will be sent again"
            );
            break;
        }
    }
    if let Err(error) = connection.close().await {
        tracing::warn!("the database was not closed in order: {error}");
    }
}

#[derive(Default)]
struct Batch {
    commits: Vec<(Vec<NewEvent>, CommitReply)>,
    outcomes: Vec<Outcome>,
    statements: Vec<Statements>,
}

impl Batch {
    fn fill(&mut self, writes: impl Iterator<Item = Write>) {
        for write in writes {
            match write {
                Write::Commit(events, reply) => self.commits.push((events, reply)),
                Write::Outcome(outcome) => self.outcomes.push(*outcome),
                Write::Statements(statements) => self.statements.push(statements),
            }
        }
    }

    /// One transaction; afterwards only outcomes that could not be written remain.
    async fn write(&mut self, connection: &mut SqliteConnection) {
        let mut replies = Vec::with_capacity(self.statements.len());
        let written = self.in_transaction(connection, &mut replies).await;
        let ended = match &written {
            Ok(_) => Ok(()),
            Err(error) => {
                // Fails when the transaction has been rolled back already: then there is nothing to undo.
                let _ = sqlx::query("ROLLBACK").execute(&mut *connection).await;
                let reason = explain(error);
                tracing::error!("a group commit failed, nothing of it was written: {reason}");
                Err(StoreError::Unavailable(reason))
            }
        };
        for reply in replies {
            reply(ended.clone());
        }
        // Statements that were not reached drop their reply, which their caller sees as closed.
        self.statements.clear();
        match written {
            Ok(results) => {
                self.outcomes.clear();
                let mut results = results.into_iter();
                for (events, reply) in self.commits.drain(..) {
                    let _ = reply.send(Ok(results.by_ref().take(events.len()).collect()));
                }
            }
            Err(error) => {
                let reason = explain(&error);
                for (_, reply) in self.commits.drain(..) {
                    let _ = reply.send(Err(StoreError::Unavailable(reason.clone())));
                }
            }
        }
    }

    async fn in_transaction(
        &mut self,
        connection: &mut SqliteConnection,
        replies: &mut Vec<Reply>,
    ) -> Result<Vec<Committed>, sqlx::Error> {
        sqlx::query("BEGIN IMMEDIATE").execute(&mut *connection).await?;
        let events: Vec<&NewEvent> = self.commits.iter().flat_map(|(events, _)| events).collect();
        let committed = events::insert(&mut *connection, &events).await?;
        outcomes::record(&mut *connection, &self.outcomes).await?;
        for statements in self.statements.drain(..) {
            replies.push(statements(&mut *connection).await);
        }
        sqlx::query("COMMIT").execute(&mut *connection).await?;
        Ok(committed)
    }
}
