//! Data of the events for people and programs in general (`notification`, `error`, `ping`, `pong`), and of those that
//! Jackfield makes about itself (`webhook.*`, `plugin.failed`).

use serde::{Deserialize, Serialize};

/// Data of `notification`: something to show to a person.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    /// A heading, plain text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The message, plain text.
    pub text: String,
    /// How much it matters, such as `info`, `warning` or `error`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
}

/// Data of `error`: something went wrong that the addressee should know of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorNotice {
    /// A stable word that a program can act on.
    pub code: String,
    /// What happened, for a person.
    pub message: String,
}

/// Data of `ping`, which carries none (`null`): a sign of life. Ephemeral: not stored, no offset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ping;

/// Data of `pong`, which carries none (`null`): the answer to a `ping`. Ephemeral: not stored, no offset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pong;

/// Data of `webhook.test`: somebody tries out a webhook. Made by Jackfield only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookTest {
    /// The webhook's id.
    pub webhook_id: i64,
}

/// Data of `webhook.disabled`: a webhook gets no more events until it is enabled. Made by Jackfield only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookDisabled {
    /// The webhook's id.
    pub webhook_id: i64,
    /// Why it was disabled, such as its receiver's answering 410.
    pub reason: String,
}

/// Data of `plugin.failed`: a plugin failed on an event. Made by Jackfield only, at most once a second per plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginFailed {
    /// The plugin's name, such as `slackish` or `shared/slack`.
    pub plugin: String,
    /// The version that failed.
    pub version: u32,
    /// Where the output was to go: the sockets, or one webhook.
    pub target: String,
    /// A stable word for the kind of failure.
    pub code: String,
    /// What happened, for a person.
    pub message: String,
}
