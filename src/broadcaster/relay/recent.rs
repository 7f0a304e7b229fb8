//! The last events that a tenant's sockets here have had: one that was in doubt comes again, and is not shown again.

use std::{
    collections::{HashSet, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
};

/// Of those that were shown.
const MAX_SHOWN: usize = 4096;
/// Of those that Redis may bring again, however many are shown meanwhile: all of a backlog, and those whose call is under way
/// when Redis goes away.
const MAX_DOUBTFUL: usize = 16_384;

pub struct Recent {
    shown: Ring,
    /// Shown too, and in Redis at any time: published by a call without an answer, or out of the backlog.
    doubtful: Ring,
}

impl Default for Recent {
    fn default() -> Self {
        Self { shown: Ring::of(MAX_SHOWN), doubtful: Ring::of(MAX_DOUBTFUL) }
    }
}

impl Recent {
    pub fn knows(&self, id: &str) -> bool {
        let digest = digest(id);
        self.shown.known.contains(&digest) || self.doubtful.known.contains(&digest)
    }

    /// Tells whether it is new.
    pub fn add(&mut self, id: &str) -> bool {
        !self.knows(id) && self.shown.add(digest(id))
    }

    /// Keeps one that was shown in mind, since Redis may bring it much later.
    pub fn doubt(&mut self, id: &str) {
        self.doubtful.add(digest(id));
    }
}

/// Digests of ids, not the ids: two in one are as good as impossible, and this is per tenant.
struct Ring {
    known: HashSet<u64>,
    order: VecDeque<u64>,
    max: usize,
}

impl Ring {
    fn of(max: usize) -> Self {
        Self { known: HashSet::new(), order: VecDeque::new(), max }
    }

    /// Tells whether it is new.
    fn add(&mut self, digest: u64) -> bool {
        if !self.known.insert(digest) {
            return false;
        }
        self.order.push_back(digest);
        if self.order.len() > self.max
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

fn digest(id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_are_known_and_no_more() {
        let mut recent = Recent::default();
        assert!((0..=MAX_SHOWN).all(|n| recent.add(&n.to_string())));
        assert!(!recent.add("1") && recent.knows(&MAX_SHOWN.to_string()));
        assert!(!recent.knows("0") && recent.shown.order.len() == MAX_SHOWN);
    }

    #[test]
    fn what_is_in_doubt_is_known_however_much_is_shown_meanwhile() {
        let mut recent = Recent::default();
        assert!(recent.add("in doubt"));
        recent.doubt("in doubt");
        assert!((0..=MAX_SHOWN).all(|n| recent.add(&n.to_string())));
        assert!(recent.knows("in doubt") && !recent.add("in doubt"));
        (0..=MAX_DOUBTFUL).for_each(|n| recent.doubt(&n.to_string()));
        assert!(!recent.knows("in doubt") && recent.doubtful.known.len() == MAX_DOUBTFUL);
    }
}
