//! Publishing and reading events, and the catalogue of their types.

use axum::{
    Json,
    extract::{Path, RawQuery, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, SeqAccess, Visitor},
};
use serde_json::{Value, json, value::RawValue};

use super::{
    Api, Identity, Problem,
    auth::ServiceUser,
    body::{ListQuery, Page, Text, page},
    cloudevents,
    deliveries::with_attempts,
};
use crate::{
    broadcaster::{PublishError, Published},
    event::{Draft, Event, EventType, Invalid, catalogue},
    store::EventQuery,
    webhook::Webhook,
};

/// Events in one array, and lines of one request.
const MAX_ITEMS: usize = 1000;
const MAX_LINES: usize = 50_000;
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// An event to publish, and its idempotency key.
type Keyed = (Draft, Option<String>);

pub async fn publish(
    ServiceUser(who): ServiceUser,
    State(api): State<Api>,
    headers: HeaderMap,
    body: Text,
) -> Result<Response, Problem> {
    let key = idempotency_key(&headers)?;
    let ours = |item: &str, n: usize| {
        // Each item has a key of its own; no key that a client sends has a line break.
        let key = key.as_ref().map(|key| format!("{key}\n{n}"));
        Ok((Draft::parse(item, &who.tenant)?, key))
    };
    // The identity of a CloudEvent is its source and id, whatever key is sent with it.
    let theirs = |item: &str| cloudevents::parse(item, &who.tenant).map(|(draft, key)| (draft, Some(key)));
    match body.media_type.as_str() {
        cloudevents::STRUCTURED => publish_one(&api, &who, theirs(body.as_str()?)?).await,
        cloudevents::BATCH => publish_each(&api, &who, array(body.as_str()?)?, |item, _| theirs(item)).await,
        other if !other.starts_with(cloudevents::ANY_FORMAT) && cloudevents::is_binary(&headers) => {
            publish_one(&api, &who, theirs(&cloudevents::structured(&headers, body.bytes())?)?).await
        }
        "application/json" if body.as_str()?.trim_start().starts_with('[') => {
            publish_each(&api, &who, array(body.as_str()?)?, ours).await
        }
        "application/json" => publish_one(&api, &who, (Draft::parse(body.as_str()?, &who.tenant)?, key)).await,
        "application/x-ndjson" => {
            let text = body.as_str()?;
            let lines = || text.lines().filter(|line| !line.trim().is_empty());
            let count = lines().count();
            if count > MAX_LINES {
                let message = format!("{count} lines are too many: a request holds at most {MAX_LINES}");
                return Err(Invalid::field("events", message).into());
            }
            publish_each(&api, &who, lines().collect(), ours).await
        }
        _ => Err(Problem::unsupported_media_type(
            "send `content-type: application/json` (an event or an array), `application/x-ndjson` (one event a line), or a \
             CloudEvent: `application/cloudevents+json`, `application/cloudevents-batch+json`, or its attributes in `ce-` headers",
        )),
    }
}

/// # Errors
/// 400 for what is no array, 422 for one that is too long.
fn array(text: &str) -> Result<Vec<&str>, Problem> {
    let Items { first, count } =
        serde_json::from_str(text).map_err(|error| Problem::malformed(format!("not a JSON array: {error}")))?;
    if count > MAX_ITEMS {
        let message = format!("{count} events are too many: an array holds at most {MAX_ITEMS}");
        return Err(Invalid::field("events", message).into());
    }
    Ok(first.into_iter().map(RawValue::get).collect())
}

/// An array, of which only as much is kept as may be used.
struct Items<'a> {
    first: Vec<&'a RawValue>,
    count: usize,
}

impl<'de: 'a, 'a> Deserialize<'de> for Items<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Array;
        impl<'de> Visitor<'de> for Array {
            type Value = Items<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Items<'de>, A::Error> {
                let mut items = Items { first: Vec::new(), count: 0 };
                while items.count < MAX_ITEMS
                    && let Some(item) = array.next_element()?
                {
                    items.first.push(item);
                    items.count += 1;
                }
                while array.next_element::<IgnoredAny>()?.is_some() {
                    items.count += 1;
                }
                Ok(items)
            }
        }
        deserializer.deserialize_seq(Array)
    }
}

async fn publish_one(api: &Api, who: &Identity, item: Keyed) -> Result<Response, Problem> {
    let results = api.broadcaster.publish_all(&who.tenant, vec![item]).await;
    let published = results.into_iter().next().unwrap_or(Err(crate::store::StoreError::Closed.into()))?;
    Ok((StatusCode::ACCEPTED, Json(shown(&published))).into_response())
}

