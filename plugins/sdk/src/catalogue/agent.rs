//! Data of the `agent.*` events: what people who take calls do.

use serde::Deserialize;

use crate::Str;

/// Data of `agent.state.changed`: an agent's working state is another now.
///
/// The last one is remembered as the user's `state`, which the online query answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct AgentStateChanged<'a> {
    /// The agent's user id: the `sub` of their token.
    #[serde(borrow)]
    pub user_id: Str<'a>,
    /// The state from now on, such as `available`, `busy` or `away`.
    #[serde(borrow)]
    pub state: Str<'a>,
    /// The state until now.
    #[serde(borrow)]
    pub previous_state: Option<Str<'a>>,
    /// Why, in words or as a code of the source.
    #[serde(borrow)]
    pub reason: Option<Str<'a>>,
}

/// Data of `agent.login`: an agent has started work.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct AgentLogin<'a> {
    /// The agent's user id: the `sub` of their token.
    #[serde(borrow)]
    pub user_id: Str<'a>,
    /// The telephone extension the agent works from.
    #[serde(borrow)]
    pub extension: Option<Str<'a>>,
}

/// Data of `agent.logout`: an agent has finished work.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct AgentLogout<'a> {
    /// The agent's user id: the `sub` of their token.
    #[serde(borrow)]
    pub user_id: Str<'a>,
    /// The telephone extension the agent works from.
    #[serde(borrow)]
    pub extension: Option<Str<'a>>,
}

/// Data of `agent.break.started`: an agent has gone on a break.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct AgentBreakStarted<'a> {
    /// The agent's user id: the `sub` of their token.
    #[serde(borrow)]
    pub user_id: Str<'a>,
    /// Why, in words or as a code of the source.
    #[serde(borrow)]
    pub reason: Option<Str<'a>>,
    /// How long the break is meant to last, in seconds.
    pub duration_s: Option<u64>,
}

/// Data of `agent.break.ended`: an agent is back from a break.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct AgentBreakEnded<'a> {
    /// The agent's user id: the `sub` of their token.
    #[serde(borrow)]
    pub user_id: Str<'a>,
    /// Why, in words or as a code of the source.
    #[serde(borrow)]
    pub reason: Option<Str<'a>>,
    /// How long the break lasted, in seconds.
    pub duration_s: Option<u64>,
}

/// Data of `agent.presence.online`: a user's first connection has opened. Made by Jackfield only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct AgentPresenceOnline<'a> {
    /// The user who is online. The envelope's `user_id` is null, so that the whole tenant sees the event.
    #[serde(borrow)]
    pub user_id: Str<'a>,
    /// What brought the user online.
    #[serde(borrow)]
    pub reason: Str<'a>,
}

/// Data of `agent.presence.offline`: a user's last connection is gone. Made by Jackfield only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct AgentPresenceOffline<'a> {
    /// The user who is offline. The envelope's `user_id` is null, so that the whole tenant sees the event.
    #[serde(borrow)]
    pub user_id: Str<'a>,
    /// What took the user offline.
    #[serde(borrow)]
    pub reason: Str<'a>,
}
