//! What a connection is shown that it missed: pages of the history, paced by its reader, before events come by themselves.

use std::sync::Arc;

use crate::hub::{Position, Resume};

/// Where a replay stands. It goes through `after..=until`, then on from `then` until nothing is left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    pub epoch: Arc<str>,
    pub after: u64,
    until: Option<u64>,
    then: Option<u64>,
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// A page after this offset, of which nothing is beyond `until`.
    Page { after: u64, until: Option<u64> },
    /// What waits in the mailbox goes between what was missed and what comes.
    Drain,
}

impl Replay {
    /// At the beginning of a connection: all since then.
    pub fn at_start(resume: Resume, position: &Position) -> Option<Self> {
        let Resume::After(after) = resume else { return None };
        Some(Self { epoch: position.epoch.clone(), after, until: None, then: None })
    }

    /// Later on: what came before the connection did, and then what came since it was put back at `top`.
    pub fn later(resume: Resume, welcome: &Position, top: &Position) -> Option<Self> {
        let Resume::After(after) = resume else { return None };
        let same = welcome.epoch == top.epoch;
        let until = if same { welcome.offset.max(after) } else { top.offset };
        Some(Self { epoch: top.epoch.clone(), after, until: Some(until), then: Some(top.offset) })
    }

    pub fn step(&mut self) -> Step {
        match (self.until, self.then) {
            (Some(until), Some(then)) if self.after >= until => {
                (self.after, self.until, self.then) = (then, None, None);
                Step::Drain
            }
            (until, _) => Step::Page { after: self.after, until },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u64) -> Position {
        Position { epoch: "e".into(), offset }
    }

    #[test]
    fn a_late_resume_skips_what_came_live_since_the_welcome() {
        let mut replay = Replay::later(Resume::After(3), &at(7), &at(20)).unwrap();
        assert_eq!(replay.step(), Step::Page { after: 3, until: Some(7) });
        replay.after = 7;
        assert_eq!(replay.step(), Step::Drain);
        assert_eq!(replay.step(), Step::Page { after: 20, until: None });
    }

    #[test]
    fn a_resume_at_the_start_goes_on_until_nothing_is_left() {
        let mut replay = Replay::at_start(Resume::After(3), &at(7)).unwrap();
        assert_eq!(replay.step(), Step::Page { after: 3, until: None });
        assert_eq!(Replay::at_start(Resume::None, &at(7)), None);
    }
}
