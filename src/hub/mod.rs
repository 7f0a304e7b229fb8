//! The hub: which connections of this node see an event, and the bounded queue of each.
//!
//! Entities: a *connection* belongs to one tenant and is either a member's (a token) or a visitor's (a public session); its
//! *outbox* holds encoded frames that are shared, not copied. Offsets grow per tenant and are given under the tenant's
//! lock, so that every connection sees them in one order. The last events are kept in the tenant's *history*, from which a
//! connection that comes back is shown what it missed; it is paced by its reader and does not count for its outbox. A
//! tenant's offsets are this node's own, or those of all nodes: each *epoch* names one run of them.
//!
//! Guarantees: no frame leaves its tenant, since there is no way to publish without one; nothing is dropped in silence: a
//! connection over its queue limit is told to close with 4508.
//!
//! Deliberately absent: webhooks, storage, plugins, and what a WebSocket is.

mod connection;
mod frame;
mod history;
mod outbox;
mod routing;
mod tenant;

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use serde::Serialize;

pub use connection::{Close, Closing, Connection, ConnectionLimits, Filter, Mailbox, Viewer};
pub use frame::{Frame, Position};
pub use outbox::{Outbox, Ready};
pub use routing::Routing;
pub use tenant::{Page, Shown, Taken};

use crate::event::{SessionId, TenantId, UserId};
use history::TotalBytes;
use tenant::TenantHub;

/// The whole node's connections.
pub struct Hub {
    /// Locked for reading by each publish, for writing when a tenant's first connection comes. Never held over an await.
    tenants: RwLock<Tenants>,
    /// Names this run of this node's own offsets.
    epoch: Arc<str>,
    history: TotalBytes,
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
    /// The tenant's last event: every later one reaches the mailbox, or the pages of a resume.
    pub position: Position,
    pub resume: Resume,
}

