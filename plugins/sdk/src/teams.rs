//! Messages for Microsoft Teams, as its Workflows take them: one Adaptive Card, inside the size that Teams refuses to pass.
//!
//! The whole message has a limit in bytes, which [`Message::with_limit`] can lower. What does not fit is cut with an ellipsis
//! or left out and counted: [`Message::left_out`].
//!
//! ```
//! use jackfield_plugin::teams::Message;
//!
//! let mut message = Message::new();
//! message.title("Call from Ada");
//! message.text("[Open the customer](https://crm.example/4711)");
//! message.fact("Queue", "sales");
//! message.note("call.incoming");
//! let verdict = message.into_verdict();
//! assert!(verdict.body_text().unwrap().contains(r#"{"title":"Queue","value":"sales"}"#));
//! ```
//!
//! Texts of an event are escaped, so that they show as they are; where the author's Markdown is taken the method says so.
//! Each method has a twin that ends in `_with`, for texts of several pieces. What would be empty is left out.

use crate::Verdict;
use crate::text::{Limit, Style, Text};

/// Bytes of a message: Teams says about 28 KB.
pub const MESSAGE_BYTES: usize = 28_000;
/// Bytes that a limit must leave: the envelope, and room for a note.
pub const LEAST_BYTES: usize = 1_000;

const OPENING: &str = concat!(
    r#"{"type":"message","attachments":[{"contentType":"application/vnd.microsoft.card.adaptive","content":"#,
    r#"{"type":"AdaptiveCard","$schema":"http://adaptivecards.io/schemas/adaptive-card.json","version":"1.4","body":["#
);
const ENDING: &str = "]}}]}";
const END_OF_FACTS: &str = "]}";
/// Kept from titles, texts and facts, so that a note always has room.
const FOR_NOTES: usize = 400;
/// A shorter rest is not worth beginning.
const LEAST_TEXT: usize = 16;

/// A message that is being written.
#[derive(Debug)]
pub struct Message {
    out: String,
    limit: usize,
    elements: usize,
    facts: usize,
    left_out: usize,
}

impl Default for Message {
    fn default() -> Self {
        Self::with_limit(MESSAGE_BYTES)
    }
}

impl Message {
    /// A message of at most [`MESSAGE_BYTES`].
    pub fn new() -> Self {
        Self::default()
    }

    /// A message of at most this many bytes, which is brought between [`LEAST_BYTES`] and [`MESSAGE_BYTES`].
    pub fn with_limit(bytes: usize) -> Self {
        let limit = bytes.clamp(LEAST_BYTES, MESSAGE_BYTES);
        Self { out: OPENING.to_owned(), limit, elements: 0, facts: 0, left_out: 0 }
    }

    /// Heading, one line.
    pub fn title(&mut self, text: &str) {
        self.title_with(|out| out.plain(text));
    }

    /// As [`title`](Self::title).
    pub fn title_with(&mut self, write: impl FnOnce(&mut Text<'_>)) {
        self.block(r#","size":"Large","weight":"Bolder","wrap":true}"#, FOR_NOTES, |text| {
            text.break_lines(false);
            write(text);
        });
    }

    /// A paragraph, in Markdown.
    pub fn text(&mut self, markdown: &str) {
        self.text_with(|out| out.markup(markdown));
    }

    /// As [`text`](Self::text).
    pub fn text_with(&mut self, write: impl FnOnce(&mut Text<'_>)) {
        self.block(r#","wrap":true}"#, FOR_NOTES, write);
    }

    /// Small print.
    pub fn note(&mut self, text: &str) {
        self.note_with(|out| out.plain(text));
    }

    /// As [`note`](Self::note).
    pub fn note_with(&mut self, write: impl FnOnce(&mut Text<'_>)) {
        self.block(r#","size":"Small","isSubtle":true,"wrap":true}"#, 0, write);
    }

    /// A name beside a value. Facts that follow each other stand in one table.
    pub fn fact(&mut self, name: &str, value: &str) {
        self.fact_with(|out| out.plain(name), |out| out.plain(value));
    }

    /// As [`fact`](Self::fact).
    pub fn fact_with(&mut self, name: impl FnOnce(&mut Text<'_>), value: impl FnOnce(&mut Text<'_>)) {
        let before = self.out.len();
        self.out.push_str(match (self.facts, self.elements) {
            (0, 0) => r#"{"type":"FactSet","facts":["#,
            (0, _) => r#",{"type":"FactSet","facts":["#,
            _ => ",",
        });
        self.out.push_str(r#"{"title":""#);
        let between = r#"","value":""#;
        let name = self.fill(FOR_NOTES + between.len() + 2 + END_OF_FACTS.len(), name);
        self.out.push_str(between);
        let value = self.fill(FOR_NOTES + 2 + END_OF_FACTS.len(), value);
        if !name || !value {
            self.out.truncate(before);
            self.left_out += 1;
            return;
        }
        self.out.push_str("\"}");
        self.facts += 1;
    }

    /// How many paragraphs and facts there was no room for, or were empty.
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// The message as JSON.
    pub fn finish(mut self) -> String {
        self.close();
        self.out.push_str(ENDING);
        self.out
    }

    /// The message, to be delivered.
    pub fn into_verdict(self) -> Verdict {
        Verdict::emit_text("application/json", self.finish())
    }

    fn block(&mut self, ending: &str, kept: usize, write: impl FnOnce(&mut Text<'_>)) {
        self.close();
        let before = self.out.len();
        if self.elements > 0 {
            self.out.push(',');
        }
        self.out.push_str(r#"{"type":"TextBlock","text":""#);
        if self.fill(kept + ending.len() + 1, write) {
            self.out.push('"');
            self.out.push_str(ending);
            self.elements += 1;
        } else {
            self.out.truncate(before);
            self.left_out += 1;
        }
    }

    /// Writes a text into what the limit leaves beside `after`, the bytes that must follow; false where there is none.
    fn fill(&mut self, after: usize, write: impl FnOnce(&mut Text<'_>)) -> bool {
        let room = self.limit.saturating_sub(self.out.len() + after + ENDING.len());
        if room < LEAST_TEXT {
            return false;
        }
        let mut text = Text::new(&mut self.out, Style::Markdown, Limit::bytes(room));
        write(&mut text);
        !text.is_empty()
    }

    fn close(&mut self) {
        if self.facts > 0 {
            self.out.push_str(END_OF_FACTS);
            self.elements += 1;
            self.facts = 0;
        }
    }
}
