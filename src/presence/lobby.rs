//! Where connections of members come and go: leased, announced, and shown what waited.

use std::sync::Arc;

use super::{Announcer, Leases, Mail};
use crate::{
    bus::{Left, Placed},
    event::{TenantId, UserId},
    store::OfflineItem,
};

pub struct Presence {
    announcer: Arc<Announcer>,
    pub mail: Arc<Mail>,
    /// None: a single server, whose hub knows who is there.
    leases: Option<Leases>,
}

/// A connection that has ended.
pub struct Departure {
    pub tenant: TenantId,
    pub user: UserId,
    pub connection: String,
    /// Connections that the user has left on this node.
    pub left_here: usize,
    /// Up to where the tenant's events had come when it left, where they are those of all nodes.
    pub heard: Option<Placed>,
    /// Events that were on their way to it and that it did not confirm: they wait, if it was the user's last.
    pub unconfirmed: Vec<OfflineItem>,
}

impl Presence {
    pub fn new(announcer: Arc<Announcer>, mail: Arc<Mail>, leases: Option<Leases>) -> Self {
        Self { announcer, mail, leases }
    }

    /// A connection is there; everybody can know it when this returns. Tells how many events wait for its user.
    pub async fn enter(&self, tenant: &TenantId, user: &UserId, connection: &str) -> u64 {
        let Some(leases) = &self.leases else {
            self.announcer.joined(tenant, user);
            return self.mail.count(tenant, user).await;
        };
        let here = leases.join(tenant, user, connection).await;
        // While Redis is away, what waits is in the database.
        let in_redis = here.map_or(0, |here| here.waiting);
        in_redis + self.mail.count(tenant, user).await
    }

    pub async fn leave(&self, departure: Departure) {
        let Departure { tenant, user, connection, left_here, heard, unconfirmed } = departure;
        self.mail.release(&tenant, &user, &connection);
        if let Some(leases) = &self.leases {
            let unconfirmed = unconfirmed.into_iter().map(|item| item.frame).collect();
            return leases.leave(Left { tenant, user, connection, heard, unconfirmed }).await;
        }
        if left_here > 0 {
            return;
        }
        self.announcer.left(&tenant, &user);
        if let Err(error) = self.mail.put_back(&tenant, &user, unconfirmed).await {
            tracing::warn!("events that a user may not have read could not be kept: {error}");
        }
    }

    /// The server stops: its connections have ended, and everybody can know it when this returns.
    pub async fn withdraw(&self) {
        if let Some(leases) = &self.leases {
            leases.close().await;
        }
    }
}
