//! What nodes tell each other besides events.

use serde::{Deserialize, Serialize};

use super::{Away, Bus, keys};

/// A word for all nodes. One that a node does not know, it ignores: nodes of two versions may run at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Control {
    /// Webhooks of a tenant are others now.
    Webhooks { tenant_id: String },
    /// The chain before a tenant's sockets is another now.
    Chains { tenant_id: String },
    /// A tenant's own plugins are others now, or other versions of them serve.
    Plugins { tenant_id: String },
    /// Secrets for a tenant's plugins are others now.
    PluginSecrets { tenant_id: String },
    /// Tokens of a user issued before this second are good for no socket.
    Revoked { tenant_id: String, user_id: String, before_s: i64 },
    /// Users, each after its tenant, whose last connection has gone with a node that stops, which does not tell so any more.
    Left { users: Vec<(String, String)> },
    /// Events of a tenant were lost: its stream says where.
    Lost { tenant_id: String },
}

impl Bus {
    /// # Errors
    /// [`Away`].
    pub async fn tell(&self, control: &Control) -> Result<(), Away> {
        let text = serde_json::to_string(control).map_err(|error| Away(error.to_string()))?;
        let mut commands = self.commands()?;
        let sent = redis::cmd("PUBLISH").arg(keys::CONTROL).arg(text).query_async::<i64>(&mut commands).await;
        sent.map(|_| ()).map_err(|error| self.failed(error))
    }
}
