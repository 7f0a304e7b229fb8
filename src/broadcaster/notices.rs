//! News of our own making, as events: a webhook was disabled, a plugin failed.

use std::{
    collections::{HashMap, VecDeque},
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
/// News that a plugin rests waits for its second, as it comes once; more than these at once are not told.
const MAX_RESTS: usize = 1024;

impl Broadcaster {
    /// Publishes notices until the server stops.
    pub async fn run_notices(self, mut notices: mpsc::Receiver<Notice>, stopping: CancellationToken) {
        let mut told: HashMap<(TenantId, String), Instant> = HashMap::new();
        // Each with when it may be told.
        let mut rests: VecDeque<(Instant, PluginFailed, TenantId)> = VecDeque::new();
        loop {
            let due = rests.front().map(|(at, ..)| (*at).into());
            let notice = tokio::select! {
                biased;
                () = tokio::time::sleep_until(due.unwrap_or_else(tokio::time::Instant::now)), if due.is_some() => {
                    if let Some((_, failed, tenant)) = rests.pop_front() {
                        told.insert((tenant.clone(), failed.plugin.clone()), Instant::now());
                        complain(self.publish_own(&tenant, &failed).await);
                    }
                    continue;
                }
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
                Notice::PluginRests { tenant, plugin, version, failure } => {
                    let (target, code, message) = ("all".to_owned(), failure.code, failure.message);
                    told.insert((tenant.clone(), plugin.clone()), Instant::now());
                    let failed = PluginFailed { plugin, version, target, code, message };
                    if rests.len() < MAX_RESTS {
                        // The queue stays in order: each waits for the same time.
                        rests.push_back((Instant::now() + PLUGIN_FAILED_EVERY, failed, tenant));
                    }
                    continue;
                }
            };
            complain(published);
        }
    }

    async fn publish_own<P: Payload>(&self, tenant: &TenantId, data: &P) -> Result<(), PublishError> {
        let event = typed_event(tenant, To::tenant(), data, Origin::Own)?;
        self.detached(vec![event.into()]).await.into_iter().try_for_each(|result| result.map(|_| ()))
    }
}

fn complain(published: Result<(), PublishError>) {
    if let Err(error) = published {
        tracing::error!("a notice could not be published: {error}");
    }
}
