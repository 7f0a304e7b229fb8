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
    pub async fn revoke(&self, revocation: &Revocation) -> Result<(), StoreError> {
        self.store.put_revocation(revocation.clone()).await?;
        self.note(revocation);
        Ok(())
    }

    /// Another node has put a user out, and has written it down where the database is shared. It is in force when `close`
    /// is called, which is where it is news.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: it is in force all the same, until this server ends.
    pub async fn hear(&self, revocation: Revocation, close: impl Fn(&Revocation)) -> Result<(), StoreError> {
        if !self.note(&revocation) {
            return Ok(());
        }
        close(&revocation);
        if self.store.is_shared() { Ok(()) } else { self.store.put_revocation(revocation).await }
    }

    /// True where it is news.
    fn note(&self, Revocation { tenant, user, before_s }: &Revocation) -> bool {
        let mut known = self.before_s.write().unwrap_or_else(PoisonError::into_inner);
        let known = known.entry((tenant.clone(), user.clone())).or_insert(i64::MIN);
        let is_news = before_s > known;
        *known = *before_s.max(known);
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
    pub async fn refresh(&self) -> Result<Vec<Revocation>, StoreError> {
        let rows = self.store.revocations().await?;
        Ok(rows.into_iter().filter(|row| self.note(row)).collect())
    }

    /// Looks for what other nodes did, until the server stops; `close` ends the sockets of a user.
    pub async fn keep_fresh(self: Arc<Self>, close: impl Fn(&Revocation), stopping: CancellationToken) {
        while self.store.is_shared() && stopping.run_until_cancelled(tokio::time::sleep(REFRESH_EVERY)).await.is_some()
        {
            match self.refresh().await {
                Ok(news) => news.iter().for_each(&close),
                Err(error) => tracing::warn!("whom other nodes have put out is seen later: {error}"),
            }
        }
    }
}
