//! Plugins as tenants see them, upload and choose them, and the chain before their sockets.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    body::{Body, Bytes},
    extract::{Path, RawQuery, Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use bytes::BytesMut;
use http_body_util::BodyExt;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    Api, Identity, Problem,
    auth::AdminUser,
    body::{Page, Text, media_type},
};
use crate::{
    bus::Control,
    event::Invalid,
    plugin::{PluginError, PluginInfo, PluginName, Serving},
};

/// In which a component must have come.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(120);

pub async fn list(who: Identity, State(api): State<Api>) -> Json<Page<PluginInfo>> {
    Page::whole(api.plugins.list(&who.tenant))
}

pub async fn show_shared(who: Identity, api: State<Api>, Path(name): Path<String>) -> Result<Response, Problem> {
    show(who, api, Path(format!("shared/{name}"))).await
}

pub async fn show(who: Identity, State(api): State<Api>, Path(name): Path<String>) -> Result<Response, Problem> {
    // What can be no plugin's name is none.
    let name = PluginName::parse(&name).map_err(|_| no_such(&name))?;
    let details = api.plugins.details(&who.tenant, &name).await?.ok_or_else(|| no_such(&name))?;
    Ok(Json(details).into_response())
}

/// A new version: 201, or 200 where a version with the same bytes was there.
pub async fn upload(
    AdminUser(who): AdminUser,
    State(api): State<Api>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<Response, Problem> {
    let name = own(&name)?;
    let serving = wanted(query.as_deref())?;
    let _admission = api.plugins.admit(&who.tenant).await?;
    let wasm = component(request, api.plugins.limits().max_size_bytes).await?;
    let uploaded = api.plugins.upload(&who.tenant, &name, wasm, serving).await?;
    tell(&api, &who).await;
    let status = if uploaded.is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(uploaded)).into_response())
}

/// Lets another version serve: the way back, or forward.
pub async fn choose(
    AdminUser(who): AdminUser,
    State(api): State<Api>,
    Path(name): Path<String>,
    body: Text,
) -> Result<Response, Problem> {
    let name = own(&name)?;
    let mut fields = body.fields()?;
    let version = fields.number("version", 1..=u64::from(u32::MAX));
    let version = fields.require("version", version);
    let roll_back = fields.optional("roll_back", "`true` or `false`").unwrap_or(false);
    fields.finish()?;
    let version = version.and_then(|version| u32::try_from(version).ok()).unwrap_or_default();
    match api.plugins.choose(&who.tenant, &name, version, roll_back).await {
        Err(PluginError::Unknown(_)) => return Err(no_such(&name)),
        Err(PluginError::Gone { .. }) => {
            return Err(Problem::not_found(format!(
                "there is no version {version} of {name}; GET /api/v1/plugins/{name} lists those that there are"
            )));
        }
        chosen => chosen?,
    }
    tell(&api, &who).await;
    show(who, State(api), Path(name.to_string())).await
}

/// Removes all versions, unless a chain uses them.
pub async fn delete(
    AdminUser(who): AdminUser,
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    let name = own(&name)?;
    // As all nodes have set them by now.
    api.webhooks.refresh().await?;
    api.socket_chains.refresh().await?;
    let webhooks = api.webhooks.list(&who.tenant);
    let using = webhooks.iter().filter(|webhook| webhook.chain.uses(&who.tenant, &name));
    let mut users: Vec<String> = using.map(|webhook| format!("webhook {}", webhook.id)).collect();
    if api.socket_chains.of(&who.tenant).uses(&who.tenant, &name) {
        users.push("the sockets chain".to_owned());
    }
    if !users.is_empty() {
        let detail = format!("{name} is used by {}; take it out of these chains first", users.join(", "));
        return Err(Problem::conflict("plugin_in_use", detail));
    }
    if !api.plugins.delete(&who.tenant, &name).await? {
        return Err(no_such(&name));
    }
    tell(&api, &who).await;
    Ok(StatusCode::NO_CONTENT)
}

/// The operator's are not the tenants' to change.
pub async fn not_yours(AdminUser(_): AdminUser) -> Problem {
    Problem::forbidden(
        "shared plugins are the operator's: they come from PLUGIN_DIR. Upload your own under a name without `shared/`",
    )
}

