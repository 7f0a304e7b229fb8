//! The end of a member's token: told before it comes, and closed a little after it.

use std::time::{Duration, Instant};

use super::seat::Who;

/// A member is told this long before its token ends, and closed this long after.
const NOTICE: Duration = Duration::from_secs(60);
const GRACE: Duration = Duration::from_secs(25);

/// When to tell of the end, and when it has come.
#[derive(Debug, Default)]
pub struct Expiry {
    notice_at: Option<Instant>,
    ends_at: Option<Instant>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Due {
    Nothing,
    Notice,
    End,
}

impl Expiry {
    /// A visitor's never comes.
    pub fn of(who: &Who, now: Instant) -> Self {
        match who {
            Who::Member(identity) => {
                Self::after(Duration::from_millis(identity.expires_in_ms().max(0).unsigned_abs()), now)
            }
            Who::Visitor { .. } => Self::default(),
        }
    }

    fn after(left: Duration, now: Instant) -> Self {
        Self {
            notice_at: now.checked_add(left.saturating_sub(NOTICE)),
            ends_at: left.checked_add(GRACE).and_then(|left| now.checked_add(left)),
        }
    }

    /// When it is to be looked at, if ever.
    pub fn next(&self) -> Option<Instant> {
        self.notice_at.or(self.ends_at)
    }

    /// What is to be done now; the notice is due once.
    pub fn due(&mut self, now: Instant) -> Due {
        if self.ends_at.is_some_and(|at| now >= at) {
            return Due::End;
        }
        match self.notice_at.take_if(|at| now >= *at) {
            Some(_) => Due::Notice,
            None => Due::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn the_end_is_told_60_s_before_and_comes_25_s_after() {
        let now = Instant::now();
        let mut expiry = Expiry::after(100 * S, now);
        assert_eq!((expiry.next(), expiry.due(now + 39 * S)), (Some(now + 40 * S), Due::Nothing));
        assert_eq!((expiry.due(now + 40 * S), expiry.due(now + 41 * S)), (Due::Notice, Due::Nothing));
        assert_eq!((expiry.next(), expiry.due(now + 124 * S)), (Some(now + 125 * S), Due::Nothing));
        assert_eq!(expiry.due(now + 125 * S), Due::End);
    }

    #[test]
    fn what_has_less_left_is_told_at_once() {
        let now = Instant::now();
        assert_eq!(Expiry::after(30 * S, now).due(now), Due::Notice);
    }
}
