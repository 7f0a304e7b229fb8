//! Dry runs of plugins: events go in, what would come out is answered, and nothing is sent.

use axum::{
    Json,
    extract::{Path, State},
};
use serde_json::{Value, json, value::RawValue};

use super::{Api, Identity, Problem, auth::AdminUser, body::Text, plugins::no_such};
use crate::{
    event::{Draft, Event, Fields, Invalid, Origin, TenantId, WebhookId, now_ms},
    plugin::{Destination, DryRun, PluginError, PluginName},
    store::EventQuery,
};

/// Recorded events of one dry run.
const MAX_LAST: u64 = 200;
const MAX_CONFIG_BYTES: usize = 64 * 1024;

pub async fn run_shared(
    who: AdminUser,
    api: State<Api>,
    Path(name): Path<String>,
    body: Text,
) -> Result<Json<Value>, Problem> {
    run(who, api, Path(format!("shared/{name}")), body).await
}

pub async fn run(
    AdminUser(who): AdminUser,
    State(api): State<Api>,
    Path(name): Path<String>,
    body: Text,
) -> Result<Json<Value>, Problem> {
    // What can be no plugin's name is none.
    let name = PluginName::parse(&name).map_err(|_| no_such(&name))?;
    let mut fields = body.fields()?;
    let source = Source::read(&mut fields, &who.tenant)?;
    let config = fields.raw("config").map_or("{}", RawValue::get);
    if config.len() > MAX_CONFIG_BYTES {
        fields.fault("config", format!("is {} bytes long, at most {MAX_CONFIG_BYTES} are taken", config.len()));
    }
    let mut number = |name| fields.number(name, 1..=u64::from(u32::MAX)).and_then(|number| u32::try_from(number).ok());
    let (version, against) = (number("version"), number("against"));
    let to = fields.optional::<String>("to", "`sockets`, or the id of a webhook");
    fields.finish()?;
    let to = destination(&api, &who, to.as_deref())?;
    let events = source.events(&api, &who.tenant).await?;
    let asked = DryRun { version, against, config: config.into(), to, events };
    match api.plugins.dry_run(&who.tenant, &name, asked).await {
        Ok(report) => {
            let mut report = json!(report);
            api.plugin_secrets.scrub_json(&who.tenant, &mut report);
            Ok(Json(report))
        }
        Err(PluginError::Unknown(_)) => Err(no_such(&name)),
        Err(PluginError::Guest(failure)) => Err(Invalid::field("config", failure.message).into()),
        Err(error) => Err(error.into()),
    }
}

/// Where the events come from.
enum Source {
    Given(Box<Event>),
    Recorded(String),
    Last(u64),
}

impl Source {
    fn read(fields: &mut Fields, tenant: &TenantId) -> Result<Self, Problem> {
        let given = fields.raw("event");
        let recorded = fields.optional::<String>("event_id", "the id of a recorded event");
        let names_last = fields.has("last");
        let last = fields.number("last", 1..=MAX_LAST);
        let named = [given.is_some(), recorded.is_some(), last.is_some()].into_iter().filter(|it| *it).count();
        if named > 1 {
            fields.fault("event", "name one of `event`, `event_id` and `last`");
        }
        if let Some(text) = given {
            let draft = Draft::parse(text.get(), tenant)?;
            return Ok(Self::Given(Box::new(draft.receive(tenant, now_ms(), Origin::Published))));
        }
        if let Some(id) = recorded {
            return Ok(Self::Recorded(id));
        }
        if !names_last {
            fields.fault("event", "name an event: `event`, `event_id`, or `last` with a number of recorded ones");
        }
        Ok(Self::Last(last.unwrap_or(1)))
    }

    async fn events(self, api: &Api, tenant: &TenantId) -> Result<Vec<Event>, Problem> {
        match self {
            Self::Given(event) => Ok(vec![*event]),
            Self::Recorded(id) => {
                let row = api.store.event(tenant, &id).await?;
                let row = row.ok_or_else(|| Problem::not_found(format!("there is no recorded event {id}")))?;
                Ok(vec![row.event])
            }
            Self::Last(limit) => {
                let rows = api.store.events(tenant, EventQuery { limit, ..EventQuery::default() }).await?;
                Ok(rows.into_iter().map(|row| row.event).collect())
            }
        }
    }
}

fn destination(api: &Api, who: &Identity, to: Option<&str>) -> Result<Destination, Problem> {
    match to {
        None => Ok(Destination { kind: "webhook", id: String::new(), name: String::new() }),
        Some("sockets") => Ok(Destination::sockets()),
        Some(id) => {
            let known = id.parse().ok().and_then(|id| api.webhooks.of(&who.tenant, WebhookId(id)));
            let webhook =
                known.ok_or_else(|| Invalid::field("to", "must be `sockets`, or the id of one of your webhooks"))?;
            Ok(Destination { kind: "webhook", id: webhook.id.to_string(), name: webhook.name.clone() })
        }
    }
}
