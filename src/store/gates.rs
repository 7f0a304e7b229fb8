//! What holds a whole webhook back, shared by all nodes: a pause that the receiver asked for, an open circuit, since when
//! nothing but failures came, and the release times of a rate limit.

use std::cmp::max;

use sea_query::{Expr, ExprTrait, Func, OnConflict, Query};

use super::{
    Store, StoreError,
    sql::{Connection, Dialect, Row, execute, fetch, insert_new},
};
use crate::event::{WebhookId, now_ms};

/// Times are milliseconds since the epoch; 0 is never.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GateRow {
    pub paused_until_ms: i64,
    pub open_until_ms: i64,
    /// How long the circuit is open this time; 0: it is closed.
    pub open_for_ms: i64,
    pub failing_since_ms: Option<i64>,
}

const GATE_COLUMNS: [&str; 4] = ["paused_until_ms", "open_until_ms", "open_for_ms", "failing_since_ms"];

/// Rate-limited deliveries are claimed so far ahead at most: what a node holds, no other one can send.
const AHEAD_MS: i64 = 2_000;
const US_PER_MS: i64 = 1_000;

impl Store {
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn gates(&self) -> Result<Vec<(WebhookId, GateRow)>, StoreError> {
        let mut select = Query::select();
        select.columns(["webhook_id"].into_iter().chain(GATE_COLUMNS)).from("jf_gates");
        let read = |row: &Row| {
            let gate = GateRow {
                paused_until_ms: row.get("paused_until_ms")?,
                open_until_ms: row.get("open_until_ms")?,
                open_for_ms: row.get("open_for_ms")?,
                failing_since_ms: row.get("failing_since_ms")?,
            };
            Ok((WebhookId(row.get("webhook_id")?), gate))
        };
        let rows = self.read(&select).await?;
        Ok(rows.iter().map(read).collect::<Result<_, sqlx::Error>>()?)
    }

    /// Tells the other nodes what this one has learned of a webhook. They may have learned other things at the same time,
    /// so a pause stays until its end; of two failures the longer word counts; only a success takes back a failure.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn put_gate(&self, webhook: WebhookId, gate: GateRow) -> Result<(), StoreError> {
        self.upsert_gate(webhook, gate, move |dialect, on_conflict| {
            let old = |name: &'static str| Expr::col(("jf_gates", name));
            let later = |name| Func::greatest([old(name), dialect.excluded(name)]);
            on_conflict.value("paused_until_ms", later("paused_until_ms"));
            if gate.failing_since_ms.is_some() {
                let name = "failing_since_ms";
                let new = || dialect.excluded(name);
                let earlier = Func::least([Func::coalesce([old(name), new()]).into(), new()]);
                on_conflict
                    .value("open_until_ms", later("open_until_ms"))
                    .value("open_for_ms", later("open_for_ms"))
                    .value(name, earlier);
            } else {
                on_conflict.update_columns(["open_until_ms", "open_for_ms", "failing_since_ms"]);
            }
        })
        .await
    }

    /// Nothing that was learned of a webhook counts any more.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn clear_gate(&self, webhook: WebhookId) -> Result<(), StoreError> {
        self.upsert_gate(webhook, GateRow::default(), |_, on_conflict| {
            on_conflict.update_columns(GATE_COLUMNS);
        })
        .await
    }

    async fn upsert_gate(
        &self,
        webhook: WebhookId,
        gate: GateRow,
        where_there_is_one: impl Fn(Dialect, &mut OnConflict) + Send + Sync + 'static,
    ) -> Result<(), StoreError> {
        self.write((webhook, gate), move |connection, (webhook, gate)| {
            let mut on_conflict = OnConflict::column("webhook_id");
            where_there_is_one(connection.dialect(), &mut on_conflict);
            Box::pin(async move {
                let mut upsert = Query::insert();
                upsert
                    .into_table("jf_gates")
                    .columns(["webhook_id"].into_iter().chain(GATE_COLUMNS))
                    .values_panic([
                        webhook.0.into(),
                        gate.paused_until_ms.into(),
                        gate.open_until_ms.into(),
                        gate.open_for_ms.into(),
                        gate.failing_since_ms.into(),
                    ])
                    .on_conflict(on_conflict);
                execute(&upsert, connection).await.map(|_| ())
            })
        })
        .await
    }
}

/// Release times that a claim may give out, one interval apart, so that no second has more than the limit.
pub(super) struct Release {
    next_us: i64,
    interval_us: i64,
    len: usize,
}

/// Locks the webhook's release times and tells how many of them lie close enough.
pub(super) async fn reserve(
    connection: &mut Connection,
    webhook: WebhookId,
    rate_limit: u32,
    limit: usize,
) -> Result<Release, sqlx::Error> {
    let mut insert = Query::insert();
    insert.into_table("jf_gates").columns(["webhook_id"]).values_panic([webhook.0.into()]);
    insert_new(&mut insert, connection).await?;
    let mut select = Query::select();
    select.column("next_release_us").from("jf_gates").and_where(Expr::col("webhook_id").eq(webhook.0)).lock_exclusive();
    let rows = fetch(&select, connection).await?;
    let next_us: i64 = rows.first().map(|row| row.get("next_release_us")).transpose()?.unwrap_or(0);
    Ok(Release::new(next_us, now_ms(), rate_limit, limit))
}

impl Release {
    fn new(next_us: i64, now_ms: i64, rate_limit: u32, limit: usize) -> Self {
        let now_us = now_ms.saturating_mul(US_PER_MS);
        let interval_us = i64::from(1_000_000_u32.div_ceil(max(rate_limit, 1)));
        let next_us = max(next_us, now_us);
        let room_us = now_us + AHEAD_MS * US_PER_MS - next_us;
        let len = if room_us <= 0 { 0 } else { usize::try_from(room_us / interval_us).unwrap_or(0) + 1 };
        Self { next_us, interval_us, len: len.min(limit) }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// Between two of them.
    pub fn interval_us(&self) -> i64 {
        self.interval_us
    }

    pub fn next_ms(&mut self) -> i64 {
        let at_us = self.next_us;
        self.next_us += self.interval_us;
        // Up, never down: a release a moment early would be one too many.
        (at_us + US_PER_MS - 1) / US_PER_MS
    }

    /// When a claim may find more release times close enough.
    pub fn look_again_ms(&self) -> i64 {
        self.next_us / US_PER_MS - AHEAD_MS / 2
    }

    pub async fn keep(&self, connection: &mut Connection, webhook: WebhookId) -> Result<(), sqlx::Error> {
        let mut update = Query::update();
        update
            .table("jf_gates")
            .value("next_release_us", self.next_us)
            .and_where(Expr::col("webhook_id").eq(webhook.0));
        execute(&update, connection).await.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_second_has_more_than_the_limit() {
        let now = 1_000_000;
        let mut release = Release::new(0, now, 3, 100);
        let times: Vec<i64> = (0..release.len()).map(|_| release.next_ms() - now).collect();
        assert_eq!(times, [0, 334, 667, 1_001, 1_334, 1_667]);
        assert_eq!(Release::new(release.next_us, now, 3, 100).len(), 0, "enough is given out for now");
        assert_eq!(Release::new(release.next_us, now + 700, 3, 100).len(), 3);
    }

    #[test]
    fn a_claim_takes_no_more_than_it_has_room_for() {
        assert_eq!(Release::new(0, 5, 1_000, 7).len(), 7);
        assert_eq!(Release::new(0, 5, 1, 7).len(), 3);
    }
}
