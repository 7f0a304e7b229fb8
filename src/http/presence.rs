//! Who is connected: counts, and users online, over all nodes. While Redis is away, what this node knows is told.

use axum::{
    Json,
    extract::{Path, State},
};
use serde_json::{Value, json};

use super::{Api, Identity, Problem, Role, auth::AdminUser};
use crate::{
    bus::{Away, Bus, Clients, Control},
    event::{Invalid, TenantId, UserId, now_ms, rfc3339_ms},
    store::Revocation,
};

/// The caller's tenant; the hub's totals for an operator.
pub async fn stats(who: Identity, State(api): State<Api>) -> Json<Value> {
    if who.role == Role::Operator {
        return Json(totals(&api).await);
    }
    if let Some(bus) = api.relay.bus()
        && let Ok((clients, users)) = tenant_counts(&api, bus, &who.tenant).await
    {
        return Json(json!({"clients": clients, "users": users}));
    }
    Json(json!(api.hub.counts(&who.tenant)))
}

/// Every node as it last told; this one as it is now.
async fn nodes(api: &Api, bus: Option<&Bus>) -> Result<Vec<(String, Clients)>, Away> {
    let own = Clients { by_tenant: api.hub.clients(), users: api.hub.totals().0.users };
    let mut nodes = match bus {
        Some(bus) => bus.nodes().await?,
        None => Vec::new(),
    };
    nodes.retain(|(node, _)| **node != *api.deliverer.node);
    nodes.push((api.deliverer.node.to_string(), own));
    Ok(nodes)
}

async fn tenant_counts(api: &Api, bus: &Bus, tenant: &TenantId) -> Result<(usize, usize), Away> {
    let users = bus.online_counts(std::slice::from_ref(tenant)).await?;
    let nodes = nodes(api, Some(bus)).await?;
    let clients = nodes.iter().filter_map(|(_, clients)| clients.by_tenant.get(tenant)).sum();
    Ok((clients, users.first().copied().unwrap_or(0)))
}

async fn totals(api: &Api) -> Value {
    let shared = match api.relay.bus() {
        Some(bus) => shared_totals(api, bus).await.ok(),
        None => None,
    };
    let (nodes, users) = match shared {
        Some(shared) => shared,
        None => (nodes(api, None).await.unwrap_or_default(), api.hub.totals().0.users),
    };
    let tenants: std::collections::HashSet<_> =
        nodes.iter().flat_map(|(_, clients)| clients.by_tenant.keys()).collect();
    let each = nodes.iter().map(|(node, clients)| {
        json!({"node": node, "clients": clients.by_tenant.values().sum::<usize>(), "users": clients.users})
    });
    let clients: usize = nodes.iter().flat_map(|(_, clients)| clients.by_tenant.values()).sum();
    json!({
        "clients": clients,
        "users": users,
        "tenants": tenants.len(),
        "nodes": each.collect::<Vec<_>>(),
    })
}

async fn shared_totals(api: &Api, bus: &Bus) -> Result<(Vec<(String, Clients)>, usize), Away> {
    let nodes = nodes(api, Some(bus)).await?;
    let mut tenants: Vec<_> = nodes.iter().flat_map(|(_, clients)| clients.by_tenant.keys().cloned()).collect();
    tenants.sort();
    tenants.dedup();
    let users = bus.online_counts(&tenants).await?.into_iter().sum();
    Ok((nodes, users))
}

pub async fn online(who: Identity, State(api): State<Api>, Path(user): Path<String>) -> Result<Json<Value>, Problem> {
    let state = api.store.user_state(&who.tenant, &user).await?;
    let (mut connections, mut last_seen_ms) = api.hub.user(&who.tenant, &user);
    if let (Some(bus), Ok(user)) = (api.relay.bus(), UserId::parse(&user))
        && let Ok((over_all, seen_ms)) = bus.user(&who.tenant, &user).await
    {
        connections = over_all;
        last_seen_ms = last_seen_ms.max(seen_ms);
    }
    Ok(Json(json!({
        "user_id": user,
        "online": connections > 0,
        "connections": connections,
        "last_seen": last_seen_ms.map(rfc3339_ms),
        "state": state,
    })))
}

/// Closes a user's sockets on every node, and refuses them the tokens that they have.
pub async fn revoke(
    AdminUser(who): AdminUser,
    State(api): State<Api>,
    Path(user): Path<String>,
) -> Result<Json<Value>, Problem> {
    let user = UserId::parse(&user).map_err(|message| Invalid::field("user", message))?;
    let before_s = now_ms() / 1000;
    let (tenant_id, user_id) = (who.tenant.to_string(), user.to_string());
    let revocation = Revocation { tenant: who.tenant, user, before_s };
    api.revocations.revoke(&revocation).await?;
    let closed = api.hub.put_out(&revocation.tenant, &revocation.user, before_s);
    api.relay.tell(Control::Revoked { tenant_id, user_id: user_id.clone(), before_s }).await;
    Ok(Json(json!({"user_id": user_id, "closed": closed, "before": rfc3339_ms(before_s * 1000)})))
}

/// A user may be called that, too.
pub async fn revoke_online(admin: AdminUser, api: State<Api>) -> Result<Json<Value>, Problem> {
    revoke(admin, api, Path("online".to_owned())).await
}

pub async fn online_users(who: Identity, State(api): State<Api>) -> Json<Value> {
    let over_all = match api.relay.bus() {
        Some(bus) => bus.online_users(&who.tenant).await.ok(),
        None => None,
    };
    let here = || api.hub.online_users(&who.tenant).iter().map(|user| user.as_str().to_owned()).collect();
    let mut users: Vec<String> = over_all.unwrap_or_else(here);
    users.sort();
    Json(json!({"count": users.len(), "users": users}))
}