/// What a client that names its last position is shown first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resume {
    /// Nothing: it missed nothing, or asked for nothing.
    None,
    /// The pages after this offset; until then events do not come by themselves.
    After(u64),
    /// A gap: what it missed is not to be had.
    Gap { from: u64, reason: &'static str },
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
        Self { tenants: RwLock::default(), epoch: new_epoch(), history: TotalBytes::default() }
    }

    /// Adds a connection; it sees every event published from now on, and those since a position that is still in the history.
    ///
    /// # Errors
    /// [`JoinError`].
    pub fn join(
        &self,
        tenant: &TenantId,
        viewer: Viewer,
        filter: Filter,
        limits: ConnectionLimits,
        since: Option<&Position>,
    ) -> Result<Joined, JoinError> {
        self.tenant_or_new(tenant).join(tenant, viewer, filter, limits, since)
    }

    /// Whether one connection more would be taken now; two that ask at once may both be told so.
    pub fn has_room(&self, tenant: &TenantId, viewer: &Viewer, max_connections: usize) -> bool {
        self.tenant(tenant).map_or(max_connections > 0, |tenant| tenant.has_room(viewer, max_connections))
    }

    /// Puts a connection back to a position: from now on it takes its events from [`Hub::page`]. Tells where the tenant is,
    /// too: what is before that has been queued.
    pub fn rewind(&self, connection: &Connection, since: &Position) -> (Resume, Position) {
        self.tenant_or_new(&connection.tenant).rewind(connection, since)
    }

    /// What a connection that was put back gets next.
    pub fn page(&self, connection: &Connection, epoch: &str, after: u64, until: Option<u64>) -> Page {
        self.tenant_or_new(&connection.tenant).page(connection, epoch, after, until)
    }

    pub fn leave(&self, connection: &Connection) {
        if let Some(tenant) = self.tenant(&connection.tenant) {
            tenant.leave(connection);
        }
    }

    /// Gives an event the next of this node's own places, unless it is `ephemeral`, queues it for every connection that may
    /// see it and asked for it, and tells what became of it; `open` is its frame without the closing brace.
    pub fn publish(&self, tenant: &TenantId, routing: &Routing, open: &str, ephemeral: bool) -> Shown {
        self.tenant_or_new(tenant).publish(routing, open, ephemeral)
    }

    /// Queues an event without a place: an ephemeral one, or one that no node published.
    pub fn pass(&self, tenant: &TenantId, routing: &Routing, open: &str) -> usize {
        self.tenant(tenant).map_or(0, |tenant| tenant.pass(routing, open))
    }

    /// Takes an event that has its place among those of all nodes. `show` is false where the connections have it already.
    pub fn take(&self, tenant: &TenantId, routing: &Routing, open: &str, position: &Position, show: bool) -> Taken {
        self.tenant(tenant).map_or(Taken::OtherEpoch, |tenant| tenant.take(routing, open, position, show))
    }

    /// Says that the events up to this place cannot be had: what comes next begins after it.
    pub fn skip_to(&self, tenant: &TenantId, position: &Position, reason: &str) {
        if let Some(tenant) = self.tenant(tenant) {
            tenant.skip_to(position, reason);
        }
    }

    /// Goes over to the offsets of all nodes; who has others is told of a gap.
    pub fn share(&self, tenant: &TenantId, position: &Position) {
        self.tenant_or_new(tenant).change_epoch(position, true, "epoch_changed");
    }

    /// Goes over to offsets of this node's own, a new run of them.
    pub fn go_alone(&self, tenant: &TenantId, reason: &str) {
        if let Some(tenant) = self.tenant(tenant) {
            tenant.change_epoch(&Position { epoch: new_epoch(), offset: 0 }, false, reason);
        }
    }

    /// The same with the event at that place, where it is kept.
    pub fn last(&self, tenant: &TenantId) -> Option<(Position, bool, Option<Frame>)> {
        Some(self.tenant(tenant)?.last())
    }

    /// Where a tenant's events are now, and whether these places are those of all nodes.
    pub fn position(&self, tenant: &TenantId) -> Option<(Position, bool)> {
        Some(self.tenant(tenant)?.position())
    }

    /// The events of one user in this epoch after an offset.
    pub fn addressed_to(&self, tenant: &TenantId, user: &UserId, epoch: &str, after: u64) -> Vec<(Routing, Frame)> {
        self.tenant(tenant).map_or_else(Vec::new, |tenant| tenant.addressed_to(user, epoch, after))
    }

    /// Tenants with a connection here.
    pub fn tenants(&self) -> Vec<TenantId> {
        let tenants = self.tenants.read().unwrap_or_else(PoisonError::into_inner);
        tenants.hubs.iter().filter(|(_, hub)| !hub.is_empty()).map(|(tenant, _)| tenant.clone()).collect()
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

    /// Users with a connection.
    pub fn members(&self) -> Vec<(TenantId, UserId)> {
        let hubs: Vec<_> = {
            let tenants = self.tenants.read().unwrap_or_else(PoisonError::into_inner);
            tenants.hubs.iter().map(|(tenant, hub)| (tenant.clone(), hub.clone())).collect()
        };
        let of = |(tenant, hub): (TenantId, Arc<TenantHub>)| {
            hub.online_users().into_iter().map(move |user| (tenant.clone(), user))
        };
        hubs.into_iter().flat_map(of).collect()
    }

    /// Connections by tenant.
    pub fn clients(&self) -> HashMap<TenantId, usize> {
        let tenants = self.tenants.read().unwrap_or_else(PoisonError::into_inner);
        let counts = tenants.hubs.iter().map(|(tenant, hub)| (tenant.clone(), hub.counts().clients));
        counts.filter(|(_, count)| *count > 0).collect()
    }

    /// Connections of a user, and when the last one was seen (ms), if ever.
    pub fn user(&self, tenant: &TenantId, user: &str) -> (usize, Option<i64>) {
        self.tenant(tenant).map_or((0, None), |tenant| tenant.user(user))
    }

    pub fn online_users(&self, tenant: &TenantId) -> Vec<UserId> {
        self.tenant(tenant).map_or_else(Vec::new, |tenant| tenant.online_users())
    }

    /// Puts a user out: closes the connections that came until this second (since the epoch), or with a token issued before
    /// it, and tells how many those are. Who has come back with a new token may stay, however late this node hears of it.
    pub fn put_out(&self, tenant: &TenantId, user: &UserId, before_s: i64) -> usize {
        let is_theirs = |connection: &Connection| connection.viewer.user() == Some(user) && connection.is_of(before_s);
        self.tenant(tenant).map_or(0, |tenant| tenant.close_where(&Close::revoked(), is_theirs))
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
            let new = || Arc::new(TenantHub::new(self.epoch.clone(), stopping, self.history.clone()));
            tenants.hubs.entry(tenant.clone()).or_insert_with(new).clone()
        })
    }
}

