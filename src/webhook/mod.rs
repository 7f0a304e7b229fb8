//! Webhooks: who is owed an event, and the delivery of what is owed.
//!
//! Entities: a *webhook* is a subscribed URL; a *delivery* is one event owed to one webhook; an *attempt* is one POST. The
//! table is the queue (see [`crate::store`]); the [`scheduler`] holds a bounded part of it in memory, already leased, and
//! hands it to ten [`worker`] loops that take turns between tenants, then webhooks.
//!
//! An attempt ends in one of three ways. *Theirs*: the receiver answered, or could not be reached; recorded, and retried
//! on the schedule. *Ours*: a plugin was busy or the webhook was switched off; put back, nothing counted. *Unknown*: sent
//! but not recorded, since the server died; the lease is released at the next start and the receiver sees the same
//! `webhook-id` again.
//!
//! Guarantees: at least once; the bytes of a delivery are made once and sent on every attempt; a slow or dead receiver
//! holds its own slots only; nothing is dialled that [`address`] does not permit.
//!
//! Deliberately absent: sockets, and what an event means.

pub mod address;
mod claimer;
mod connector;
mod deliver;
mod explain;
mod gate;
mod housekeeping;
mod model;
mod nodes;
mod proxy;
mod registry;
mod replay;
mod resolver;
mod retry;
mod retry_after;
mod scheduler;
mod sealed;
mod secret;
mod sender;
mod signature;
mod worker;

use std::sync::Arc;

pub use deliver::{Deliverer, TestReport};
pub use gate::{Circuit, Gate};
pub use housekeeping::{Retention, run as keep_house};
pub use model::{Changes, Webhook, WebhookView};
pub use proxy::Proxy;
pub use registry::{ChangeError, Webhooks};
pub use replay::{Replay, replay_view};
pub use retry::{RetrySchedule, ScheduleError};
pub use scheduler::{InFlight, Job, Reservation, Scheduler};
pub use secret::{Ed25519Key, WebhookSecret};
pub use sender::{Sender, SenderError};
pub use worker::{Workers, WorkersConfig};

use crate::{
    event::{TenantId, WebhookId},
    plugin::Failure,
};

/// News for the tenant, which the broadcaster makes into events.
#[derive(Debug, Clone)]
pub enum Notice {
    Disabled {
        tenant: TenantId,
        webhook: WebhookId,
        reason: String,
    },
    PluginFailed {
        tenant: TenantId,
        plugin: String,
        version: u32,
        target: String,
        failure: Failure,
    },
    /// It failed so often that it is not called for a while; the failure says so.
    PluginRests {
        tenant: TenantId,
        plugin: String,
        version: u32,
        failure: Failure,
    },
}

/// Where notices go. Bounded: a sender waits.
pub type Notices = tokio::sync::mpsc::Sender<Notice>;

/// Names this node in leases.
pub type NodeId = Arc<str>;
