//! Messages for Discord's webhooks: embeds, inside Discord's limits.
//!
//! What is longer than Discord takes is cut with an ellipsis; all texts of all embeds share 6,000 characters, counted as code
//! points. Nobody is ever mentioned: `allowed_mentions` is empty, whatever a text says.
//!
//! ```
//! use jackfield_plugin::discord::Message;
//!
//! let mut message = Message::new();
//! message.username("Jackfield");
//! message.embed(|embed| {
//!     embed.title("Call from Ada");
//!     embed.description("[Open the customer](https://crm.example/4711)");
//!     embed.field("Queue", "sales*", true);
//!     embed.footer("call.incoming");
//! });
//! let verdict = message.into_verdict();
//! assert!(verdict.body_text().unwrap().contains(r#"{"name":"Queue","value":"sales\\*","inline":true}"#));
//! ```
//!
//! Texts of an event are escaped, so that they show as they are; where the author's Markdown is taken the method says so.
//! Each of those methods has a twin that ends in `_with`, for texts of several pieces. What would be empty is left out:
//! Discord refuses it.

use crate::Verdict;
use crate::text::{Limit, Style, Text};

/// Characters of the text above the embeds.
pub const CONTENT: usize = 2_000;
/// Embeds of a message.
pub const EMBEDS: usize = 10;
/// Characters of all texts of all embeds together.
pub const TOGETHER: usize = 6_000;
/// Characters of a title.
pub const TITLE: usize = 256;
/// Characters of a description.
pub const DESCRIPTION: usize = 4_096;
/// Fields of an embed.
pub const FIELDS: usize = 25;
/// Characters of a field's name.
pub const NAME: usize = 256;
/// Characters of a field's value.
pub const VALUE: usize = 1_024;
/// Characters of a footer.
pub const FOOTER: usize = 2_048;
/// Characters of an author.
pub const AUTHOR: usize = 256;
/// Characters of the sender's name.
pub const USERNAME: usize = 80;

/// A message that is being written.
#[derive(Debug)]
pub struct Message {
    /// Members beside the embeds, each with a comma after it.
    members: String,
    embeds: String,
    count: usize,
    /// Characters that the embeds may still have.
    room: usize,
}

/// One embed that is being written.
#[derive(Debug)]
pub struct Embed<'message> {
    members: String,
    fields: String,
    count: usize,
    room: &'message mut usize,
    kept: usize,
    left_out: usize,
}

impl Default for Message {
    fn default() -> Self {
        Self { members: String::new(), embeds: String::new(), count: 0, room: TOGETHER }
    }
}

impl Message {
    /// A message without anything in it, which Discord would refuse.
    pub fn new() -> Self {
        Self::default()
    }

    /// The text above the embeds, in Markdown.
    pub fn content(&mut self, markdown: &str) {
        write(&mut self.members, "content", CONTENT, |text| text.markup(markdown));
    }

    /// Who it is from.
    pub fn username(&mut self, name: &str) {
        write_plain(&mut self.members, "username", USERNAME, name);
    }

    /// The sender's picture: an address.
    pub fn avatar_url(&mut self, url: &str) {
        write_plain(&mut self.members, "avatar_url", usize::MAX, url);
    }

