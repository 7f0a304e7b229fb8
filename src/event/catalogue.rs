//! The event types that Jackfield knows by name: their group, their meaning and the JSON Schema of their `data`.
//!
//! The catalogue documents and types. It enforces nothing: any other type may be published, with any data.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

/// One event type, as `GET /api/v1/event-types` shows it.
#[derive(Clone, Debug)]
pub struct CatalogueEntry {
    /// The `type`, such as `call.incoming`.
    pub name: &'static str,
    /// The family it belongs to: agent, call, queue, chat, notification, system, webhook or plugin.
    pub group: &'static str,
    /// What has happened when such an event is sent, in one sentence.
    pub meaning: &'static str,
    /// The JSON Schema (2020-12) of `data`, as JSON text. `{}`, which allows anything, where no data is expected.
    pub schema: &'static str,
}

/// Every event type that Jackfield knows, also those that only Jackfield makes, in a fixed order by group.
pub fn catalogue() -> &'static [CatalogueEntry] {
    static CATALOGUE: LazyLock<Vec<CatalogueEntry>> = LazyLock::new(|| {
        let rows = GROUPS.iter().flat_map(|(group, rows)| rows.iter().map(move |row| (*group, row)));
        rows.map(|(group, row)| CatalogueEntry {
            name: row.name,
            group,
            meaning: row.meaning,
            // Leaked on purpose: a few KiB, made once and needed as long as the process lives.
            schema: schema_of(row.fields).leak(),
        })
        .collect()
    });
    &CATALOGUE
}

/// Whether events of this type are for the moment only: no offset, not stored, no webhook unless it subscribed to
/// exactly this type.
pub fn is_ephemeral(event_type: &str) -> bool {
    matches!(event_type, "chat.typing" | "ping" | "pong")
}

/// Whether this word belongs to the socket protocol alone and is therefore refused as an event type.
///
/// `ping`, `pong` and `error` are control frames too, but also event types: a frame with an `id` is the event, one
/// without is the control frame, so nobody can confuse them.
pub fn is_control_word(event_type: &str) -> bool {
    matches!(
        event_type,
        "welcome" | "subscribed" | "gap" | "auth_expiring" | "auth_ok" | "bye" | "subscribe" | "resume" | "auth"
    )
}

/// One event type before its schema is written out.
struct Row {
    name: &'static str,
    meaning: &'static str,
    fields: &'static [Field],
}

const fn row(name: &'static str, meaning: &'static str, fields: &'static [Field]) -> Row {
    Row { name, meaning, fields }
}

/// One member of `data`. Required unless it says otherwise.
#[derive(Clone, Copy)]
struct Field {
    name: &'static str,
    kind: Kind,
    meaning: &'static str,
    optional: bool,
}

#[derive(Clone, Copy)]
enum Kind {
    Text,
    Url,
    /// A whole number, zero or more.
    Count,
    Attachments,
}

impl Field {
    const fn new(name: &'static str, kind: Kind, meaning: &'static str) -> Field {
        Field { name, kind, meaning, optional: false }
    }

    const fn text(name: &'static str, meaning: &'static str) -> Field {
        Field::new(name, Kind::Text, meaning)
    }

    const fn count(name: &'static str, meaning: &'static str) -> Field {
        Field::new(name, Kind::Count, meaning)
    }

    /// The same field where it may be absent or null.
    const fn optional(self) -> Field {
        Field { optional: true, ..self }
    }

    fn schema(&self) -> Value {
        let mut schema = match self.kind {
            Kind::Text => json!({ "type": "string" }),
            Kind::Url => json!({ "type": "string", "format": "uri" }),
            Kind::Count => json!({ "type": "integer", "minimum": 0 }),
            Kind::Attachments => json!({ "type": "array", "items": object_schema(ATTACHMENT) }),
        };
        if self.optional {
            schema["type"] = json!([schema["type"], "null"]);
        }
        schema["description"] = self.meaning.into();
        schema
    }
}

fn schema_of(fields: &[Field]) -> String {
    if fields.is_empty() {
        return "{}".to_owned();
    }
    let mut schema = object_schema(fields);
    schema.insert("$schema".into(), "https://json-schema.org/draft/2020-12/schema".into());
    Value::from(schema).to_string()
}

/// Strict about the types of what it declares; anything beside that is allowed, as JSON Schema does by default.
fn object_schema(fields: &[Field]) -> Map<String, Value> {
    let properties: Map<String, Value> = fields.iter().map(|field| (field.name.to_owned(), field.schema())).collect();
    let required: Vec<&str> = fields.iter().filter(|field| !field.optional).map(|field| field.name).collect();
    Map::from_iter([
        ("type".to_owned(), json!("object")),
        ("properties".to_owned(), properties.into()),
        ("required".to_owned(), required.into()),
    ])
}

