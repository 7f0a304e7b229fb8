//! The time that counts, and what processes used of the machine in it.

use std::{
    io,
    time::{Duration, Instant},
};

/// `/proc` counts CPU time in these, on every machine that Linux runs on: USER_HZ.
const TICKS_PER_SECOND: f64 = 100.0;

/// From the end of the warm-up to the end of the load.
#[derive(Clone, Copy)]
pub struct Window {
    pub start: Instant,
    pub end: Instant,
}

impl Window {
    pub fn after(warm_up: Duration, measured: Duration) -> Self {
        let start = Instant::now() + warm_up;
        Self { start, end: start + measured }
    }

    pub fn has(&self, at: Instant) -> bool {
        (self.start..self.end).contains(&at)
    }

    pub fn seconds(&self) -> f64 {
        (self.end - self.start).as_secs_f64()
    }
}

/// CPU seconds of a process until now, in user and kernel.
///
/// # Errors
/// When there is no such process.
pub fn cpu_seconds(process: u32) -> io::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name is in parentheses and may have anything in it; `utime` and `stime` are the 12th and 13th word after it.
    let words = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: f64 = words.skip(11).take(2).filter_map(|word| word.parse::<f64>().ok()).sum();
    Ok(ticks / TICKS_PER_SECOND)
}

/// The most memory that a process ever had resident, MiB.
///
/// # Errors
/// When there is no such process.
pub fn peak_memory_mib(process: u32) -> io::Result<f64> {
    memory_mib(process, "VmHWM:")
}

/// What a process has resident now, MiB.
///
/// # Errors
/// When there is no such process.
pub fn resident_memory_mib(process: u32) -> io::Result<f64> {
    memory_mib(process, "VmRSS:")
}

fn memory_mib(process: u32, name: &str) -> io::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    let kib = line.split_whitespace().next().and_then(|word| word.parse::<f64>().ok());
    Ok(kib.unwrap_or_default() / 1024.0)
}

/// The value below which this share of the sorted durations lies, in ms.
pub fn percentile_ms(sorted: &[Duration], share: f64) -> f64 {
    let at = ((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1));
    sorted.get(at).map_or(f64::NAN, |value| value.as_secs_f64() * 1e3)
}
