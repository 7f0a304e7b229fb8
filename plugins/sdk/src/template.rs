//! Texts with placeholders, taken apart once and filled for each event.
//!
//! `{caller}` is a field of `data`, `{/customer/name}` a JSON pointer (RFC 6901) into it, `{event.type}` of the envelope; `{{`
//! and `}}` are braces. What is absent or null is empty.
//!
//! ```
//! use jackfield_plugin::{Event, pick::Picker, template::{Part, Template, Values}};
//!
//! let mut picker = Picker::default();
//! let template = Template::parse("{caller} waits in {/queue/name}", &mut picker).unwrap();
//!
//! let event = Event::new("call.incoming", r#"{"caller":"Ada","queue":{"name":"sales"}}"#);
//! let values = Values::of(&event, &picker).unwrap();
//! assert_eq!(values.text(&template), "Ada waits in sales");
//! ```

use std::borrow::Cow;

use crate::pick::{Json, Picker};
use crate::{Event, Failure, time};

/// A text, as its literals and placeholders.
#[derive(Clone, Debug, Default)]
pub struct Template {
    /// In the order of the text; no literal is empty, and no two are neighbours.
    pub parts: Vec<Part>,
}

/// One piece of a [`Template`].
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// Text as it stands.
    Literal(String),
    /// What an event has here.
    Place(Place),
}

/// Where a placeholder looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In `data`, at this number of the picker.
    Data(usize),
    /// In the envelope.
    Event(EventField),
}

/// A field of the envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum EventField {
    Type,
    Id,
    Tenant,
    User,
    Session,
    Key,
    Source,
    /// For people: `2026-11-22 05:14:09 UTC`.
    Time,
    /// For programs: `2026-11-22T05:14:09.431Z`.
    Timestamp,
}

impl Template {
    /// Takes a text apart; the places that it names are added to the picker.
    ///
    /// # Errors
    /// A brace that is not closed, or a placeholder that names no place, in words that tell the author what to write.
    pub fn parse(text: &str, picker: &mut Picker) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            literal.push_str(before);
            if from.starts_with("{{") || from.starts_with("}}") {
                literal.push_str(&from[..1]);
                rest = &from[2..];
            } else if let Some(inside) = from.strip_prefix('{') {
                let Some((name, after)) = inside.split_once('}') else {
                    return Err(format!("`{from}` is not closed: add `}}`, or write `{{{{` for a brace"));
                };
                if !literal.is_empty() {
                    parts.push(Part::Literal(std::mem::take(&mut literal)));
                }
                parts.push(Part::Place(Place::parse(name, picker)?));
                rest = after;
            } else {
                literal.push('}');
                rest = &from[1..];
            }
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Ok(Self { parts })
    }
}

impl Place {
    /// Reads what stands between the braces: `caller`, `/customer/name`, `event.type`.
    ///
    /// # Errors
    /// It names no place, in words that tell the author what to write.
    pub fn parse(name: &str, picker: &mut Picker) -> Result<Self, String> {
        if name.starts_with('/') {
            return picker.add(name).map(Self::Data);
        }
        if let Some(field) = name.strip_prefix("event.") {
            return EventField::parse(field).map(Self::Event).ok_or_else(|| {
                format!(
                    "`{name}` is unknown: use event.type, id, tenant, user, session, key, source, time or timestamp"
                )
            });
        }
        // Not `is_alphanumeric`: its tables would be a tenth of the component.
        let plain = |c: char| c.is_ascii_alphanumeric() || !c.is_ascii() || c == '_' || c == '-';
        if name.is_empty() || !name.chars().all(plain) {
            return Err(format!(
                "`{name}` is no placeholder: use a field of data (`caller`), a JSON pointer (`/customer/name`), \
                 `event.type`, or `{{{{` for a brace"
            ));
        }
        picker.add(&format!("/{name}")).map(Self::Data)
    }
}

impl EventField {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "type" => Self::Type,
            "id" => Self::Id,
            "tenant" => Self::Tenant,
            "user" => Self::User,
            "session" => Self::Session,
            "key" => Self::Key,
            "source" => Self::Source,
            "time" => Self::Time,
            "timestamp" => Self::Timestamp,
            _ => return None,
        })
    }

    /// What this event has in the field; nothing where it has none.
    pub fn of(self, event: &Event) -> Option<Cow<'_, str>> {
        let text = match self {
            Self::Type => Some(event.event_type.as_str()),
            Self::Id => Some(event.id.as_str()),
            Self::Tenant => Some(event.tenant.as_str()),
            Self::User => event.user.as_deref(),
            Self::Session => event.session.as_deref(),
            Self::Key => event.key.as_deref(),
            Self::Source => event.source.as_deref(),
            Self::Time => return Some(Cow::Owned(time::utc(event.time_ms))),
            Self::Timestamp => return Some(Cow::Owned(time::rfc3339(event.time_ms))),
        };
        text.map(Cow::Borrowed)
    }
}

/// One event, with what a picker found in it.
#[derive(Debug)]
pub struct Values<'a> {
    /// The event itself.
    pub event: &'a Event,
    found: Vec<Option<Json<'a>>>,
}

impl<'a> Values<'a> {
    /// Reads what the picker asks for; an empty picker reads nothing.
    ///
    /// # Errors
    /// `bad-input`, when `data` is broken as JSON.
    pub fn of(event: &'a Event, picker: &Picker) -> Result<Self, Failure> {
        let found = if picker.is_empty() { Vec::new() } else { picker.pick(event.data_text())? };
        Ok(Self { event, found })
    }

    /// The value at a number of the picker; null is nothing.
    pub fn data(&self, slot: usize) -> Option<Json<'a>> {
        self.found[slot].filter(|value| !value.is_null())
    }

    /// Whether this place has neither text nor value.
    pub fn is_empty(&self, place: Place) -> bool {
        match place {
            Place::Event(EventField::Time | EventField::Timestamp) => false,
            Place::Event(field) => field.of(self.event).is_none_or(|text| text.is_empty()),
            Place::Data(slot) => self.found[slot].is_none_or(|value| matches!(value.text(), "null" | "\"\"")),
        }
    }

    /// A place as people read it: text as it is, nothing for null, and JSON for all else.
    pub fn words(&self, place: Place) -> Cow<'a, str> {
        match place {
            Place::Event(field) => field.of(self.event).unwrap_or_default(),
            Place::Data(slot) => self.found[slot].map_or_else(Cow::default, Json::words),
        }
    }

    /// The whole template, filled.
    pub fn text(&self, template: &Template) -> String {
        let mut text = String::new();
        for part in &template.parts {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Place(place) => text.push_str(&self.words(*place)),
            }
        }
        text
    }
}
