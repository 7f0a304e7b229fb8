//! Whom an administrator has put out: tokens issued before that second are good for no socket. In the database, and in
//! memory, where every handshake looks.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use crate::{
    event::{TenantId, UserId},
    store::{Revocation, Store, StoreError},
};

/// How often the table is looked at, where other nodes write to it too.
const REFRESH_EVERY: Duration = Duration::from_secs(3);

pub struct Revocations {
    store: Store,
    /// Locked for moments.
    before_s: RwLock<HashMap<(TenantId, UserId), i64>>,
}

impl Revocations {
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn load(store: Store) -> Result<Self, StoreError> {
        let revocations = Self { store, before_s: RwLock::default() };
        revocations.refresh().await?;
        Ok(revocations)
    }

    /// Puts a user out; on disk when this returns.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn revoke(&self, tenant: &TenantId, user: &UserId, before_s: i64) -> Result<(), StoreError> {
        let revocation = Revocation { tenant: tenant.clone(), user: user.clone(), before_s };
        self.store.put_revocation(revocation).await?;
        self.note(tenant, user, before_s);
        Ok(())
    }

    /// Another node has put a user out. True where that is news.
    pub fn note(&self, tenant: &TenantId, user: &UserId, before_s: i64) -> bool {
        let mut known = self.before_s.write().unwrap_or_else(PoisonError::into_inner);
        let known = known.entry((tenant.clone(), user.clone())).or_insert(i64::MIN);
        let is_news = before_s > *known;
        *known = before_s.max(*known);
        is_news
    }

    /// Whether a token of a user, issued at this second, is good for no socket.
    pub fn is_revoked(&self, tenant: &TenantId, user: &UserId, issued_s: Option<i64>) -> bool {
        let known = self.before_s.read().unwrap_or_else(PoisonError::into_inner);
        let before_s = known.get(&(tenant.clone(), user.clone()));
        before_s.is_some_and(|before_s| issued_s.is_none_or(|issued_s| issued_s < *before_s))
    }

    /// Reads the table again; answers whom other nodes have put out since.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn refresh(&self) -> Result<Vec<(TenantId, UserId)>, StoreError> {
        let rows = self.store.revocations().await?;
        let news = rows.into_iter().filter(|row| self.note(&row.tenant, &row.user, row.before_s));
        Ok(news.map(|row| (row.tenant, row.user)).collect())
    }

    /// Looks for what other nodes did, until the server stops; `close` ends the sockets of a user.
    pub async fn keep_fresh(self: Arc<Self>, close: impl Fn(&TenantId, &UserId), stopping: CancellationToken) {
        while self.store.is_shared() && stopping.run_until_cancelled(tokio::time::sleep(REFRESH_EVERY)).await.is_some()
        {
            match self.refresh().await {
                Ok(news) => news.iter().for_each(|(tenant, user)| close(tenant, user)),
                Err(error) => tracing::warn!("whom other nodes have put out is seen later: {error}"),
            }
        }
    }
}
