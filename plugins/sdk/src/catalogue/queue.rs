//! Data of the `queue.*` events.

use serde::Deserialize;

use crate::Str;

/// Data of `queue.member.added`: an agent serves this queue from now on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct QueueMemberAdded<'a> {
    /// The queue's name.
    #[serde(borrow)]
    pub queue: Str<'a>,
    /// The member: an agent's user id.
    #[serde(borrow)]
    pub user_id: Str<'a>,
}

/// Data of `queue.member.removed`: an agent no longer serves this queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct QueueMemberRemoved<'a> {
    /// The queue's name.
    #[serde(borrow)]
    pub queue: Str<'a>,
    /// The member: an agent's user id.
    #[serde(borrow)]
    pub user_id: Str<'a>,
}

/// Data of `queue.stats.updated`: the queue's figures at this moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct QueueStatsUpdated<'a> {
    /// The queue's name.
    #[serde(borrow)]
    pub queue: Str<'a>,
    /// How many calls wait.
    pub waiting: u32,
    /// How long the longest of them has waited, in seconds.
    pub longest_wait_s: u64,
    /// How many agents could take a call.
    pub agents_available: u32,
}

/// Data of `queue.call.joined`: a call has begun to wait in a queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct QueueCallJoined<'a> {
    /// The queue's name.
    #[serde(borrow)]
    pub queue: Str<'a>,
    /// The source's id of the call, the same in every event about it.
    #[serde(borrow)]
    pub call_id: Str<'a>,
    /// The call's place in the queue; 1 is answered next.
    pub position: Option<u32>,
    /// How long the call is expected to wait, in seconds.
    pub wait_s: Option<u64>,
}

/// Data of `queue.call.abandoned`: a caller gave up while waiting.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct QueueCallAbandoned<'a> {
    /// The queue's name.
    #[serde(borrow)]
    pub queue: Str<'a>,
    /// The source's id of the call, the same in every event about it.
    #[serde(borrow)]
    pub call_id: Str<'a>,
    /// The call's last place in the queue; 1 is answered next.
    pub position: Option<u32>,
    /// How long the caller had waited, in seconds.
    pub wait_s: Option<u64>,
}
