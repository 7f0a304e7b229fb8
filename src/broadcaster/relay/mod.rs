//! Between the hub of this node and the other nodes: who gives an event its place, and what is done when Redis is away.
//!
//! A node is *shared*, where every event gets its place from Redis and comes back on a channel to all nodes, this one too;
//! or it is *alone*, without Redis, where its hub gives the places. Going over is told to every connection as a gap, since
//! offsets of another epoch mean nothing. What is published while a node is alone is shown to its own sockets, and kept in a
//! bounded *backlog* for the others: they are shown it when Redis is back. A moment without Redis is waited for.
//!
//! Guarantees: a connection sees each event once, or is told of a gap; a tenant's events come in one order on all nodes.

mod backlog;
mod heard;
mod join;
mod recent;
mod rooms;

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, Instant},
};

use tokio::sync::{RwLock, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::SocketTraces;
use crate::{
    bus::{Bus, Control, LinkState, Messages, Publication},
    event::{Event, TenantId},
    hub::{Hub, Routing},
    presence::{Mail, letter},
};
use backlog::{Backlog, Waiting};
pub use heard::Foreign;
use rooms::Rooms;
pub use rooms::{RoomError, Stay};

/// How long Redis may be away before this node goes on alone.
const GRACE: Duration = Duration::from_secs(1);
/// How often a publisher that waits for Redis looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Redis is there, takes what others write, and refuses this for so long: a tenant's key is broken.
const GIVE_UP: Duration = Duration::from_secs(5);
/// How often idle tenants are given up, and positions compared.
const HOUSEKEEPING: Duration = Duration::from_secs(10);
/// A join that failed is tried again.
const JOIN_AGAIN: Duration = Duration::from_millis(200);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Alone,
    Shared,
}

/// Where this node stands: for `/readyz`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// No Redis is named.
    Single,
    /// One of many nodes.
    Shared,
    /// Redis is named and not there.
    Alone,
    /// Redis answers, and nothing is heard from it.
    Deaf,
}

pub struct Relay {
    hub: Arc<Hub>,
    bus: Option<Bus>,
    /// How the connection to it stands.
    link: Option<watch::Receiver<LinkState>>,
    traces: Arc<SocketTraces>,
    mail: Arc<Mail>,
    /// Held for reading by whoever shows an event alone or enters a tenant, for writing while the node goes over.
    mode: RwLock<Mode>,
    rooms: Rooms,
    backlog: Backlog,
    /// Messages of other programs on the channels, in order.
    foreign: mpsc::Sender<Foreign>,
    /// Words of other nodes, for whoever they concern.
    controls: mpsc::Sender<Control>,
    /// Messages that were no event, or of the wrong tenant.
    pub ignored: AtomicU64,
}

/// What the relay leaves to others.
pub struct RelayEnds {
    pub foreign: mpsc::Receiver<Foreign>,
    pub controls: mpsc::Receiver<Control>,
}

const FOREIGN: usize = 1024;
const CONTROLS: usize = 1024;

impl Relay {
    pub fn new(hub: Arc<Hub>, bus: Option<Bus>, mail: Arc<Mail>, traces: Arc<SocketTraces>) -> (Arc<Self>, RelayEnds) {
        let (foreign, foreign_received) = mpsc::channel(FOREIGN);
        let (controls, controls_received) = mpsc::channel(CONTROLS);
        let relay = Self {
            hub,
            link: bus.as_ref().map(Bus::state),
            bus,
            traces,
            mail,
            mode: RwLock::new(Mode::Alone),
            rooms: Rooms::default(),
            backlog: Backlog::default(),
            foreign,
            controls,
            ignored: AtomicU64::new(0),
        };
        (Arc::new(relay), RelayEnds { foreign: foreign_received, controls: controls_received })
    }

    pub fn bus(&self) -> Option<&Bus> {
        self.bus.as_ref()
    }

    pub async fn standing(&self) -> Standing {
        let Some(bus) = &self.bus else { return Standing::Single };
        let link = *bus.state().borrow();
        match link {
            LinkState::Deaf => Standing::Deaf,
            LinkState::Up(_) if *self.mode.read().await == Mode::Shared => Standing::Shared,
            LinkState::Up(_) | LinkState::Away => Standing::Alone,
        }
    }

