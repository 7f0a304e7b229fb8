//! Data of the `queue.*` events: who serves a queue, and which calls wait in it.

use serde::{Deserialize, Serialize};

/// Data of `queue.member.added`: an agent serves this queue from now on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueMemberAdded {
    /// The queue's name.
    pub queue: String,
    /// The member: an agent's user id.
    pub user_id: String,
}

/// Data of `queue.member.removed`: an agent no longer serves this queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueMemberRemoved {
    /// The queue's name.
    pub queue: String,
    /// The member: an agent's user id.
    pub user_id: String,
}

/// Data of `queue.stats.updated`: the queue's figures at this moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueStatsUpdated {
    /// The queue's name.
    pub queue: String,
    /// How many calls wait.
    pub waiting: u32,
    /// How long the longest of them has waited, in seconds.
    pub longest_wait_s: u64,
    /// How many agents could take a call.
    pub agents_available: u32,
}

/// Data of `queue.call.joined`: a call has begun to wait in a queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueCallJoined {
    /// The queue's name.
    pub queue: String,
    /// The source's id of the call, the same in every event about it.
    pub call_id: String,
    /// The call's place in the queue; 1 is answered next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<u32>,
    /// How long the call is expected to wait, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait_s: Option<u64>,
}

/// Data of `queue.call.abandoned`: a caller gave up while waiting.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueCallAbandoned {
    /// The queue's name.
    pub queue: String,
    /// The source's id of the call, the same in every event about it.
    pub call_id: String,
    /// The call's last place in the queue; 1 is answered next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<u32>,
    /// How long the caller had waited, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait_s: Option<u64>,
}
