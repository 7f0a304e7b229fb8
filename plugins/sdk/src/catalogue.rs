//! The `data` of every event type of the catalogue, typed: the names are those of the server's event types.
//!
//! Ids are opaque text, `…_s` fields are whole seconds. Fields that the catalogue does not name are ignored, so a publisher may
//! add some; one that is missing or of another kind is `bad-input`, since publishing checks nothing.
//!
//! To ask about one type, [`Event::payload`]; to choose between several, [`Event::typed`]:
//!
//! ```
//! use jackfield_plugin::{Event, Failure};
//! use jackfield_plugin::catalogue::{CallMissed, Typed};
//!
//! fn line(event: &Event) -> Result<Option<String>, Failure> {
//!     Ok(match event.typed()? {
//!         Typed::CallMissed(call) => Some(format!("missed {}", call.caller)),
//!         Typed::CallEnded(call) => Some(format!("{} s", call.duration_s)),
//!         _ => None,
//!     })
//! }
//!
//! let event = Event::new("call.missed", r#"{"call_id":"c-1","caller":"Ada","later":true}"#);
//! assert_eq!(line(&event).unwrap().unwrap(), "missed Ada");
//! let call: CallMissed = event.payload().unwrap().unwrap();
//! assert!(call.queue.is_none());
//! assert_eq!(line(&Event::new("call.ended", "{}")).unwrap_err().code, "bad-input");
//! ```

use serde::Deserialize;

use crate::{Event, Failure, Str};

/// The `data` of one event type, and the name of that type.
pub trait Payload<'a>: Deserialize<'a> {
    /// The `type` of the events that carry it.
    const TYPE: &'static str;
}

impl Event {
    /// The payload, where the event is of `P`'s type; nothing where it is of another.
    ///
    /// # Errors
    /// `bad-input`, when the payload does not fit the type.
    pub fn payload<'a, P: Payload<'a>>(&'a self) -> Result<Option<P>, Failure> {
        if self.event_type == P::TYPE { self.data().map(Some) } else { Ok(None) }
    }
}

// One table for everything that knows all types.
macro_rules! catalogue {
    ($($payload:ident $(<$life:lifetime>)? => $event_type:literal,)+) => {
        $(impl<'a> Payload<'a> for $payload $(<$life>)? {
            const TYPE: &'static str = $event_type;
        })+

        /// An event's payload by its type.
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        pub enum Typed<'a> {
            $(#[doc = concat!("Of `", $event_type, "`.")] $payload($payload $(<$life>)?),)+
            /// Of a type that the catalogue does not know.
            Other,
        }

        impl Event {
            /// The payload as its type has it.
            ///
            /// # Errors
            /// `bad-input`, when the type is the catalogue's and the payload does not fit it.
            pub fn typed(&self) -> Result<Typed<'_>, Failure> {
                Ok(match self.event_type.as_str() {
                    $($event_type => Typed::$payload(self.data()?),)+
                    _ => Typed::Other,
                })
            }
        }

        #[cfg(test)]
        pub(crate) const TYPES: &[&str] = &[$($event_type),+];
    };
}

catalogue! {
    AgentStateChanged<'a> => "agent.state.changed",
    AgentLogin<'a> => "agent.login",
    AgentLogout<'a> => "agent.logout",
    AgentBreakStarted<'a> => "agent.break.started",
    AgentBreakEnded<'a> => "agent.break.ended",
    AgentPresenceOnline<'a> => "agent.presence.online",
    AgentPresenceOffline<'a> => "agent.presence.offline",
    CallIncoming<'a> => "call.incoming",
    CallRinging<'a> => "call.ringing",
    CallAnswered<'a> => "call.answered",
    CallEnded<'a> => "call.ended",
    CallTransferred<'a> => "call.transferred",
    CallHold<'a> => "call.hold",
    CallUnhold<'a> => "call.unhold",
    CallMissed<'a> => "call.missed",
    CallRecordingAvailable<'a> => "call.recording.available",
    QueueMemberAdded<'a> => "queue.member.added",
    QueueMemberRemoved<'a> => "queue.member.removed",
    QueueStatsUpdated<'a> => "queue.stats.updated",
    QueueCallJoined<'a> => "queue.call.joined",
    QueueCallAbandoned<'a> => "queue.call.abandoned",
    ChatMessage<'a> => "chat.message",
    ChatTyping<'a> => "chat.typing",
    ChatSessionCreated<'a> => "chat.session.created",
    ChatSessionEnded<'a> => "chat.session.ended",
    ChatAgentAssigned<'a> => "chat.agent.assigned",
    Notification<'a> => "notification",
    ErrorNotice<'a> => "error",
    Ping => "ping",
    Pong => "pong",
    WebhookTest => "webhook.test",
    WebhookDisabled<'a> => "webhook.disabled",
    PluginFailed<'a> => "plugin.failed",
}

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

/// Data of `chat.message`: somebody has said something in a chat.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct ChatMessage<'a> {
    /// Who wrote it: a user id, or a name of the visitor.
    #[serde(borrow)]
    pub from: Str<'a>,
    /// The message, plain text.
    #[serde(borrow)]
    pub text: Str<'a>,
    /// Files that go with the message, in the order to show them.
    #[serde(borrow)]
    pub attachments: Option<Vec<Attachment<'a>>>,
}

