//! What the end of a connection means: come back, or stop and say what is to be done.

use std::time::Duration;

use super::super::{EXIT_NO_PERMISSION, EXIT_UNAVAILABLE, EXIT_USAGE};

/// Before the first attempt to come back; then doubled.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// As many events as were asked for, Ctrl-C, or nobody reads any more.
    Done,
    /// Come back, after so long where the server has said it.
    Again { why: String, after: Option<Duration> },
    /// Coming back would end the same way.
    Stop { why: String, exit: u8 },
}

const NEW_TOKEN: &str = "get a new one and give it as --token or JACKFIELD_TOKEN";

impl End {
    pub fn again(why: impl Into<String>) -> Self {
        Self::Again { why: why.into(), after: None }
    }

    pub fn stop(why: impl Into<String>, exit: u8) -> Self {
        Self::Stop { why: why.into(), exit }
    }

    /// What a close code asks for; `reconnect` is what `bye` has said, for codes that are not known here.
    pub fn of_code(code: u16, reason: &str, reconnect: bool, after: Option<Duration>) -> Self {
        match code {
            4400 => Self::stop(format!("the server does not take --events or --since ({reason})"), EXIT_USAGE),
            4401 => Self::stop(format!("the token is not valid: {NEW_TOKEN}"), EXIT_NO_PERMISSION),
            4403 => {
                Self::stop("the token does not allow it: its role or its events are not enough", EXIT_NO_PERMISSION)
            }
            4404 => Self::stop("there is no such chat session, or it has ended", EXIT_UNAVAILABLE),
            4409 => Self::stop("a newer connection has taken this one's place", EXIT_UNAVAILABLE),
            // The server would have us back, with a token that nobody gives us.
            4419 => Self::stop(format!("the token has expired: {NEW_TOKEN}"), EXIT_NO_PERMISSION),
            4423 => Self::stop(
                format!("an administrator has shut this user out: log in again, {NEW_TOKEN}"),
                EXIT_NO_PERMISSION,
            ),
            _ if reconnect => Self::Again { why: format!("the server closed the connection ({code} {reason})"), after },
            _ => Self::stop(format!("the server closed the connection for good ({code} {reason})"), EXIT_UNAVAILABLE),
        }
    }

    /// What a refused handshake asks for.
    pub fn of_status(status: u16, detail: &str, after: Option<Duration>) -> Self {
        let answer = if detail.is_empty() { format!("HTTP {status}") } else { format!("HTTP {status}: {detail}") };
        match status {
            400 => Self::stop(format!("the server does not take --events or --since ({answer})"), EXIT_USAGE),
            401 => Self::stop(format!("the token is not taken ({answer}): {NEW_TOKEN}"), EXIT_NO_PERMISSION),
            403 => Self::stop(format!("the token does not allow it ({answer})"), EXIT_NO_PERMISSION),
            408 | 425 | 429 | 500.. => {
                Self::Again { why: format!("the server refused the connection ({answer})"), after }
            }
            _ => Self::stop(format!("there is no socket of Jackfield at --url ({answer})"), EXIT_UNAVAILABLE),
        }
    }
}

/// How long to wait: as the server says, else a second, doubling up to half a minute, each with jitter, so that a
/// thousand clients that lost one server do not come back in one moment.
#[derive(Debug, Default)]
pub struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// `random` is between 0 and 1.
    pub fn next(&mut self, after: Option<Duration>, random: f64) -> Duration {
        let doubled = FIRST_WAIT.saturating_mul(2u32.saturating_pow(self.attempts)).min(LONGEST_WAIT);
        self.attempts = self.attempts.saturating_add(1);
        // The server has spread what it asks for.
        after.map_or_else(|| doubled.mul_f64(0.5 + random / 2.0), |after| after.min(LONGEST_WAIT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_of_the_contract_stop_or_come_back() {
        for code in [4400, 4401, 4403, 4404, 4409, 4423, 4419] {
            let end = End::of_code(code, "why", true, None);
            assert!(matches!(end, End::Stop { .. }), "{code}: {end:?}");
        }
        for code in [1001, 1006, 1012, 1013, 4429, 4500, 4508, 4512] {
            let end = End::of_code(code, "why", true, None);
            assert!(matches!(end, End::Again { .. }), "{code}: {end:?}");
        }
        assert!(matches!(End::of_code(4499, "news", false, None), End::Stop { .. }));
    }

    #[test]
    fn a_refusal_that_will_not_change_stops() {
        for status in [301, 400, 401, 403, 404, 426] {
            assert!(matches!(End::of_status(status, "", None), End::Stop { .. }), "{status}");
        }
        for status in [429, 500, 502, 503] {
            assert!(matches!(End::of_status(status, "", None), End::Again { .. }), "{status}");
        }
    }

    #[test]
    fn waits_double_up_to_half_a_minute_and_are_spread() {
        let mut backoff = Backoff::default();
        let longest: Vec<u64> = (0..7).map(|_| backoff.next(None, 1.0).as_secs()).collect();
        assert_eq!(longest, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(Backoff::default().next(None, 0.0), Duration::from_millis(500));
    }

    #[test]
    fn the_server_says_when() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.next(Some(Duration::from_millis(1200)), 0.7), Duration::from_millis(1200));
        assert_eq!(backoff.next(Some(Duration::from_secs(86_400)), 0.7), Duration::from_secs(30));
    }
}
