//! Who is next on the plugin threads: of the tenants that wait, the one that has had the least CPU time.
//!
//! Each tenant has an account of time. A job is charged what its tenant's jobs took lately when it begins, and what it took
//! when it has ended. Whoever comes after a pause begins where the others are: time that was not used is not saved up.
//! No tenant has all workers at once, so that nobody's event waits for as many slow calls as there are workers.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    hash::Hash,
    time::Duration,
};

/// The least that a job is charged: to be passed to a worker takes about as long.
const LEAST: Duration = Duration::from_micros(2);
/// Tenants without jobs that still have more time than the others are remembered, until there are so many of them.
const REMEMBERED: usize = 1024;

pub struct FairQueue<K, T> {
    tenants: HashMap<K, Tenant<T>>,
    /// Those with jobs and with room for one more worker, the next one first.
    ready: BTreeSet<(Duration, K)>,
    /// The time of whoever was served last: the tenants that wait are there or beyond.
    now: Duration,
    /// Jobs that run, of all tenants.
    running: usize,
    max_running: usize,
}

struct Tenant<T> {
    jobs: VecDeque<T>,
    running: usize,
    time: Duration,
    /// What a job took lately.
    usual: Duration,
}

/// A job that was begun, to be ended.
#[must_use]
pub struct Begun<K> {
    pub tenant: K,
    charged: Duration,
}

impl<K: Clone + Ord + Hash, T> FairQueue<K, T> {
    /// At most `max_running` jobs of one tenant run at once.
    pub fn new(max_running: usize) -> Self {
        Self {
            tenants: HashMap::new(),
            ready: BTreeSet::new(),
            now: Duration::ZERO,
            running: 0,
            max_running: max_running.max(1),
        }
    }

    pub fn push(&mut self, key: K, job: T) {
        let now = self.now;
        let new = || Tenant { jobs: VecDeque::new(), running: 0, time: now, usual: LEAST };
        let tenant = self.tenants.entry(key.clone()).or_insert_with(new);
        if tenant.jobs.is_empty() && tenant.running == 0 {
            tenant.time = tenant.time.max(now);
        }
        tenant.jobs.push_back(job);
        self.place(&key);
    }

    /// The next job. Nothing also where each tenant that waits has as many running as it may.
    pub fn pop(&mut self) -> Option<(Begun<K>, T)> {
        let (time, key) = self.ready.pop_first()?;
        self.now = self.now.max(time);
        let tenant = self.tenants.get_mut(&key)?;
        let job = tenant.jobs.pop_front()?;
        tenant.running += 1;
        self.running += 1;
        tenant.time += tenant.usual;
        let begun = Begun { tenant: key.clone(), charged: tenant.usual };
        self.place(&key);
        Some((begun, job))
    }

    /// Charges what the job took. True when its tenant has one that may begin now and could not before.
    pub fn end(&mut self, begun: Begun<K>, took: Duration) -> bool {
        let Begun { tenant: key, charged } = begun;
        let Some(tenant) = self.tenants.get_mut(&key) else { return false };
        let was_full = tenant.running >= self.max_running;
        tenant.running -= 1;
        self.running -= 1;
        let took = took.max(LEAST);
        self.ready.remove(&(tenant.time, key.clone()));
        tenant.time = (tenant.time + took).saturating_sub(charged);
        tenant.usual = (tenant.usual * 3 + took) / 4;
        let waits = !tenant.jobs.is_empty();
        self.place(&key);
        self.forget_idle();
        was_full && waits
    }

    pub fn len_of(&self, key: &K) -> usize {
        self.tenants.get(key).map_or(0, |tenant| tenant.jobs.len())
    }

    fn place(&mut self, key: &K) {
        let Some(tenant) = self.tenants.get(key) else { return };
        if !tenant.jobs.is_empty() && tenant.running < self.max_running {
            self.ready.insert((tenant.time, key.clone()));
        }
    }

    /// Whoever has no more time than the others is as good as new.
    fn forget_idle(&mut self) {
        if self.running == 0 && self.ready.is_empty() {
            self.tenants.clear();
        } else if self.tenants.len() > REMEMBERED {
            let now = self.now;
            self.tenants.retain(|_, tenant| !tenant.jobs.is_empty() || tenant.running > 0 || tenant.time > now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: Duration = Duration::from_micros(1);

    /// One worker serves a storm of slow jobs and one of quick ones for a while.
    #[test]
    fn who_takes_long_is_served_seldom() {
        let mut queue = FairQueue::new(1);
        let cost = |tenant: &str| if tenant == "slow" { 50_000 * US } else { 50 * US };
        for n in 0..1000 {
            queue.push("slow", n);
            queue.push("quick", n);
        }
        let mut spent = HashMap::new();
        for _ in 0..900 {
            let (begun, _) = queue.pop().unwrap();
            *spent.entry(begun.tenant).or_insert(Duration::ZERO) += cost(begun.tenant);
            let took = cost(begun.tenant);
            queue.end(begun, took);
        }
        assert!(spent["slow"] <= 100_000 * US, "{spent:?}");
        assert!(queue.len_of(&"quick") <= 102, "quick jobs are served meanwhile");
    }

    #[test]
    fn who_comes_late_is_next_and_has_saved_nothing_up() {
        let mut queue = FairQueue::new(1);
        (0..100).for_each(|n| queue.push("storm", n));
        for _ in 0..10 {
            let (begun, _) = queue.pop().unwrap();
            queue.end(begun, 50_000 * US);
        }
        queue.push("late", 0);
        queue.push("late", 1);
        let mut served = Vec::new();
        for _ in 0..4 {
            let (begun, _) = queue.pop().unwrap();
            served.push(begun.tenant);
            queue.end(begun, 50_000 * US);
        }
        assert!(served[..2].contains(&"late"), "{served:?}");
        assert!(served.iter().filter(|tenant| **tenant == "storm").count() >= 1, "{served:?}");
    }

    #[test]
    fn one_job_at_a_time_gains_nothing_by_pausing() {
        let mut queue = FairQueue::new(1);
        (0..1000).for_each(|n| queue.push("busy", n));
        let (mut slow, mut busy) = (0, 0);
        queue.push("slow", 0);
        for _ in 0..200 {
            let (begun, _) = queue.pop().unwrap();
            if begun.tenant == "slow" {
                slow += 1;
                queue.end(begun, 10_000 * US);
                queue.push("slow", 0);
            } else {
                busy += 1;
                queue.end(begun, 100 * US);
            }
        }
        assert!(slow <= 4 && busy >= 190, "{slow} slow, {busy} busy");
    }

    #[test]
    fn no_tenant_has_all_workers() {
        let mut queue = FairQueue::new(1);
        queue.push("loops", 0);
        queue.push("loops", 1);
        let (begun, _) = queue.pop().unwrap();
        assert!(queue.pop().is_none(), "one worker stays for others");
        queue.push("other", 2);
        let (other, _) = queue.pop().unwrap();
        assert_eq!(other.tenant, "other");
        assert!(queue.end(begun, US) && !queue.end(other, US));
        let (begun, _) = queue.pop().unwrap();
        assert!(!queue.end(begun, US) && queue.tenants.is_empty(), "nothing is left of them");
    }
}
