//! The hub: which connections of this node see an event, and the bounded queue of each.
//!
//! Entities: a *connection* belongs to one tenant and is either a member's (a token) or a visitor's (a public session); its
//! *outbox* holds encoded frames that are shared, not copied. Offsets grow per tenant and are given under the tenant's
//! lock, so that every connection sees them in one order.
//!
//! Guarantees: no frame leaves its tenant, since there is no way to publish without one; nothing is dropped in silence: a
//! connection over its queue limit is told to close with 4508.
//!
//! Deliberately absent: webhooks, storage, plugins, and what a WebSocket is.

mod connection;
mod frame;
mod tenant;

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use serde::Serialize;

pub use connection::{Close, Closing, Connection, ConnectionLimits, Filter, Mailbox, Viewer};
pub use frame::Frame;

use crate::event::{Event, SessionId, TenantId, UserId};
use tenant::TenantHub;

/// The whole node's connections.
pub struct Hub {
    /// Locked for reading by each publish, for writing when a tenant's first connection comes. Never held over an await.
    tenants: RwLock<Tenants>,
    /// Names this run of the offsets: another epoch's offsets mean nothing here.
    epoch: String,
}

#[derive(Default)]
struct Tenants {
    hubs: HashMap<TenantId, Arc<TenantHub>>,
    /// A tenant that comes now is not let in.
    stopping: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    #[error("the tenant has as many connections as it may have")]
    TenantFull,
    #[error("the server is stopping")]
    Stopping,
}

/// A connection that has just been added.
pub struct Joined {
    pub connection: Arc<Connection>,
    pub mailbox: Mailbox,
    pub closing: Closing,
    /// The tenant's last offset: every later one reaches the mailbox.
    pub offset: u64,
}

#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Counts {
    pub clients: usize,
    pub users: usize,
}

impl Default for Hub {
    fn default() -> Self {
        Self::new()
    }
}

impl Hub {
    pub fn new() -> Self {
        Self { tenants: RwLock::default(), epoch: hex::encode(rand::random::<[u8; 6]>()) }
    }

    pub fn epoch(&self) -> &str {
        &self.epoch
    }

    /// Adds a connection; it sees every event published from now on.
    ///
    /// # Errors
    /// [`JoinError`].
    pub fn join(
        &self,
        tenant: &TenantId,
        viewer: Viewer,
        filter: Filter,
        limits: ConnectionLimits,
    ) -> Result<Joined, JoinError> {
        self.tenant_or_new(tenant).join(tenant, viewer, filter, limits)
    }

    pub fn leave(&self, connection: &Connection) {
        if let Some(tenant) = self.tenant(&connection.tenant) {
            tenant.leave(connection);
        }
    }

    /// Queues an event for every connection that may see it and asked for it, and tells how many those are; `data` is what
    /// the chain made of it.
    pub fn publish(&self, event: &Event, data: Option<&str>) -> usize {
        self.tenant_or_new(&event.tenant).publish(event, data)
    }

    pub fn counts(&self, tenant: &TenantId) -> Counts {
        self.tenant(tenant).map_or_else(Counts::default, |tenant| tenant.counts())
    }

    /// Connections of all tenants, and how many tenants have any.
    pub fn totals(&self) -> (Counts, usize) {
        let mut totals = Counts::default();
        let mut live = 0;
        for tenant in self.all() {
            let counts = tenant.counts();
            totals.clients += counts.clients;
            totals.users += counts.users;
            live += usize::from(counts.clients > 0);
        }
        (totals, live)
    }

    /// Connections of a user, and when the last one was seen (ms), if ever.
    pub fn user(&self, tenant: &TenantId, user: &str) -> (usize, Option<i64>) {
        self.tenant(tenant).map_or((0, None), |tenant| tenant.user(user))
    }

    pub fn online_users(&self, tenant: &TenantId) -> Vec<UserId> {
        self.tenant(tenant).map_or_else(Vec::new, |tenant| tenant.online_users())
    }

    /// Closes the connections of a public session.
    pub fn close_session(&self, tenant: &TenantId, session: &SessionId, close: &Close) {
        if let Some(tenant) = self.tenant(tenant) {
            tenant.close_where(close, |connection| connection.viewer.session() == Some(session));
        }
    }

    /// Closes every connection and takes none any more: the server stops. `close` makes each one's own notice.
    pub fn close_all(&self, close: impl Fn() -> Close) {
        self.tenants.write().unwrap_or_else(PoisonError::into_inner).stopping = true;
        for tenant in self.all() {
            tenant.stop(&close);
        }
    }

    fn all(&self) -> Vec<Arc<TenantHub>> {
        self.tenants.read().unwrap_or_else(PoisonError::into_inner).hubs.values().cloned().collect()
    }

    fn tenant(&self, tenant: &TenantId) -> Option<Arc<TenantHub>> {
        self.tenants.read().unwrap_or_else(PoisonError::into_inner).hubs.get(tenant).cloned()
    }

    fn tenant_or_new(&self, tenant: &TenantId) -> Arc<TenantHub> {
        self.tenant(tenant).unwrap_or_else(|| {
            let mut tenants = self.tenants.write().unwrap_or_else(PoisonError::into_inner);
            let stopping = tenants.stopping;
            tenants.hubs.entry(tenant.clone()).or_insert_with(|| Arc::new(TenantHub::new(stopping))).clone()
        })
    }
}
