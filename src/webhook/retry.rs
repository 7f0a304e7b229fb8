//! When a failed delivery is tried again: the schedule of `WEBHOOK_RETRY_SCHEDULE` and its jitter, as plain values.
//! How many retries there are is the webhook's `retry_count`; what the receiver asks for is `retry_after`'s.

use std::time::Duration;

/// The longest single delay.
const MAX_DELAY: Duration = Duration::from_secs(7 * 24 * 3600);

/// Jitter is at most one part in this many of the delay: 20 %.
const JITTER_DIVISOR: u32 = 5;

/// The delays before the first, second, … retry. Never empty; the last one repeats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetrySchedule(Vec<Duration>);

/// Why a text is no schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    #[error("retry schedule is empty; write delays with commas between them, like 5s,30s,2m")]
    Empty,
    #[error("delay {0} of the retry schedule is empty; a comma too many?")]
    EmptyDelay(usize),
    #[error("{text:?} in the retry schedule is not a duration like 30s or 5m: {reason}")]
    NotADuration { text: String, reason: String },
    #[error("{0:?} in the retry schedule is zero; the shortest delay is 1ms")]
    Zero(String),
    #[error("{0:?} in the retry schedule is longer than 7 days")]
    TooLong(String),
}

impl RetrySchedule {
    /// Reads delays such as `5s,30s,2m`, each from 1 ms to 7 days.
    ///
    /// # Errors
    /// `ScheduleError`, for the first delay that is missing, unreadable, zero or too long.
    pub fn parse(text: &str) -> Result<Self, ScheduleError> {
        if text.trim().is_empty() {
            return Err(ScheduleError::Empty);
        }
        let delays = text.split(',').map(str::trim).enumerate();
        delays.map(|(index, item)| parse_delay(index + 1, item)).collect::<Result<_, _>>().map(Self)
    }

    /// How long to wait before retry `retry_number`, counted from 1.
    ///
    /// `jitter_unit`, from 0.0 to 1.0 (held to that), is the share of the jitter to add: it spreads retries that failed
    /// together, and only ever adds, so that no receiver is asked earlier than the schedule says.
    pub fn delay(&self, retry_number: u32, jitter_unit: f64) -> Duration {
        let index = retry_number.saturating_sub(1) as usize;
        let delay = self.0.get(index).or(self.0.last()).copied().expect("a schedule is never empty");
        let share = if jitter_unit.is_nan() { 0.0 } else { jitter_unit.clamp(0.0, 1.0) };
        delay + (delay / JITTER_DIVISOR).mul_f64(share)
    }
}

impl Default for RetrySchedule {
    fn default() -> Self {
        const MINUTE_S: u64 = 60;
        const HOUR_S: u64 = 3600;
        let delays_s = [5, 30, 2 * MINUTE_S, 10 * MINUTE_S, 30 * MINUTE_S];
        let delays_h = [1, 3, 6, 12, 24].map(|hours| hours * HOUR_S);
        Self(delays_s.into_iter().chain(delays_h).map(Duration::from_secs).collect())
    }
}

fn parse_delay(number: usize, text: &str) -> Result<Duration, ScheduleError> {
    if text.is_empty() {
        return Err(ScheduleError::EmptyDelay(number));
    }
    let delay = humantime::parse_duration(text)
        .map_err(|error| ScheduleError::NotADuration { text: text.to_owned(), reason: error.to_string() })?;
    if delay < Duration::from_millis(1) {
        return Err(ScheduleError::Zero(text.to_owned()));
    }
    if delay > MAX_DELAY {
        return Err(ScheduleError::TooLong(text.to_owned()));
    }
    Ok(delay)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_the_documented_schedule() {
        let documented = RetrySchedule::parse("5s,30s,2m,10m,30m,1h,3h,6h,12h,24h");
        assert_eq!(documented, Ok(RetrySchedule::default()));
    }

    #[test]
    fn the_last_delay_repeats() {
        let schedule = RetrySchedule::parse(" 250ms, 30s ").expect("a schedule");
        let delays: Vec<_> = [1, 2, 3, u32::MAX].map(|number| schedule.delay(number, 0.0).as_millis()).into();
        assert_eq!(delays, [250, 30_000, 30_000, 30_000]);
    }

    #[test]
    fn the_jitter_is_a_fifth_at_most() {
        let schedule = RetrySchedule::parse("10s").expect("a schedule");
        let delay_ms = |unit| schedule.delay(1, unit).as_millis();
        assert_eq!([0.0, 0.5, 1.0].map(delay_ms), [10_000, 11_000, 12_000]);
        assert_eq!([-1.0, f64::NAN, 7.0, f64::INFINITY].map(delay_ms), [10_000, 10_000, 12_000, 12_000]);
    }

    #[test]
    fn a_mistake_is_named() {
        let text = |schedule| RetrySchedule::parse(schedule).expect_err(schedule).to_string();
        assert_eq!(RetrySchedule::parse(" "), Err(ScheduleError::Empty));
        assert_eq!(text("5s,,1m"), "delay 2 of the retry schedule is empty; a comma too many?");
        assert_eq!(text("5s,0s"), "\"0s\" in the retry schedule is zero; the shortest delay is 1ms");
        assert_eq!(text("8d"), "\"8d\" in the retry schedule is longer than 7 days");
        assert!(
            text("5").starts_with("\"5\" in the retry schedule is not a duration like 30s or 5m: time unit needed")
        );
        RetrySchedule::parse("7d").expect("the longest");
        for wrong in ["-5s", "5s;30s", "soon", "99999999999999999999s"] {
            assert!(matches!(RetrySchedule::parse(wrong), Err(ScheduleError::NotADuration { .. })), "{wrong}");
        }
    }

    proptest::proptest! {
        #[test]
        fn jitter_only_ever_adds_and_never_more_than_a_fifth(
            delay_ms in 1_u64..=MAX_DELAY.as_millis() as u64, number: u32, unit in 0.0..=1.0,
        ) {
            let delay = Duration::from_millis(delay_ms);
            let jittered = RetrySchedule(vec![delay]).delay(number, unit);
            proptest::prop_assert!(jittered >= delay);
            proptest::prop_assert!(jittered <= delay + delay / 5);
        }
    }
}
