//! Writes text into JSON, inside a limit of characters.
//!
//! One pass does it all: JSON escapes, Slack's three entities, counting, and cutting with an ellipsis. An entity counts as
//! what is sent (`&amp;` is five), and is never cut in the middle.

/// A JSON string being written at the end of a message.
pub(crate) struct Limited<'out> {
    out: &'out mut String,
    /// Characters that may be written, the ellipsis included.
    limit: usize,
    used: usize,
    /// Where to cut: the end of what leaves room for the ellipsis.
    cut: usize,
    full: bool,
    one_line: bool,
}

impl<'out> Limited<'out> {
    pub(crate) fn new(out: &'out mut String, limit: usize) -> Self {
        let cut = out.len();
        Self { out, limit, used: 0, cut, full: false, one_line: false }
    }

    /// Whether line breaks become spaces.
    pub(crate) fn one_line(self, one_line: bool) -> Self {
        Self { one_line, ..self }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Text of an event: shown as it is, whatever it contains.
    pub(crate) fn plain(&mut self, text: &str) {
        self.write(text, true);
    }

    /// Text of a template's author, which may contain Slack's markup.
    pub(crate) fn markup(&mut self, text: &str) {
        self.write(text, false);
    }

    fn write(&mut self, text: &str, entities: bool) {
        let mut run = 0;
        for (at, byte) in text.bytes().enumerate() {
            let (special, width) = match byte {
                b'&' if entities => ("&amp;", 5),
                b'<' if entities => ("&lt;", 4),
                b'>' if entities => ("&gt;", 4),
                b'"' => ("\\\"", 1),
                b'\\' => ("\\\\", 1),
                b'\n' | b'\r' if self.one_line => (" ", 1),
                b'\n' => ("\\n", 1),
                b'\t' => ("\\t", 1),
                // Slack shows no other control characters.
                0..0x20 => ("", 0),
                _ => continue,
            };
            self.run(&text[run..at]);
            self.unit(special, width);
            run = at + 1;
        }
        self.run(&text[run..]);
    }

    /// Text without anything special in it.
    fn run(&mut self, text: &str) {
        // Bytes are never fewer than characters, so this needs no counting.
        if !self.full && self.used + text.len() < self.limit {
            self.out.push_str(text);
            self.used += if text.is_ascii() { text.len() } else { text.chars().count() };
            self.cut = self.out.len();
            return;
        }
        for c in text.chars() {
            if self.full {
                return;
            }
            self.unit(c.encode_utf8(&mut [0; 4]), 1);
        }
    }

    fn unit(&mut self, text: &str, width: usize) {
        if self.full {
            return;
        }
        if self.used + width > self.limit {
            self.out.truncate(self.cut);
            self.out.push('…');
            self.full = true;
            return;
        }
        self.out.push_str(text);
        self.used += width;
        if self.used < self.limit {
            self.cut = self.out.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limited(limit: usize, text: &str) -> String {
        let mut out = String::new();
        Limited::new(&mut out, limit).plain(text);
        out
    }

    #[test]
    fn what_fits_stays_whole_and_what_does_not_ends_in_an_ellipsis() {
        assert_eq!(limited(4, "abcd"), "abcd");
        assert_eq!(limited(4, "abcde"), "abc…");
        assert_eq!(limited(4, "äöüß"), "äöüß");
        assert_eq!(limited(4, "äöüßx"), "äöü…");
        assert_eq!(limited(2, "😀😀😀"), "😀…");
    }

    #[test]
    fn an_entity_counts_as_sent_and_is_never_cut() {
        assert_eq!(limited(5, "&"), "&amp;");
        assert_eq!(limited(5, "a&"), "a…");
        assert_eq!(limited(9, "<a>"), "&lt;a&gt;");
        assert_eq!(limited(8, "<a>"), "&lt;a…");
    }

    #[test]
    fn an_escape_counts_as_the_character_it_is() {
        assert_eq!(limited(3, "\"\n\\"), "\\\"\\n\\\\");
        assert_eq!(limited(2, "\"\n\\"), "\\\"…");
    }
}
