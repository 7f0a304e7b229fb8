//! A breaker for each version of a plugin, for one tenant: a version that traps or breaks its bounds again and again rests,
//! so that its tenant's other events do not wait for it. What a plugin refuses in its own words is no fault.
//!
//! closed → (20 faults within 60 s) → open → after 30 s one call goes through: it closes the breaker or opens it for as long.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::Failure;

/// What a call that was not made fails with.
pub const CODE: &str = "breaker-open";
const FAULTS: usize = 20;
const WITHIN: Duration = Duration::from_secs(60);
const RESTS: Duration = Duration::from_secs(30);
/// Steps of one tenant may be held on different versions; more than these are forgotten.
const MAX_VERSIONS: usize = 4;

/// What an event fails with whose plugin rests.
pub fn rest(version: u32) -> Failure {
    let (within, rests) = (WITHIN.as_secs(), RESTS.as_secs());
    let message = format!(
        "version {version} trapped or broke its bounds {FAULTS} times within {within} s: it is tried every {rests} s"
    );
    Failure::new(CODE, message)
}

/// The versions of one plugin that have had a fault, for one tenant; the latest last.
#[derive(Debug, Default)]
pub struct Breakers {
    versions: VecDeque<(u32, Breaker)>,
}

#[derive(Debug, Default)]
struct Breaker {
    /// The last ones, at most [`FAULTS`].
    faults: VecDeque<Instant>,
    /// Open: when the next call may try.
    tries_at: Option<Instant>,
    trying: bool,
}

/// What an end of a call changed.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn {
    Opened,
    Closed,
}

impl Breakers {
    /// Whether a call may be made now. One that may must be [`Breakers::note`]d.
    ///
    /// # Errors
    /// What the event fails with instead.
    pub fn admit(&mut self, version: u32, now: Instant) -> Result<(), Failure> {
        if self.of(version).is_none_or(|breaker| breaker.admit(now)) { Ok(()) } else { Err(rest(version)) }
    }

    /// Takes how a call ended.
    pub fn note(&mut self, version: u32, fault: bool, now: Instant) -> Option<Turn> {
        if self.of(version).is_none() {
            if !fault {
                return None;
            }
            if self.versions.len() == MAX_VERSIONS {
                self.versions.pop_front();
            }
            self.versions.push_back((version, Breaker::default()));
        }
        let breaker = self.of(version)?;
        if fault { breaker.fault(now) } else { breaker.ended_well() }
    }

    pub fn is_open(&self, version: u32) -> bool {
        self.versions.iter().any(|(number, breaker)| *number == version && breaker.tries_at.is_some())
    }

    /// Somebody has chosen what serves: what was before says nothing about it.
    pub fn reset(&mut self) {
        self.versions.clear();
    }

    fn of(&mut self, version: u32) -> Option<&mut Breaker> {
        self.versions.iter_mut().find(|(number, _)| *number == version).map(|(_, breaker)| breaker)
    }
}

impl Breaker {
    fn admit(&mut self, now: Instant) -> bool {
        match self.tries_at {
            None => true,
            Some(at) if now < at => false,
            Some(_) => {
                // One that never ends is followed by the next.
                self.tries_at = Some(now + RESTS);
                self.trying = true;
                true
            }
        }
    }

    fn fault(&mut self, now: Instant) -> Option<Turn> {
        if self.tries_at.is_some() {
            self.tries_at = Some(now + RESTS);
            self.trying = false;
            return None;
        }
        self.faults.push_back(now);
        if self.faults.len() > FAULTS {
            self.faults.pop_front();
        }
        let first = self.faults.front().filter(|_| self.faults.len() == FAULTS)?;
        if now.duration_since(*first) > WITHIN {
            return None;
        }
        self.tries_at = Some(now + RESTS);
        Some(Turn::Opened)
    }

    /// A call that was under way when the breaker opened proves nothing: only one that tries closes it.
    fn ended_well(&mut self) -> Option<Turn> {
        if !std::mem::take(&mut self.trying) {
            return None;
        }
        *self = Self::default();
        Some(Turn::Closed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(breakers: &mut Breakers, times: usize, now: Instant) -> Vec<Option<Turn>> {
        (0..times).map(|_| breakers.note(1, true, now)).collect()
    }

    #[test]
    fn twenty_faults_within_a_minute_open_it_and_one_call_tries_it() {
        let (mut breakers, start) = (Breakers::default(), Instant::now());
        assert!(fault(&mut breakers, 19, start).iter().all(Option::is_none));
        let later = start + WITHIN;
        assert_eq!(fault(&mut breakers, 1, later), [Some(Turn::Opened)]);
        assert_eq!(breakers.admit(1, later).unwrap_err().code, CODE);
        assert!(breakers.admit(2, later).is_ok(), "another version is another matter");

        assert_eq!(breakers.note(1, false, later), None, "a call from before proves nothing");
        assert!(breakers.is_open(1));
        let tries = later + RESTS;
        assert!(breakers.admit(1, tries).is_ok() && breakers.admit(1, tries).is_err(), "one tries");
        assert_eq!(breakers.note(1, true, tries), None);
        assert!(breakers.admit(1, tries + RESTS / 2).is_err());
        assert!(breakers.admit(1, tries + RESTS).is_ok());
        assert_eq!(breakers.note(1, false, tries + RESTS), Some(Turn::Closed));
        assert!(fault(&mut breakers, 19, tries + RESTS).iter().all(Option::is_none), "it counts from nothing again");
    }

    #[test]
    fn faults_that_are_far_apart_open_nothing() {
        let (mut breakers, start) = (Breakers::default(), Instant::now());
        for n in 0..100 {
            assert_eq!(breakers.note(1, true, start + WITHIN / 19 * n + Duration::from_secs(n.into())), None);
        }
    }
}
