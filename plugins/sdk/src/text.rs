//! Writes text into JSON, inside a limit: what a receiver counts, escapes, and refuses when it is too long.
//!
//! One pass does it all: JSON escapes, the receiver's markup, counting, and cutting with an ellipsis. An escape of the markup
//! counts as what is sent (`&amp;` is five) and is never cut in the middle, nor is a link that the author wrote.
//!
//! ```
//! use jackfield_plugin::text::{Limit, Style, Text};
//!
//! let mut json = String::from("{\"text\":\"");
//! let mut text = Text::new(&mut json, Style::Slack, Limit::characters(12));
//! text.markup("*From* ");
//! text.plain("A & B");
//! assert!(text.is_cut());
//! json.push_str("\"}");
//! assert_eq!(json, r#"{"text":"*From* A …"}"#);
//! ```

use crate::words::{self, append, below, equal};

/// How the receiver reads the text, and so what has to be escaped in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// As it is: nothing has a meaning.
    Plain,
    /// Slack's mrkdwn: `&`, `<` and `>` are entities.
    Slack,
    /// Markdown, as Discord and Adaptive Cards read it: a backslash takes a sign's meaning. An address stays an address.
    Markdown,
}

impl Style {
    /// A text of an event as this style's markup, which shows it as it is.
    pub fn escape(self, text: &str) -> String {
        let mut json = String::from("\"");
        Text::new(&mut json, self, Limit::NONE).plain(text);
        json.push('"');
        serde_json::from_str(&json).unwrap_or(json)
    }
}

/// How much may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    most: usize,
    bytes: bool,
}

impl Limit {
    /// No limit.
    pub const NONE: Self = Self { most: usize::MAX, bytes: false };

    /// At most this many characters (Unicode code points), the ellipsis included.
    pub const fn characters(most: usize) -> Self {
        Self { most, bytes: false }
    }

    /// At most this many bytes of JSON, escapes and the ellipsis included.
    pub const fn bytes(most: usize) -> Self {
        Self { most, bytes: true }
    }

    /// What the ellipsis takes.
    const fn ellipsis(self) -> usize {
        if self.bytes { '…'.len_utf8() } else { 1 }
    }
}

/// A JSON string that is being written at the end of a message; its quotes are the caller's.
#[derive(Debug)]
pub struct Text<'out> {
    out: &'out mut String,
    style: Style,
    limit: Limit,
    start: usize,
    used: usize,
    /// Where to cut: the end of what leaves room for the ellipsis.
    cut: usize,
    full: bool,
    one_line: bool,
}

/// A text that is known before any event: escaped and counted once.
#[derive(Clone, Debug)]
pub struct Prepared {
    raw: String,
    json: String,
    width: usize,
    markup: bool,
}

impl Prepared {
    /// What [`Text::plain`] would write.
    pub fn plain(style: Style, text: impl Into<String>) -> Self {
        Self::new(style, false, text.into())
    }

    /// What [`Text::markup`] would write.
    pub fn markup(style: Style, text: impl Into<String>) -> Self {
        Self::new(style, true, text.into())
    }

    fn new(style: Style, markup: bool, raw: String) -> Self {
        let mut json = String::new();
        let mut text = Text::new(&mut json, style, Limit::NONE);
        text.write(&raw, !markup);
        let width = text.used;
        Self { raw, json, width, markup }
    }
}

impl<'out> Text<'out> {
    /// Begins a text at the end of `out`.
    pub fn new(out: &'out mut String, style: Style, limit: Limit) -> Self {
        let start = out.len();
        Self { out, style, limit, start, used: 0, cut: start, full: false, one_line: false }
    }

    /// Whether line breaks that follow are kept, as they are at first; else they become spaces.
    pub fn break_lines(&mut self, kept: bool) {
        self.one_line = !kept;
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Whether something did not fit; an ellipsis says so.
    pub fn is_cut(&self) -> bool {
        self.full
    }

    /// What was written, in the unit of the limit.
    pub fn used(&self) -> usize {
        self.used
    }

    /// Text of an event: shown as it is, whatever it contains.
    pub fn plain(&mut self, text: &str) {
        self.write(text, true);
    }

    /// Text of an author, who may use the receiver's markup.
    pub fn markup(&mut self, text: &str) {
        self.write(text, false);
    }

    /// What was prepared for this style.
    #[inline]
    pub fn prepared(&mut self, text: &Prepared) {
        let width = if self.limit.bytes { text.json.len() } else { text.width };
        // One line is seldom, and what was prepared may have more.
        if self.full || self.used + width + self.limit.ellipsis() > self.limit.most || self.one_line {
            return self.write(&text.raw, !text.markup);
        }
        append(self.out, &text.json);
        self.used += width;
        self.cut = self.out.len();
    }

    /// ASCII in which nothing is special: not looked at.
    #[inline]
    pub fn known(&mut self, text: &str) {
        if self.full || self.used + text.len() + self.limit.ellipsis() > self.limit.most {
            return self.run(text);
        }
        append(self.out, text);
        self.used += text.len();
        self.cut = self.out.len();
    }

    /// A number's digits.
    pub fn number(&mut self, mut number: u64) {
        let mut room = [0; 20];
        let mut at = room.len();
        // By hand: the formatter costs more in wasm than all the rest of a short text.
        loop {
            at -= 1;
            room[at] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return self.known(std::str::from_utf8(&room[at..]).unwrap_or_default());
            }
        }
    }

