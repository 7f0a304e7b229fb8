//! From a committed event to the sockets: the tenant's chain once, then one frame for all.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Broadcaster, Foreign, NOT_READY_WAIT, traces::SocketTrace};
use crate::{
    event::{Event, Origin},
    hub::{Frame, Routing},
    plugin::{Destination, Failure, Rendered, socket_data},
    webhook::Notice,
};

/// What the envelope around `data` may take of a frame.
pub const MAX_SOCKET_DATA_BYTES: usize = Frame::MAX_BYTES - 4 * 1024;
/// How often a plugin that is not ready is looked at.
const NOT_READY_PAUSE: Duration = Duration::from_millis(50);

/// Where an event comes from, and so where it goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    /// Published here: it goes to the sockets of all nodes.
    Here,
    /// Another program put it on a channel: each node shows it to its own.
    Outside,
}

impl Broadcaster {
    pub(super) async fn fan_out(&self, event: &Arc<Event>, not_ready_until: Instant) {
        let trace = self.send_to_sockets(event, From::Here, not_ready_until).await;
        self.parts.traces.keep(event, trace);
    }

    /// Shows events that other programs published to this node's sockets, until the server stops.
    pub async fn run_foreign(self, mut events: mpsc::Receiver<Foreign>, stopping: CancellationToken) {
        loop {
            let event = tokio::select! {
                biased;
                () = stopping.cancelled() => return,
                event = events.recv() => event,
            };
            let Some(Foreign(event)) = event else { return };
            let trace = self.send_to_sockets(&event, From::Outside, Instant::now() + NOT_READY_WAIT).await;
            self.parts.traces.keep(&event, trace);
        }
    }

    async fn send_to_sockets(&self, event: &Arc<Event>, from: From, not_ready_until: Instant) -> SocketTrace {
        let chain = self.parts.socket_chains.of(&event.tenant);
        if event.origin == Origin::Own || !chain.takes(&event.event_type) {
            return SocketTrace::sent(self.show(event, from, None).await, Vec::new());
        }
        let (plugin, version, failure, applied) = loop {
            match self.parts.plugins.render(&chain, None, event.clone(), Destination::sockets()).await {
                Rendered::Unchanged { applied } => {
                    return SocketTrace::sent(self.show(event, from, None).await, applied);
                }
                Rendered::Dropped { reason, applied } => return SocketTrace::ended("dropped", applied, reason),
                Rendered::Emitted { output, applied } => match socket_data(&output, MAX_SOCKET_DATA_BYTES) {
                    Ok(data) => return SocketTrace::sent(self.show(event, from, Some(data)).await, applied),
                    Err(failure) => {
                        let last = applied.iter().rev().find(|step| step.verdict == "emit");
                        let (plugin, version) =
                            last.map_or_else(Default::default, |step| (step.plugin.clone(), step.version));
                        self.parts.plugins.charge(event, &plugin, version, &failure);
                        break (plugin, version, failure, applied);
                    }
                },
                Rendered::Failed { plugin, version, failure, applied } => break (plugin, version, failure, applied),
                Rendered::NotReady { reason } if Instant::now() >= not_ready_until => {
                    break (chain.first_plugin(), 0, Failure::new("not-ready", reason), Vec::new());
                }
                Rendered::NotReady { .. } => tokio::time::sleep(NOT_READY_PAUSE).await,
            }
        };
        let reason = format!("{plugin} version {version}: {failure}");
        if failure.is_rest() {
            return SocketTrace::ended("plugin_failed", applied, reason);
        }
        let (tenant, target) = (event.tenant.clone(), "sockets".to_owned());
        let notice = Notice::PluginFailed { tenant, plugin, version, target, failure };
        // Full: one is on its way already, and they are made at most once a second.
        let _ = self.parts.notices.try_send(notice);
        SocketTrace::ended("plugin_failed", applied, reason)
    }

    /// Shows an event to the sockets, and tells how many of this node's those are, as far as that is known; `data` is what
    /// the chain made of it.
    async fn show(&self, event: &Event, from: From, data: Option<&str>) -> usize {
        let open = event.open_frame(data);
        match from {
            From::Here => self.parts.relay.show(event, open).await,
            From::Outside => self.parts.relay.pass(&event.tenant, &Routing::from(event), &open),
        }
    }
}
