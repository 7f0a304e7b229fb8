//! All Redis: where it is, the connections to it, and what the nodes keep and say there.
//!
//! Entities: a tenant's *stream* holds its last events, each at an offset of an *epoch*; a *lease* says that a user has a
//! connection on a node; a user's *offline list* holds events that wait.
//!
//! Guarantees: an event gets its place, is kept and is told to all nodes in one script; so are a lease and the set that
//! operators read. Everything can be lost (a Redis that starts empty) and is made anew by the nodes; a new epoch says so.
//! No call waits longer than a second.
//!
//! Deliberately absent: what is done when Redis is away, which the callers decide; Redis Cluster, since scripts touch
//! several keys of a tenant.

mod control;
mod keys;
mod leases;
mod link;
mod lists;
mod location;
mod streams;

use std::{sync::Arc, time::Duration};

use redis::{RedisError, Script, aio::MultiplexedConnection};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use control::Control;
pub use keys::{CONTROL, EVENTS, tenant_of_channel};
pub use leases::{Clients, Here, Lease, Left};
pub use link::{LinkState, Message, Messages};
pub use location::{DEFAULT_PORT, RedisLocation};
pub use streams::{Entry, Page, Placed, Publication};

use crate::event::TenantId;
use link::Link;

/// Redis is not there, or did not answer in time. What was asked may have been done.
#[derive(Debug, Clone, thiserror::Error)]
#[error("Redis does not answer: {0}")]
pub struct Away(String);

impl Away {
    pub fn unconnected() -> Self {
        Self("it is not connected".to_owned())
    }
}

/// What may wait for a user without a connection.
#[derive(Debug, Clone, Copy)]
pub struct OfflineLimits {
    /// Events of one user.
    pub max: usize,
    /// From the last one on.
    pub ttl: Duration,
}

/// A handle, cheap to clone.
#[derive(Clone)]
pub struct Bus(Arc<Parts>);

struct Parts {
    link: Link,
    node: String,
    offline: OfflineLimits,
    scripts: Scripts,
}

/// Loaded once into Redis, called by their digest.
struct Scripts {
    publish: Script,
    lose: Script,
    read: Script,
    renew: Script,
    join: Script,
    leave: Script,
    sweep: Script,
    beat: Script,
    claim: Script,
    remove: Script,
    wait: Script,
}

impl Bus {
    pub fn new(location: RedisLocation, node: &str, offline: OfflineLimits) -> (Self, Messages) {
        let (link, messages) = Link::new(location, node);
        let scripts = Scripts {
            publish: Script::new(concat!(include_str!("lua/let_wait.lua"), include_str!("lua/publish.lua"))),
            lose: Script::new(include_str!("lua/lose.lua")),
            read: Script::new(include_str!("lua/read.lua")),
            renew: Script::new(include_str!("lua/renew.lua")),
            join: Script::new(include_str!("lua/join.lua")),
            leave: Script::new(concat!(include_str!("lua/let_wait.lua"), include_str!("lua/leave.lua"))),
            sweep: Script::new(include_str!("lua/sweep.lua")),
            beat: Script::new(include_str!("lua/beat.lua")),
            claim: Script::new(include_str!("lua/claim.lua")),
            remove: Script::new(include_str!("lua/remove.lua")),
            wait: Script::new(concat!(include_str!("lua/let_wait.lua"), include_str!("lua/wait.lua"))),
        };
        let parts = Parts { link, node: node.to_owned(), offline, scripts };
        (Self(Arc::new(parts)), messages)
    }

    /// Connects once, so that a start knows.
    ///
    /// # Errors
    /// [`Away`], with the reason.
    pub async fn connect(&self) -> Result<(), Away> {
        self.0.link.connect().await.map_err(away)
    }

    /// Keeps the connections up until the server stops.
    pub async fn keep(self, stopping: CancellationToken) {
        self.0.link.keep(stopping).await;
    }

    pub fn state(&self) -> watch::Receiver<LinkState> {
        self.0.link.state()
    }

    pub fn node(&self) -> &str {
        &self.0.node
    }

    /// Listens to a tenant's channels; it does when this returns.
    ///
    /// # Errors
    /// [`Away`].
    pub async fn listen(&self, tenant: &TenantId) -> Result<(), Away> {
        let mut listener = self.0.link.listener().ok_or_else(Away::unconnected)?;
        let channels = keys::channels(tenant);
        listener.subscribe(&channels[..]).await.map_err(|error| self.failed(error))
    }

    /// Listens to them no more.
    ///
    /// # Errors
    /// [`Away`].
    pub async fn unlisten(&self, tenant: &TenantId) -> Result<(), Away> {
        let mut listener = self.0.link.listener().ok_or_else(Away::unconnected)?;
        let channels = keys::channels(tenant);
        listener.unsubscribe(&channels[..]).await.map_err(|error| self.failed(error))
    }

    fn commands(&self) -> Result<MultiplexedConnection, Away> {
        self.0.link.commands().ok_or_else(Away::unconnected)
    }

    fn failed(&self, error: RedisError) -> Away {
        self.0.link.suspect();
        away(error)
    }
}

fn away(error: RedisError) -> Away {
    Away(error.to_string())
}
