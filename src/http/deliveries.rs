//! Deliveries: one with its attempts, the dead ones, and delivering again.

use std::collections::HashMap;

use axum::{
    Json,
    extract::{Path, RawQuery, State},
    http::StatusCode,
};
use serde_json::{Value, json, value::RawValue};

use super::{
    Api, Identity, Problem,
    auth::AdminUser,
    body::{ListQuery, Page, Text, page},
    webhooks::{attempt_json, find},
};
use crate::{
    event::{DeliveryId, Invalid, WebhookId, rfc3339_ms},
    store::{Again, DeliveryInfo, FailedQuery},
    webhook::{Replay, replay_view},
};

/// The newest replays of a webhook that a list shows.
const MAX_REPLAYS: u64 = 200;
const DEAD: [&str; 2] = ["failed", "plugin_failed"];

pub async fn show(
    AdminUser(who): AdminUser,
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let row = find_delivery(&api, &who, &id).await?;
    let shown = with_attempts(&api, &[row]).await?.pop();
    shown.map(Json).ok_or_else(unknown)
}

/// Delivers again now, whatever became of it.
pub async fn retry(
    AdminUser(who): AdminUser,
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let row = find_delivery(&api, &who, &id).await?;
    is_live(&api, &who, row.webhook)?;
    match api.deliverer.deliver_again(&who.tenant, &row.id).await? {
        Again::Held(_) => {}
        // It goes when those before it have ended.
        Again::Behind => {}
        Again::UnderWay => {
            return Err(Problem::conflict("under_way", "the delivery is under way already: look again in a moment"));
        }
        Again::EventGone => {
            return Err(Problem::conflict("event_gone", "its event is not kept any more (EVENT_RETENTION)"));
        }
        Again::Unknown => return Err(unknown()),
    }
    let row = find_delivery(&api, &who, &id).await?;
    Ok((StatusCode::ACCEPTED, Json(delivery_json(&row))))
}

pub async fn failed(
    AdminUser(who): AdminUser,
    State(api): State<Api>,
    RawQuery(query): RawQuery,
) -> Result<Json<Page<Value>>, Problem> {
    let query = ListQuery::parse(query.as_deref(), &["webhook_id", "state", "event_type", "after", "before"])?;
    let limit = query.limit()?;
    let state = query.get("state");
    if state.is_some_and(|state| !DEAD.contains(&state)) {
        return Err(Invalid::field("state", "must be `failed` or `plugin_failed`").into());
    }
    let webhook = query.get("webhook_id").map(str::parse).transpose();
    // Ids of ours tell when they were made: other words are no place in this list.
    let place = |text: &str| DeliveryId::parse(text).ok().filter(|id| id.made_ms().is_some()).ok_or(());
    let cursor = query.get("cursor").map(place).transpose();
    let wanted = FailedQuery {
        webhook: webhook.map_err(|_| Invalid::field("webhook_id", "must be a webhook's id, a number"))?,
        state: state.map(str::to_owned),
        event_type: query.get("event_type").map(str::to_owned),
        after_ms: query.time_ms("after")?,
        before_ms: query.time_ms("before")?,
        cursor: cursor
            .map_err(|_| Invalid::field("cursor", "must be a `next_cursor` of this list"))?
            .map(|id| id.to_string()),
        limit,
    };
    let rows = api.store.failed(&who.tenant, wanted).await?;
    Ok(page(rows.iter().map(|row| (row.id.clone(), delivery_json(row))).collect(), limit))
}

pub async fn replay(
    AdminUser(who): AdminUser,
    State(api): State<Api>,
    Path(id): Path<String>,
    body: Text,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let webhook = find(&api, &who, &id)?;
    let wanted = if body.is_empty() { Replay::default() } else { Replay::parse(body.fields()?)? };
    let matches = api.store.count_replay(&wanted.filter(webhook.id)).await?;
    if wanted.dry_run {
        return Ok((StatusCode::OK, Json(json!({"id": null, "state": "dry_run", "matches": matches, "done": 0}))));
    }
    is_live(&api, &who, webhook.id)?;
    let job = wanted.into_job(&webhook, matches);
    api.store.add_replay(job.clone()).await?;
    Ok((StatusCode::ACCEPTED, Json(replay_view(&job))))
}

