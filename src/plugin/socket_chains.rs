//! The chain that each tenant put before its sockets, in memory and in the store.

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;

use super::{Chain, ChainSpec, Plugins};
use crate::{
    event::{Invalid, TenantId},
    store::{Store, StoreError},
};

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
        let mut bound = HashMap::new();
        for (tenant, text) in store.socket_chains().await? {
            match ChainSpec::parse("chain", &text) {
                Ok(spec) => {
                    let chain = plugins.bind(&tenant, &spec).await;
                    bound.insert(tenant, (text.into(), chain));
                }
                Err(invalid) => tracing::error!(%tenant, "the stored sockets chain of {tenant} is left out: {invalid}"),
            }
        }
        Ok(Self { plugins, store, bound: ArcSwap::from_pointee(bound), changing: tokio::sync::Mutex::default() })
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
