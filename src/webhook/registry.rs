//! The webhooks in memory: read by every publish, changed through the store.

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;

use super::{Changes, Webhook, WebhookSecret};
use crate::{
    event::{Event, Invalid, TenantId, WebhookId},
    plugin::{Chain, ChainSpec, Plugins},
    store::{Store, StoreError, WebhookRow},
};

pub struct Webhooks {
    store: Store,
    plugins: Arc<Plugins>,
    /// Replaced whole at each change.
    snapshot: ArcSwap<Snapshot>,
    changing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Snapshot {
    by_id: HashMap<WebhookId, Arc<Webhook>>,
    by_tenant: HashMap<TenantId, Vec<Arc<Webhook>>>,
    /// Rows that cannot be used, so that each is complained of once.
    bad: HashMap<WebhookId, WebhookRow>,
}

#[derive(Debug)]
pub enum Standing {
    Live(Arc<Webhook>),
    /// Switched off, or its row cannot be used: what it was owed waits.
    Waits,
    /// Deleted: what it was owed is cancelled.
    Gone,
}

#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    #[error(transparent)]
    Invalid(#[from] Invalid),
    #[error("there is no such webhook")]
    Unknown,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Webhooks {
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn load(store: Store, plugins: Arc<Plugins>) -> Result<Self, StoreError> {
        let webhooks = Self { store, plugins, snapshot: ArcSwap::default(), changing: tokio::sync::Mutex::default() };
        webhooks.refresh().await?;
        Ok(webhooks)
    }

    /// Reads the table again; webhooks whose row is as before stay the same object.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: the webhooks stay as they are.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        let _changing = self.changing.lock().await;
        self.refresh_locked().await
    }

    async fn refresh_locked(&self) -> Result<(), StoreError> {
        let before = self.snapshot.load_full();
        let rows = self.store.webhooks().await?;
        let unchanged = rows.len() == before.by_id.len() + before.bad.len()
            && rows.iter().all(|row| {
                before.by_id.get(&row.id).is_some_and(|webhook| webhook.row == *row)
                    || before.bad.get(&row.id) == Some(row)
            });
        if unchanged {
            return Ok(());
        }
        let mut next = Snapshot::default();
        for mut row in rows {
            if row.secret.as_deref().is_none_or(str::is_empty) {
                row.secret = Some(WebhookSecret::generate().expose().to_owned());
                self.store.update_webhook(row.clone()).await?;
            }
            let known = before.by_id.get(&row.id);
            if let Some(webhook) = known.filter(|webhook| webhook.row == row) {
                next.add(webhook.clone());
            } else if before.bad.get(&row.id) == Some(&row) {
                next.bad.insert(row.id, row);
            } else {
                match self.read(row.clone(), known).await {
                    Ok(webhook) => next.add(Arc::new(webhook)),
                    Err(why) => {
                        tracing::warn!(webhook.id = %row.id, "webhook {} is left out: {why}", row.id);
                        next.bad.insert(row.id, row);
                    }
                }
            }
        }
        self.snapshot.store(Arc::new(next));
        Ok(())
    }

    async fn read(&self, row: WebhookRow, known: Option<&Arc<Webhook>>) -> Result<Webhook, String> {
        let chain = match known.filter(|known| known.row.chain == row.chain) {
            Some(known) => known.chain.clone(),
            None => {
                let tenant = TenantId::parse(&row.tenant_id).map_err(|why| format!("tenant_id: {why}"))?;
                let spec = ChainSpec::parse("chain", &row.chain).map_err(|invalid| invalid.to_string())?;
                if spec.is_empty() { Chain::default() } else { self.plugins.bind(&tenant, &spec).await }
            }
        };
        Webhook::from_row(row, chain)
    }

    pub fn get(&self, id: WebhookId) -> Option<Arc<Webhook>> {
        self.snapshot.load().by_id.get(&id).cloned()
    }

    /// What is to become of a delivery for this webhook.
    pub fn standing(&self, id: WebhookId) -> Standing {
        let snapshot = self.snapshot.load();
        match snapshot.by_id.get(&id) {
            Some(webhook) if webhook.is_active => Standing::Live(webhook.clone()),
            Some(_) => Standing::Waits,
            None if snapshot.bad.contains_key(&id) => Standing::Waits,
            None => Standing::Gone,
        }
    }

    /// A tenant's own webhook.
    pub fn of(&self, tenant: &TenantId, id: WebhookId) -> Option<Arc<Webhook>> {
        self.get(id).filter(|webhook| webhook.tenant == *tenant)
    }

    /// Newest first.
    pub fn list(&self, tenant: &TenantId) -> Vec<Arc<Webhook>> {
        let mut webhooks = self.snapshot.load().by_tenant.get(tenant).cloned().unwrap_or_default();
        webhooks.sort_by_key(|webhook| std::cmp::Reverse(webhook.id));
        webhooks
    }

    /// Those that are owed an event.
    pub fn owed(&self, event: &Event) -> Vec<Arc<Webhook>> {
        let snapshot = self.snapshot.load();
        let Some(webhooks) = snapshot.by_tenant.get(&event.tenant) else { return Vec::new() };
        let owed = |webhook: &&Arc<Webhook>| webhook.is_active && webhook.events.owe(&event.event_type);
        webhooks.iter().filter(owed).cloned().collect()
    }

    /// In force when this returns.
    ///
    /// # Errors
    /// [`ChangeError::Invalid`] when the chain is refused; nothing was written.
    pub async fn create(&self, tenant: &TenantId, changes: Changes) -> Result<Arc<Webhook>, ChangeError> {
        self.check_chain(tenant, &changes).await?;
        let id = self.store.insert_webhook(changes.into_new_row(tenant)).await?;
        self.refresh().await?;
        self.get(id).ok_or(ChangeError::Unknown)
    }

    /// In force when this returns.
    ///
    /// # Errors
    /// [`ChangeError`]; nothing was written.
    pub async fn change(
        &self,
        tenant: &TenantId,
        id: WebhookId,
        changes: Changes,
    ) -> Result<Arc<Webhook>, ChangeError> {
        self.check_chain(tenant, &changes).await?;
        let _changing = self.changing.lock().await;
        let webhook = self.of(tenant, id).ok_or(ChangeError::Unknown)?;
        if !self.store.update_webhook(changes.apply(webhook.row.clone())).await? {
            return Err(ChangeError::Unknown);
        }
        self.refresh_locked().await?;
        self.get(id).ok_or(ChangeError::Unknown)
    }

    /// # Errors
    /// [`ChangeError`].
    pub async fn delete(&self, tenant: &TenantId, id: WebhookId) -> Result<(), ChangeError> {
        if !self.store.delete_webhook(tenant, id).await? {
            return Err(ChangeError::Unknown);
        }
        self.refresh().await?;
        Ok(())
    }

    /// Switches a webhook off; false when it was off already.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn disable(&self, id: WebhookId, reason: &str) -> Result<bool, StoreError> {
        let disabled = self.store.disable_webhook(id, reason.to_owned()).await?;
        self.refresh().await?;
        Ok(disabled)
    }

    async fn check_chain(&self, tenant: &TenantId, changes: &Changes) -> Result<(), Invalid> {
        match &changes.chain {
            Some(spec) => self.plugins.bind_checked(tenant, "chain", spec).await.map(|_| ()),
            None => Ok(()),
        }
    }
}

impl Snapshot {
    fn add(&mut self, webhook: Arc<Webhook>) {
        self.by_tenant.entry(webhook.tenant.clone()).or_default().push(webhook.clone());
        self.by_id.insert(webhook.id, webhook);
    }
}
