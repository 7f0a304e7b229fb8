//! Queues that take turns: items wait under a key, and the keys are served one item each, round and round, so that
//! whoever queues much waits behind himself only.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
};

pub struct Turns<K, T> {
    queues: HashMap<K, VecDeque<T>>,
    /// Keys with items, in the order in which they are served.
    ring: VecDeque<K>,
}

impl<K, T> Default for Turns<K, T> {
    fn default() -> Self {
        Self { queues: HashMap::new(), ring: VecDeque::new() }
    }
}

impl<K: Clone + Eq + Hash, T> Turns<K, T> {
    pub fn push(&mut self, key: K, item: T) {
        let queue = self.queues.entry(key.clone()).or_default();
        if queue.is_empty() {
            self.ring.push_back(key);
        }
        queue.push_back(item);
    }

    /// The next key's oldest item.
    pub fn pop(&mut self) -> Option<(K, T)> {
        let key = self.ring.pop_front()?;
        let queue = self.queues.get_mut(&key)?;
        let item = queue.pop_front()?;
        if queue.is_empty() {
            self.queues.remove(&key);
        } else {
            self.ring.push_back(key.clone());
        }
        Some((key, item))
    }

    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_queues_much_waits_behind_himself() {
        let mut turns = Turns::default();
        for n in 0..3 {
            turns.push("storm", n);
        }
        turns.push("quiet", 10);
        let served: Vec<_> = std::iter::from_fn(|| turns.pop()).collect();
        assert_eq!(served, [("storm", 0), ("quiet", 10), ("storm", 1), ("storm", 2)]);
        assert!(turns.is_empty());
    }
}