const AGENT_ID: Field = Field::text("agent_id", "The agent's user id");
const AGENTS_AVAILABLE: Field = Field::count("agents_available", "How many agents could take a call");
const ATTACHMENTS: Field = Field::new("attachments", Kind::Attachments, "Files that go with the message, in order");
const BREAK_REASON: Field = Field::text("reason", "Why the agent is on a break").optional();
const BREAK_S: Field = Field::count("duration_s", "How long the break lasted, whole seconds").optional();
const CALL_ID: Field = Field::text("call_id", "The source's id of the call, the same in every event about it");
const CALL_S: Field = Field::count("duration_s", "How long the call lasted, whole seconds");
const CALLEE: Field = Field::text("callee", "Who is called: a number, an address or a name").optional();
const CALLER: Field = Field::text("caller", "Who calls: a number, an address or a name");
const CAUSE: Field = Field::text("cause", "Why the call ended, as the source words it").optional();
const CHAT_FROM: Field = Field::text("from", "Who writes: a user id, or a name of the visitor");
const CHAT_REASON: Field = Field::text("reason", "What the chat is about, or why it ended").optional();
const CODE: Field = Field::text("code", "A stable word that a program can act on");
const EXTENSION: Field = Field::text("extension", "The telephone extension the agent works from").optional();
const LEVEL: Field = Field::text("level", "How much it matters, such as info, warning or error").optional();
const LONGEST_WAIT_S: Field = Field::count("longest_wait_s", "How long the longest has waited, whole seconds");
const MESSAGE: Field = Field::text("message", "What happened, for a person");
const PLANNED_BREAK_S: Field = Field::count("duration_s", "How long the break is to last, whole seconds").optional();
const PLUGIN: Field = Field::text("plugin", "The plugin's name, such as slackish or shared/slack");
const POSITION: Field = Field::count("position", "The call's place in the queue; 1 is answered next").optional();
const PREVIOUS_STATE: Field = Field::text("previous_state", "The state until now").optional();
const QUEUE: Field = Field::text("queue", "The queue's name");
const REASON: Field = Field::text("reason", "Why, in words or as a code");
const RECORDING_S: Field = Field::count("duration_s", "The length of the recording, whole seconds").optional();
const STATE: Field = Field::text("state", "The state from now on, such as available, busy or away");
const TARGET: Field = Field::text("target", "Where the output was to go: the sockets, or one webhook");
const TEXT: Field = Field::text("text", "The message, plain text");
const TITLE: Field = Field::text("title", "A heading, plain text").optional();
const TRANSFER_FROM: Field = Field::text("from", "Who handed the call over: a user id, an extension or a queue");
const TRANSFER_TO: Field = Field::text("to", "Who has the call now: a user id, an extension or a queue");
const URL: Field = Field::new("url", Kind::Url, "Where the file is");
const USER_ID: Field = Field::text("user_id", "The user's id: the sub of their token");
const VERSION: Field = Field::count("version", "The version of the plugin that failed");
const VISITOR: Field = Field::text("visitor", "The visitor: a name or an id of the publisher's choosing").optional();
const WAIT_S: Field = Field::count("wait_s", "How long the caller waited, or is expected to, whole seconds").optional();
const WAITING: Field = Field::count("waiting", "How many calls wait");
const WEBHOOK_ID: Field = Field::count("webhook_id", "The webhook's id");

const ATTACHMENT: &[Field] = &[
    URL,
    Field::text("name", "The file's name, as shown to people").optional(),
    Field::text("content_type", "The file's media type, such as image/png").optional(),
    Field::count("size_bytes", "The file's size in bytes").optional(),
];

const GROUPS: &[(&str, &[Row])] = &[
    ("agent", AGENT),
    ("call", CALL),
    ("queue", QUEUES),
    ("chat", CHAT),
    ("notification", &[row("notification", "Something to show to a person", &[TITLE, TEXT, LEVEL])]),
    ("system", SYSTEM),
    ("webhook", WEBHOOK),
    ("plugin", &[row("plugin.failed", "A plugin failed on an event", &[PLUGIN, VERSION, TARGET, CODE, MESSAGE])]),
];

