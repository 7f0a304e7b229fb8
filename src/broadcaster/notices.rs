//! News of our own making, as events: a webhook was disabled, a plugin failed.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Broadcaster, PublishError, To, typed_event};
use crate::{
    event::{
        Origin, TenantId,
        payload::{Payload, PluginFailed, WebhookDisabled},
    },
    webhook::Notice,
};

/// A plugin that fails at every event makes news once in this time.
const PLUGIN_FAILED_EVERY: Duration = Duration::from_secs(1);

impl Broadcaster {
    /// Publishes notices until the server stops.
    pub async fn run_notices(self, mut notices: mpsc::Receiver<Notice>, stopping: CancellationToken) {
        let mut told: HashMap<(TenantId, String), Instant> = HashMap::new();
        loop {
            let notice = tokio::select! {
                biased;
                notice = notices.recv() => notice,
                // What is known is told; nobody tells more.
                () = stopping.cancelled() => notices.try_recv().ok(),
            };
            let Some(notice) = notice else { return };
            told.retain(|_, at| at.elapsed() < PLUGIN_FAILED_EVERY);
            let published = match notice {
                Notice::Disabled { tenant, webhook, reason } => {
                    self.publish_own(&tenant, &WebhookDisabled { webhook_id: webhook.0, reason }).await
                }
                Notice::PluginFailed { tenant, plugin, version, target, failure } => {
                    let key = (tenant.clone(), plugin.clone());
                    if told.contains_key(&key) {
                        continue;
                    }
                    told.insert(key, Instant::now());
                    let (code, message) = (failure.code, failure.message);
                    self.publish_own(&tenant, &PluginFailed { plugin, version, target, code, message }).await
                }
            };
            if let Err(error) = published {
                tracing::error!("a notice could not be published: {error}");
            }
        }
    }

    async fn publish_own<P: Payload>(&self, tenant: &TenantId, data: &P) -> Result<(), PublishError> {
        let event = typed_event(tenant, To::tenant(), data, Origin::Own)?;
        self.detached(vec![event.into()]).await.into_iter().try_for_each(|result| result.map(|_| ()))
    }
}
