//! The webhooks in memory: read by every publish, changed through the store.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;

use super::{Changes, Webhook, WebhookSecret, sealed::Sealed};
use crate::{
    event::{Event, Invalid, TenantId, WebhookId},
    plugin::{Chain, ChainSpec, Plugins},
    store::{Store, StoreError, UnreadableRow, WebhookRow},
    vault::Vault,
};

pub struct Webhooks {
    store: Store,
    plugins: Arc<Plugins>,
    vault: Vault,
    /// Replaced whole at each change.
    snapshot: ArcSwap<Snapshot>,
    changing: tokio::sync::Mutex<()>,
    turns: Mutex<Turns>,
}

/// What has come to a webhook since it was last asked for. Locked for moments.
#[derive(Debug, Default)]
pub struct Turns {
    /// Deleted: what they are owed is to be cancelled.
    pub gone: Vec<WebhookId>,
    /// Set to be active, or with another URL: what failed before says nothing about them.
    pub renewed: Vec<WebhookId>,
    /// With another rate limit: what waits in memory came by the old one.
    pub paced: Vec<WebhookId>,
}

#[derive(Default)]
struct Snapshot {
    by_id: HashMap<WebhookId, Arc<Webhook>>,
    by_tenant: HashMap<TenantId, Vec<Arc<Webhook>>>,
    /// Rows that cannot be used, so that each is complained of once.
    bad: HashMap<WebhookId, BadRow>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum BadRow {
    /// Its columns are of the right kind, and what they say is not.
    Wrong(Box<WebhookRow>),
    Unreadable(UnreadableRow),
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
    pub async fn load(store: Store, plugins: Arc<Plugins>, vault: Vault) -> Result<Self, StoreError> {
        let webhooks = Self {
            store,
            plugins,
            vault,
            snapshot: ArcSwap::default(),
            changing: tokio::sync::Mutex::default(),
            turns: Mutex::default(),
        };
        // Only at the start: nodes whose first keys differ for a while would seal each other's again and again.
        webhooks.seal_with_current_key().await?;
        webhooks.refresh().await?;
        Ok(webhooks)
    }

    async fn seal_with_current_key(&self) -> Result<(), StoreError> {
        for row in self.store.webhooks().await?.into_iter().flatten() {
            let sealed = Sealed { vault: &self.vault, tenant: &row.tenant_id };
            if let Some(renewed) = sealed.renew(&row, true) {
                self.store.update_webhook(row, renewed).await?;
            }
        }
        Ok(())
    }

    /// What has come to webhooks since this was last asked.
    pub fn take_turns(&self) -> Turns {
        std::mem::take(&mut *self.turns.lock().unwrap_or_else(PoisonError::into_inner))
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
        let is_known = |row: &Result<WebhookRow, UnreadableRow>| match row {
            Ok(row) => {
                before.by_id.get(&row.id).is_some_and(|webhook| webhook.row == *row)
                    || matches!(before.bad.get(&row.id), Some(BadRow::Wrong(bad)) if **bad == *row)
            }
            Err(row) => matches!(before.bad.get(&row.id), Some(BadRow::Unreadable(bad)) if bad == row),
        };
        if rows.len() == before.by_id.len() + before.bad.len() && rows.iter().all(is_known) {
            return Ok(());
        }
        let mut next = Snapshot::default();
        for row in rows {
            let (id, read) = match row {
                Ok(row) => (row.id, self.take(row, &before).await?),
                Err(row) => (row.id, Err((row.reason.clone(), BadRow::Unreadable(row)))),
            };
            match read {
                Ok(webhook) => next.add(webhook),
                Err((why, bad)) => {
                    if before.bad.get(&id) != Some(&bad) {
                        tracing::warn!(webhook.id = %id, "webhook {id} is left out: {why}");
                    }
                    next.bad.insert(id, bad);
                }
            }
        }
        let turns = turns(&before, &next);
        self.snapshot.store(Arc::new(next));
        let mut known = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        known.gone.extend(turns.gone);
        known.renewed.extend(turns.renewed);
        known.paced.extend(turns.paced);
        Ok(())
    }

    /// The webhook of a row: the same object as before if the row is.
    async fn take(
        &self,
        mut row: WebhookRow,
        before: &Snapshot,
    ) -> Result<Result<Arc<Webhook>, (String, BadRow)>, StoreError> {
        let sealed = Sealed { vault: &self.vault, tenant: &row.tenant_id };
        if let Some(renewed) = sealed.renew(&row, false) {
            self.store.update_webhook(row, renewed.clone()).await?;
            row = renewed;
        }
        let known = before.by_id.get(&row.id);
        if let Some(webhook) = known.filter(|webhook| webhook.row == row) {
            return Ok(Ok(webhook.clone()));
        }
        let read = self.read(row.clone(), known).await;
        Ok(read.map(Arc::new).map_err(|why| (why, BadRow::Wrong(Box::new(row)))))
    }

    async fn read(&self, row: WebhookRow, known: Option<&Arc<Webhook>>) -> Result<Webhook, String> {
        let chain = match known.filter(|known| known.row.chain == row.chain) {
            Some(known) => known.chain.clone(),
            None => {
                let tenant = TenantId::parse(&row.tenant_id).map_err(|why| format!("tenant_id: {why}"))?;
                let spec = ChainSpec::parse("chain", row.chain.as_deref().unwrap_or("[]"))
                    .map_err(|invalid| invalid.to_string())?;
                if spec.is_empty() { Chain::default() } else { self.plugins.bind(&tenant, &spec).await }
            }
        };
        Webhook::from_row(row, chain, &self.vault)
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

    /// As it stands in the table, also one that is left out: a change may mend it.
    fn row_of(&self, tenant: &TenantId, id: WebhookId) -> Option<WebhookRow> {
        let snapshot = self.snapshot.load();
        let row = match (snapshot.by_id.get(&id), snapshot.bad.get(&id)) {
            (Some(webhook), _) => &webhook.row,
            (None, Some(BadRow::Wrong(row))) => &**row,
            _ => return None,
        };
        Some(row).filter(|row| row.tenant_id == tenant.as_str()).cloned()
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
        let id = self.store.insert_webhook(changes.into_new_row(tenant, &self.vault)).await?;
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
        // What differs is written: from what stands there now.
        self.refresh_locked().await?;
        let row = self.row_of(tenant, id).ok_or(ChangeError::Unknown)?;
        let renews = changes.switch_on();
        let changed = changes.apply(row.clone(), &self.vault);
        let webhook = self.update(row, changed).await?;
        if renews {
            // Also one that was on: somebody says that its receiver is mended.
            self.turns.lock().unwrap_or_else(PoisonError::into_inner).renewed.push(id);
        }
        Ok(webhook)
    }

    /// Gives a webhook a new secret; the one that it had signs too until `until_ms`. In force when this returns.
    ///
    /// # Errors
    /// [`ChangeError`]; nothing was written.
    pub async fn rotate(
        &self,
        tenant: &TenantId,
        id: WebhookId,
        secret: WebhookSecret,
        until_ms: i64,
    ) -> Result<Arc<Webhook>, ChangeError> {
        let _changing = self.changing.lock().await;
        self.refresh_locked().await?;
        let row = self.of(tenant, id).ok_or(ChangeError::Unknown)?.row.clone();
        let sealed = Sealed { vault: &self.vault, tenant: tenant.as_str() };
        let rotated = sealed.rotate(row.clone(), &secret, until_ms);
        self.update(row, rotated.map_err(|why| Invalid::field("secret", why))?).await
    }

    async fn update(&self, before: WebhookRow, row: WebhookRow) -> Result<Arc<Webhook>, ChangeError> {
        let id = row.id;
        if !self.store.update_webhook(before, row).await? {
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
        let _changing = self.changing.lock().await;
        let disabled = self.store.disable_webhook(id, reason.to_owned()).await?;
        self.refresh_locked().await?;
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

fn turns(before: &Snapshot, next: &Snapshot) -> Turns {
    let mut turns = Turns::default();
    for (id, old) in &before.by_id {
        if next.by_id.get(id).is_some_and(|new| new.rate_limit != old.rate_limit) {
            turns.paced.push(*id);
        }
        match next.by_id.get(id) {
            Some(new) if new.is_active && (!old.is_active || new.url != old.url) => turns.renewed.push(*id),
            Some(_) => {}
            None if next.bad.contains_key(id) => {}
            None => turns.gone.push(*id),
        }
    }
    turns.gone.extend(before.bad.keys().filter(|id| !next.by_id.contains_key(id) && !next.bad.contains_key(id)));
    turns
}
