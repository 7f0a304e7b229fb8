//! A tenant's webhooks: set up, tried, looked into.

use std::{sync::Arc, time::Duration};

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
};
use crate::{
    bus::Control,
    event::{
        Draft, EventType, Invalid, Origin, WebhookId, now_ms,
        payload::{Payload, WebhookTest},
        rfc3339_ms,
    },
    store::{AttemptRow, LogQuery},
    webhook::{Changes, Circuit, Gate, Webhook, WebhookSecret, WebhookView},
};

/// Attempts that the success rate and the durations are taken from.
const STATS_WINDOW: u64 = 1000;
/// How long a replaced secret signs too.
const DEFAULT_OVERLAP: Duration = Duration::from_secs(24 * 3600);
const MAX_OVERLAP: Duration = Duration::from_secs(30 * 24 * 3600);

pub async fn create(
    AdminUser(who): AdminUser,
    State(api): State<Api>,
    body: Text,
) -> Result<(StatusCode, Json<WebhookView>), Problem> {
    let changes = Changes::parse(body.fields()?, &api.addresses, true)?;
    let webhook = api.webhooks.create(&who.tenant, changes).await?;
    tell_others(&api, &who).await;
    Ok((StatusCode::CREATED, Json(webhook.view().with_secret(webhook.secret()))))
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
    // Also one that is left out, such as for a lost key: a change may mend it.
    let id = webhook_id(&id)?;
    let changes = Changes::parse(body.fields()?, &api.addresses, false)?;
    let shown = api.webhooks.change(&who.tenant, id, changes).await?.view();
    // What waited for a webhook that is switched on now goes on at once.
    api.deliverer.look.notify_one();
    tell_others(&api, &who).await;
    Ok(Json(shown))
}

pub async fn delete(
    AdminUser(who): AdminUser,
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    api.webhooks.delete(&who.tenant, webhook_id(&id)?).await?;
    // What it was owed is cancelled.
    api.deliverer.look.notify_one();
    tell_others(&api, &who).await;
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
    let mut report = api.deliverer.test(&webhook, Arc::new(event)).await.0;
    // What a plugin sends may hold its secrets; what is shown of it may not.
    api.plugin_secrets.scrub_json(&who.tenant, &mut report);
    Ok(Json(report))
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
    Ok(page(rows.iter().map(|row| (row.cursor(), attempt_json(row))).collect(), limit))
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
            "oldest_age_s": totals.oldest_pending.and_then(|id| id.made_ms()).map(|ms| (now - ms).max(0) as f64 / 1000.0),
        },
        "circuit": circuit_json(&api.deliverer.scheduler.gate_of(webhook.id), now),
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

pub async fn rotate_secret(
    AdminUser(who): AdminUser,
    State(api): State<Api>,
    Path(id): Path<String>,
    body: Text,
) -> Result<Json<WebhookView>, Problem> {
    let webhook = find(&api, &who, &id)?;
    let (mut secret, mut overlap) = (None, None);
    if !body.is_empty() {
        let mut fields = body.fields()?;
        secret = fields.text("secret", WebhookSecret::parse);
        overlap = fields.text("overlap", |text| match humantime::parse_duration(text) {
            Ok(overlap) if overlap <= MAX_OVERLAP => Ok(overlap),
            _ => Err("must be a time from 0s to 30days, such as 24h"),
        });
        fields.finish()?;
    }
    let overlap = overlap.unwrap_or(DEFAULT_OVERLAP);
    let until_ms = now_ms().saturating_add(i64::try_from(overlap.as_millis()).unwrap_or(i64::MAX));
    let secret = secret.unwrap_or_else(WebhookSecret::generate);
    let webhook = api.webhooks.rotate(&who.tenant, webhook.id, secret, until_ms).await?;
    tell_others(&api, &who).await;
    Ok(Json(webhook.view().with_secret(webhook.secret())))
}

/// Where there are other nodes, they look at once.
async fn tell_others(api: &Api, who: &Identity) {
    api.relay.tell(Control::Webhooks { tenant_id: who.tenant.to_string() }).await;
}

/// 404 also for what another tenant owns, and for what is no id.
pub fn find(api: &Api, who: &Identity, id: &str) -> Result<Arc<Webhook>, Problem> {
    api.webhooks.of(&who.tenant, webhook_id(id)?).ok_or_else(unknown)
}

fn webhook_id(id: &str) -> Result<WebhookId, Problem> {
    id.parse().map(WebhookId).map_err(|_| unknown())
}

fn unknown() -> Problem {
    Problem::not_found("there is no such webhook")
}

pub fn attempt_json(row: &AttemptRow) -> Value {
    json!({
        "id": format!("{}_{}", row.delivery_id, row.attempt),
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

/// What holds a webhook back, if anything does.
fn circuit_json(gate: &Gate, now: i64) -> Value {
    let (state, probes_at) = match gate.circuit(now) {
        Circuit::Closed => ("closed", None),
        Circuit::Open { until_ms } => ("open", Some(until_ms)),
        Circuit::HalfOpen => ("half_open", None),
    };
    json!({
        "state": state,
        "probes_at": probes_at.map(rfc3339_ms),
        "paused_until": gate.paused_until_ms(now).map(rfc3339_ms),
        "failures_in_a_row": gate.failures_in_a_row(),
        "failing_since": gate.failing_since_ms().map(rfc3339_ms),
    })
}