/// Answers per item; a bad one fails alone. Each piece is committed before the next one is looked at.
/// `parse` is given an item and its place.
async fn publish_each(
    api: &Api,
    who: &Identity,
    items: Vec<&str>,
    parse: impl Fn(&str, usize) -> Result<Keyed, Problem>,
) -> Result<Response, Problem> {
    let mut answers = Vec::with_capacity(items.len());
    for (piece_n, piece) in items.chunks(MAX_ITEMS).enumerate() {
        let mut drafts = Vec::with_capacity(piece.len());
        let mut parsed: Vec<Result<(), Problem>> = Vec::with_capacity(piece.len());
        for (n, item) in piece.iter().enumerate() {
            parsed.push(parse(item, piece_n * MAX_ITEMS + n).map(|item| drafts.push(item)));
        }
        let published = api.broadcaster.publish_all(&who.tenant, drafts).await;
        let some_are_stored = published.iter().any(Result::is_ok);
        let mut published = published.into_iter();
        for parsed in parsed {
            let result = match parsed {
                Ok(()) => published.next().unwrap_or(Err(crate::store::StoreError::Closed.into())),
                Err(error) => {
                    answers.push(refused(error));
                    continue;
                }
            };
            answers.push(match result {
                Ok(published) => shown(&published),
                // Ours, and the same for all that follow.
                Err(PublishError::Store(error)) if !some_are_stored => {
                    return Err(stopped_at(piece_n * MAX_ITEMS, error.into()));
                }
                Err(error) => refused(error.into()),
            });
        }
    }
    Ok((StatusCode::ACCEPTED, Json(Value::from(answers))).into_response())
}

/// The client is to send the request again, or what is left of it.
fn stopped_at(committed: usize, problem: Problem) -> Problem {
    if committed == 0 {
        return problem;
    }
    let detail = format!("the first {committed} events were taken and the others were not: send those again");
    Problem::unavailable("partly_published", detail)
}

fn shown(published: &Published) -> Value {
    json!({"id": published.id.as_str(), "duplicate": published.duplicate})
}

fn refused(problem: Problem) -> Value {
    json!({ "error": problem })
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    match value.to_str() {
        Ok(key) if (1..=255).contains(&key.len()) && !key.contains('\t') => Ok(Some(key.to_owned())),
        _ => Err(Problem::bad_request(
            "bad_idempotency_key",
            "Idempotency-Key must be 1 to 255 visible ASCII characters",
        )),
    }
}

pub async fn list(
    ServiceUser(who): ServiceUser,
    State(api): State<Api>,
    RawQuery(query): RawQuery,
) -> Result<Json<Page<Box<RawValue>>>, Problem> {
    let query = ListQuery::parse(query.as_deref(), &["type", "after", "before"])?;
    let event_type = query.get("type").map(EventType::parse).transpose();
    let event_type = event_type.map_err(|message| Invalid::field("type", message))?;
    let limit = query.limit()?;
    let wanted = EventQuery {
        event_type: event_type.map(|event_type| event_type.to_string()),
        after_ms: query.time_ms("after")?,
        before_ms: query.time_ms("before")?,
        cursor: query.cursor()?,
        limit,
    };
    let rows = api.store.events(&who.tenant, wanted).await?;
    Ok(page(rows.iter().filter_map(|row| Some((row.seq, raw(row.event.envelope())?))).collect(), limit))
}

pub async fn show(
    ServiceUser(who): ServiceUser,
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Json<Box<RawValue>>, Problem> {
    let row = api.store.event(&who.tenant, &id).await?;
    let row = row.ok_or_else(|| Problem::not_found("there is no such event"))?;
    let trace = trace(&api, &row.event).await?;
    let mut event = row.event.envelope();
    event.truncate(event.len() - 1);
    raw(format!("{event},\"trace\":{trace}}}"))
        .map(Json)
        .ok_or_else(|| Problem::not_found("the stored event is no JSON any more"))
}

/// As text, since a parsed number would not be the one that was sent.
fn raw(json: String) -> Option<Box<RawValue>> {
    RawValue::from_string(json).ok()
}

/// What became of an event, target by target, and why something was not sent.
async fn trace(api: &Api, event: &Event) -> Result<Value, Problem> {
    let rows = api.store.deliveries_of(&event.tenant, event.id.as_str()).await?;
    let deliveries = with_attempts(api, &rows).await?;
    let webhooks: Vec<Value> = api
        .webhooks
        .list(&event.tenant)
        .iter()
        .map(|webhook| {
            let delivery = rows.iter().find(|row| row.webhook == webhook.id);
            json!({
                "webhook_id": webhook.id,
                "name": webhook.name,
                "owed": delivery.is_some(),
                "delivery_id": delivery.map(|row| row.id.as_str()),
                "why_not": delivery.is_none().then(|| why_not(webhook, event)),
            })
        })
        .collect();
    let sockets = api.broadcaster.socket_trace(&event.tenant, &event.id);
    Ok(json!({"sockets": sockets, "webhooks": webhooks, "deliveries": deliveries}))
}

/// Told by what the webhook is now: what it was then is not kept.
fn why_not(webhook: &Webhook, event: &Event) -> &'static str {
    if !webhook.events.match_any(&event.event_type) {
        "no pattern of its `events` matches the type"
    } else if !webhook.events.owe(&event.event_type) {
        "the type is ephemeral, and only a pattern that names it exactly chooses it"
    } else if !webhook.is_active {
        "it is switched off"
    } else if webhook.row.created_ms > event.timestamp_ms {
        "it was made after the event came"
    } else {
        "it was switched off, or its `events` were others, when the event came"
    }
}

pub async fn types(_: Identity) -> Json<Page<Value>> {
    let entries = catalogue::catalogue().iter().map(|entry| {
        json!({
            "name": entry.name,
            "group": entry.group,
            "meaning": entry.meaning,
            "schema": serde_json::from_str::<Value>(entry.schema).unwrap_or_default(),
        })
    });
    Page::whole(entries.collect())
}
