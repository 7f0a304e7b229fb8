//! Data of the `call.*` events: the life of one telephone call.

use serde::Deserialize;

use crate::Str;

/// Data of `call.incoming`: a call has arrived.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct CallIncoming<'a> {
    /// The source's id of the call, the same in every event about it.
    #[serde(borrow)]
    pub call_id: Str<'a>,
    /// Who calls: a number, an address or a name.
    #[serde(borrow)]
    pub caller: Str<'a>,
    /// Who is called: a number, an address or a name.
    #[serde(borrow)]
    pub callee: Option<Str<'a>>,
    /// The queue the call came through.
    #[serde(borrow)]
    pub queue: Option<Str<'a>>,
}

/// Data of `call.ringing`: a call is ringing at its destination.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct CallRinging<'a> {
    /// The source's id of the call, the same in every event about it.
    #[serde(borrow)]
    pub call_id: Str<'a>,
    /// Who calls: a number, an address or a name.
    #[serde(borrow)]
    pub caller: Str<'a>,
    /// Who is called: a number, an address or a name.
    #[serde(borrow)]
    pub callee: Option<Str<'a>>,
    /// The queue the call came through.
    #[serde(borrow)]
    pub queue: Option<Str<'a>>,
}

/// Data of `call.answered`: an agent has taken a call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct CallAnswered<'a> {
    /// The source's id of the call, the same in every event about it.
    #[serde(borrow)]
    pub call_id: Str<'a>,
    /// The user id of the agent who answered.
    #[serde(borrow)]
    pub agent_id: Str<'a>,
    /// How long the caller waited, in seconds.
    pub wait_s: Option<u64>,
}

/// Data of `call.ended`: a call is over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct CallEnded<'a> {
    /// The source's id of the call, the same in every event about it.
    #[serde(borrow)]
    pub call_id: Str<'a>,
    /// The user id of the agent on the call.
    #[serde(borrow)]
    pub agent_id: Option<Str<'a>>,
    /// How long the call lasted, in seconds.
    pub duration_s: u64,
    /// Why the call ended, as the source words it, such as `normal_clearing`.
    #[serde(borrow)]
    pub cause: Option<Str<'a>>,
}

/// Data of `call.transferred`: a call has moved from one party to another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct CallTransferred<'a> {
    /// The source's id of the call, the same in every event about it.
    #[serde(borrow)]
    pub call_id: Str<'a>,
    /// Who handed the call over: a user id, an extension or a queue.
    #[serde(borrow)]
    pub from: Str<'a>,
    /// Who has the call now: a user id, an extension or a queue.
    #[serde(borrow)]
    pub to: Str<'a>,
}

/// Data of `call.hold`: a call is on hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct CallHold<'a> {
    /// The source's id of the call, the same in every event about it.
    #[serde(borrow)]
    pub call_id: Str<'a>,
    /// The user id of the agent on the call.
    #[serde(borrow)]
    pub agent_id: Option<Str<'a>>,
}

/// Data of `call.unhold`: a call is no longer on hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct CallUnhold<'a> {
    /// The source's id of the call, the same in every event about it.
    #[serde(borrow)]
    pub call_id: Str<'a>,
    /// The user id of the agent on the call.
    #[serde(borrow)]
    pub agent_id: Option<Str<'a>>,
}

/// Data of `call.missed`: a call ended before anybody answered it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct CallMissed<'a> {
    /// The source's id of the call, the same in every event about it.
    #[serde(borrow)]
    pub call_id: Str<'a>,
    /// Who calls: a number, an address or a name.
    #[serde(borrow)]
    pub caller: Str<'a>,
    /// The queue the call came through.
    #[serde(borrow)]
    pub queue: Option<Str<'a>>,
}

/// Data of `call.recording.available`: a call's recording can be fetched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct CallRecordingAvailable<'a> {
    /// The source's id of the call, the same in every event about it.
    #[serde(borrow)]
    pub call_id: Str<'a>,
    /// Where the recording is.
    #[serde(borrow)]
    pub url: Str<'a>,
    /// The length of the recording, in seconds.
    pub duration_s: Option<u64>,
}
