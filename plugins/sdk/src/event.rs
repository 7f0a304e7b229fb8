//! What a plugin is given: reading an event, and making one for a test.

use serde::Deserialize;

use crate::{Attribute, Destination, Event, Failure};

impl Event {
    /// An event for a test: this type and this JSON text as `data`, all else empty.
    pub fn new(event_type: impl Into<String>, data: impl Into<String>) -> Self {
        Self {
            id: String::new(),
            event_type: event_type.into(),
            tenant: String::new(),
            user: None,
            session: None,
            key: None,
            source: None,
            time_ms: 0,
            attributes: Vec::new(),
            data: data.into(),
        }
    }

    /// The payload as JSON text; in a chain, what the plugin before emitted.
    pub fn data_text(&self) -> &str {
        &self.data
    }

    /// The payload as a type of yours, which may borrow from it.
    ///
    /// # Errors
    /// `bad-input`, naming the event type and the place, when the payload does not fit.
    pub fn data<'event, T: Deserialize<'event>>(&'event self) -> Result<T, Failure> {
        serde_json::from_str(&self.data)
            .map_err(|error| Failure::bad_input(format!("data of {} does not fit: {error}", self.event_type)))
    }

    /// The first attribute of this name.
    pub fn attribute(&self, key: &str) -> Option<&str> {
        find(&self.attributes, key)
    }
}

impl Destination {
    /// The first attribute of this name.
    pub fn attribute(&self, key: &str) -> Option<&str> {
        find(&self.attributes, key)
    }
}

impl Default for Destination {
    /// A webhook without id or name, for tests.
    fn default() -> Self {
        Self { kind: "webhook".into(), id: String::new(), name: String::new(), attributes: Vec::new() }
    }
}

fn find<'a>(attributes: &'a [Attribute], key: &str) -> Option<&'a str> {
    attributes.iter().find(|attribute| attribute.key == key).map(|attribute| attribute.value.as_str())
}