    fn write(&mut self, text: &str, escape: bool) {
        let escape = escape && !(self.style == Style::Markdown && is_address(text));
        let bytes = text.as_bytes();
        let (mut run, mut at) = (0, 0);
        loop {
            at += match self.style {
                Style::Slack => plain_bytes(&bytes[at..]),
                _ => bytes[at..].iter().position(is_special).unwrap_or(bytes.len() - at),
            };
            let Some(byte) = bytes.get(at) else { break };
            let (special, width) = match (byte, self.style) {
                (b'&', Style::Slack) if escape => ("&amp;", 5),
                (b'<', Style::Slack) if escape => ("&lt;", 4),
                (b'>', Style::Slack) if escape => ("&gt;", 4),
                (b'\\', Style::Markdown) if escape => (r"\\\\", 2),
                (byte, Style::Markdown) if escape && markdown(*byte).is_some() => (markdown(*byte).unwrap_or(""), 2),
                (b'"', _) => ("\\\"", 1),
                (b'\\', _) => ("\\\\", 1),
                (b'\n' | b'\r', _) if self.one_line => (" ", 1),
                (b'\n', _) => ("\\n", 1),
                (b'\t', _) => ("\\t", 1),
                // No receiver shows other control characters.
                (0..0x20, _) => ("", 0),
                _ => {
                    at += 1;
                    continue;
                }
            };
            self.run(&text[run..at]);
            self.unit(special, width);
            at += 1;
            run = at;
        }
        self.run(&text[run..]);
    }

    /// Text without anything special in it.
    #[inline]
    fn run(&mut self, text: &str) {
        // Bytes are never fewer than characters, so this needs no counting.
        if !self.full && self.used + text.len() + self.limit.ellipsis() <= self.limit.most {
            append(self.out, text);
            self.used += if self.limit.bytes { text.len() } else { words::characters(text.as_bytes()) };
            self.cut = self.out.len();
        } else {
            self.run_to_the_end(text);
        }
    }

    #[cold]
    fn run_to_the_end(&mut self, text: &str) {
        for c in text.chars() {
            if self.full {
                return;
            }
            self.unit(c.encode_utf8(&mut [0; 4]), 1);
        }
    }

    fn unit(&mut self, text: &str, characters: usize) {
        if self.full {
            return;
        }
        let width = if self.limit.bytes { text.len() } else { characters };
        if self.used + width > self.limit.most {
            return self.end();
        }
        self.out.push_str(text);
        self.used += width;
        if self.used + self.limit.ellipsis() <= self.limit.most {
            self.cut = self.out.len();
        }
    }

    /// Cuts, before the link or entity that the cut would break.
    #[cold]
    fn end(&mut self) {
        self.full = true;
        // The ellipsis counts, and what is cut off no longer matters.
        self.used = self.limit.most;
        let written = &self.out[self.start..self.cut];
        let open = match self.style {
            Style::Plain => None,
            Style::Slack => written.rfind('<').filter(|from| !written[*from..].contains('>')).or_else(|| {
                written.rfind('&').filter(|from| written.len() - from < 5 && !written[*from..].contains(';'))
            }),
            Style::Markdown => written
                .rfind("](")
                .filter(|from| !written[*from..].contains(')'))
                .and_then(|from| written[..from].rfind('[')),
        };
        self.out.truncate(open.map_or(self.cut, |open| self.start + open));
        if self.limit.most >= self.limit.ellipsis() {
            self.out.push('…');
        }
    }
}

