//! Messages for Slack's incoming webhooks: Block Kit, inside Slack's limits.
//!
//! Blocks are written as they are added. What is longer than Slack takes is cut with an ellipsis, and what there is no room
//! for is counted: [`Message::left_out`].
//!
//! ```
//! use jackfield_plugin::slack::Message;
//!
//! let mut message = Message::new("Call from Ada");
//! message.header("Call from Ada");
//! message.section("<https://crm.example/4711|Open the customer>");
//! message.field("Queue", "sales & support");
//! message.context("call.incoming");
//! message.channel("#support");
//! let verdict = message.into_verdict();
//! assert!(verdict.body_text().unwrap().contains(r#"{"type":"mrkdwn","text":"*Queue*\nsales &amp; support"}"#));
//! ```
//!
//! Texts of an event are escaped, so that no caller's name mentions a channel or makes a link; where the author's markup
//! is taken the method says so. Each method has a twin that ends in `_with`, for texts of several pieces.

use crate::Verdict;
use crate::text::{Limit, Style, Text};

/// Characters of the text that notifications show.
pub const TEXT: usize = 4_000;
/// Characters of a header.
pub const HEADER: usize = 150;
/// Characters of a section's text.
pub const SECTION: usize = 3_000;
/// Characters of one field, its label included.
pub const FIELD: usize = 2_000;
/// Fields of one section; more begin another one.
pub const FIELDS_A_SECTION: usize = 10;
/// Elements of one context block.
pub const ELEMENTS: usize = 10;
/// Characters of one element: Slack would take 3,000, a reader would not.
pub const ELEMENT: usize = 300;
/// Blocks of a message.
pub const BLOCKS: usize = 50;

/// A message that is being written.
#[derive(Debug)]
pub struct Message {
    out: String,
    /// Members beside `text` and `blocks`, as JSON, each with a comma before it.
    sender: String,
    blocks: usize,
    /// Fields in the section, or elements in the context, that is open.
    open: Open,
    left_out: usize,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Open {
    Nothing,
    Fields(usize),
    Elements(usize),
}

impl Message {
    /// A message with the text that notifications show, and that is all there is where blocks are not shown.
    pub fn new(text: &str) -> Self {
        Self::with_text(0, |out| out.plain(text))
    }

