//! The stock plugin `discord`: turns events into embeds for Discord's webhooks.
//!
//! ```json
//! {"username": "Jackfield", "color": "#d83c3e",
//!  "templates": {"call.missed": {"title": "Missed: {caller}", "text": "[Open](https://crm.example/{/customer/id})"}}}
//! ```
//!
//! A message is one embed: title, text, fields and a footer with type, id and tenant. Templates are chosen and filled as in
//! `slack`; `text` is Discord's Markdown, what an event puts in is escaped, and nobody is ever mentioned.

use std::collections::BTreeMap;

use jackfield_message::{Dress, Label, TemplateConfig, Templates};
use jackfield_plugin::discord::Message;
use jackfield_plugin::text::Style;
use jackfield_plugin::{Destination, Event, Failure, Transform, Verdict};
use serde::Deserialize;

/// What the footer may have of the characters that all texts share.
const FOOTER: usize = 500;

/// Who the message is from, how it looks, and templates by event type or pattern.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    username: Option<String>,
    avatar_url: Option<String>,
    /// `#rrggbb`.
    color: Option<String>,
    /// Whether fields stand side by side; true where it is absent.
    inline: Option<bool>,
    templates: BTreeMap<String, TemplateConfig>,
}

/// One step's templates, ready to be filled.
pub struct Discord {
    config: Config,
    color: Option<u32>,
    templates: Templates,
}

impl Transform for Discord {
    type Config = Config;
    const NAME: Option<&'static str> = Some("discord");
    const CONFIG_SCHEMA: Option<&'static str> = Some(include_str!("../config.schema.json"));

    fn new(mut config: Config) -> Result<Self, String> {
        let color = config.color.as_deref().map(color).transpose()?;
        let dress = Dress { style: Style::Markdown, label: ("", "") };
        let templates = Templates::compile(std::mem::take(&mut config.templates), dress)?;
        Ok(Self { config, color, templates })
    }

    fn transform(&self, event: &Event, _to: &Destination) -> Result<Verdict, Failure> {
        let filled = self.templates.of(&event.event_type).fill(event)?;
        let mut message = Message::new();
        if let Some(name) = &self.config.username {
            message.username(name);
        }
        if let Some(url) = &self.config.avatar_url {
            message.avatar_url(url);
        }
        let inline = self.config.inline.unwrap_or(true);
        let mut written = Ok(0);
        message.embed(|embed| {
            if let Some(color) = self.color {
                embed.color(color);
            }
            embed.timestamp(event.time_ms);
            embed.title_with(|text| filled.title(text));
            embed.description_with(|text| filled.text(text));
            embed.keep(FOOTER);
            written = filled.fields(|label, value| match label {
                Label::Known(label) => embed.field_with(|text| text.prepared(label), |text| text.plain(value), inline),
                Label::Key(key) => embed.field(&key, value, inline),
            });
            let left_out = written.as_ref().map_or(0, |beyond| beyond + embed.left_out());
            embed.footer(&footer(event, left_out));
        });
        written.map(|_| message.into_verdict())
    }
}

fn footer(event: &Event, left_out: usize) -> String {
    let mut parts = Vec::new();
    if left_out > 0 {
        parts.push(format!("{left_out} more fields"));
    }
    // Types have at most 128 characters, and ids and tenants 64: all of it has room.
    parts.extend([&event.event_type, &event.id, &event.tenant].into_iter().filter(|part| !part.is_empty()).cloned());
    parts.join(" · ")
}

fn color(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix('#').filter(|digits| digits.len() == 6);
    let color = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
    color.ok_or_else(|| format!("`color` `{text}` is no color: write `#rrggbb`, e.g. `#d83c3e`"))
}

jackfield_plugin::export!(transform: Discord);