/// A file that goes with a [`ChatMessage`]. Only the link travels; the file lies elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Attachment<'a> {
    /// Where the file is.
    #[serde(borrow)]
    pub url: Str<'a>,
    /// The file's name, as shown to people.
    #[serde(borrow)]
    pub name: Option<Str<'a>>,
    /// The file's media type, such as `image/png`.
    #[serde(borrow)]
    pub content_type: Option<Str<'a>>,
    /// The file's size in bytes.
    pub size_bytes: Option<u64>,
}

/// Data of `chat.typing`: somebody is writing. Ephemeral: not stored, no offset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct ChatTyping<'a> {
    /// Who is writing: a user id, or a name of the visitor.
    #[serde(borrow)]
    pub from: Str<'a>,
}

/// Data of `chat.session.created`: a chat session exists from now on.
///
/// The envelope's `session_id`, at least 16 characters, is what opens the public socket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct ChatSessionCreated<'a> {
    /// The visitor: a name or an id of the publisher's choosing.
    #[serde(borrow)]
    pub visitor: Option<Str<'a>>,
    /// What the chat is about, or what started it.
    #[serde(borrow)]
    pub reason: Option<Str<'a>>,
}

/// Data of `chat.session.ended`: a chat session is over, and its public sockets close.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct ChatSessionEnded<'a> {
    /// The visitor: a name or an id of the publisher's choosing.
    #[serde(borrow)]
    pub visitor: Option<Str<'a>>,
    /// Why the chat ended.
    #[serde(borrow)]
    pub reason: Option<Str<'a>>,
}

/// Data of `chat.agent.assigned`: an agent answers this chat from now on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct ChatAgentAssigned<'a> {
    /// The agent's user id.
    #[serde(borrow)]
    pub agent_id: Str<'a>,
}

/// Data of `notification`: something to show to a person.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Notification<'a> {
    /// A heading, plain text.
    #[serde(borrow)]
    pub title: Option<Str<'a>>,
    /// The message, plain text.
    #[serde(borrow)]
    pub text: Str<'a>,
    /// How much it matters, such as `info`, `warning` or `error`.
    #[serde(borrow)]
    pub level: Option<Str<'a>>,
}

/// Data of `error`: something went wrong that the addressee should know of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct ErrorNotice<'a> {
    /// A stable word that a program can act on.
    #[serde(borrow)]
    pub code: Str<'a>,
    /// What happened, for a person.
    #[serde(borrow)]
    pub message: Str<'a>,
}

/// Data of `ping`, which carries none (`null`): a sign of life. Ephemeral: not stored, no offset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ping;

impl<'de> Deserialize<'de> for Ping {
    /// Whatever the publisher sent is nothing.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde::de::IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

/// Data of `pong`, which carries none (`null`): the answer to a `ping`. Ephemeral: not stored, no offset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pong;

impl<'de> Deserialize<'de> for Pong {
    /// Whatever the publisher sent is nothing.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde::de::IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

/// Data of `webhook.test`: somebody tries out a webhook. Made by Jackfield only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct WebhookTest {
    /// The webhook's id.
    pub webhook_id: i64,
}

/// Data of `webhook.disabled`: a webhook gets no more events until it is enabled. Made by Jackfield only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct WebhookDisabled<'a> {
    /// The webhook's id.
    pub webhook_id: i64,
    /// Why it was disabled, such as its receiver's answering 410.
    #[serde(borrow)]
    pub reason: Str<'a>,
}

/// Data of `plugin.failed`: a plugin failed on an event. Made by Jackfield only, at most once a second per plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct PluginFailed<'a> {
    /// The plugin's name, such as `slackish` or `shared/slack`.
    #[serde(borrow)]
    pub plugin: Str<'a>,
    /// The version that failed.
    pub version: u32,
    /// Where the output was to go: the sockets, or one webhook.
    #[serde(borrow)]
    pub target: Str<'a>,
    /// A stable word for the kind of failure.
    #[serde(borrow)]
    pub code: Str<'a>,
    /// What happened, for a person.
    #[serde(borrow)]
    pub message: Str<'a>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_payload_fits_only_where_nothing_is_expected() {
        for event_type in TYPES {
            let event = Event::new(*event_type, "{}");
            let typed = event.typed().map_err(|failure| failure.code);
            let nothing_needed = ["chat.session.created", "chat.session.ended", "ping", "pong"].contains(event_type);
            assert_eq!(typed.is_ok(), nothing_needed, "{event_type}: {typed:?}");
        }
    }

    #[test]
    fn text_is_borrowed_until_something_in_it_is_escaped() {
        let event = Event::new("call.transferred", r#"{"call_id":"c","from":"A\u00e9","to":"B","more":[1]}"#);
        let call: CallTransferred<'_> = event.payload().unwrap().unwrap();
        assert_eq!((&*call.call_id, &*call.from, &*call.to), ("c", "Aé", "B"));
        assert!(event.data_text().as_bytes().as_ptr_range().contains(&call.to.as_ptr()));
    }
}
