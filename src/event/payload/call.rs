//! Data of the `call.*` events: the life of one telephone call.

use serde::{Deserialize, Serialize};

/// Data of `call.incoming`: a call has arrived.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallIncoming {
    /// The source's id of the call, the same in every event about it.
    pub call_id: String,
    /// Who calls: a number, an address or a name.
    pub caller: String,
    /// Who is called: a number, an address or a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub callee: Option<String>,
    /// The queue the call came through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
}

/// Data of `call.ringing`: a call is ringing at its destination.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallRinging {
    /// The source's id of the call, the same in every event about it.
    pub call_id: String,
    /// Who calls: a number, an address or a name.
    pub caller: String,
    /// Who is called: a number, an address or a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub callee: Option<String>,
    /// The queue the call came through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
}

/// Data of `call.answered`: an agent has taken a call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallAnswered {
    /// The source's id of the call, the same in every event about it.
    pub call_id: String,
    /// The user id of the agent who answered.
    pub agent_id: String,
    /// How long the caller waited, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait_s: Option<u64>,
}

/// Data of `call.ended`: a call is over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallEnded {
    /// The source's id of the call, the same in every event about it.
    pub call_id: String,
    /// The user id of the agent on the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// How long the call lasted, in seconds.
    pub duration_s: u64,
    /// Why the call ended, as the source words it, such as `normal_clearing`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}

/// Data of `call.transferred`: a call has moved from one party to another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallTransferred {
    /// The source's id of the call, the same in every event about it.
    pub call_id: String,
    /// Who handed the call over: a user id, an extension or a queue.
    pub from: String,
    /// Who has the call now: a user id, an extension or a queue.
    pub to: String,
}

/// Data of `call.hold`: a call is on hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallHold {
    /// The source's id of the call, the same in every event about it.
    pub call_id: String,
    /// The user id of the agent on the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
}

/// Data of `call.unhold`: a call is no longer on hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallUnhold {
    /// The source's id of the call, the same in every event about it.
    pub call_id: String,
    /// The user id of the agent on the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
}

/// Data of `call.missed`: a call ended before anybody answered it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallMissed {
    /// The source's id of the call, the same in every event about it.
    pub call_id: String,
    /// Who calls: a number, an address or a name.
    pub caller: String,
    /// The queue the call came through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
}

/// Data of `call.recording.available`: a call's recording can be fetched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallRecordingAvailable {
    /// The source's id of the call, the same in every event about it.
    pub call_id: String,
    /// Where the recording is.
    pub url: String,
    /// The length of the recording, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_s: Option<u64>,
}
