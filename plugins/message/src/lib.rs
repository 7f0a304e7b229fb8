//! What the stock plugins `slack`, `discord` and `teams` share: a message for people, made of an event.
//!
//! A message is a title, a text and fields. Each type of the catalogue has one without configuration; a template of the
//! configuration replaces its parts. The exact type's template comes first, then the longest pattern that matches, then `*`,
//! then the built-in one. How a message looks in the end is the plugin's.

mod catalogue;
mod templates;

use jackfield_plugin::pick::{Json, Picker};
use jackfield_plugin::template::{Place, Values};
use jackfield_plugin::text::{Prepared, Text};
use jackfield_plugin::{Event, Failure};

use crate::templates::label;
pub use crate::templates::{Dress, TemplateConfig, Templates};

/// A reader would not take more, even where a receiver would.
const MAX_FIELDS: usize = 50;
/// Characters of a label that is made of a key of `data`.
const MAX_LABEL: usize = 100;

/// One template, ready to be filled.
pub struct Message {
    picker: Picker,
    title: Vec<Part>,
    text: Vec<Part>,
    fields: Fields,
}

enum Fields {
    /// Every top-level field of `data`, in its order.
    All,
    Named(Vec<(Prepared, Place)>),
}

enum Part {
    Literal(Prepared),
    Place(Place),
}

/// A template with the event that fills it.
pub struct Filled<'a> {
    message: &'a Message,
    values: Values<'a>,
}

/// A field's name for people.
pub enum Label<'a> {
    /// From the template, dressed.
    Known(&'a Prepared),
    /// From a key of `data`, bare.
    Key(String),
}

impl Message {
    /// Reads what the template asks of this event.
    ///
    /// # Errors
    /// `bad-input`, when `data` is broken as JSON.
    pub fn fill<'a>(&'a self, event: &'a Event) -> Result<Filled<'a>, Failure> {
        Ok(Filled { message: self, values: Values::of(event, &self.picker)? })
    }
}

impl Filled<'_> {
    /// Writes the title; where it would be empty, the event's type.
    pub fn title(&self, text: &mut Text<'_>) {
        self.write(text, &self.message.title);
        if text.is_empty() {
            text.plain(&self.values.event.event_type);
        }
    }

    /// Writes the text, where there is one.
    pub fn text(&self, text: &mut Text<'_>) {
        if self.has_text() {
            self.write(text, &self.message.text);
        }
    }

    /// A text whose placeholders are all empty is left out: what stands around them would mislead.
    pub fn has_text(&self) -> bool {
        let parts = &self.message.text;
        let mut has_places = false;
        for part in parts {
            if let Part::Place(place) = part {
                has_places = true;
                if !self.values.is_empty(*place) {
                    return true;
                }
            }
        }
        !has_places && !parts.is_empty()
    }

    /// Shows each field that is not empty, and answers how many more than fifty there were.
    ///
    /// # Errors
    /// `bad-input`, when `data` is broken as JSON.
    pub fn fields(&self, mut show: impl FnMut(Label<'_>, &str)) -> Result<usize, Failure> {
        let mut shown = 0;
        let mut show = |label: Label<'_>, value: &str| {
            shown += 1;
            if shown <= MAX_FIELDS {
                show(label, value);
            }
        };
        match &self.message.fields {
            Fields::Named(fields) => {
                for (label, place) in fields.iter().filter(|(_, place)| !self.values.is_empty(*place)) {
                    show(Label::Known(label), &self.values.words(*place));
                }
            }
            Fields::All => {
                let data = Json::parse(self.values.event.data_text())?;
                let is_empty = |value: Json<'_>| matches!(value.text(), "null" | "\"\"");
                if data.text().starts_with('{') {
                    data.each_member(|key, value| {
                        if !is_empty(value) {
                            let short: String = key.chars().take(MAX_LABEL).collect();
                            show(Label::Key(label(&short)), &value.words());
                        }
                    })?;
                } else if !is_empty(data) {
                    show(Label::Key("Data".to_owned()), &data.words());
                }
            }
        }
        Ok(shown.saturating_sub(MAX_FIELDS))
    }

    fn write(&self, text: &mut Text<'_>, parts: &[Part]) {
        for part in parts {
            match part {
                Part::Literal(literal) => text.prepared(literal),
                Part::Place(place) => text.plain(&self.values.words(*place)),
            }
        }
    }
}
