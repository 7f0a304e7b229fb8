//! Events that a publisher sent again: their first publish may have died, with its node, between the commit and the sockets.
//! The repeat is answered as a duplicate, and so it is a promise; the other nodes' stream says whether it was kept.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Broadcaster, NOT_READY_WAIT};
use crate::event::{EventId, Origin, TenantId, now_ms};

/// Those that wait to be looked at. Beyond it they are taken for what they nearly always are: repeats of what was shown.
pub const DOUBTFUL: usize = 1024;
/// The first publish may still be under way.
const WAIT: Duration = Duration::from_secs(3);
/// Whoever sends again does it within this time.
const MAX_AGE_MS: i64 = 5 * 60 * 1000;

#[derive(Debug)]
pub struct Doubtful {
    tenant: TenantId,
    id: EventId,
    since: Instant,
}

impl Broadcaster {
    pub(super) fn doubt(&self, tenant: &TenantId, id: &EventId) {
        // A single node's clients are told of a gap when it starts again.
        if self.parts.relay.bus().is_some() {
            let doubtful = Doubtful { tenant: tenant.clone(), id: id.clone(), since: Instant::now() };
            let _ = self.parts.doubtful.try_send(doubtful);
        }
    }

    /// Looks at each, until the server stops.
    pub async fn run_doubtful(self, mut events: mpsc::Receiver<Doubtful>, stopping: CancellationToken) {
        loop {
            let looked = async {
                let event = events.recv().await?;
                tokio::time::sleep(WAIT.saturating_sub(event.since.elapsed())).await;
                self.show_if_unknown(&event).await;
                Some(())
            };
            if !matches!(stopping.run_until_cancelled(looked).await, Some(Some(()))) {
                return;
            }
        }
    }

    async fn show_if_unknown(&self, doubtful: &Doubtful) {
        let event = match self.parts.store.event(&doubtful.tenant, doubtful.id.as_str()).await {
            Ok(Some(row)) => row.event,
            Ok(None) => return,
            Err(error) => return tracing::debug!("event {} could not be looked at: {error}", doubtful.id),
        };
        let is_old = now_ms().saturating_sub(event.timestamp_ms) > MAX_AGE_MS;
        if is_old || event.is_ephemeral() || event.origin == Origin::Own {
            return;
        }
        if self.parts.relay.has_shown(&event).await == Some(false) {
            tracing::warn!("event {} was committed by a node that died before it was shown: it is shown now", event.id);
            self.fan_out(&event.into(), Instant::now() + NOT_READY_WAIT).await;
        }
    }
}
