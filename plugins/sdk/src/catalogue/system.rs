//! Data of events that belong to no group: notices, signs of life, and what Jackfield says of itself.

use serde::Deserialize;

use crate::Str;

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