pub async fn replays(
    AdminUser(who): AdminUser,
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Json<Page<Value>>, Problem> {
    let webhook = find(&api, &who, &id)?;
    let jobs = api.store.replays_of(webhook.id, MAX_REPLAYS).await?;
    Ok(Page::whole(jobs.iter().map(replay_view).collect()))
}

pub async fn show_replay(
    AdminUser(who): AdminUser,
    State(api): State<Api>,
    Path((id, job)): Path<(String, String)>,
) -> Result<Json<Value>, Problem> {
    let webhook = find(&api, &who, &id)?;
    let job = api.store.replay(webhook.id, &job).await?;
    job.map(|job| Json(replay_view(&job))).ok_or_else(|| Problem::not_found("there is no such replay"))
}

/// Deliveries with their attempts, oldest first.
pub async fn with_attempts(api: &Api, rows: &[DeliveryInfo]) -> Result<Vec<Value>, Problem> {
    let ids: Vec<DeliveryId> = rows.iter().map(|row| row.id.clone()).collect();
    let mut attempts: HashMap<String, Vec<Value>> = HashMap::new();
    for attempt in api.store.attempts_of(&ids).await? {
        attempts.entry(attempt.delivery_id.clone()).or_default().push(attempt_json(&attempt));
    }
    let shown = rows.iter().map(|row| {
        let mut shown = delivery_json(row);
        shown["attempts"] = attempts.remove(row.id.as_str()).unwrap_or_default().into();
        shown
    });
    Ok(shown.collect())
}

pub fn delivery_json(row: &DeliveryInfo) -> Value {
    let next_ms = row.due_ms.filter(|_| row.state == "pending");
    json!({
        "id": row.id.as_str(),
        "webhook_id": row.webhook,
        "event_id": row.event_id.as_str(),
        "event_type": row.event_type.as_str(),
        "state": row.state,
        "attempt_count": row.attempts,
        "reason": row.reason,
        "plugins": row.plugins.clone().map(RawValue::from_string).transpose().ok().flatten(),
        "key": row.order_key,
        "waits_for": waits_for(row),
        "next_attempt_at": next_ms.map(rfc3339_ms),
        "created_at": rfc3339_ms(row.created_ms),
        "ended_at": row.ended_ms.map(rfc3339_ms),
    })
}

/// Where a pending delivery stands.
fn waits_for(row: &DeliveryInfo) -> Option<&'static str> {
    match (row.state.as_str(), row.due_ms, row.is_held) {
        ("pending", _, true) => Some("a node holds it: it is under way, or about to be"),
        ("pending", Some(_), false) => Some("its next attempt"),
        ("pending", None, false) => Some("an earlier delivery of the same key"),
        _ => None,
    }
}

async fn find_delivery(api: &Api, who: &Identity, id: &str) -> Result<DeliveryInfo, Problem> {
    let id = DeliveryId::parse(id).map_err(|_| unknown())?;
    api.store.delivery(&who.tenant, &id).await?.ok_or_else(unknown)
}

fn unknown() -> Problem {
    Problem::not_found("there is no such delivery")
}

/// What would only wait is refused.
fn is_live(api: &Api, who: &Identity, webhook: WebhookId) -> Result<(), Problem> {
    match api.webhooks.of(&who.tenant, webhook) {
        Some(webhook) if webhook.is_active => Ok(()),
        Some(_) => Err(Problem::conflict("webhook_inactive", "its webhook is switched off: set `is_active` first")),
        None => Err(Problem::conflict("webhook_gone", "its webhook was deleted or cannot be used")),
    }
}
