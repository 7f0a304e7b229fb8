//! Times as text, for people and for programs. Both are UTC.

/// `2026-11-22T05:14:09.431Z` (RFC 3339), from milliseconds since the Unix epoch.
///
/// ```
/// assert_eq!(jackfield_plugin::time::rfc3339(1_795_324_449_431), "2026-11-22T05:14:09.431Z");
/// ```
pub fn rfc3339(ms: u64) -> String {
    let mut text = date_and_time(ms / 1_000, 'T');
    let ms = ms % 1_000;
    text.push('.');
    text.push(digit(ms / 100));
    two(&mut text, ms % 100);
    text.push('Z');
    text
}

/// `2026-11-22 05:14:09 UTC`, from milliseconds since the Unix epoch.
///
/// ```
/// assert_eq!(jackfield_plugin::time::utc(1_795_324_449_431), "2026-11-22 05:14:09 UTC");
/// ```
pub fn utc(ms: u64) -> String {
    let mut text = date_and_time(ms / 1_000, ' ');
    text.push_str(" UTC");
    text
}

fn date_and_time(seconds: u64, between: char) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Years that begin in March put the leap day last; day 719,468 of that calendar is 1970-01-01, and an era is 400 years.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 { (year, month + 3) } else { (year + 1, month - 9) };
    let year = year + era * 400;
    // Digit by digit: the formatter would be most of a message's time in wasm.
    let mut text = String::with_capacity(24);
    let parts = [
        (year / 100, None),
        (year % 100, Some('-')),
        (month, Some('-')),
        (day, Some(between)),
        (second / 3_600, Some(':')),
        (second / 60 % 60, Some(':')),
        (second % 60, None),
    ];
    for (number, after) in parts {
        two(&mut text, number);
        text.extend(after);
    }
    text
}

fn two(text: &mut String, number: u64) {
    text.push(digit(number / 10));
    text.push(digit(number));
}

fn digit(number: u64) -> char {
    char::from(b'0' + (number % 10) as u8)
}

#[cfg(test)]
mod tests {
    use super::utc;

    #[test]
    fn times_read_as_utc() {
        assert_eq!(utc(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(utc(951_782_399_999), "2000-02-28 23:59:59 UTC");
        assert_eq!(utc(951_782_400_000), "2000-02-29 00:00:00 UTC");
        assert_eq!(utc(4_107_542_400_000), "2100-03-01 00:00:00 UTC");
    }
}