/// An address would not survive the escaping, and nothing in one can begin a link with another name.
fn is_address(text: &str) -> bool {
    let begins = text.starts_with("https://") || text.starts_with("http://");
    begins
        && !text
            .bytes()
            .any(|byte| byte.is_ascii_whitespace() || matches!(byte, b'<' | b'>' | b'(' | b')' | b'[' | b']'))
}

/// A sign with a meaning in Markdown, without it, as JSON.
fn markdown(byte: u8) -> Option<&'static str> {
    Some(match byte {
        b'*' => r"\\*",
        b'_' => r"\\_",
        b'~' => r"\\~",
        b'`' => r"\\`",
        b'|' => r"\\|",
        b'[' => r"\\[",
        b']' => r"\\]",
        b'<' => r"\\<",
        b'>' => r"\\>",
        b'#' => r"\\#",
        _ => return None,
    })
}

fn is_special(byte: &u8) -> bool {
    matches!(byte, 0..0x20 | b'"' | b'\\') || markdown(*byte).is_some()
}

/// How many bytes there are before the next that may need to be written otherwise for Slack.
fn plain_bytes(bytes: &[u8]) -> usize {
    let hits = |word: u64| {
        // `"` and `&` differ in one bit, and so do `<` and `>`.
        equal(word & !(words::ONES * 4), b'"')
            | equal(word | (words::ONES * 2), b'>')
            | equal(word, b'\\')
            | below(word, b' ')
    };
    let mut rest = bytes;
    while let Some((word, after)) = rest.split_first_chunk() {
        let hits = hits(u64::from_le_bytes(*word));
        if hits != 0 {
            return bytes.len() - rest.len() + words::first(hits);
        }
        rest = after;
    }
    // What is beyond the end is a hit too: zero is a control character.
    bytes.len() - rest.len() + rest.len().min(words::first(hits(words::tail(rest))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(style: Style, limit: Limit, write: impl FnOnce(&mut Text<'_>)) -> String {
        let mut out = String::new();
        write(&mut Text::new(&mut out, style, limit));
        out
    }

    fn slack(limit: usize, text: &str) -> String {
        written(Style::Slack, Limit::characters(limit), |out| out.plain(text))
    }

    #[test]
    fn what_fits_stays_whole_and_what_does_not_ends_in_an_ellipsis() {
        assert_eq!(slack(4, "abcd"), "abcd");
        assert_eq!(slack(4, "abcde"), "abc…");
        assert_eq!(slack(4, "äöüßx"), "äöü…");
        assert_eq!(slack(2, "😀😀😀"), "😀…");
        assert_eq!(slack(0, "a"), "");
        assert_eq!(written(Style::Plain, Limit::bytes(6), |out| out.plain("äöüß")), "ä…");
    }

    #[test]
    fn every_byte_is_found_or_copied_wherever_it_stands() {
        for before in 0..80 {
            for (special, as_json) in
                [("\"", "\\\""), ("&", "&amp;"), ("\u{1f}", ""), ("~", "~"), ("ü", "ü"), ("\u{80}", "\u{80}")]
            {
                let (before, after) = ("x".repeat(before), "y".repeat(9));
                assert_eq!(slack(1_000, &format!("{before}{special}{after}")), format!("{before}{as_json}{after}"));
            }
        }
    }

    #[test]
    fn an_escape_counts_as_sent_and_is_never_cut() {
        assert_eq!(slack(5, "&"), "&amp;");
        assert_eq!(slack(5, "a&"), "a…");
        assert_eq!(slack(8, "<a>"), "&lt;a…");
        assert_eq!(slack(3, "\"\n\\"), "\\\"\\n\\\\");
        assert_eq!(written(Style::Markdown, Limit::characters(3), |out| out.plain("a*b")), "a…");
    }

    #[test]
    fn an_authors_link_or_entity_is_cut_as_a_whole() {
        let cut = |style, text| written(style, Limit::characters(16), |out| out.markup(text));
        assert_eq!(cut(Style::Slack, "see <https://x.example|this>"), "see …");
        assert_eq!(cut(Style::Slack, "12345678901234&amp;"), "12345678901234…");
        assert_eq!(cut(Style::Markdown, "see [this](https://x.example)"), "see …");
    }

    #[test]
    fn what_was_prepared_reads_as_if_it_were_written() {
        for limit in 0..20 {
            let limit = Limit::characters(limit);
            let prepared = Prepared::plain(Style::Slack, "a & \"b\" é");
            let one = written(Style::Slack, limit, |out| {
                out.prepared(&prepared);
                out.plain("!");
            });
            assert_eq!(one, written(Style::Slack, limit, |out| out.plain("a & \"b\" é!")), "{limit:?}");
        }
    }
}
