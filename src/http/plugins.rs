//! Plugins as tenants see them, and the chain before their sockets.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use serde::Serialize;
use serde_json::{Value, json, value::RawValue};

use super::{
    Api, Identity, Problem,
    auth::AdminUser,
    body::{Page, Text},
};
use crate::{bus::Control, plugin::PluginInfo};

pub async fn list(who: Identity, State(api): State<Api>) -> Json<Page<PluginInfo>> {
    Page::whole(api.plugins.list(&who.tenant))
}

pub async fn show_shared(who: Identity, api: State<Api>, Path(name): Path<String>) -> Result<Json<Value>, Problem> {
    show(who, api, Path(format!("shared/{name}"))).await
}

pub async fn show(who: Identity, State(api): State<Api>, Path(name): Path<String>) -> Result<Json<Value>, Problem> {
    let info = api.plugins.info(&who.tenant, &name).ok_or_else(|| Problem::not_found("there is no such plugin"))?;
    Ok(Json(json!(info)))
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
