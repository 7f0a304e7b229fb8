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

    /// ASCII in which nothing is special: not looked at.
    #[inline]
    pub(crate) fn known(&mut self, text: &str) {
        if self.full || self.used + text.len() >= self.limit {
            return self.run(text);
        }
        self.out.push_str(text);
        self.used += text.len();
        self.cut = self.out.len();
    }

    fn write(&mut self, text: &str, entities: bool) {
        let bytes = text.as_bytes();
        let (mut run, mut at) = (0, 0);
        loop {
            at += plain_bytes(&bytes[at..]);
            let Some(byte) = bytes.get(at) else { break };
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
    fn run(&mut self, text: &str) {
        // Bytes are never fewer than characters, so this needs no counting.
        if !self.full && self.used + text.len() < self.limit {
            self.used += append(self.out, text);
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

const ONES: u64 = u64::from_le_bytes([1; 8]);
const HIGHS: u64 = ONES << 7;

/// How many bytes there are before the next that may need to be written otherwise.
///
/// Eight at a time, since every turn of a loop in wasm also asks for the deadline: a byte's high bit is set where subtracting
/// borrowed. Borrows may spill upwards, so only the lowest hit counts.
fn plain_bytes(bytes: &[u8]) -> usize {
    const fn below(word: u64, least: u8) -> u64 {
        word.wrapping_sub(ONES * least as u64) & !word & HIGHS
    }
    let mut at = 0;
    while let Some(word) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        let word = u64::from_le_bytes(*word);
        // `"` and `&` differ in one bit, and so do `<` and `>`.
        let quote_or_and = below((word & !(ONES * 4)) ^ (ONES * b'"' as u64), 1);
        let less_or_greater = below((word | (ONES * 2)) ^ (ONES * b'>' as u64), 1);
        let backslash = below(word ^ (ONES * b'\\' as u64), 1);
        let hits = quote_or_and | less_or_greater | backslash | below(word, b' ');
        if hits != 0 {
            return at + hits.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let special = |byte: &u8| matches!(byte, 0..0x20 | b'"' | b'&' | b'<' | b'>' | b'\\');
    at + bytes[at..].iter().position(special).unwrap_or(bytes.len() - at)
}

/// Appends, and answers how many characters that was.
fn append(out: &mut String, text: &str) -> usize {
    out.push_str(text);
    characters(text.as_bytes())
}

/// Bytes that do not continue a character, eight at a time: a continuing byte's top bits are 10.
fn characters(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks();
    let continuing = words.iter().fold(0, |sum, word| {
        let word = u64::from_le_bytes(*word);
        sum + ((word >> 7) & !(word >> 6) & ONES).count_ones() as usize
    });
    let rest = rest.iter().filter(|byte| **byte & 0xc0 == 0x80).count();
    bytes.len() - continuing - rest
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
    fn every_byte_is_found_or_copied_wherever_it_stands() {
        for before in 0..80 {
            for (special, written) in
                [("\"", "\\\""), ("&", "&amp;"), ("\u{1f}", ""), ("~", "~"), ("ü", "ü"), ("\u{80}", "\u{80}")]
            {
                let (before, after) = ("x".repeat(before), "y".repeat(9));
                let text = format!("{before}{special}{after}");
                assert_eq!(limited(1_000, &text), format!("{before}{written}{after}"));
            }
        }
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
