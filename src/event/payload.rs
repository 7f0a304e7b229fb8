//! The typed `data` of every event type in the catalogue: one struct per type, and the table that names each type.
//!
//! The structs are for Rust callers of [`Broadcaster`](crate::broadcaster::Broadcaster). An event that arrives over
//! HTTP or a socket is never parsed into them: its bytes travel as sent, and any JSON is accepted.
//!
//! Everywhere below, `…_s` fields are whole seconds, ids are opaque text of the publisher's choosing, and an optional
//! field that is `None` is left out of the JSON.

mod agent;
mod call;
mod chat;
mod queue;
mod system;

pub use agent::*;
pub use call::*;
pub use chat::*;
pub use queue::*;
pub use system::*;

/// The `data` of one event type, and the name of that type.
pub trait Payload: serde::Serialize {
    /// The `type` of the event that carries this data, such as `call.incoming`.
    const TYPE: &'static str;
}

// A macro, so that the whole mapping is one table to read.
macro_rules! payload_types {
    ($($payload:ident => $event_type:literal,)+) => {
        $(impl Payload for $payload {
            const TYPE: &'static str = $event_type;
        })+
    };
}

payload_types! {
    AgentStateChanged => "agent.state.changed",
    AgentLogin => "agent.login",
    AgentLogout => "agent.logout",
    AgentBreakStarted => "agent.break.started",
    AgentBreakEnded => "agent.break.ended",
    AgentPresenceOnline => "agent.presence.online",
    AgentPresenceOffline => "agent.presence.offline",
    CallIncoming => "call.incoming",
    CallRinging => "call.ringing",
    CallAnswered => "call.answered",
    CallEnded => "call.ended",
    CallTransferred => "call.transferred",
    CallHold => "call.hold",
    CallUnhold => "call.unhold",
    CallMissed => "call.missed",
    CallRecordingAvailable => "call.recording.available",
    QueueMemberAdded => "queue.member.added",
    QueueMemberRemoved => "queue.member.removed",
    QueueStatsUpdated => "queue.stats.updated",
    QueueCallJoined => "queue.call.joined",
    QueueCallAbandoned => "queue.call.abandoned",
    ChatMessage => "chat.message",
    ChatTyping => "chat.typing",
    ChatSessionCreated => "chat.session.created",
    ChatSessionEnded => "chat.session.ended",
    ChatAgentAssigned => "chat.agent.assigned",
    Notification => "notification",
    ErrorNotice => "error",
    Ping => "ping",
    Pong => "pong",
    WebhookTest => "webhook.test",
    WebhookDisabled => "webhook.disabled",
    PluginFailed => "plugin.failed",
}
