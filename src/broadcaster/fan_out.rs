//! From a committed event to the sockets: the tenant's chain once, then one frame for all.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::Broadcaster;
use crate::{
    event::{Event, Origin},
    hub::Frame,
    plugin::{Destination, Failure, Rendered, socket_data},
    webhook::Notice,
};

/// What the envelope around `data` may take of a frame.
const MAX_SOCKET_DATA_BYTES: usize = Frame::MAX_BYTES - 4 * 1024;
/// How often a plugin that is not ready is looked at.
const NOT_READY_PAUSE: Duration = Duration::from_millis(50);

impl Broadcaster {
    pub(super) async fn fan_out(&self, event: &Arc<Event>, not_ready_until: Instant) {
        let hub = &self.parts.hub;
        let chain = self.parts.socket_chains.of(&event.tenant);
        if event.origin == Origin::Own || !chain.takes(&event.event_type) {
            hub.publish(event, None);
            return;
        }
        let (plugin, version, failure) = loop {
            match self.parts.plugins.render(&chain, None, event.clone(), Destination::sockets()).await {
                Rendered::Unchanged { .. } => {
                    hub.publish(event, None);
                    return;
                }
                Rendered::Dropped { .. } => return,
                Rendered::Emitted { output, applied } => match socket_data(&output, MAX_SOCKET_DATA_BYTES) {
                    Ok(data) => {
                        hub.publish(event, Some(data));
                        return;
                    }
                    Err(failure) => {
                        let last = applied.into_iter().rev().find(|step| step.verdict == "emit");
                        let (plugin, version) = last.map_or_else(Default::default, |step| (step.plugin, step.version));
                        break (plugin, version, failure);
                    }
                },
                Rendered::Failed { plugin, version, failure, .. } => break (plugin, version, failure),
                Rendered::NotReady { reason } if Instant::now() >= not_ready_until => {
                    break (chain.steps[0].plugin.clone(), 0, Failure::new("not-ready", reason));
                }
                Rendered::NotReady { .. } => tokio::time::sleep(NOT_READY_PAUSE).await,
            }
        };
        let (tenant, target) = (event.tenant.clone(), "sockets".to_owned());
        let notice = Notice::PluginFailed { tenant, plugin, version, target, failure };
        // Full: one is on its way already, and they are made at most once a second.
        let _ = self.parts.notices.try_send(notice);
    }
}
