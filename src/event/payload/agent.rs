//! Data of the `agent.*` events: what agents do, and whether they are connected.

use serde::{Deserialize, Serialize};

/// Data of `agent.state.changed`: an agent's working state is another now.
///
/// The last one is remembered as the user's `state`, which the online query answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentStateChanged {
    /// The agent's user id: the `sub` of their token.
    pub user_id: String,
    /// The state from now on, such as `available`, `busy` or `away`.
    pub state: String,
    /// The state until now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_state: Option<String>,
    /// Why, in words or as a code of the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Data of `agent.login`: an agent has started work.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentLogin {
    /// The agent's user id: the `sub` of their token.
    pub user_id: String,
    /// The telephone extension the agent works from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extension: Option<String>,
}

/// Data of `agent.logout`: an agent has finished work.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentLogout {
    /// The agent's user id: the `sub` of their token.
    pub user_id: String,
    /// The telephone extension the agent works from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extension: Option<String>,
}

/// Data of `agent.break.started`: an agent has gone on a break.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentBreakStarted {
    /// The agent's user id: the `sub` of their token.
    pub user_id: String,
    /// Why, in words or as a code of the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How long the break is meant to last, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_s: Option<u64>,
}

/// Data of `agent.break.ended`: an agent is back from a break.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentBreakEnded {
    /// The agent's user id: the `sub` of their token.
    pub user_id: String,
    /// Why, in words or as a code of the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How long the break lasted, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_s: Option<u64>,
}

/// Data of `agent.presence.online`: a user's first connection has opened. Made by Jackfield only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentPresenceOnline {
    /// The user who is online. The envelope's `user_id` is null, so that the whole tenant sees the event.
    pub user_id: String,
    /// What brought the user online.
    pub reason: String,
}

/// Data of `agent.presence.offline`: a user's last connection is gone. Made by Jackfield only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentPresenceOffline {
    /// The user who is offline. The envelope's `user_id` is null, so that the whole tenant sees the event.
    pub user_id: String,
    /// What took the user offline.
    pub reason: String,
}