fn new_epoch() -> Arc<str> {
    hex::encode(rand::random::<[u8; 6]>()).into()
}

#[cfg(test)]
mod tests {
    use crate::event::EventType;

    use super::*;

    const QUEUE: usize = 8 * 1024;
    const LIMITS: ConnectionLimits = ConnectionLimits { max_queue_bytes: QUEUE, max_connections_per_tenant: 1000 };

    fn join(hub: &Hub, tenant: &TenantId, since: Option<&Position>) -> Joined {
        let viewer = Viewer::Member { user: UserId::parse("kim").unwrap() };
        hub.join(tenant, viewer, Filter::default(), LIMITS, since).unwrap()
    }

    fn publish(hub: &Hub, tenant: &TenantId, bytes: usize) {
        let routing = Routing { event_type: EventType::parse("call.incoming").unwrap(), user: None, session: None };
        hub.publish(tenant, &routing, &format!(r#"{{"x":"{}""#, "x".repeat(bytes)), false);
    }

    async fn is_closed(joined: &mut Joined) -> Option<u16> {
        tokio::select! {
            biased;
            close = joined.closing.closed() => Some(close.code),
            () = std::future::ready(()) => None,
        }
    }

    /// Each within its own limit, and together over the tenant's.
    #[tokio::test]
    async fn a_tenants_slow_connections_share_a_limit_and_its_fast_ones_do_not_pay() {
        let (hub, tenant) = (Hub::new(), TenantId::parse("acme").unwrap());
        let other = TenantId::parse("other").unwrap();
        let mut fast = join(&hub, &tenant, None);
        let mut elsewhere = join(&hub, &other, None);
        let mut slow: Vec<_> = (0..200).map(|_| join(&hub, &tenant, None)).collect();
        let mut frames = Vec::new();
        for _ in 0..6 {
            publish(&hub, &tenant, 1000);
            publish(&hub, &other, 1000);
            fast.mailbox.frames(&mut frames, 10).await;
        }
        assert_eq!((frames.len(), is_closed(&mut fast).await, is_closed(&mut elsewhere).await), (6, None, None));
        let mut closed = 0;
        for joined in &mut slow {
            closed += usize::from(is_closed(joined).await == Some(4508));
        }
        assert!(closed > 0, "200 times 6 kB is more than 64 times 8 KiB");
        // What they held is the tenant's again.
        slow.into_iter().for_each(|joined| hub.leave(&joined.connection));
        let mut next = join(&hub, &tenant, None);
        (0..7).for_each(|_| publish(&hub, &tenant, 1000));
        assert_eq!(is_closed(&mut next).await, None);
    }

    /// A gap of all must not swallow what one was still to be shown.
    #[tokio::test]
    async fn whoever_is_being_shown_what_it_missed_is_told_of_its_own_gap() {
        let (hub, tenant) = (Hub::new(), TenantId::parse("acme").unwrap());
        let epoch: Arc<str> = "shared".into();
        let at = |offset| Position { epoch: epoch.clone(), offset };
        hub.share(&tenant, &at(0));
        let routing = Routing { event_type: EventType::parse("call.incoming").unwrap(), user: None, session: None };
        for offset in 1..=5 {
            assert!(matches!(hub.take(&tenant, &routing, "{", &at(offset), true), Taken::Sent(_)));
        }
        let behind = join(&hub, &tenant, Some(&at(2)));
        assert_eq!(behind.resume, Resume::After(2));
        hub.skip_to(&tenant, &at(9), "trimmed");
        let page = hub.page(&behind.connection, &epoch, 2, None);
        assert!(matches!(page, Page::Trimmed { start: 9 }), "{page:?}");
        assert!(matches!(hub.page(&behind.connection, &epoch, 9, None), Page::Live));
    }
}
