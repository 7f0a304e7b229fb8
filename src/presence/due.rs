//! Whose presence is to be looked at, and when: each user once, however often it changes. Knows no clock.

use std::collections::{BTreeMap, HashMap};

use tokio::time::Instant;

use super::announcer::Who;

/// A look that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    pub who: Who,
    /// From when on the user may be told offline; none where nobody said that a connection is gone.
    pub offline: Option<Offline>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offline {
    pub from: Instant,
    pub reason: &'static str,
}

struct Entry {
    at: (Instant, u64),
    offline: Option<Offline>,
}

/// Bounded by the users there are: one entry each.
#[derive(Default)]
pub struct Due {
    users: HashMap<Who, Entry>,
    /// The same by time; the number tells those of one moment apart, in the order in which they came.
    by_time: BTreeMap<(Instant, u64), Who>,
    last: u64,
}

impl Due {
    /// A look at once.
    pub fn look(&mut self, who: Who, now: Instant) {
        let offline = self.users.get(&who).and_then(|entry| entry.offline);
        self.put(Look { who, offline }, now);
    }

    /// A look when the user may be told offline; one that is due already stays due.
    pub fn look_later(&mut self, who: Who, offline: Offline, now: Instant) {
        let due_already = self.users.get(&who).map(|entry| entry.at.0).filter(|at| *at <= now);
        self.put(Look { who, offline: Some(offline) }, due_already.unwrap_or(offline.from));
    }

    /// A look that came to nothing is due again, at the latest at this time. What came meanwhile is newer.
    pub fn put_back(&mut self, look: Look, at: Instant) {
        let newer = self.users.get(&look.who);
        let at = newer.map_or(at, |entry| entry.at.0.min(at));
        let offline = newer.and_then(|entry| entry.offline).or(look.offline);
        self.put(Look { offline, ..look }, at);
    }

    /// Takes what is due, the oldest first.
    pub fn take(&mut self, now: Instant, max: usize) -> Vec<Look> {
        let mut looks = Vec::new();
        while looks.len() < max
            && let Some(first) = self.by_time.first_entry()
            && first.key().0 <= now
        {
            let who = first.remove();
            let offline = self.users.remove(&who).and_then(|entry| entry.offline);
            looks.push(Look { who, offline });
        }
        looks
    }

    /// Who may be told offline in a while.
    pub fn leaving(&self) -> Vec<Who> {
        self.users.iter().filter(|(_, entry)| entry.offline.is_some()).map(|(who, _)| who.clone()).collect()
    }

    pub fn next_at(&self) -> Option<Instant> {
        self.by_time.first_key_value().map(|((at, _), _)| *at)
    }

    fn put(&mut self, look: Look, at: Instant) {
        self.last += 1;
        let at = (at, self.last);
        self.by_time.insert(at, look.who.clone());
        if let Some(old) = self.users.insert(look.who, Entry { at, offline: look.offline }) {
            self.by_time.remove(&old.at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::event::{TenantId, UserId};

    fn who(user: &str) -> Who {
        (TenantId::parse("acme").unwrap(), UserId::parse(user).unwrap())
    }

    fn users(looks: &[Look]) -> Vec<&str> {
        looks.iter().map(|look| look.who.1.as_str()).collect()
    }

    #[test]
    fn who_changes_often_is_looked_at_once_and_in_time() {
        let (mut due, now) = (Due::default(), Instant::now());
        let (second, offline) = (Duration::from_secs(1), |from| Offline { from, reason: "disconnected" });
        due.look_later(who("kim"), offline(now + 3 * second), now);
        due.look_later(who("kim"), offline(now + 4 * second), now + second);
        due.look_later(who("sam"), offline(now + 3 * second), now);
        assert_eq!(users(&due.take(now + 3 * second, 9)), ["sam"], "the debounce of kim began anew");
        due.look(who("kim"), now + 3 * second);
        let looks = due.take(now + 3 * second, 9);
        assert_eq!(users(&looks), ["kim"]);
        assert_eq!(looks[0].offline, Some(offline(now + 4 * second)), "a join takes no debounce away");
        assert_eq!((due.take(now + 9 * second, 9), due.next_at()), (Vec::new(), None));
    }

    #[test]
    fn what_is_due_stays_due_and_the_newest_leave_counts() {
        let (mut due, now) = (Due::default(), Instant::now());
        let later = Offline { from: now + Duration::from_secs(3), reason: "disconnected" };
        due.look(who("kim"), now);
        due.look_later(who("kim"), later, now);
        let look = due.take(now, 9).remove(0);
        assert_eq!(look.offline, Some(later));
        let newest = Offline { from: now + Duration::from_secs(5), ..later };
        due.look_later(who("kim"), newest, now);
        due.put_back(look, now);
        assert_eq!(due.take(now, 9)[0].offline, Some(newest));
    }

    #[test]
    fn the_oldest_come_first_and_no_more_than_asked_for() {
        let (mut due, now) = (Due::default(), Instant::now());
        for user in ["c", "a", "b"] {
            due.look(who(user), now);
        }
        assert_eq!(users(&due.take(now, 2)), ["c", "a"]);
        assert_eq!(users(&due.take(now, 2)), ["b"]);
    }
}
