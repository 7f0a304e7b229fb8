//! Built-in messages for the types of the event catalogue, so that the plugin is useful without configuration.

use std::cmp::Ordering;

/// A message as a configuration would write it.
#[derive(Clone, Copy)]
pub(crate) struct BuiltIn {
    pub(crate) event_type: &'static str,
    pub(crate) title: &'static str,
    pub(crate) text: Option<&'static str>,
    /// Nothing: every top-level field of `data`.
    pub(crate) fields: Option<&'static [&'static str]>,
}

/// For types that the catalogue does not know.
pub(crate) const ANY: BuiltIn = BuiltIn { event_type: "*", title: "{event.type}", text: None, fields: None };

/// One for each type of the catalogue, sorted as [`find`] looks for them.
pub(crate) static BUILT_IN: [BuiltIn; 33] = sorted([
    titled("agent.state.changed", "Agent {user_id} is now {state}", &["previous_state", "reason"]),
    titled("agent.login", "Agent {user_id} logged in", &["extension"]),
    titled("agent.logout", "Agent {user_id} logged out", &["extension"]),
    titled("agent.break.started", "Agent {user_id} started a break", &["reason"]),
    titled("agent.break.ended", "Agent {user_id} ended a break", &["reason", "duration_s"]),
    titled("agent.presence.online", "{user_id} is online", &["reason"]),
    titled("agent.presence.offline", "{user_id} is offline", &["reason"]),
    titled("call.incoming", "Incoming call from {caller}", &["caller", "callee", "queue", "call_id"]),
    titled("call.ringing", "Call from {caller} is ringing", &["caller", "callee", "queue", "call_id"]),
    titled("call.answered", "Call answered by {agent_id}", &["call_id", "agent_id", "wait_s"]),
    titled("call.ended", "Call ended after {duration_s} s", &["call_id", "agent_id", "duration_s", "cause"]),
    titled("call.transferred", "Call transferred from {from} to {to}", &["call_id", "from", "to"]),
    titled("call.hold", "Call on hold", &["call_id", "agent_id"]),
    titled("call.unhold", "Call resumed", &["call_id", "agent_id"]),
    titled("call.missed", "Missed call from {caller}", &["caller", "queue", "call_id"]),
    titled("call.recording.available", "Call recording available", &["call_id", "url", "duration_s"]),
    titled("queue.member.added", "{user_id} joined the queue {queue}", &["queue", "user_id"]),
    titled("queue.member.removed", "{user_id} left the queue {queue}", &["queue", "user_id"]),
    titled(
        "queue.stats.updated",
        "Queue {queue}: {waiting} waiting",
        &["waiting", "longest_wait_s", "agents_available"],
    ),
    titled("queue.call.joined", "Call waiting in the queue {queue}", &["queue", "call_id", "position"]),
    titled("queue.call.abandoned", "Call abandoned in the queue {queue}", &["queue", "call_id", "position", "wait_s"]),
    worded("chat.message", "Message from {from}", "{text}", &[]),
    titled("chat.typing", "{from} is typing", &[]),
    titled("chat.session.created", "Chat started", &["visitor", "event.session"]),
    titled("chat.session.ended", "Chat ended", &["reason", "event.session"]),
    titled("chat.agent.assigned", "Agent {agent_id} joined the chat", &["agent_id", "event.session"]),
    worded("notification", "{title}", "{text}", &["level"]),
    worded("error", "Error {code}", "{message}", &[]),
    titled("ping", "Ping", &[]),
    titled("pong", "Pong", &[]),
    titled("webhook.test", "Test of webhook {webhook_id}", &[]),
    worded("webhook.disabled", "Webhook {webhook_id} was disabled", "{reason}", &[]),
    worded("plugin.failed", "Plugin {plugin} failed", "{message}", &["code", "version", "target"]),
]);

/// Where in [`BUILT_IN`] the message of this type is.
pub(crate) fn find(event_type: &str) -> Option<usize> {
    BUILT_IN.binary_search_by(|known| by_length(known.event_type, event_type)).ok()
}

/// Most types differ in length, and begin alike: few texts have to be compared.
pub(crate) fn by_length(one: &str, other: &str) -> Ordering {
    one.len().cmp(&other.len()).then_with(|| one.cmp(other))
}

/// By [`by_length`], while the plugin is compiled.
const fn sorted<const N: usize>(mut all: [BuiltIn; N]) -> [BuiltIn; N] {
    let mut sorted = 1;
    while sorted < N {
        let mut at = sorted;
        while at > 0 && comes_before(all[at].event_type.as_bytes(), all[at - 1].event_type.as_bytes()) {
            all.swap(at, at - 1);
            at -= 1;
        }
        sorted += 1;
    }
    all
}

const fn comes_before(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return one.len() < other.len();
    }
    let mut at = 0;
    while at < one.len() {
        if one[at] != other[at] {
            return one[at] < other[at];
        }
        at += 1;
    }
    false
}

const fn titled(event_type: &'static str, title: &'static str, fields: &'static [&'static str]) -> BuiltIn {
    BuiltIn { event_type, title, text: None, fields: Some(fields) }
}

const fn worded(
    event_type: &'static str,
    title: &'static str,
    text: &'static str,
    fields: &'static [&'static str],
) -> BuiltIn {
    BuiltIn { event_type, title, text: Some(text), fields: Some(fields) }
}
