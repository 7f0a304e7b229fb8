//! What becomes of deliveries: recorded in batches with the group commit, each fenced by the attempt it follows.

use std::collections::HashMap;

use sea_query::{Expr, ExprTrait, Func, OnConflict, Query};
use sqlx::SqliteConnection;

use super::{
    Store, StoreError,
    records::Totals,
    rows::{execute, pieces},
    writer::Write,
};
use crate::event::{DeliveryId, EventId, EventType, TenantId, WebhookId, now_ms};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeliveryState {
    Pending,
    Delivered,
    Failed,
    Dropped,
    PluginFailed,
    Cancelled,
}

impl DeliveryState {
    pub const ALL: [Self; 6] =
        [Self::Pending, Self::Delivered, Self::Failed, Self::Dropped, Self::PluginFailed, Self::Cancelled];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Dropped => "dropped",
            Self::PluginFailed => "plugin_failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// What a chain made of an event: sent on every attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBody {
    pub content_type: String,
    /// A JSON array of `[name, value]`.
    pub headers: String,
    pub body: bytes::Bytes,
    /// A JSON array of what the event went through.
    pub plugins: String,
}

/// One POST, as it went.
#[derive(Debug, Clone)]
pub struct Attempt {
    pub succeeded: bool,
    pub response_status: Option<u16>,
    pub response_body: Option<String>,
    pub error: Option<String>,
    pub duration_ms: u64,
    pub plugins: String,
    pub at_ms: i64,
}

/// What becomes of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    End {
        state: DeliveryState,
        reason: Option<String>,
    },
    Retry {
        at_ms: i64,
    },
    /// Ours, not the receiver's, to answer for: put back without counting.
    Release {
        at_ms: i64,
    },
}

/// What happened to a delivery that was held in memory.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub delivery: DeliveryId,
    pub webhook: WebhookId,
    pub tenant: TenantId,
    pub event_id: EventId,
    pub event_type: EventType,
    /// The fence: the delivery's state is written only if no other attempt was recorded since it was claimed. The attempt
    /// itself is recorded anyway, since it was made.
    pub attempts_before: u32,
    pub attempt: Option<Attempt>,
    /// Of the first recorded attempt, when a chain made it.
    pub body: Option<StoredBody>,
    pub next: Next,
}

impl Store {
    /// Hands an outcome to the next group commit. Waits while the writer's queue is full.
    ///
    /// # Errors
    /// [`StoreError::Closed`]: the server stops; the delivery will be sent again.
    pub async fn record(&self, outcome: Outcome) -> Result<(), StoreError> {
        self.send(Write::Outcome(Box::new(outcome))).await
    }
}

/// Writes a batch of outcomes: bodies and attempts in few inserts, the common ends in few updates.
pub(super) async fn record(connection: &mut SqliteConnection, outcomes: &[Outcome]) -> Result<(), sqlx::Error> {
    if outcomes.is_empty() {
        return Ok(());
    }
    insert_bodies(connection, outcomes).await?;
    insert_attempts(connection, outcomes).await?;
    end_deliveries(connection, outcomes).await?;
    for outcome in outcomes {
        put_back(connection, outcome).await?;
    }
    add_totals(connection, outcomes).await
}

async fn insert_bodies(connection: &mut SqliteConnection, outcomes: &[Outcome]) -> Result<(), sqlx::Error> {
    let bodies: Vec<(&DeliveryId, &StoredBody)> =
        outcomes.iter().filter_map(|outcome| Some((&outcome.delivery, outcome.body.as_ref()?))).collect();
    for piece in pieces(&bodies) {
        let mut insert = Query::insert();
        insert.into_table("jf_delivery_bodies").columns(["delivery_id", "content_type", "headers", "body", "plugins"]);
        for (id, body) in piece {
            insert.values_panic([
                id.as_str().into(),
                body.content_type.as_str().into(),
                body.headers.as_str().into(),
                body.body.to_vec().into(),
                body.plugins.as_str().into(),
            ]);
        }
        insert.on_conflict(OnConflict::new().do_nothing().to_owned());
        execute(&insert, &mut *connection).await?;
    }
    Ok(())
}

async fn insert_attempts(connection: &mut SqliteConnection, outcomes: &[Outcome]) -> Result<(), sqlx::Error> {
    let attempts: Vec<(&Outcome, &Attempt)> =
        outcomes.iter().filter_map(|outcome| Some((outcome, outcome.attempt.as_ref()?))).collect();
    for piece in pieces(&attempts) {
        let mut insert = Query::insert();
        insert.into_table("jf_attempts").columns([
            "delivery_id",
            "tenant_id",
            "webhook_id",
            "event_id",
            "event_type",
            "attempt",
            "state",
            "response_status",
            "response_body",
            "error",
            "duration_ms",
            "plugins",
            "at_ms",
            "next_attempt_at_ms",
        ]);
        for (outcome, attempt) in piece {
            let next_at = match outcome.next {
                Next::Retry { at_ms } => Some(at_ms),
                _ => None,
            };
            insert.values_panic([
                outcome.delivery.as_str().into(),
                outcome.tenant.as_str().into(),
                outcome.webhook.0.into(),
                outcome.event_id.as_str().into(),
                outcome.event_type.as_str().into(),
                (outcome.attempts_before + 1).into(),
                (if attempt.succeeded { "succeeded" } else { "failed" }).into(),
                attempt.response_status.into(),
                attempt.response_body.clone().into(),
                attempt.error.clone().into(),
                i64::try_from(attempt.duration_ms).unwrap_or(i64::MAX).into(),
                attempt.plugins.as_str().into(),
                attempt.at_ms.into(),
                next_at.into(),
            ]);
        }
        execute(&insert, &mut *connection).await?;
    }
    Ok(())
}

