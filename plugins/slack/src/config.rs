//! The configuration as it is written.

use std::collections::BTreeMap;

use jackfield_message::TemplateConfig;
use jackfield_plugin::slack::Message;
use serde::Deserialize;

/// Who the message is from, and templates by event type or pattern.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    channel: Option<String>,
    username: Option<String>,
    icon_emoji: Option<String>,
    pub(crate) templates: BTreeMap<String, TemplateConfig>,
}

impl Config {
    /// Says where the message goes and who it is from.
    pub(crate) fn sign(&self, message: &mut Message) {
        if let Some(channel) = &self.channel {
            message.channel(channel);
        }
        if let Some(name) = &self.username {
            message.username(name);
        }
        if let Some(emoji) = &self.icon_emoji {
            message.icon_emoji(emoji);
        }
    }
}