    /// Shows an event to the sockets of all nodes; `open` is its frame without the closing brace. Tells how many connections
    /// of this node it was queued for, where this node does that itself.
    pub async fn show(&self, event: &Event, open: String) -> usize {
        let (routing, ephemeral) = (Routing::from(event), event.is_ephemeral());
        let Some(bus) = &self.bus else { return self.show_here(event, &routing, &open, ephemeral).await };
        let (mut again, begun) = (false, Instant::now());
        loop {
            {
                // Held until the event is shown: the node cannot go over meanwhile.
                let mode = self.mode.read().await;
                if *mode == Mode::Alone {
                    // One that was published by a call without an answer may have been heard before Redis went away, and may
                    // come when it is back.
                    let room = self.rooms.get(&event.tenant).filter(|_| !ephemeral);
                    let is_new = room.is_none_or(|room| {
                        let mut recent = room.recent();
                        let is_new = recent.add(event.id.as_str());
                        if again {
                            recent.doubt(event.id.as_str());
                        }
                        is_new
                    });
                    let shown = if is_new { self.show_here(event, &routing, &open, ephemeral).await } else { 0 };
                    if !ephemeral {
                        self.backlog.push(Waiting {
                            tenant: event.tenant.clone(),
                            id: event.id.clone(),
                            event_type: event.event_type.clone(),
                            open,
                            again,
                        });
                    }
                    return shown;
                }
            }
            let sent = if ephemeral {
                bus.pass(&event.tenant, &event.event_type, &open).await
            } else {
                let publication = Publication {
                    tenant: &event.tenant,
                    id: &event.id,
                    event_type: &event.event_type,
                    waits_for: event.user.as_ref(),
                    open: &open,
                    again,
                };
                bus.publish(publication).await.map(|_| ())
            };
            let Err(error) = sent else { return 0 };
            if begun.elapsed() > GIVE_UP {
                tracing::error!("event {} is shown by this node only: {error}", event.id);
                return self.hub.pass(&event.tenant, &routing, &open);
            }
            // The node goes on alone in a moment, or Redis is back by then.
            again = true;
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Gives an event a place of this node's own, and lets it wait where its addressee is away.
    async fn show_here(&self, event: &Event, routing: &Routing, open: &str, ephemeral: bool) -> usize {
        // Whoever comes in this moment waits until it is known whether the event waits.
        let putting = event.user.as_ref().map(|user| self.mail.begin(&event.tenant, user));
        let shown = self.hub.publish(&event.tenant, routing, open, ephemeral);
        self.close_ended(&event.tenant, routing);
        if let (Some(position), Some(user)) = (shown.waits_at, &event.user) {
            let item = letter(&event.tenant, user, &event.event_type, open, (&position.epoch, position.offset));
            if let Err(error) = self.mail.put(vec![item]).await {
                tracing::error!("event {} does not wait for its user: {error}", event.id);
            }
        }
        drop(putting);
        shown.connections
    }

    /// Shows an event to this node's sockets only: each node does that with what another program published.
    pub fn pass(&self, tenant: &TenantId, routing: &Routing, open: &str) -> usize {
        self.hub.pass(tenant, routing, open)
    }

    /// Tells the other nodes; they find out by themselves in a few seconds where that fails.
    pub async fn tell(&self, control: Control) {
        if let Some(bus) = &self.bus
            && let Err(error) = bus.tell(&control).await
        {
            tracing::debug!("other nodes find out a little later: {error}");
        }
    }

    /// Follows Redis as it comes and goes, until the server stops.
    pub async fn run(self: Arc<Self>, messages: Messages, stopping: CancellationToken) {
        let Some(bus) = self.bus.clone() else { return };
        let listening = tokio::spawn(self.clone().listen(messages, stopping.clone()));
        let mut state = bus.state();
        let mut joined = None;
        loop {
            let now = *state.borrow_and_update();
            match now {
                LinkState::Up(number) if joined != Some(number) => match self.join(number).await {
                    Ok(()) => joined = Some(number),
                    Err(error) => {
                        tracing::warn!("the other nodes could not be joined yet: {error}");
                        tokio::time::sleep(JOIN_AGAIN).await;
                        continue;
                    }
                },
                LinkState::Up(_) => {}
                LinkState::Away | LinkState::Deaf => {
                    let back = state.wait_for(|state| matches!(state, LinkState::Up(_)));
                    let lost = tokio::time::timeout(GRACE, back).await.is_err();
                    if lost {
                        joined = None;
                        self.go_alone().await;
                    } else {
                        continue;
                    }
                }
            }
            tokio::select! {
                biased;
                () = stopping.cancelled() => break,
                changed = state.changed() => if changed.is_err() { break },
                () = tokio::time::sleep(HOUSEKEEPING) => self.keep_house().await,
            }
        }
        listening.abort();
    }
}
