//! What every system carries: 128 bytes of JSON with the moment it was sent, found again in whatever a subscriber reads. The
//! load's clock, which publishers and subscribers share.

use std::{sync::LazyLock, time::Instant};

pub const PAYLOAD_BYTES: usize = 128;
/// Twice: a lone one can be a byte of a WebSocket header.
const MARK: u8 = b'@';
const DIGITS: usize = 16;
/// The mark and the digits.
pub const STAMP_BYTES: usize = 2 + DIGITS;

static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Nanoseconds since the bench began.
pub fn since_begin(at: Instant) -> u64 {
    u64::try_from(at.saturating_duration_since(*BEGIN).as_nanos()).unwrap_or(u64::MAX)
}

/// The payload of an event that was due `at`.
pub fn payload(at: Instant) -> String {
    let mut text = format!(r#"{{"t":"@@{:0DIGITS$}","pad":""#, since_begin(at));
    text.extend(std::iter::repeat_n('x', PAYLOAD_BYTES - text.len() - 2));
    text.push_str("\"}");
    text
}

/// Calls `seen` with the moment in each payload that begins in `bytes`. Returns how many bytes at the end belong to a stamp
/// that is not whole.
pub fn scan(bytes: &[u8], mut seen: impl FnMut(u64)) -> usize {
    let mut rest = bytes;
    while let Some(at) = memchr::memchr(MARK, rest) {
        rest = &rest[at..];
        let Some((stamp, after)) = rest.split_at_checked(STAMP_BYTES) else { return rest.len() };
        if stamp[1] == MARK {
            seen(stamp[2..].iter().fold(0, |value, digit| value * 10 + u64::from(digit.wrapping_sub(b'0'))));
            rest = after;
        } else {
            rest = &rest[1..];
        }
    }
    0
}
