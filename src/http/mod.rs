//! The HTTP API: one router, one file per resource, one kind of error.

mod auth;
mod body;
mod cloudevents;
mod deliveries;
mod events;
mod health;
mod plugin_logs;
mod plugin_runs;
mod plugin_secrets;
mod plugins;
mod presence;
mod problem;
mod sessions;
mod webhooks;

use std::sync::Arc;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    routing::{delete, get, post, put},
};

pub use auth::{Identity, Role, Tokens, bearer, issue};
pub use body::MAX_REQUEST_BYTES;
pub use health::Readiness;
pub use problem::Problem;

use crate::{
    broadcaster::{Broadcaster, Relay},
    hub::Hub,
    plugin::{PluginSecrets, Plugins, SocketChains},
    presence::{Presence, Revocations},
    store::Store,
    webhook::{Deliverer, Webhooks, address::AddressPolicy},
};

/// What handlers reach. Cheap to clone.
pub type Api = Arc<ApiParts>;

pub struct ApiParts {
    pub tokens: Tokens,
    pub broadcaster: Broadcaster,
    pub store: Store,
    pub hub: Arc<Hub>,
    pub relay: Arc<Relay>,
    pub presence: Arc<Presence>,
    pub revocations: Arc<Revocations>,
    pub webhooks: Arc<Webhooks>,
    pub deliverer: Arc<Deliverer>,
    pub addresses: Arc<AddressPolicy>,
    pub plugins: Arc<Plugins>,
    pub plugin_secrets: Arc<PluginSecrets>,
    pub socket_chains: Arc<SocketChains>,
    pub readiness: Readiness,
}

/// Every path; `sockets` are the routes of the handshakes.
pub fn router(api: Api, sockets: Router) -> Router {
    let v1 = Router::new()
        .route("/events", post(events::publish).get(events::list).options(cloudevents::options))
        .route("/events/{id}", get(events::show))
        .route("/event-types", get(events::types))
        .route("/chat/sessions", post(sessions::create))
        .route("/webhooks", post(webhooks::create).get(webhooks::list))
        .route("/webhooks/failed", get(deliveries::failed))
        .route("/webhooks/{id}", get(webhooks::show).put(webhooks::change).delete(webhooks::delete))
        .route("/webhooks/{id}/test", post(webhooks::test))
        .route("/webhooks/{id}/logs", get(webhooks::logs))
        .route("/webhooks/{id}/stats", get(webhooks::stats))
        .route("/webhooks/{id}/public-key", get(webhooks::public_key))
        .route("/webhooks/{id}/rotate-secret", post(webhooks::rotate_secret))
        .route("/webhooks/{id}/replay", post(deliveries::replay))
        .route("/webhooks/{id}/replays", get(deliveries::replays))
        .route("/webhooks/{id}/replays/{job}", get(deliveries::show_replay))
        .route("/deliveries/{id}", get(deliveries::show))
        .route("/deliveries/{id}/retry", post(deliveries::retry))
        .route("/plugins", get(plugins::list))
        // A shared plugin's slash is unescaped in the path.
        .route("/plugins/shared/{name}", get(plugins::show_shared).put(plugins::not_yours).delete(plugins::not_yours))
        .route("/plugins/shared/{name}/active", put(plugins::not_yours))
        .route("/plugins/{name}", get(plugins::show).put(plugins::upload).delete(plugins::delete))
        .route("/plugins/{name}/active", put(plugins::choose))
        .route("/plugins/shared/{name}/run", post(plugin_runs::run_shared))
        .route("/plugins/{name}/run", post(plugin_runs::run))
        .route("/plugins/shared/{name}/logs", get(plugin_logs::logs_shared))
        .route("/plugins/{name}/logs", get(plugin_logs::logs))
        .route("/plugin-secrets", get(plugin_secrets::list))
        .route("/plugin-secrets/{name}", put(plugin_secrets::put).delete(plugin_secrets::delete))
        .route("/sockets/chain", get(plugins::chain).put(plugins::put_chain))
        .merge(presence_routes());
    Router::new()
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .merge(presence_routes())
        .nest("/api/v1", v1)
        .with_state(api)
        .merge(sockets)
        .fallback(|| async { Problem::not_found("there is nothing at this path") })
        .method_not_allowed_fallback(|| async { Problem::method_not_allowed() })
        .layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES))
}

/// Every `/ws…` path answers under `/api/v1` too.
fn presence_routes() -> Router<Api> {
    Router::new()
        .route("/ws/stats", get(presence::stats))
        .route("/ws/users/online", get(presence::online_users).delete(presence::revoke_online))
        .route("/ws/users/{user}", delete(presence::revoke))
        .route("/ws/users/{user}/online", get(presence::online))
}
