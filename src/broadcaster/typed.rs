//! One publishing method per event type of the catalogue, so that the compiler checks the data.
//!
//! Types that only Jackfield makes (`agent.presence.*`, `webhook.*`, `plugin.failed`) have none. Any other type is
//! published with [`Broadcaster::publish`].

use super::{Broadcaster, PublishError, Published, To};
use crate::event::{TenantId, payload::*};

// A macro, since the methods differ in name, data and first sentence only.
macro_rules! typed {
    ($($(#[$doc:meta])+ $method:ident($payload:ident);)+) => {
        impl Broadcaster {
            $(
                $(#[$doc])+
                ///
                /// # Errors
                /// The variants of [`PublishError`] say when.
                pub async fn $method(
                    &self,
                    tenant: &TenantId,
                    to: To,
                    data: $payload,
                ) -> Result<Published, PublishError> {
                    self.publish_typed(tenant, to, &data).await
                }
            )+
        }
    };
}

typed! {
    /// Publishes `agent.state.changed`: an agent's working state is another now; the last is remembered.
    agent_state_changed(AgentStateChanged);
    /// Publishes `agent.login`: an agent has started work.
    agent_login(AgentLogin);
    /// Publishes `agent.logout`: an agent has finished work.
    agent_logout(AgentLogout);
    /// Publishes `agent.break.started`: an agent has gone on a break.
    agent_break_started(AgentBreakStarted);
    /// Publishes `agent.break.ended`: an agent is back from a break.
    agent_break_ended(AgentBreakEnded);

    /// Publishes `call.incoming`: a call has arrived.
    call_incoming(CallIncoming);
    /// Publishes `call.ringing`: a call is ringing at its destination.
    call_ringing(CallRinging);
    /// Publishes `call.answered`: an agent has taken a call.
    call_answered(CallAnswered);
    /// Publishes `call.ended`: a call is over.
    call_ended(CallEnded);
    /// Publishes `call.transferred`: a call has moved from one party to another.
    call_transferred(CallTransferred);
    /// Publishes `call.hold`: a call is on hold.
    call_hold(CallHold);
    /// Publishes `call.unhold`: a call is no longer on hold.
    call_unhold(CallUnhold);
    /// Publishes `call.missed`: a call ended before anybody answered it.
    call_missed(CallMissed);
    /// Publishes `call.recording.available`: a call's recording can be fetched.
    call_recording_available(CallRecordingAvailable);

    /// Publishes `queue.member.added`: an agent serves this queue from now on.
    queue_member_added(QueueMemberAdded);
    /// Publishes `queue.member.removed`: an agent no longer serves this queue.
    queue_member_removed(QueueMemberRemoved);
    /// Publishes `queue.stats.updated`: the queue's figures at this moment.
    queue_stats_updated(QueueStatsUpdated);
    /// Publishes `queue.call.joined`: a call has begun to wait in a queue.
    queue_call_joined(QueueCallJoined);
    /// Publishes `queue.call.abandoned`: a caller gave up while waiting.
    queue_call_abandoned(QueueCallAbandoned);

    /// Publishes `chat.message`: somebody has said something in the chat session that `to` names.
    chat_message(ChatMessage);
    /// Publishes `chat.typing`: somebody is writing in the chat session that `to` names. Ephemeral: not stored.
    chat_typing(ChatTyping);
    /// Publishes `chat.session.created`: the chat session that `to` names exists from now on.
    ///
    /// The session's id, at least 16 characters, is all it takes to open the public socket: it must not be guessable.
    chat_session_created(ChatSessionCreated);
    /// Publishes `chat.session.ended`: the chat session that `to` names is over, and its public sockets close.
    chat_session_ended(ChatSessionEnded);
    /// Publishes `chat.agent.assigned`: an agent answers the chat session that `to` names from now on.
    chat_agent_assigned(ChatAgentAssigned);

    /// Publishes `notification`: something to show to a person.
    notification(Notification);
    /// Publishes `error`: something went wrong that the addressee should know of.
    error(ErrorNotice);
    /// Publishes `ping`: a sign of life, without data. Ephemeral: not stored.
    ping(Ping);
    /// Publishes `pong`: the answer to a `ping`, without data. Ephemeral: not stored.
    pong(Pong);
}
