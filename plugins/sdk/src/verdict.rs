//! What a plugin answers: verdicts and failures.

use serde::Serialize;

use crate::{Attribute, Body, Failure, Output, Verdict};

impl Verdict {
    /// Deliver the event unchanged.
    pub fn pass() -> Self {
        Self::Pass
    }

    /// Do not deliver to this destination; the tenant sees why.
    pub fn drop(reason: impl Into<String>) -> Self {
        Self::Drop(Some(reason.into()))
    }

    /// Deliver this value as JSON instead. Ends a `transform` as it stands; `?` first to add headers.
    ///
    /// # Errors
    /// `internal`, when the value cannot be JSON, e.g. a map whose keys are not text.
    ///
    /// ```
    /// # use jackfield_plugin::{Failure, Verdict};
    /// # fn answer() -> Result<Verdict, Failure> {
    /// Ok(Verdict::emit_json(&["a", "b"])?.with_header("x-kind", "letters"))
    /// # }
    /// # answer().unwrap();
    /// ```
    pub fn emit_json(value: &(impl Serialize + ?Sized)) -> Result<Self, Failure> {
        let text = serde_json::to_string(value)
            .map_err(|error| Failure::internal(format!("output cannot be written as JSON: {error}")))?;
        Ok(Self::emit_text("application/json", text))
    }

    /// Deliver this text instead. What it says must fit the content type: nobody checks it again.
    pub fn emit_text(content_type: impl Into<String>, text: impl Into<String>) -> Self {
        Self::emit_body(content_type.into(), Body::Text(text.into()))
    }

    /// Deliver these bytes instead. Only for the last plugin of a webhook's chain.
    pub fn emit_bytes(content_type: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self::emit_body(content_type.into(), Body::Bytes(bytes.into()))
    }

    fn emit_body(content_type: String, body: Body) -> Self {
        Self::Emit(Output { content_type, headers: Vec::new(), body, attributes: Vec::new() })
    }

    /// Adds a request header to what is emitted; does nothing to `pass` and `drop`.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        if let Self::Emit(output) = &mut self {
            output.headers.push(Attribute { key: name.into(), value: value.into() });
        }
        self
    }

    /// Replaces the content type of what is emitted; does nothing to `pass` and `drop`.
    #[must_use]
    pub fn with_content_type(mut self, content_type: impl Into<String>) -> Self {
        if let Self::Emit(output) = &mut self {
            output.content_type = content_type.into();
        }
        self
    }

    /// Adds an attribute for the plugins after this one and for the delivery log; does nothing to `pass` and `drop`.
    #[must_use]
    pub fn with_attribute(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        if let Self::Emit(output) = &mut self {
            output.attributes.push(Attribute { key: key.into(), value: value.into() });
        }
        self
    }

    /// The text that is emitted, if any is. For tests.
    pub fn body_text(&self) -> Option<&str> {
        match self {
            Self::Emit(Output { body: Body::Text(text), .. }) => Some(text),
            _ => None,
        }
    }
}

impl Failure {
    /// A failure with a short machine word, e.g. `too-large`, and a message for people.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into() }
    }

    /// `bad-input`: this event is not what the plugin can read.
    pub fn bad_input(message: impl Into<String>) -> Self {
        Self::new("bad-input", message)
    }

    /// `config`: the step's configuration makes this event impossible.
    pub fn config(message: impl Into<String>) -> Self {
        Self::new("config", message)
    }

    /// `internal`: the plugin's own fault.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new("internal", message)
    }
}

impl From<serde_json::Error> for Failure {
    /// `bad-input`: JSON that a plugin reads comes with the event.
    fn from(error: serde_json::Error) -> Self {
        Self::bad_input(error.to_string())
    }
}
