//! The stock plugin `teams`: turns events into Adaptive Cards for the Workflows of Microsoft Teams.
//!
//! ```json
//! {"templates": {"call.missed": {"title": "Missed: {caller}", "text": "[Open](https://crm.example/{/customer/id})"}}}
//! ```
//!
//! A card has a title, a text, a table of facts and small print with type, time, id and tenant. Templates are chosen and filled as
//! in `slack`; `text` is Markdown, what an event puts in is escaped. The whole message stays within `max_bytes`.

use std::collections::BTreeMap;

use jackfield_message::{Dress, Label, TemplateConfig, Templates};
use jackfield_plugin::teams::{LEAST_BYTES, MESSAGE_BYTES, Message};
use jackfield_plugin::text::Style;
use jackfield_plugin::{Destination, Event, Failure, Transform, Verdict, time};
use serde::Deserialize;

/// Templates by event type or pattern, and a lower limit.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    max_bytes: Option<usize>,
    templates: BTreeMap<String, TemplateConfig>,
}

/// One step's templates, ready to be filled.
pub struct Teams {
    max_bytes: usize,
    templates: Templates,
}

impl Transform for Teams {
    type Config = Config;
    const NAME: Option<&'static str> = Some("teams");
    const CONFIG_SCHEMA: Option<&'static str> = Some(include_str!("../config.schema.json"));

    fn new(config: Config) -> Result<Self, String> {
        let max_bytes = config.max_bytes.unwrap_or(MESSAGE_BYTES);
        if !(LEAST_BYTES..=MESSAGE_BYTES).contains(&max_bytes) {
            return Err(format!("`max_bytes` is {max_bytes}: give it {LEAST_BYTES} to {MESSAGE_BYTES}"));
        }
        let dress = Dress { style: Style::Markdown, label: ("", "") };
        Ok(Self { max_bytes, templates: Templates::compile(config.templates, dress)? })
    }

    fn transform(&self, event: &Event, _to: &Destination) -> Result<Verdict, Failure> {
        let filled = self.templates.of(&event.event_type).fill(event)?;
        let mut message = Message::with_limit(self.max_bytes);
        message.title_with(|text| filled.title(text));
        let before = message.left_out();
        if filled.has_text() {
            message.text_with(|text| filled.text(text));
        }
        let beyond = filled.fields(|label, value| match label {
            Label::Known(label) => message.fact_with(|text| text.prepared(label), |text| text.plain(value)),
            Label::Key(key) => message.fact(&key, value),
        })?;
        let left_out = message.left_out() - before + beyond;
        message.note_with(|text| {
            if left_out > 0 {
                text.number(left_out as u64);
                text.plain(" more not shown · ");
            }
            text.plain(&event.event_type);
            text.plain(" · ");
            text.plain(&time::utc(event.time_ms));
            for id in [&event.id, &event.tenant].into_iter().filter(|id| !id.is_empty()) {
                text.plain(" · ");
                text.plain(id);
            }
        });
        Ok(message.into_verdict())
    }
}

jackfield_plugin::export!(transform: Teams);
