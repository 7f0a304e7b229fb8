//! Secrets for plugins: set, bound, deleted, listed by name. No answer holds a value.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use serde_json::{Value, json};

use super::{
    Api, Problem,
    auth::AdminUser,
    body::{Page, Text},
};
use crate::{
    bus::Control,
    event::TenantId,
    plugin::{PutSecretError, SecretInfo},
};

pub async fn list(AdminUser(who): AdminUser, State(api): State<Api>) -> Json<Page<SecretInfo>> {
    Page::whole(api.plugin_secrets.list(&who.tenant))
}

pub async fn put(
    AdminUser(who): AdminUser,
    State(api): State<Api>,
    Path(name): Path<String>,
    body: Text,
) -> Result<Json<Value>, Problem> {
    let mut fields = body.fields()?;
    let value = fields.optional::<String>("value", "a string");
    let value = fields.require("value", value);
    let plugins = fields.optional::<Vec<String>>("plugins", "a list of plugins' names");
    let plugins = fields.require("plugins", plugins);
    fields.finish()?;
    let (value, plugins) = (value.unwrap_or_default(), plugins.unwrap_or_default());
    let put = api.plugin_secrets.put(&who.tenant, &name, &value, plugins).await;
    let secret = put.map_err(|error| match error {
        PutSecretError::Invalid(invalid) => Problem::from(invalid),
        PutSecretError::Store(error) => error.into(),
    })?;
    tell(&api, &who.tenant).await;
    Ok(Json(json!(secret)))
}

pub async fn delete(
    AdminUser(who): AdminUser,
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    if !api.plugin_secrets.delete(&who.tenant, &name).await? {
        return Err(Problem::not_found("there is no such secret"));
    }
    tell(&api, &who.tenant).await;
    Ok(StatusCode::NO_CONTENT)
}

async fn tell(api: &Api, tenant: &TenantId) {
    api.relay.tell(Control::PluginSecrets { tenant_id: tenant.to_string() }).await;
}
