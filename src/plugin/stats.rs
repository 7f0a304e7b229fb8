//! Counters of one plugin's calls: how many, how many failed, and a histogram of their times.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use serde::Serialize;

/// Four buckets to each doubling, from 1 µs to 2^16 µs: a quantile is off by at most 19 %.
const BUCKETS: usize = 64;

pub struct CallStats {
    calls: AtomicU64,
    failures: AtomicU64,
    total_ns: AtomicU64,
    buckets: [AtomicU64; BUCKETS],
}

#[derive(Debug, Clone, Copy, Serialize)]
pub struct CallSummary {
    pub calls: u64,
    pub failures: u64,
    pub microseconds: Microseconds,
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
            total_ns: AtomicU64::new(0),
            buckets: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

impl CallStats {
    pub fn record(&self, took: Duration, failed: bool) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.failures.fetch_add(u64::from(failed), Ordering::Relaxed);
        self.total_ns.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.buckets[bucket(took)].fetch_add(1, Ordering::Relaxed);
    }

    pub fn summary(&self) -> CallSummary {
        let calls = self.calls.load(Ordering::Relaxed);
        let counts: Vec<u64> = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
        let mean = self.total_ns.load(Ordering::Relaxed) as f64 / 1000.0 / calls.max(1) as f64;
        CallSummary {
            calls,
            failures: self.failures.load(Ordering::Relaxed),
            microseconds: Microseconds {
                mean: round(mean),
                p50: round(quantile(&counts, 0.5)),
                p99: round(quantile(&counts, 0.99)),
            },
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

    #[test]
    fn quantiles_are_right_within_a_bucket() {
        let stats = CallStats::default();
        for us in 1..=1000 {
            stats.record(Duration::from_micros(us), us == 7);
        }
        let summary = stats.summary();
        assert_eq!((summary.calls, summary.failures), (1000, 1));
        let within = |value: f64, of: f64| value >= of && value <= of * 1.2;
        assert!(within(summary.microseconds.p50, 500.0), "{summary:?}");
        assert!(within(summary.microseconds.p99, 990.0), "{summary:?}");
    }
}
