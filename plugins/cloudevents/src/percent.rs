//! Percent-encoding, as the HTTP binding and URI references want it.

/// A value as a header: all but printable ASCII, and space, `"` and `%`, is encoded.
pub(crate) fn header(value: &str) -> String {
    encode(value, |byte| matches!(byte, 0x21..0x7f) && !matches!(byte, b'"' | b'%'))
}

/// A text as a URI reference: what cannot be in one is encoded; a `%` stays, since it may encode something.
pub(crate) fn reference(text: &str) -> String {
    encode(text, |byte| {
        matches!(byte, 0x21..0x7f) && !matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}')
    })
}

fn encode(text: &str, stays: impl Fn(u8) -> bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if stays(byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            for digit in [byte >> 4, byte & 15] {
                encoded.push(char::from(b"0123456789ABCDEF"[usize::from(digit)]));
            }
        }
    }
    encoded
}
