//! The configuration as it is written.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::limited::Limited;

/// Who the message is from, and templates by event type or pattern.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    channel: Option<String>,
    username: Option<String>,
    icon_emoji: Option<String>,
    pub(crate) templates: BTreeMap<String, TemplateConfig>,
}

/// The parts of one message; an absent part is the built-in template's.
#[derive(Deserialize, Default, Clone)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TemplateConfig {
    pub(crate) title: Option<String>,
    pub(crate) text: Option<String>,
    pub(crate) fields: Option<Vec<String>>,
}

impl Config {
    /// The beginning of every message.
    pub(crate) fn opening(&self) -> String {
        let mut opening = String::from("{");
        let sender = [("channel", &self.channel), ("username", &self.username), ("icon_emoji", &self.icon_emoji)];
        for (name, value) in sender {
            if let Some(value) = value {
                opening.push_str(&format!("\"{name}\":\""));
                // No limit of Slack's is known for these; the escaping is what is wanted.
                Limited::new(&mut opening, usize::MAX).markup(value);
                opening.push_str("\",");
            }
        }
        opening
    }
}