    /// As [`new`](Self::new), with a text of several pieces, and room for `capacity` bytes.
    pub fn with_text(capacity: usize, write: impl FnOnce(&mut Text<'_>)) -> Self {
        let mut out = String::with_capacity(capacity);
        out.push_str("{\"text\":\"");
        write(&mut Text::new(&mut out, Style::Slack, Limit::characters(TEXT)));
        out.push_str("\",\"blocks\":[");
        Self { out, sender: String::new(), blocks: 0, open: Open::Nothing, left_out: 0 }
    }

    /// Where it goes, for webhooks that may choose: `#channel` or `@user`.
    pub fn channel(&mut self, channel: &str) {
        self.member("channel", channel);
    }

    /// Who it is from.
    pub fn username(&mut self, name: &str) {
        self.member("username", name);
    }

    /// The sender's picture, e.g. `:telephone_receiver:`.
    pub fn icon_emoji(&mut self, emoji: &str) {
        self.member("icon_emoji", emoji);
    }

    fn member(&mut self, name: &str, value: &str) {
        // Once: growing piece by piece costs more than the writing.
        self.sender.reserve(name.len() + value.len() + 8);
        self.sender.push_str(",\"");
        self.sender.push_str(name);
        self.sender.push_str("\":\"");
        // No limit of Slack's is known for these.
        Text::new(&mut self.sender, Style::Plain, Limit::NONE).plain(value);
        self.sender.push('"');
    }

    /// A heading: one line of plain text. An empty one is left out.
    pub fn header(&mut self, text: &str) {
        self.header_with(|out| out.plain(text));
    }

    /// As [`header`](Self::header).
    pub fn header_with(&mut self, write: impl FnOnce(&mut Text<'_>)) {
        let opening = "{\"type\":\"header\",\"text\":{\"type\":\"plain_text\",\"text\":\"";
        self.block(opening, HEADER, "\",\"emoji\":true}}", |mut text| {
            text.break_lines(false);
            write(&mut text);
            !text.is_empty()
        });
    }

    /// A paragraph in Slack's markup. An empty one is left out.
    pub fn section(&mut self, markup: &str) {
        self.section_with(|out| out.markup(markup));
    }

    /// As [`section`](Self::section).
    pub fn section_with(&mut self, write: impl FnOnce(&mut Text<'_>)) {
        let opening = "{\"type\":\"section\",\"text\":{\"type\":\"mrkdwn\",\"text\":\"";
        self.block(opening, SECTION, "\"}}", |mut text| {
            write(&mut text);
            !text.is_empty()
        });
    }

    /// A line between blocks.
    pub fn divider(&mut self) {
        self.close();
        if self.begin() {
            self.out.push_str("{\"type\":\"divider\"}");
            self.blocks += 1;
        }
    }

    /// A field: a label above a value. Fields that follow each other stand together, ten in a section.
    pub fn field(&mut self, label: &str, value: &str) {
        self.field_with(|text| {
            text.known("*");
            text.plain(label);
            text.known("*");
            text.plain("\n");
            text.plain(value);
        });
    }

    /// As [`field`](Self::field); label and value are one text in Slack's markup.
    pub fn field_with(&mut self, write: impl FnOnce(&mut Text<'_>)) {
        match self.open {
            Open::Fields(written) if written < FIELDS_A_SECTION => {
                self.out.push(',');
                self.open = Open::Fields(written + 1);
            }
            _ => {
                self.close();
                if !self.begin() {
                    return;
                }
                self.out.push_str("{\"type\":\"section\",\"fields\":[");
                self.open = Open::Fields(1);
            }
        }
        self.element(FIELD, write);
    }

    /// A piece of small print. Pieces that follow each other stand in one line, at most ten.
    pub fn context(&mut self, text: &str) {
        self.context_with(|out| out.plain(text));
    }

    /// As [`context`](Self::context).
    pub fn context_with(&mut self, write: impl FnOnce(&mut Text<'_>)) {
        match self.open {
            Open::Elements(written) if written < ELEMENTS => {
                self.out.push(',');
                self.open = Open::Elements(written + 1);
            }
            _ => {
                self.close();
                if !self.begin() {
                    return;
                }
                self.out.push_str("{\"type\":\"context\",\"elements\":[");
                self.open = Open::Elements(1);
            }
        }
        self.element(ELEMENT, write);
    }

    /// How many blocks, fields and pieces of small print there was no room for.
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// The message as JSON.
    pub fn finish(mut self) -> String {
        self.close();
        if self.blocks == 0 {
            // Slack refuses an empty list.
            self.out.truncate(self.out.len() - ",\"blocks\":[".len());
        } else {
            self.out.push(']');
        }
        self.out.push_str(&self.sender);
        self.out.push('}');
        self.out
    }

    /// The message, to be delivered.
    pub fn into_verdict(self) -> Verdict {
        Verdict::emit_text("application/json", self.finish())
    }

    /// Makes place for a block, or counts it as left out.
    fn begin(&mut self) -> bool {
        if self.blocks == BLOCKS {
            self.left_out += 1;
            return false;
        }
        if self.blocks > 0 {
            self.out.push(',');
        }
        true
    }

    fn block(&mut self, opening: &str, limit: usize, ending: &str, write: impl FnOnce(Text<'_>) -> bool) {
        self.close();
        let before = self.out.len();
        if !self.begin() {
            return;
        }
        self.out.push_str(opening);
        if write(Text::new(&mut self.out, Style::Slack, Limit::characters(limit))) {
            self.out.push_str(ending);
            self.blocks += 1;
        } else {
            self.out.truncate(before);
        }
    }

    fn element(&mut self, limit: usize, write: impl FnOnce(&mut Text<'_>)) {
        self.out.push_str("{\"type\":\"mrkdwn\",\"text\":\"");
        let mut text = Text::new(&mut self.out, Style::Slack, Limit::characters(limit));
        write(&mut text);
        if text.is_empty() {
            // Slack refuses an empty text.
            text.known(" ");
        }
        self.out.push_str("\"}");
    }

    /// Ends the block that is open.
    fn close(&mut self) {
        if self.open != Open::Nothing {
            self.out.push_str("]}");
            self.blocks += 1;
            self.open = Open::Nothing;
        }
    }
}