    /// Adds an embed; false, and nothing done, after the tenth.
    pub fn embed(&mut self, fill: impl FnOnce(&mut Embed<'_>)) -> bool {
        if self.count == EMBEDS {
            return false;
        }
        let (members, fields) = (String::with_capacity(512), String::with_capacity(512));
        let mut embed = Embed { members, fields, count: 0, room: &mut self.room, kept: 0, left_out: 0 };
        fill(&mut embed);
        let (mut members, fields) = (embed.members, embed.fields);
        if !fields.is_empty() {
            members.push_str("\"fields\":[");
            members.push_str(&fields);
            members.push_str("],");
        }
        if members.pop().is_some() {
            self.embeds.push_str(if self.count == 0 { "{" } else { ",{" });
            self.embeds.push_str(&members);
            self.embeds.push('}');
            self.count += 1;
        }
        true
    }

    /// The message as JSON.
    pub fn finish(self) -> String {
        format!(r#"{{{}"embeds":[{}],"allowed_mentions":{{"parse":[]}}}}"#, self.members, self.embeds)
    }

    /// The message, to be delivered.
    pub fn into_verdict(self) -> Verdict {
        Verdict::emit_text("application/json", self.finish())
    }
}

impl Embed<'_> {
    /// Heading.
    pub fn title(&mut self, text: &str) {
        self.title_with(|out| out.plain(text));
    }

    /// As [`title`](Self::title).
    pub fn title_with(&mut self, fill: impl FnOnce(&mut Text<'_>)) {
        self.member("title", TITLE, |text| {
            text.break_lines(false);
            fill(text);
        });
    }

    /// Body, in Markdown.
    pub fn description(&mut self, markdown: &str) {
        self.description_with(|out| out.markup(markdown));
    }

    /// As [`description`](Self::description).
    pub fn description_with(&mut self, fill: impl FnOnce(&mut Text<'_>)) {
        self.member("description", DESCRIPTION, fill);
    }

    /// Where a click on the title leads.
    pub fn url(&mut self, url: &str) {
        write_plain(&mut self.members, "url", usize::MAX, url);
    }

    /// The line at its side: `0xRRGGBB`.
    pub fn color(&mut self, rgb: u32) {
        self.members.push_str(&format!("\"color\":{},", rgb & 0xff_ffff));
    }

    /// The time that is shown beside the footer, in the reader's own zone; milliseconds since the Unix epoch.
    pub fn timestamp(&mut self, ms: u64) {
        write_plain(&mut self.members, "timestamp", usize::MAX, &crate::time::rfc3339(ms));
    }

    /// Who or what it is about, above the title.
    pub fn author(&mut self, name: &str) {
        self.nested("author", "name", AUTHOR, name);
    }

    /// Small print below all else. Markdown means nothing there.
    pub fn footer(&mut self, text: &str) {
        self.nested("footer", "text", FOOTER, text);
    }

    /// Keeps this many of the 6,000 characters for what comes after the fields, so that fields cannot use them up.
    pub fn keep(&mut self, characters: usize) {
        self.kept = characters;
    }

    /// A name above a value; inline ones stand side by side.
    pub fn field(&mut self, name: &str, value: &str, inline: bool) {
        self.field_with(|out| out.plain(name), |out| out.plain(value), inline);
    }

    /// As [`field`](Self::field).
    pub fn field_with(&mut self, name: impl FnOnce(&mut Text<'_>), value: impl FnOnce(&mut Text<'_>), inline: bool) {
        let before = self.fields.len();
        let room = self.room.saturating_sub(self.kept);
        if self.count > 0 {
            self.fields.push(',');
        }
        self.fields.push_str("{\"name\":\"");
        let name = fill(&mut self.fields, Style::Markdown, NAME.min(room), name);
        self.fields.push_str("\",\"value\":\"");
        let value = fill(&mut self.fields, Style::Markdown, VALUE.min(room - name), value);
        if self.count == FIELDS || name == 0 || value == 0 {
            self.fields.truncate(before);
            self.left_out += 1;
            return;
        }
        self.fields.push_str(if inline { "\",\"inline\":true}" } else { "\"}" });
        *self.room -= name + value;
        self.count += 1;
    }

    /// How many fields there was no room for, or were empty.
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    fn member(&mut self, name: &str, limit: usize, fill: impl FnOnce(&mut Text<'_>)) {
        *self.room -= write(&mut self.members, name, limit.min(*self.room), fill);
    }

    fn nested(&mut self, outer: &str, inner: &str, limit: usize, value: &str) {
        let mut nested = String::new();
        let used = write_plain(&mut nested, inner, limit.min(*self.room), value);
        if nested.pop().is_some() {
            self.members.push_str(&format!("\"{outer}\":{{{nested}}},"));
            *self.room -= used;
        }
    }
}

/// Writes one member in Markdown, unless it would be empty; answers its characters.
fn write(out: &mut String, name: &str, limit: usize, write: impl FnOnce(&mut Text<'_>)) -> usize {
    member(out, name, Style::Markdown, limit, write)
}

fn write_plain(out: &mut String, name: &str, limit: usize, value: &str) -> usize {
    member(out, name, Style::Plain, limit, |text| text.plain(value))
}

fn member(out: &mut String, name: &str, style: Style, limit: usize, write: impl FnOnce(&mut Text<'_>)) -> usize {
    let before = out.len();
    out.push('"');
    out.push_str(name);
    out.push_str("\":\"");
    let used = fill(out, style, limit, write);
    if used == 0 {
        out.truncate(before);
    } else {
        out.push_str("\",");
    }
    used
}

/// Answers how many characters were written.
fn fill(out: &mut String, style: Style, limit: usize, write: impl FnOnce(&mut Text<'_>)) -> usize {
    let mut text = Text::new(out, style, Limit::characters(limit));
    write(&mut text);
    text.used()
}