async fn tell(api: &Api, who: &Identity) {
    api.relay.tell(Control::Plugins { tenant_id: who.tenant.to_string() }).await;
}

pub(super) fn no_such(name: &impl std::fmt::Display) -> Problem {
    Problem::not_found(format!("there is no plugin {name}; GET /api/v1/plugins lists those that there are"))
}

/// The name of a tenant's own plugin, for one that may be made.
fn own(name: &str) -> Result<PluginName, Problem> {
    let parsed =
        PluginName::parse(name).and_then(|name| if name.is_shared() { Err("must have no slash") } else { Ok(name) });
    Ok(parsed.map_err(|why| Invalid::field("name", why))?)
}

fn wanted(query: Option<&str>) -> Result<Serving, Problem> {
    let mut serving = Serving { activate: true, roll_back: false };
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        let wanted = match &*name {
            "activate" => &mut serving.activate,
            "roll_back" => &mut serving.roll_back,
            _ => return Err(Invalid::field(&*name, "is not a parameter of an upload").into()),
        };
        *wanted = match &*value {
            "true" => true,
            "false" => false,
            _ => return Err(Invalid::field(&*name, "must be `true` or `false`").into()),
        };
    }
    Ok(serving)
}

/// The body, read no further than a component may be long.
async fn component(request: Request, max_bytes: usize) -> Result<Bytes, Problem> {
    let media_type = media_type(request.headers());
    if media_type.as_deref() != Some("application/wasm") {
        return Err(Problem::unsupported_media_type("send the component with `content-type: application/wasm`"));
    }
    match tokio::time::timeout(UPLOAD_TIMEOUT, read(request.into_body(), max_bytes)).await {
        Ok(Ok(Some(bytes))) => Ok(bytes),
        Ok(Ok(None)) => {
            Err(Problem::too_large(format!("a component is at most {max_bytes} bytes long (PLUGIN_MAX_SIZE)")))
        }
        Ok(Err(error)) => Err(Problem::bad_request("broken_body", error.to_string())),
        Err(_) => {
            let detail = format!("the component was not sent within {} s", UPLOAD_TIMEOUT.as_secs());
            Err(Problem::bad_request("slow_body", detail))
        }
    }
}

/// None: it is longer than that. What is over is read for a while and thrown away: a client that is still sending would
/// see a broken connection instead of the answer.
async fn read(mut body: Body, max_bytes: usize) -> Result<Option<Bytes>, axum::Error> {
    let (mut kept, mut len) = (BytesMut::new(), 0_usize);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        len = len.saturating_add(data.len());
        if len <= max_bytes {
            kept.extend_from_slice(&data);
        } else if len <= max_bytes.saturating_mul(4) {
            kept = BytesMut::new();
        } else {
            break;
        }
    }
    Ok((len <= max_bytes).then(|| kept.freeze()))
}

pub async fn chain(AdminUser(who): AdminUser, State(api): State<Api>) -> Json<ShownChain> {
    shown(&api.socket_chains.text_of(&who.tenant))
}

/// Takes the bare list, or `{"chain": […]}`.
pub async fn put_chain(
    AdminUser(who): AdminUser,
    State(api): State<Api>,
    body: Text,
) -> Result<Json<ShownChain>, Problem> {
    body.expect_json()?;
    let text = body.as_str()?;
    let stored = if text.trim_start().starts_with('[') {
        // Faults inside are told by their place; what is no JSON at all is told here.
        serde_json::from_str::<&RawValue>(text).map_err(|error| Problem::malformed(error.to_string()))?;
        api.socket_chains.put(&who.tenant, text).await?
    } else {
        let mut fields = body.fields()?;
        let chain = fields.raw("chain");
        let chain = fields.require("chain", chain).map_or("[]", RawValue::get);
        fields.finish()?;
        api.socket_chains.put(&who.tenant, chain).await?
    };
    api.relay.tell(Control::Chains { tenant_id: who.tenant.to_string() }).await;
    Ok(shown(&stored))
}

/// Configurations are shown byte for byte.
#[derive(Serialize)]
pub struct ShownChain {
    chain: Option<Box<RawValue>>,
}

fn shown(chain: &Arc<str>) -> Json<ShownChain> {
    Json(ShownChain { chain: RawValue::from_string(chain.to_string()).ok() })
}
