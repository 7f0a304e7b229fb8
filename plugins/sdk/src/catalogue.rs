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

mod agent;
mod call;
mod chat;
mod queue;
mod system;

use serde::Deserialize;

pub use agent::*;
pub use call::*;
pub use chat::*;
pub use queue::*;
pub use system::*;

use crate::{Event, Failure};

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
