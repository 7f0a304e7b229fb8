//! What a receiver asks for with `Retry-After`, read without trust: it can only ever delay, and by a day at most.

use std::time::{Duration, SystemTime};

/// The longest wait a receiver can ask for; a longer one counts as this.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);

/// Reads the value of a `Retry-After` header as a wait from `now`, at most 24 h.
///
/// It is whole seconds or an HTTP date in any of its three forms. `None` is no usable wish: negative, fractional, past or
/// garbage.
pub fn parse_retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    let wait = match value.bytes().all(|byte| byte.is_ascii_digit()) && !value.is_empty() {
        // More seconds than a u64 holds is still a number, and more than a day.
        true => value.parse().map_or(MAX_RETRY_AFTER, Duration::from_secs),
        false => httpdate::parse_http_date(value).ok()?.duration_since(now).ok()?,
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

/// When the next attempt is due: the receiver's wish, but never sooner than the schedule.
pub fn next_attempt_delay(schedule_delay: Duration, retry_after: Option<Duration>) -> Duration {
    schedule_delay.max(retry_after.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sun, 06 Nov 1994 08:49:37 GMT, the example of RFC 9110.
    fn at(seconds_later: i64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777_i64.saturating_add(seconds_later).cast_unsigned())
    }

    fn wait_s(value: &str, now: SystemTime) -> Option<u64> {
        parse_retry_after(value, now).map(|wait| wait.as_secs())
    }

    #[test]
    fn seconds_are_honoured_to_the_second_and_capped_at_a_day() {
        assert_eq!(wait_s("0", at(0)), Some(0));
        assert_eq!(wait_s(" 120 ", at(0)), Some(120));
        assert_eq!(wait_s("86400", at(0)), Some(86_400));
        assert_eq!(wait_s("86401", at(0)), Some(86_400));
        assert_eq!(wait_s("99999999999999999999999", at(0)), Some(86_400));
    }

    #[test]
    fn all_three_forms_of_an_http_date_are_read() {
        for date in ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            assert_eq!(wait_s(date, at(-90)), Some(90), "{date}");
            assert_eq!(wait_s(date, at(0)), Some(0), "{date}");
            assert_eq!(wait_s(date, at(1)), None, "{date}");
            assert_eq!(wait_s(date, at(-86_401)), Some(86_400), "{date}");
        }
    }

    #[test]
    fn what_cannot_be_trusted_is_ignored() {
        for value in ["", " ", "-1", "+5", "1.5", "1e3", "0x10", "12s", "٣", "soon", "120, 240"] {
            assert_eq!(wait_s(value, at(0)), None, "{value:?}");
        }
        for date in ["Sun, 31 Feb 2094 08:49:37 GMT", "Mon, 06 Nov 1995 08:49", "Fri, 06 Nov 2094 08:49:37 GMT"] {
            assert_eq!(wait_s(date, at(0)), None, "{date}");
        }
    }

    #[test]
    fn the_later_of_schedule_and_wish_counts() {
        let [short, long] = [5, 120].map(Duration::from_secs);
        assert_eq!(next_attempt_delay(short, Some(long)), long);
        assert_eq!(next_attempt_delay(long, Some(short)), long);
        assert_eq!(next_attempt_delay(short, None), short);
    }

    proptest::proptest! {
        #[test]
        fn honouring_retry_after_only_ever_delays(schedule_s in 0_u64..700_000, value in "[ -~]{0,40}|[0-9]{1,25}") {
            let schedule = Duration::from_secs(schedule_s);
            let delay = next_attempt_delay(schedule, parse_retry_after(&value, at(0)));
            proptest::prop_assert!(delay >= schedule);
            proptest::prop_assert!(delay <= schedule.max(MAX_RETRY_AFTER));
        }

        #[test]
        fn any_date_a_day_ahead_is_honoured_to_the_second(ahead_s in 0_u64..=86_400) {
            let date = httpdate::fmt_http_date(at(0) + Duration::from_secs(ahead_s));
            proptest::prop_assert_eq!(parse_retry_after(&date, at(0)), Some(Duration::from_secs(ahead_s)));
        }
    }
}
