//! From a committed event to the sockets: the tenant's chain once, then one frame for all.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Broadcaster, traces::SocketTrace};
use crate::{
    event::{Event, Origin},
    hub::{Frame, Routing},
    plugin::{Destination, Failure, Rendered, socket_data},
    webhook::Notice,
};

/// What the envelope around `data` may take of a frame.
const MAX_SOCKET_DATA_BYTES: usize = Frame::MAX_BYTES - 4 * 1024;
/// How often a plugin that is not ready is looked at.
const NOT_READY_PAUSE: Duration = Duration::from_millis(50);

impl Broadcaster {
    pub(super) async fn fan_out(&self, event: &Arc<Event>, not_ready_until: Instant) {
        let trace = self.send_to_sockets(event, not_ready_until).await;
        self.parts.traces.keep(event, trace);
    }

    async fn send_to_sockets(&self, event: &Arc<Event>, not_ready_until: Instant) -> SocketTrace {
        let chain = self.parts.socket_chains.of(&event.tenant);
        if event.origin == Origin::Own || !chain.takes(&event.event_type) {
            return SocketTrace::sent(self.show(event, None).await, Vec::new());
        }
        let (plugin, version, failure, applied) = loop {
            match self.parts.plugins.render(&chain, None, event.clone(), Destination::sockets()).await {
                Rendered::Unchanged { applied } => return SocketTrace::sent(self.show(event, None).await, applied),
                Rendered::Dropped { reason, applied } => return SocketTrace::ended("dropped", applied, reason),
                Rendered::Emitted { output, applied } => match socket_data(&output, MAX_SOCKET_DATA_BYTES) {
                    Ok(data) => return SocketTrace::sent(self.show(event, Some(data)).await, applied),
                    Err(failure) => {
                        let last = applied.iter().rev().find(|step| step.verdict == "emit");
                        let (plugin, version) =
                            last.map_or_else(Default::default, |step| (step.plugin.clone(), step.version));
                        break (plugin, version, failure, applied);
                    }
                },
                Rendered::Failed { plugin, version, failure, applied } => break (plugin, version, failure, applied),
                Rendered::NotReady { reason } if Instant::now() >= not_ready_until => {
                    break (chain.steps[0].plugin.clone(), 0, Failure::new("not-ready", reason), Vec::new());
                }
                Rendered::NotReady { .. } => tokio::time::sleep(NOT_READY_PAUSE).await,
            }
        };
        let reason = format!("{plugin} version {version}: {failure}");
        let (tenant, target) = (event.tenant.clone(), "sockets".to_owned());
        let notice = Notice::PluginFailed { tenant, plugin, version, target, failure };
        // Full: one is on its way already, and they are made at most once a second.
        let _ = self.parts.notices.try_send(notice);
        SocketTrace::ended("plugin_failed", applied, reason)
    }

    /// Shows an event to the sockets, and tells how many of this node's those are; `data` is what the chain made of it.
    async fn show(&self, event: &Event, data: Option<&str>) -> usize {
        let open = event.open_frame(data);
        self.parts.hub.publish(&event.tenant, &Routing::from(event), &open, event.is_ephemeral())
    }
}
