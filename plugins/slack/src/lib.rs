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

mod config;

use jackfield_message::{Dress, Filled, Label, Templates};
use jackfield_plugin::slack::Message;
use jackfield_plugin::text::{Style, Text};
use jackfield_plugin::{Destination, Event, Failure, Transform, Verdict, time};

pub use crate::config::Config;

/// One step's templates, ready to be filled.
pub struct Slack {
    config: Config,
    templates: Templates,
}

impl Transform for Slack {
    type Config = Config;
    const NAME: Option<&'static str> = Some("slack");
    const CONFIG_SCHEMA: Option<&'static str> = Some(include_str!("../config.schema.json"));

    fn new(mut config: Config) -> Result<Self, String> {
        let dress = Dress { style: Style::Slack, label: ("*", "*\n") };
        let templates = Templates::compile(std::mem::take(&mut config.templates), dress)?;
        Ok(Self { templates, config })
    }

    fn transform(&self, event: &Event, _to: &Destination) -> Result<Verdict, Failure> {
        let filled = self.templates.of(&event.event_type).fill(event)?;
        let capacity = 1_024 + event.data_text().len();
        let mut message = Message::with_text(capacity, |text| fallback(text, &filled));
        message.header_with(|text| filled.title(text));
        message.section_with(|text| filled.text(text));
        let left_out = filled.fields(|label, value| {
            message.field_with(|text| {
                match label {
                    Label::Known(label) => text.prepared(label),
                    Label::Key(key) => {
                        text.known("*");
                        text.plain(&key);
                        text.known("*");
                        text.plain("\n");
                    }
                }
                text.plain(value);
            });
        })?;
        context(&mut message, event, left_out);
        self.config.sign(&mut message);
        Ok(message.into_verdict())
    }
}

/// What notifications show: the title, and the text below it.
fn fallback(text: &mut Text<'_>, filled: &Filled<'_>) {
    text.break_lines(false);
    filled.title(text);
    text.break_lines(true);
    if filled.has_text() {
        text.plain("\n");
        filled.text(text);
    }
}

fn context(message: &mut Message, event: &Event, left_out: usize) {
    message.context(&event.event_type);
    // Slack shows the reader's own time zone; what follows the bar is for where it cannot.
    message.context_with(|text| {
        text.known("<!date^");
        text.number(event.time_ms / 1_000);
        text.known("^{date_num} {time_secs}|");
        text.known(&time::utc(event.time_ms));
        text.known(">");
    });
    for id in [&event.id, &event.tenant] {
        if !id.is_empty() {
            message.context(id);
        }
    }
    if left_out > 0 {
        message.context(&format!("{left_out} more fields"));
    }
}

jackfield_plugin::export!(transform: Slack);
