//! The last events that a tenant's sockets here have had: one that was in doubt comes again, and is not shown again.

use std::{
    collections::{HashSet, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
};

/// Far more than can be in doubt at once.
const MAX_EVENTS: usize = 4096;

/// Digests of ids, not the ids: two in one are as good as impossible, and this is per tenant.
#[derive(Default)]
pub struct Recent {
    known: HashSet<u64>,
    order: VecDeque<u64>,
}

impl Recent {
    pub fn knows(&self, id: &str) -> bool {
        self.known.contains(&digest(id))
    }

    /// Tells whether it is new.
    pub fn add(&mut self, id: &str) -> bool {
        let digest = digest(id);
        if !self.known.insert(digest) {
            return false;
        }
        self.order.push_back(digest);
        if self.order.len() > MAX_EVENTS
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
        assert!((0..=MAX_EVENTS).all(|n| recent.add(&n.to_string())));
        assert!(!recent.add("1") && recent.knows(&MAX_EVENTS.to_string()));
        assert!(!recent.knows("0") && recent.order.len() == MAX_EVENTS);
    }
}
