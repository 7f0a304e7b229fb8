//! The chain that each tenant put before its sockets, in memory and in the store.

use std::{collections::HashMap, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use super::{Chain, ChainSpec, Plugins};
use crate::{
    event::{Invalid, TenantId},
    store::{Store, StoreError},
};

/// What another node changed is in force here after so long.
const REFRESH_EVERY: Duration = Duration::from_secs(3);

pub struct SocketChains {
    plugins: Arc<Plugins>,
    store: Store,
    /// Replaced whole at each change, read by each publish.
    bound: ArcSwap<HashMap<TenantId, (Arc<str>, Chain)>>,
    changing: tokio::sync::Mutex<()>,
}

#[derive(Debug, thiserror::Error)]
pub enum PutChainError {
    #[error(transparent)]
    Invalid(#[from] Invalid),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl SocketChains {
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn load(plugins: Arc<Plugins>, store: Store) -> Result<Self, StoreError> {
        let chains = Self { plugins, store, bound: ArcSwap::default(), changing: tokio::sync::Mutex::default() };
        chains.refresh().await?;
        Ok(chains)
    }

    /// Reads the table again, where another node may have changed it; chains that are as before stay.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: all stay as they are.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        let _changing = self.changing.lock().await;
        let before = self.bound.load();
        let mut bound = HashMap::new();
        for (tenant, text) in self.store.socket_chains().await? {
            if let Some((tenant, known)) = before.get_key_value(&tenant)
                && *known.0 == *text
            {
                bound.insert(tenant.clone(), known.clone());
                continue;
            }
            match ChainSpec::parse("chain", &text) {
                Ok(spec) => {
                    let chain = self.plugins.bind(&tenant, &spec).await;
                    bound.insert(tenant, (text.into(), chain));
                }
                Err(invalid) => tracing::error!(%tenant, "the stored sockets chain of {tenant} is left out: {invalid}"),
            }
        }
        self.bound.store(Arc::new(bound));
        Ok(())
    }

    /// Takes what other nodes change, until the server stops.
    pub async fn keep_fresh(self: Arc<Self>, stopping: CancellationToken) {
        while self.store.is_shared() && stopping.run_until_cancelled(tokio::time::sleep(REFRESH_EVERY)).await.is_some()
        {
            if let Err(error) = self.refresh().await {
                tracing::warn!("sockets chains stay as they are: {error}");
            }
        }
    }

    /// The tenant's chain; empty when it has none.
    pub fn of(&self, tenant: &TenantId) -> Chain {
        self.bound.load().get(tenant).map(|(_, chain)| chain.clone()).unwrap_or_default()
    }

    /// As JSON text.
    pub fn text_of(&self, tenant: &TenantId) -> Arc<str> {
        self.bound.load().get(tenant).map_or_else(|| "[]".into(), |(text, _)| text.clone())
    }

    /// Replaces the tenant's chain; in force when this returns.
    ///
    /// # Errors
    /// [`PutChainError::Invalid`] names the step; nothing changed then.
    pub async fn put(&self, tenant: &TenantId, json: &str) -> Result<Arc<str>, PutChainError> {
        let spec = ChainSpec::parse("chain", json)?;
        let _changing = self.changing.lock().await;
        let chain = self.plugins.bind_checked(tenant, "chain", &spec).await?;
        let text: Arc<str> = spec.to_json().into();
        self.store.put_socket_chain(tenant, text.to_string()).await?;
        let mut bound = HashMap::clone(&self.bound.load());
        bound.insert(tenant.clone(), (text.clone(), chain));
        self.bound.store(Arc::new(bound));
        Ok(text)
    }
}