const AGENT: &[Row] = &[
    row(
        "agent.state.changed",
        "An agent's working state is another now",
        &[USER_ID, STATE, PREVIOUS_STATE, REASON.optional()],
    ),
    row("agent.login", "An agent has started work", &[USER_ID, EXTENSION]),
    row("agent.logout", "An agent has finished work", &[USER_ID, EXTENSION]),
    row("agent.break.started", "An agent has gone on a break", &[USER_ID, BREAK_REASON, PLANNED_BREAK_S]),
    row("agent.break.ended", "An agent is back from a break", &[USER_ID, BREAK_REASON, BREAK_S]),
    row("agent.presence.online", "A user's first connection has opened", &[USER_ID, REASON]),
    row("agent.presence.offline", "A user's last connection is gone", &[USER_ID, REASON]),
];

const CALL: &[Row] = &[
    row("call.incoming", "A call has arrived", &[CALL_ID, CALLER, CALLEE, QUEUE.optional()]),
    row("call.ringing", "A call is ringing at its destination", &[CALL_ID, CALLER, CALLEE, QUEUE.optional()]),
    row("call.answered", "An agent has taken a call", &[CALL_ID, AGENT_ID, WAIT_S]),
    row("call.ended", "A call is over", &[CALL_ID, AGENT_ID.optional(), CALL_S, CAUSE]),
    row("call.transferred", "A call has moved from one party to another", &[CALL_ID, TRANSFER_FROM, TRANSFER_TO]),
    row("call.hold", "A call is on hold", &[CALL_ID, AGENT_ID.optional()]),
    row("call.unhold", "A call is no longer on hold", &[CALL_ID, AGENT_ID.optional()]),
    row("call.missed", "A call ended before anybody answered it", &[CALL_ID, CALLER, QUEUE.optional()]),
    row("call.recording.available", "A call's recording can be fetched", &[CALL_ID, URL, RECORDING_S]),
];

const QUEUES: &[Row] = &[
    row("queue.member.added", "An agent serves this queue from now on", &[QUEUE, USER_ID]),
    row("queue.member.removed", "An agent no longer serves this queue", &[QUEUE, USER_ID]),
    row(
        "queue.stats.updated",
        "The queue's figures at this moment",
        &[QUEUE, WAITING, LONGEST_WAIT_S, AGENTS_AVAILABLE],
    ),
    row("queue.call.joined", "A call has begun to wait in a queue", &[QUEUE, CALL_ID, POSITION, WAIT_S]),
    row("queue.call.abandoned", "A caller gave up while waiting", &[QUEUE, CALL_ID, POSITION, WAIT_S]),
];

const CHAT: &[Row] = &[
    row("chat.message", "Somebody has said something in a chat", &[CHAT_FROM, TEXT, ATTACHMENTS.optional()]),
    row("chat.typing", "Somebody is writing; not stored", &[CHAT_FROM]),
    row("chat.session.created", "A chat session exists from now on", &[VISITOR, CHAT_REASON]),
    row("chat.session.ended", "A chat session is over, and its public sockets close", &[VISITOR, CHAT_REASON]),
    row("chat.agent.assigned", "An agent answers this chat from now on", &[AGENT_ID]),
];

const SYSTEM: &[Row] = &[
    row("error", "Something went wrong that the addressee should know of", &[CODE, MESSAGE]),
    row("ping", "A sign of life, without data; not stored", &[]),
    row("pong", "The answer to a ping, without data; not stored", &[]),
];

