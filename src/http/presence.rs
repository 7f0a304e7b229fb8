//! Who is connected: counts, and users online.

use axum::{
    Json,
    extract::{Path, State},
};
use serde_json::{Value, json};

use super::{Api, Identity, Problem, Role};
use crate::event::rfc3339_ms;

/// The caller's tenant; the hub's totals for an operator.
pub async fn stats(who: Identity, State(api): State<Api>) -> Json<Value> {
    if who.role == Role::Operator {
        let (totals, tenants) = api.hub.totals();
        let node = json!({"node": &*api.deliverer.node, "clients": totals.clients, "users": totals.users});
        return Json(json!({
            "clients": totals.clients,
            "users": totals.users,
            "tenants": tenants,
            "nodes": [node],
        }));
    }
    Json(json!(api.hub.counts(&who.tenant)))
}

pub async fn online(who: Identity, State(api): State<Api>, Path(user): Path<String>) -> Result<Json<Value>, Problem> {
    let (connections, last_seen_ms) = api.hub.user(&who.tenant, &user);
    let state = api.store.user_state(&who.tenant, &user).await?;
    Ok(Json(json!({
        "user_id": user,
        "online": connections > 0,
        "connections": connections,
        "last_seen": last_seen_ms.map(rfc3339_ms),
        "state": state,
    })))
}

pub async fn online_users(who: Identity, State(api): State<Api>) -> Json<Value> {
    let users: Vec<_> = api.hub.online_users(&who.tenant).iter().map(|user| user.as_str().to_owned()).collect();
    Json(json!({"count": users.len(), "users": users}))
}
