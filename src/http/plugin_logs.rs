//! What a plugin logged and how it failed on the events of the caller's tenant, as this node remembers it.

use axum::{
    Json,
    extract::{Path, RawQuery, State},
};

use super::{
    Api, Problem,
    auth::AdminUser,
    body::{ListQuery, Page, page},
    plugins::no_such,
};
use crate::{
    event::Invalid,
    plugin::{Entry, Level, PluginName},
};

pub async fn logs_shared(
    admin: AdminUser,
    api: State<Api>,
    Path(name): Path<String>,
    query: RawQuery,
) -> Result<Json<Page<Entry>>, Problem> {
    logs(admin, api, Path(format!("shared/{name}")), query).await
}

pub async fn logs(
    AdminUser(who): AdminUser,
    State(api): State<Api>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Json<Page<Entry>>, Problem> {
    let known = PluginName::parse(&name).map_err(|_| no_such(&name))?;
    api.plugins.known_to(&who.tenant, &known).await?.ok_or_else(|| no_such(&name))?;
    let query = ListQuery::parse(query.as_deref(), &["level"])?;
    let level = match query.get("level").map(Level::parse) {
        None => Level::Debug,
        Some(Some(level)) => level,
        Some(None) => return Err(Invalid::field("level", "must be debug, info, warn or error").into()),
    };
    let limit = query.limit()?;
    let entries =
        api.plugins.log(&who.tenant, &name, level, query.cursor()?, usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(page(entries, limit))
}
