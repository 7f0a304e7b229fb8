//! What there is besides on a server that is one of many: the look for Redis, the words of other nodes, who is online.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    broadcaster::Broadcaster,
    bus::{Bus, Clients, Control, LinkState, Messages},
    config::Config,
    event::{TenantId, UserId},
    hub::Hub,
    plugin::{PluginSecrets, Plugins, SocketChains},
    presence::{Announcement, Announcer, Count, OnlineView, Revocations},
    store::Revocation,
    webhook::Deliverer,
};

/// Redis, where it is named.
pub struct Nodes {
    pub bus: Bus,
    pub messages: Messages,
}

impl Nodes {
    /// Looks once whether Redis is there; where it is not, it is looked for while the server runs.
    pub async fn find(config: &Config, node: &str, shared_database: bool) -> Option<Self> {
        let Some(location) = config.redis.clone() else {
            warn!("Redis is not set: this is a single server (REDIS_URL)");
            info!("WebSocket Hub started (single-server mode)");
            return None;
        };
        if !shared_database {
            warn!("Redis with SQLite: webhooks, plugins and stored events are this node's own");
        }
        let (bus, messages) = Bus::new(location, node, config.offline);
        match bus.connect().await {
            Ok(()) => {
                info!("Redis connected successfully");
                info!("WebSocket PubSubHub started (multi-server mode)");
            }
            Err(error) => {
                warn!("{error}; this is a single server until it does");
                info!("WebSocket Hub started (single-server mode)");
            }
        }
        Some(Self { bus, messages })
    }
}

/// What a node tells of its connections.
pub fn count(hub: &Arc<Hub>) -> Count {
    let hub = hub.clone();
    Box::new(move || Clients { by_tenant: hub.clients(), users: hub.totals().0.users })
}

/// Does what other nodes say, until the server stops.
pub async fn obey(
    mut controls: mpsc::Receiver<Control>,
    deliverer: Arc<Deliverer>,
    (plugins, chains, secrets): (Arc<Plugins>, Arc<SocketChains>, Arc<PluginSecrets>),
    (revocations, hub): (Arc<Revocations>, Arc<Hub>),
    announcer: Arc<Announcer>,
    stopping: CancellationToken,
) {
    loop {
        let control = tokio::select! {
            biased;
            () = stopping.cancelled() => return,
            control = controls.recv() => control,
        };
        let done = match control {
            None => return,
            Some(Control::Webhooks { .. }) => {
                let refreshed = deliverer.webhooks.refresh().await;
                // What waited for a webhook that is switched on now goes on at once.
                deliverer.look.notify_one();
                refreshed
            }
            Some(Control::Chains { .. }) => chains.refresh().await,
            Some(Control::Plugins { .. }) => {
                // Not waited for: compiling takes its time.
                plugins.look_now();
                Ok(())
            }
            Some(Control::PluginSecrets { .. }) => secrets.refresh().await,
            Some(Control::Revoked { tenant_id, user_id, before_s }) => {
                match (TenantId::parse(&tenant_id), UserId::parse(&user_id)) {
                    (Ok(tenant), Ok(user)) => {
                        revocations.hear(Revocation { tenant, user, before_s }, close_in(hub.clone())).await
                    }
                    // No node says so.
                    _ => Ok(()),
                }
            }
            Some(Control::Left { users }) => {
                for (tenant, user) in &users {
                    if let (Ok(tenant), Ok(user)) = (TenantId::parse(tenant), UserId::parse(user)) {
                        announcer.left_with_its_node(&tenant, &user);
                    }
                }
                Ok(())
            }
            Some(Control::Lost { .. }) => Ok(()),
        };
        if let Err(error) = done {
            warn!("what another node changed is seen a little later: {error}");
        }
    }
}

/// Ends the sockets of users whom other nodes have put out, until the server stops.
pub async fn put_out(revocations: Arc<Revocations>, hub: Arc<Hub>, stopping: CancellationToken) {
    revocations.keep_fresh(close_in(hub), stopping).await;
}

fn close_in(hub: Arc<Hub>) -> impl Fn(&Revocation) {
    move |Revocation { tenant, user, before_s }| {
        hub.put_out(tenant, user, *before_s);
    }
}

/// Announces who comes and goes, until the server stops.
pub async fn announce(
    announcer: Arc<Announcer>,
    online: Arc<Online>,
    broadcaster: Broadcaster,
    stopping: CancellationToken,
) {
    let publish = move |announcements: Vec<Announcement>| {
        let broadcaster = broadcaster.clone();
        async move {
            let published = broadcaster.publish_presence(announcements).await;
            let told = published.into_iter().map(|result| match result {
                Ok(published) => Ok(published.duplicate),
                Err(error) => Err(error.to_string()),
            });
            told.collect()
        }
    };
    announcer.run(online, publish, stopping).await;
}

/// After Redis was away, it may not know yet who is there: each node leases anew as soon as it is connected again.
const SETTLED_AFTER: Duration = Duration::from_secs(6);

/// Who is online: by the leases in Redis, or by this node's hub where there is none.
pub struct Online {
    hub: Arc<Hub>,
    bus: Option<Bus>,
    shared_database: bool,
    /// The connection to Redis, and since when it has been there.
    link: Mutex<(LinkState, Instant)>,
}

impl Online {
    pub fn new(hub: Arc<Hub>, bus: Option<Bus>, shared_database: bool) -> Self {
        let state = bus.as_ref().map_or(LinkState::Away, |bus| *bus.state().borrow());
        Self { hub, bus, shared_database, link: Mutex::new((state, Instant::now())) }
    }

    fn settled(&self, bus: &Bus) -> Result<(), String> {
        let now = *bus.state().borrow();
        let mut link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        if link.0 != now {
            *link = (now, Instant::now());
        }
        match now {
            // The first connection of this server: the other nodes have been there.
            LinkState::Up(1) => Ok(()),
            LinkState::Up(_) if link.1.elapsed() >= SETTLED_AFTER => Ok(()),
            LinkState::Up(_) => Err("Redis has been away, and the nodes are telling it who is there".to_owned()),
            LinkState::Away | LinkState::Deaf => Err("Redis is away".to_owned()),
        }
    }

    fn here_only(&self, users: &[(TenantId, UserId)]) -> Vec<bool> {
        users.iter().map(|(tenant, user)| self.hub.user(tenant, user.as_str()).0 > 0).collect()
    }
}

impl OnlineView for Online {
    async fn online(&self, users: &[(TenantId, UserId)]) -> Result<Vec<bool>, String> {
        let Some(bus) = &self.bus else { return Ok(self.here_only(users)) };
        match self.settled(bus) {
            Ok(()) => bus.are_online(users).await.map_err(|error| error.to_string()),
            // Nobody else has these events either.
            Err(_) if !self.shared_database => Ok(self.here_only(users)),
            Err(reason) => Err(reason),
        }
    }

    fn here(&self) -> Vec<(TenantId, UserId)> {
        self.hub.members()
    }
}
