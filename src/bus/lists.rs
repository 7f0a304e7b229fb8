//! Events that wait for a user without a connection.

use std::time::Duration;

use super::{Away, Bus, keys};
use crate::event::{TenantId, UserId};

/// A connection that is shown them has them for this long, and while it lives.
const CLAIM: Duration = Duration::from_secs(120);

impl Bus {
    /// The first messages that wait for a user, after some that it has passed over, for one of its connections; none where
    /// another one is shown them.
    ///
    /// # Errors
    /// [`Away`].
    pub async fn claim_waiting(
        &self,
        tenant: &TenantId,
        user: &UserId,
        connection: &str,
        skip: usize,
        limit: usize,
    ) -> Result<Option<Vec<String>>, Away> {
        let mut commands = self.commands()?;
        let (tenant, user) = (tenant.as_str(), user.as_str());
        let claim = &self.0.scripts.claim;
        let (is_held, messages): (bool, Vec<String>) = claim
            .key(keys::offline(tenant, user))
            .key(keys::offline_owner(tenant, user))
            .key(keys::conns(tenant, user))
            .arg(connection)
            .arg(skip)
            .arg(limit)
            .arg(CLAIM.as_secs())
            .invoke_async(&mut commands)
            .await
            .map_err(|error| self.failed(error))?;
        Ok((!is_held).then_some(messages))
    }

    /// These wait no more. What is left is this connection's for as long as it is leased.
    ///
    /// # Errors
    /// [`Away`].
    pub async fn remove_waiting(
        &self,
        tenant: &TenantId,
        user: &UserId,
        connection: &str,
        messages: &[String],
    ) -> Result<(), Away> {
        let mut commands = self.commands()?;
        let (tenant, user) = (tenant.as_str(), user.as_str());
        let mut call = self.0.scripts.remove.prepare_invoke();
        call.key(keys::offline(tenant, user)).key(keys::offline_owner(tenant, user)).arg(connection).arg(messages);
        call.invoke_async::<i64>(&mut commands).await.map(|_| ()).map_err(|error| self.failed(error))
    }

    /// Lets messages wait that the database kept, unless their user has a connection.
    ///
    /// # Errors
    /// [`Away`].
    pub async fn let_wait(&self, tenant: &TenantId, user: &UserId, messages: &[String]) -> Result<(), Away> {
        let mut commands = self.commands()?;
        let (tenant, user) = (tenant.as_str(), user.as_str());
        let mut call = self.0.scripts.wait.prepare_invoke();
        call.key(keys::online(tenant))
            .key(keys::offline(tenant, user))
            .key(keys::offline_dropped(tenant))
            .arg(user)
            .arg(self.0.offline.max)
            .arg(self.0.offline.ttl.as_secs().max(1))
            .arg(messages);
        call.invoke_async::<i64>(&mut commands).await.map(|_| ()).map_err(|error| self.failed(error))
    }
}
