//! Latencies, counted in steps of 50 µs.

use std::time::Duration;

const STEP: Duration = Duration::from_micros(50);
/// Up to ten seconds; what is later counts as the last.
const STEPS: usize = 200_000;

pub struct Histogram {
    counts: Vec<u32>,
    all: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; STEPS], all: 0 }
    }
}

impl Histogram {
    pub fn add(&mut self, nanos: u64) {
        let step = usize::try_from(nanos / STEP.as_nanos() as u64).unwrap_or(STEPS).min(STEPS - 1);
        self.counts[step] += 1;
        self.all += 1;
    }

    /// The value at or below which this share lies, in ms.
    pub fn percentile_ms(&self, share: f64) -> f64 {
        let mut left = (self.all as f64 * share).ceil() as u64;
        for (step, count) in self.counts.iter().enumerate() {
            left = left.saturating_sub(u64::from(*count));
            if left == 0 && self.all > 0 {
                return (step + 1) as f64 * STEP.as_secs_f64() * 1e3;
            }
        }
        f64::NAN
    }
}
