//! Looks at bytes eight at a time, in one number: in wasm every turn of a loop also asks for the deadline, so short loops pay.
//!
//! A mark is found by subtracting one from each byte of `word ^ mark`, which borrows into its high bit where it was zero.
//! Borrows may spill upwards, so only the lowest hit counts.

pub(crate) const ONES: u64 = u64::from_le_bytes([1; 8]);
pub(crate) const HIGHS: u64 = ONES << 7;

/// High bits of bytes less than `least`, which is at most 128; the lowest of them is right.
pub(crate) const fn below(word: u64, least: u8) -> u64 {
    word.wrapping_sub(ONES * least as u64) & !word & HIGHS
}

/// High bits of bytes equal to `mark`; the lowest of them is right.
pub(crate) const fn equal(word: u64, mark: u8) -> u64 {
    below(word ^ (ONES * mark as u64), 1)
}

/// Where the lowest hit is, in bytes.
pub(crate) const fn first(hits: u64) -> usize {
    hits.trailing_zeros() as usize / 8
}

/// Fewer than eight bytes as a word whose upper bytes are zero, without a loop.
pub(crate) fn tail(bytes: &[u8]) -> u64 {
    let length = bytes.len();
    if let (Some(low), Some(high)) = (bytes.first_chunk(), bytes.last_chunk()) {
        // Where the two overlap they say the same.
        return u64::from(u32::from_le_bytes(*low)) | u64::from(u32::from_le_bytes(*high)) << (8 * (length - 4));
    }
    let byte = |at: usize| u64::from(bytes[at]) << (8 * at);
    if length == 0 { 0 } else { byte(0) | byte(length / 2) | byte(length - 1) }
}

/// How many bytes do not continue a character: a continuing byte's top bits are 10.
pub(crate) fn characters(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks();
    let continuing = |word: u64| ((word >> 7) & !(word >> 6) & ONES).count_ones() as usize;
    let within = words.iter().fold(0, |sum, word| sum + continuing(u64::from_le_bytes(*word)));
    bytes.len() - within - continuing(tail(rest))
}

/// Appends; a short text by pieces of known size, since a copy of unknown size is a call out of the component.
#[inline]
#[expect(unsafe_code, reason = "the pieces of a text are no text")]
pub(crate) fn append(out: &mut String, text: &str) {
    fn ends<const N: usize>(out: &mut Vec<u8>, bytes: &[u8]) {
        if let (Some(low), Some(high)) = (bytes.first_chunk::<N>(), bytes.last_chunk::<N>()) {
            let at = out.len() + bytes.len() - N;
            out.extend_from_slice(low);
            out.truncate(at);
            out.extend_from_slice(high);
        }
    }
    match text.len() {
        // SAFETY: in the end `out` holds what it held, and after it the whole of `text`.
        8..=16 => ends::<8>(unsafe { out.as_mut_vec() }, text.as_bytes()),
        // SAFETY: as above.
        4..8 => ends::<4>(unsafe { out.as_mut_vec() }, text.as_bytes()),
        _ => out.push_str(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_holds_each_byte_in_its_place() {
        for length in 0..8_usize {
            let bytes: Vec<u8> = (1..=length as u8).collect();
            let mut padded = [0; 8];
            padded[..length].copy_from_slice(&bytes);
            assert_eq!(tail(&bytes), u64::from_le_bytes(padded));
        }
    }

    #[test]
    fn characters_are_counted_at_every_length() {
        for length in 0..40 {
            let text: String = "aé€😀".chars().cycle().take(length).collect();
            assert_eq!(characters(text.as_bytes()), length);
        }
    }

    #[test]
    fn what_is_appended_is_the_text_at_every_length() {
        for length in 0..40 {
            let text: String = "aé€😀b".chars().cycle().take(length).collect();
            let mut out = String::from("before ");
            append(&mut out, &text);
            assert_eq!(out, format!("before {text}"));
        }
    }
}
