//! The stock plugin `slack`: turns events into Block Kit messages for Slack's incoming webhooks.
//!
//! ```json
//! {"channel": "#support", "username": "Jackfield", "icon_emoji": ":telephone_receiver:",
//!  "templates": {
//!    "call.incoming": {"title": "Call from {caller}", "text": "<https://crm.example/{/customer/id}|Open>",
//!                      "fields": ["queue", "event.user"]},
//!    "call.*": {"title": "{event.type}"}}}
//! ```
//!
//! A message has a header (the title), a section (the text), the fields, and a context line with type, id, time and tenant.
//! The exact type's template comes first, then the longest pattern that matches, then the built-in one; a part that a template
//! leaves out is the built-in one's. Every text is cut, with an ellipsis, to what Slack accepts.
//!
//! Placeholders: `{caller}` is a field of `data`, `{/a/b}` a JSON pointer into it, `{event.type}` the envelope's; what is
//! absent is empty, and `{{` is a brace. `text` is Slack's markup as written; whatever an event puts in has `&`, `<` and `>`
//! escaped, so that no event can mention a channel.

mod catalogue;
mod config;
mod limited;
mod message;
mod template;

use jackfield_plugin::{Destination, Event, Failure, Transform, Verdict};

pub use crate::config::Config;
use crate::template::Templates;

/// One step's templates, ready to be filled.
pub struct Slack {
    /// How every message begins: `{` and the sender's fields, as JSON text.
    opening: String,
    templates: Templates,
}

impl Transform for Slack {
    type Config = Config;
    const NAME: Option<&'static str> = Some("slack");
    const CONFIG_SCHEMA: Option<&'static str> = Some(include_str!("../config.schema.json"));

    fn new(config: Config) -> Result<Self, String> {
        Ok(Self { opening: config.opening(), templates: Templates::compile(&config.templates)? })
    }

    fn transform(&self, event: &Event, _to: &Destination) -> Result<Verdict, Failure> {
        let template = self.templates.of(&event.event_type);
        let message = message::render(&self.opening, template, event)?;
        Ok(Verdict::emit_text("application/json", message))
    }
}

jackfield_plugin::export!(transform: Slack);
