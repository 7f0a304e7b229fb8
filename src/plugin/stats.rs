//! Counters of one plugin's calls for one tenant: how many, how many failed or dropped, a histogram of their times, what they
//! took of the processor and of memory.

use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

use serde::Serialize;

use super::books::Ended;

/// Four buckets to each doubling, from 1 µs to 2^16 µs: a quantile is off by at most 19 %.
const BUCKETS: usize = 64;

pub struct CallStats {
    calls: AtomicU64,
    failures: AtomicU64,
    drops: AtomicU64,
    total_ns: AtomicU64,
    cpu_ns: AtomicU64,
    memory_bytes: AtomicUsize,
    buckets: [AtomicU64; BUCKETS],
}

#[derive(Debug, Clone, Copy, Serialize)]
pub struct CallSummary {
    pub calls: u64,
    pub failures: u64,
    pub drops: u64,
    pub microseconds: Microseconds,
    /// Of the processor, all calls together, with the making of instances.
    pub cpu_microseconds: u64,
    /// The most that one instance had.
    pub memory_bytes: usize,
    /// `closed` or `open`, of the active version.
    pub breaker: &'static str,
}

#[derive(Debug, Clone, Copy, Serialize)]
pub struct Microseconds {
    pub mean: f64,
    pub p50: f64,
    pub p99: f64,
}

impl Default for CallStats {
    fn default() -> Self {
        Self {
            calls: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            drops: AtomicU64::new(0),
            total_ns: AtomicU64::new(0),
            cpu_ns: AtomicU64::new(0),
            memory_bytes: AtomicUsize::new(0),
            buckets: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

impl CallStats {
    pub fn record(&self, ended: &Ended) {
        let ns = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.failures.fetch_add(u64::from(ended.failure.is_some()), Ordering::Relaxed);
        self.drops.fetch_add(u64::from(ended.dropped), Ordering::Relaxed);
        self.total_ns.fetch_add(ns(ended.took), Ordering::Relaxed);
        self.cpu_ns.fetch_add(ns(ended.cpu), Ordering::Relaxed);
        self.memory_bytes.fetch_max(ended.memory_bytes, Ordering::Relaxed);
        self.buckets[bucket(ended.took)].fetch_add(1, Ordering::Relaxed);
    }

    pub fn summary(&self, breaker_is_open: bool) -> CallSummary {
        let calls = self.calls.load(Ordering::Relaxed);
        let counts: Vec<u64> = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
        let mean = self.total_ns.load(Ordering::Relaxed) as f64 / 1000.0 / calls.max(1) as f64;
        CallSummary {
            calls,
            failures: self.failures.load(Ordering::Relaxed),
            drops: self.drops.load(Ordering::Relaxed),
            microseconds: Microseconds {
                mean: round(mean),
                p50: round(quantile(&counts, 0.5)),
                p99: round(quantile(&counts, 0.99)),
            },
            cpu_microseconds: self.cpu_ns.load(Ordering::Relaxed) / 1000,
            memory_bytes: self.memory_bytes.load(Ordering::Relaxed),
            breaker: if breaker_is_open { "open" } else { "closed" },
        }
    }
}

fn bucket(took: Duration) -> usize {
    let us = took.as_nanos() as f64 / 1000.0;
    // Truncation is the point; a negative or huge value saturates.
    ((us.max(1.0).log2() * 4.0) as usize).min(BUCKETS - 1)
}

/// The upper edge of the bucket in which the quantile lies.
fn quantile(counts: &[u64], q: f64) -> f64 {
    let total: u64 = counts.iter().sum();
    if total == 0 {
        return 0.0;
    }
    let rank = (total as f64 * q).ceil() as u64;
    let mut seen = 0;
    let index = counts.iter().position(|count| {
        seen += count;
        seen >= rank
    });
    2_f64.powf((index.unwrap_or(BUCKETS - 1) + 1) as f64 / 4.0)
}

fn round(us: f64) -> f64 {
    (us * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::{Failure, call::CallLog};

    #[test]
    fn quantiles_are_right_within_a_bucket() {
        let (stats, failure) = (CallStats::default(), Failure::new("trap", "trapped"));
        for us in 1..=1000 {
            stats.record(&Ended {
                took: Duration::from_micros(us),
                cpu: Duration::from_micros(1),
                memory_bytes: us as usize,
                dropped: us <= 3,
                failure: (us == 7).then_some(&failure),
                fault: false,
                log: CallLog::default(),
            });
        }
        let summary = stats.summary(false);
        assert_eq!((summary.calls, summary.failures, summary.drops), (1000, 1, 3));
        assert_eq!((summary.cpu_microseconds, summary.memory_bytes), (1000, 1000));
        let within = |value: f64, of: f64| value >= of && value <= of * 1.2;
        assert!(within(summary.microseconds.p50, 500.0), "{summary:?}");
        assert!(within(summary.microseconds.p99, 990.0), "{summary:?}");
    }
}
