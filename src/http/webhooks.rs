//! A tenant's webhooks: set up, tried, looked into.

use std::sync::Arc;

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
    events::delivery_json,
};
use crate::{
    event::{
        DeliveryId, Draft, EventType, Invalid, Origin, WebhookId, now_ms,
        payload::{Payload, WebhookTest},
        rfc3339_ms,
    },
    store::{AttemptRow, LogQuery},
    webhook::{Changes, Webhook, WebhookView},
};

/// Attempts that the success rate and the durations are taken from.
const STATS_WINDOW: u64 = 1000;

pub async fn create(
    AdminUser(who): AdminUser,
    State(api): State<Api>,
    body: Text,
) -> Result<(StatusCode, Json<WebhookView>), Problem> {
    let changes = Changes::parse(body.fields()?, &api.addresses, true)?;
    let webhook = api.webhooks.create(&who.tenant, changes).await?;
    let mut shown = webhook.view();
    // Here and nowhere else.
    let secret = webhook.secret().map_err(|why| Problem::unavailable("bad_secret", why))?;
    shown.secret = Some(secret.expose().to_owned());
    shown.signing_secret = Some(secret.signing_secret());
    Ok((StatusCode::CREATED, Json(shown)))
}

pub async fn list(
    AdminUser(who): AdminUser,
    State(api): State<Api>,
    RawQuery(query): RawQuery,
) -> Result<Json<Page<WebhookView>>, Problem> {
    let query = ListQuery::parse(query.as_deref(), &[])?;
    let (limit, cursor) = (query.limit()?, query.cursor::<i64>()?);
    let webhooks = api.webhooks.list(&who.tenant);
    let after = webhooks.iter().filter(|webhook| cursor.is_none_or(|cursor| webhook.id.0 < cursor));
    let shown = after.take(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(page(shown.map(|webhook| (webhook.id, webhook.view())).collect(), limit))
}

pub async fn show(
    AdminUser(who): AdminUser,
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Json<WebhookView>, Problem> {
    Ok(Json(find(&api, &who, &id)?.view()))
}

pub async fn change(
    AdminUser(who): AdminUser,
    State(api): State<Api>,
    Path(id): Path<String>,
    body: Text,
) -> Result<Json<WebhookView>, Problem> {
    let webhook = find(&api, &who, &id)?;
    let changes = Changes::parse(body.fields()?, &api.addresses, false)?;
    Ok(Json(api.webhooks.change(&who.tenant, webhook.id, changes).await?.view()))
}

pub async fn delete(
    AdminUser(who): AdminUser,
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let webhook = find(&api, &who, &id)?;
    api.webhooks.delete(&who.tenant, webhook.id).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub async fn test(
    AdminUser(who): AdminUser,
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let webhook = find(&api, &who, &id)?;
    let data = json!(WebhookTest { webhook_id: webhook.id.0 }).to_string();
    let event_type = EventType::parse(WebhookTest::TYPE).map_err(|message| Invalid::field("type", message))?;
    let event = Draft::new(event_type, data).receive(&who.tenant, now_ms(), Origin::Own);
    Ok(Json(api.deliverer.test(&webhook, Arc::new(event)).await.0))
}

pub async fn logs(
    AdminUser(who): AdminUser,
    State(api): State<Api>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Json<Page<Value>>, Problem> {
    let webhook = find(&api, &who, &id)?;
    let query = ListQuery::parse(query.as_deref(), &["state", "event_type", "after", "before"])?;
    let limit = query.limit()?;
    let state = query.get("state");
    if state.is_some_and(|state| state != "succeeded" && state != "failed") {
        return Err(Invalid::field("state", "must be `succeeded` or `failed`").into());
    }
    let wanted = LogQuery {
        state: state.map(str::to_owned),
        event_type: query.get("event_type").map(str::to_owned),
        after_ms: query.time_ms("after")?,
        before_ms: query.time_ms("before")?,
        cursor: query.cursor()?,
        limit,
    };
    let rows = api.store.attempts(webhook.id, wanted).await?;
    Ok(page(rows.iter().map(|row| (row.id, attempt_json(row))).collect(), limit))
}

pub async fn stats(
    AdminUser(who): AdminUser,
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let webhook = find(&api, &who, &id)?;
    let totals = api.store.totals(webhook.id).await?;
    let recent = api.store.attempts(webhook.id, LogQuery { limit: STATS_WINDOW, ..LogQuery::default() }).await?;
    let succeeded = recent.iter().filter(|attempt| attempt.state == "succeeded").count();
    let mut durations: Vec<i64> = recent.iter().map(|attempt| attempt.duration_ms).collect();
    durations.sort_unstable();
    let quantile = |q: f64| {
        let rank = (durations.len() as f64 * q).ceil() as usize;
        durations.get(rank.saturating_sub(1)).copied()
    };
    let now = now_ms();
    Ok(Json(json!({
        "webhook_id": webhook.id,
        "deliveries": {
            "pending": totals.pending,
            "delivered": totals.delivered,
            "failed": totals.failed,
            "dropped": totals.dropped,
            "plugin_failed": totals.plugin_failed,
            "cancelled": totals.cancelled,
        },
        "retries": totals.retried,
        "success_rate": (!recent.is_empty()).then(|| succeeded as f64 / recent.len() as f64),
        "duration_ms": {"p50": quantile(0.5), "p95": quantile(0.95), "p99": quantile(0.99)},
        "last_success_at": totals.last_success_ms.map(rfc3339_ms),
        "last_failure_at": totals.last_failure_ms.map(rfc3339_ms),
        "queue": {
            "depth": totals.pending,
            "oldest_age_s": totals.oldest_pending_ms.map(|ms| (now - ms).max(0) as f64 / 1000.0),
        },
    })))
}

pub async fn public_key(
    AdminUser(who): AdminUser,
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let webhook = find(&api, &who, &id)?;
    let key = webhook.ed25519.as_ref().ok_or_else(|| Problem::not_found("this webhook does not sign with Ed25519"))?;
    Ok(Json(json!({"algorithm": "ed25519", "public_key": key.public_key()})))
}

pub async fn failed(
    AdminUser(who): AdminUser,
    State(api): State<Api>,
    RawQuery(query): RawQuery,
) -> Result<Json<Page<Value>>, Problem> {
    let query = ListQuery::parse(query.as_deref(), &[])?;
    let limit = query.limit()?;
    let cursor = query.get("cursor").map(DeliveryId::parse).transpose();
    let cursor = cursor.map_err(|_| Invalid::field("cursor", "must be a `next_cursor` of this list"))?;
    let rows = api.store.failed(&who.tenant, cursor.as_ref().map(DeliveryId::as_str), limit).await?;
    Ok(page(rows.iter().map(|row| (row.id.clone(), delivery_json(row))).collect(), limit))
}

/// 404 also for what another tenant owns, and for what is no id.
fn find(api: &Api, who: &Identity, id: &str) -> Result<Arc<Webhook>, Problem> {
    let id = id.parse().ok().map(WebhookId);
    id.and_then(|id| api.webhooks.of(&who.tenant, id)).ok_or_else(|| Problem::not_found("there is no such webhook"))
}

fn attempt_json(row: &AttemptRow) -> Value {
    json!({
        "id": row.id,
        "delivery_id": row.delivery_id,
        "event_id": row.event_id,
        "event_type": row.event_type,
        "attempt": row.attempt,
        "state": row.state,
        "response_status": row.response_status,
        "response_body": row.response_body,
        "error": row.error,
        "duration_ms": row.duration_ms,
        "plugins": RawValue::from_string(row.plugins.clone()).ok(),
        "at": rfc3339_ms(row.at_ms),
        "next_attempt_at": row.next_attempt_at_ms.map(rfc3339_ms),
    })
}