const WEBHOOK: &[Row] = &[
    row("webhook.test", "Somebody tries out a webhook", &[WEBHOOK_ID]),
    row("webhook.disabled", "A webhook gets no more events until it is enabled", &[WEBHOOK_ID, REASON]),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::event::payload::*;

    const TYPES: &str = "
        agent.state.changed agent.login agent.logout agent.break.started agent.break.ended
        agent.presence.online agent.presence.offline
        call.incoming call.ringing call.answered call.ended call.transferred call.hold call.unhold call.missed
        call.recording.available
        queue.member.added queue.member.removed queue.stats.updated queue.call.joined queue.call.abandoned
        chat.message chat.typing chat.session.created chat.session.ended chat.agent.assigned
        notification error ping pong webhook.test webhook.disabled plugin.failed";

    #[test]
    fn the_catalogue_holds_every_type_once() {
        let names: Vec<_> = catalogue().iter().map(|entry| entry.name).collect();
        let distinct: BTreeSet<_> = names.iter().copied().collect();
        assert_eq!(distinct.len(), names.len(), "a type is listed twice");
        assert_eq!(distinct, TYPES.split_whitespace().collect());
    }

    #[test]
    fn every_schema_is_json_and_describes_an_object_or_allows_anything() {
        for entry in catalogue() {
            let schema: Value = serde_json::from_str(entry.schema).expect(entry.name);
            if matches!(entry.name, "ping" | "pong") {
                assert_eq!(schema, json!({}));
            } else {
                assert_eq!(schema["type"], "object", "{}", entry.name);
            }
        }
    }

    #[test]
    fn optional_fields_may_be_null_and_required_ones_may_not() {
        let schema = schema_by_name(CallIncoming::TYPE);
        assert_eq!(schema["properties"]["queue"]["type"], json!(["string", "null"]));
        assert_eq!(schema["properties"]["caller"]["type"], "string");
        assert_eq!(schema["required"], json!(["call_id", "caller"]));
    }

    /// A default instance serialises its required fields alone, so their names must be exactly the schema's `required`;
    /// a full one, read from a sample of the schema, must give every declared property back.
    fn agrees<P: Payload + Default + PartialEq + std::fmt::Debug + serde::de::DeserializeOwned>() {
        let schema = schema_by_name(P::TYPE);
        let bare = serde_json::to_value(P::default()).expect(P::TYPE);
        let Some(properties) = schema["properties"].as_object() else {
            assert_eq!(bare, Value::Null, "{}", P::TYPE);
            return;
        };
        let keys: BTreeSet<_> = bare.as_object().expect(P::TYPE).keys().map(String::as_str).collect();
        let required: BTreeSet<_> =
            schema["required"].as_array().expect(P::TYPE).iter().filter_map(Value::as_str).collect();
        assert_eq!(keys, required, "{}", P::TYPE);

        let full: Map<_, _> = properties.iter().map(|(name, property)| (name.clone(), sample(property))).collect();
        let full = Value::from(full);
        let payload: P = serde_json::from_value(full.clone()).expect(P::TYPE);
        assert_eq!(serde_json::to_value(payload).expect(P::TYPE), full, "{}", P::TYPE);
    }

    fn schema_by_name(name: &str) -> Value {
        let entry = catalogue().iter().find(|entry| entry.name == name);
        serde_json::from_str(entry.unwrap_or_else(|| panic!("{name} is not in the catalogue")).schema).expect(name)
    }

    fn sample(property: &Value) -> Value {
        let json_type = if property["type"].is_array() { &property["type"][0] } else { &property["type"] };
        match json_type.as_str() {
            Some("string") => json!("text"),
            Some("integer") => json!(7),
            Some("array") => json!([sample(&property["items"])]),
            Some("object") => property["properties"]
                .as_object()
                .expect("an object schema has properties")
                .iter()
                .map(|(name, property)| (name.clone(), sample(property)))
                .collect(),
            other => panic!("no sample for a property of type {other:?}"),
        }
    }

    #[test]
    fn every_payload_agrees_with_its_schema() {
        macro_rules! agree {
            ($($payload:ident)+) => {{
                $(agrees::<$payload>();)+
                [$($payload::TYPE),+]
            }};
        }
        let checked = agree! {
            AgentStateChanged AgentLogin AgentLogout AgentBreakStarted AgentBreakEnded AgentPresenceOnline
            AgentPresenceOffline CallIncoming CallRinging CallAnswered CallEnded CallTransferred CallHold CallUnhold
            CallMissed CallRecordingAvailable QueueMemberAdded QueueMemberRemoved QueueStatsUpdated QueueCallJoined
            QueueCallAbandoned ChatMessage ChatTyping ChatSessionCreated ChatSessionEnded ChatAgentAssigned
            Notification ErrorNotice Ping Pong WebhookTest WebhookDisabled PluginFailed
        };
        assert_eq!(BTreeSet::from(checked), TYPES.split_whitespace().collect());
    }

    #[test]
    fn an_event_type_of_the_catalogue_is_never_refused_as_a_control_word() {
        assert!(catalogue().iter().all(|entry| !is_control_word(entry.name)));
        for word in ["welcome", "subscribed", "gap", "auth_expiring", "auth_ok", "bye", "subscribe", "resume", "auth"] {
            assert!(is_control_word(word), "{word}");
        }
        assert!(!is_control_word("auth.ok"));
    }

    #[test]
    fn only_signs_of_life_and_typing_are_ephemeral() {
        let ephemeral: Vec<_> = catalogue().iter().map(|entry| entry.name).filter(|name| is_ephemeral(name)).collect();
        assert_eq!(ephemeral, ["chat.typing", "ping", "pong"]);
    }
}