async fn end_deliveries(connection: &mut SqliteConnection, outcomes: &[Outcome]) -> Result<(), sqlx::Error> {
    let mut ended: HashMap<(DeliveryState, Option<&str>, u32, bool), Vec<&str>> = HashMap::new();
    for outcome in outcomes {
        if let Next::End { state, reason } = &outcome.next {
            let key = (*state, reason.as_deref(), outcome.attempts_before, outcome.attempt.is_some());
            ended.entry(key).or_default().push(outcome.delivery.as_str());
        }
    }
    let now = now_ms();
    for ((state, reason, attempts_before, attempted), ids) in ended {
        for piece in pieces(&ids) {
            let mut update = Query::update();
            update
                .table("jf_deliveries")
                .value("state", state.as_str())
                .value("reason", reason.map(str::to_owned))
                .value("attempts", attempts_before + u32::from(attempted))
                .value("lease_owner", Option::<String>::None)
                .value("ended_ms", now)
                .and_where(Expr::col("id").is_in(piece.iter().copied()))
                .and_where(Expr::col("attempts").eq(attempts_before))
                .and_where(Expr::col("state").eq("pending"));
            execute(&update, &mut *connection).await?;
        }
    }
    Ok(())
}

async fn put_back(connection: &mut SqliteConnection, outcome: &Outcome) -> Result<(), sqlx::Error> {
    let at_ms = match outcome.next {
        Next::Retry { at_ms } | Next::Release { at_ms } => at_ms,
        Next::End { .. } => return Ok(()),
    };
    let mut update = Query::update();
    update
        .table("jf_deliveries")
        .value("attempts", outcome.attempts_before + u32::from(outcome.attempt.is_some()))
        .value("next_at_ms", at_ms)
        .value("lease_owner", Option::<String>::None)
        .and_where(Expr::col("id").eq(outcome.delivery.as_str()))
        .and_where(Expr::col("attempts").eq(outcome.attempts_before))
        .and_where(Expr::col("state").eq("pending"));
    execute(&update, connection).await.map(|_| ())
}

async fn add_totals(connection: &mut SqliteConnection, outcomes: &[Outcome]) -> Result<(), sqlx::Error> {
    let mut sums: HashMap<WebhookId, Totals> = HashMap::new();
    for outcome in outcomes {
        let totals = sums.entry(outcome.webhook).or_default();
        match &outcome.next {
            Next::End { state, .. } => match state {
                DeliveryState::Delivered => totals.delivered += 1,
                DeliveryState::Failed => totals.failed += 1,
                DeliveryState::Dropped => totals.dropped += 1,
                DeliveryState::PluginFailed => totals.plugin_failed += 1,
                DeliveryState::Cancelled => totals.cancelled += 1,
                DeliveryState::Pending => {}
            },
            Next::Retry { .. } => totals.retried += 1,
            Next::Release { .. } => {}
        }
        if let Some(attempt) = &outcome.attempt {
            let last = if attempt.succeeded { &mut totals.last_success_ms } else { &mut totals.last_failure_ms };
            *last = Ord::max(*last, Some(attempt.at_ms));
        }
    }
    for (webhook, totals) in sums {
        let counters = ["delivered", "failed", "dropped", "plugin_failed", "cancelled", "retried"];
        let mut on_conflict = OnConflict::column("webhook_id");
        for name in counters {
            on_conflict.value(name, Expr::col(("jf_webhook_totals", name)).add(Expr::col(("excluded", name))));
        }
        for name in ["last_success_ms", "last_failure_ms"] {
            on_conflict
                .value(name, Func::coalesce([Expr::col(("excluded", name)), Expr::col(("jf_webhook_totals", name))]));
        }
        let mut insert = Query::insert();
        insert
            .into_table("jf_webhook_totals")
            .columns(["webhook_id", "last_success_ms", "last_failure_ms"].into_iter().chain(counters))
            .values_panic([
                webhook.0.into(),
                totals.last_success_ms.into(),
                totals.last_failure_ms.into(),
                totals.delivered.into(),
                totals.failed.into(),
                totals.dropped.into(),
                totals.plugin_failed.into(),
                totals.cancelled.into(),
                totals.retried.into(),
            ])
            .on_conflict(on_conflict);
        execute(&insert, &mut *connection).await?;
    }
    Ok(())
}
