//! Single calls instead of rounds of them, for their tail; and what an instance takes: time to make, call and drop one, and
//! memory to keep one.

use std::{error::Error, fs, time::Instant};

use jackfield::{event::Event, plugin::Bench};

const CALLS: usize = 200_000;
const FRESH: usize = 2_000;
const KEPT: usize = 400;

/// Prints them for one plugin.
pub fn measure(name: &str, bench: &mut Bench, event: &Event) -> Result<(), Box<dyn Error>> {
    let mut calls = Vec::with_capacity(CALLS);
    for _ in 0..CALLS / if name == "js" { 10 } else { 1 } {
        let start = Instant::now();
        bench.call(event)?;
        calls.push(start.elapsed().as_secs_f64() * 1e6);
    }
    let mut fresh = Vec::with_capacity(FRESH);
    for _ in 0..FRESH {
        let start = Instant::now();
        bench.fresh()?.call(event)?;
        fresh.push(start.elapsed().as_secs_f64() * 1e6);
    }
    let before = resident_bytes()?;
    let mut kept = Vec::with_capacity(KEPT);
    for _ in 0..KEPT {
        let mut instance = bench.fresh()?;
        instance.call(event)?;
        kept.push(instance);
    }
    let memory = resident_bytes()?.saturating_sub(before) as f64 / KEPT as f64 / 1024.0;
    calls.sort_by(f64::total_cmp);
    fresh.sort_by(f64::total_cmp);
    let (p50, p99) = (calls[calls.len() / 2], calls[calls.len() * 99 / 100]);
    println!("{name}: a call, each timed alone: p50 {p50:.1} \u{b5}s, p99 {p99:.1} \u{b5}s");
    let (p50, p99) = (fresh[FRESH / 2], fresh[FRESH * 99 / 100]);
    println!("{name}: a fresh instance, configured, called once, dropped: p50 {p50:.0} \u{b5}s, p99 {p99:.0} \u{b5}s");
    println!("{name}: memory of a warm instance, of {KEPT}: {memory:.0} KiB");
    Ok(())
}

fn resident_bytes() -> Result<usize, Box<dyn Error>> {
    let pages = fs::read_to_string("/proc/self/statm")?;
    let pages: usize = pages.split(' ').nth(1).ok_or("no resident pages")?.parse()?;
    Ok(pages * 4096)
}
