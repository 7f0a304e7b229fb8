//! The medians of the trials as a table, and which targets are reached.

use super::{
    payload::PAYLOAD_BYTES,
    publishers::{MAX_ON_THE_WAY, PUBLISHERS},
    stall::Stalled,
    systems::{KINDS, Kind},
    trial::{BURSTS, Figures, IDLE, MANY_SUBSCRIBERS, MEASURED, STEADY, SUBSCRIBERS},
};

/// Deliveries a second beside nchan's, with few and with many subscribers.
const TARGET_RATIO: f64 = 1.5;
const TARGET_RATIO_MANY: f64 = 2.5;
/// CPU µs a delivery with one event a write, and with ten.
const TARGET_CPU_US: f64 = 8.0;
const TARGET_CPU_US_OF_TEN: f64 = 3.0;
const TARGET_P99_MS: f64 = 25.0;
const TARGET_IDLE_KIB: f64 = 8.0;
/// The p99 of the others beside a stalled reader, to theirs without: above this it is more than the swing of trials.
const TARGET_STALLED_RATIO: f64 = 1.2;
/// The default of WS_MAX_QUEUE_BYTES, and what the allocator may keep besides.
const TARGET_STALLED_KIB: f64 = 1024.0 + 256.0;

#[derive(Default)]
pub struct Report {
    loads: Vec<(Kind, &'static str, Figures)>,
    idle_kib: Vec<(Kind, f64)>,
    stalled: Vec<Stalled>,
}

pub fn print_conditions() -> anyhow::Result<()> {
    let cores = std::thread::available_parallelism()?;
    let load = std::fs::read_to_string("/proc/loadavg")?;
    println!("{cores} cores, shared by the system, the subscribers' thread and {PUBLISHERS} publishers");
    println!("load average before: {}", load.split(' ').next().unwrap_or_default());
    println!("{PAYLOAD_BYTES} bytes of payload; {} s measured a load, medians of the trials", MEASURED.as_secs());
    println!("Jackfield commits each event to SQLite first, and its frames carry the envelope besides the payload");
    println!("saturating: at most {MAX_ON_THE_WAY} events on their way at once, the same for each system");
    Ok(())
}

impl Report {
    pub fn add(&mut self, kind: Kind, load: &'static str, figures: Figures) {
        let Figures { deliveries_per_second, cpu_us, p50_ms, p99_ms, missing } = figures;
        println!(
            "   {kind:<11} {load:<17} {deliveries_per_second:>8.0} /s  {cpu_us:>6.2} µs  p50 {p50_ms:>7.2}  p99 {p99_ms:>7.2} \
             ms  missing {missing}"
        );
        self.loads.push((kind, load, figures));
    }

    pub fn add_idle(&mut self, kind: Kind, kib: f64) {
        println!("   {kind:<11} idle              {kib:>8.2} KiB a connection");
        self.idle_kib.push((kind, kib));
    }

    pub fn add_stalled(&mut self, stalled: Stalled) {
        println!(
            "   {:<11} stalled reader    p99 of the others {:.2} ms without, {:.2} ms with; cost {:.0} KiB",
            Kind::Jackfield,
            stalled.without.p99_ms,
            stalled.with.p99_ms,
            stalled.cost_kib
        );
        self.stalled.push(stalled);
    }

    pub fn missing_of(&self, kind: Kind) -> u64 {
        let loads = self.loads.iter().filter(|(of, ..)| *of == kind).map(|(.., figures)| figures.missing);
        let stalled = self.stalled.iter().filter(|_| kind == Kind::Jackfield);
        loads.sum::<u64>() + stalled.map(|stalled| stalled.without.missing + stalled.with.missing).sum::<u64>()
    }

    fn median(&self, kind: Kind, load: &str, value: impl Fn(&Figures) -> f64) -> f64 {
        let of = self.loads.iter().filter(|(of, name, _)| *of == kind && *name == load);
        median(of.map(|(.., figures)| value(figures)))
    }

    fn idle(&self, kind: Kind) -> f64 {
        median(self.idle_kib.iter().filter(|(of, _)| *of == kind).map(|(_, kib)| *kib))
    }

    pub fn print(&self) {
        println!("\nmedians{}{}", " ".repeat(36), KINDS.map(|kind| format!("{kind:>12}")).concat());
        let rate = |figures: &Figures| figures.deliveries_per_second;
        let cpu = |figures: &Figures| figures.cpu_us;
        self.row(&format!("deliveries/s, {SUBSCRIBERS} subscribers"), 0, |kind| self.median(kind, "saturating", rate));
        self.row(&format!("deliveries/s, {MANY_SUBSCRIBERS} subscribers"), 0, |kind| {
            self.median(kind, "saturating, many", rate)
        });
        self.row("CPU µs a delivery, saturated", 2, |kind| self.median(kind, "saturating", cpu));
        self.row("CPU µs a delivery, one event a write", 2, |kind| self.median(kind, "steady", cpu));
        self.row(&format!("CPU µs a delivery, {} events a write", BURSTS.1), 2, |kind| {
            self.median(kind, "bursts", cpu)
        });
        let steady = STEADY.0 as usize * STEADY.1 * SUBSCRIBERS;
        self.row(&format!("p50 ms at {steady} deliveries/s"), 2, |kind| self.median(kind, "steady", |f| f.p50_ms));
        self.row(&format!("p99 ms at {steady} deliveries/s"), 2, |kind| self.median(kind, "steady", |f| f.p99_ms));
        self.row(&format!("KiB an idle connection, of {IDLE}"), 2, |kind| self.idle(kind));
        self.row("deliveries missing", 0, |kind| self.missing_of(kind) as f64);
        self.print_targets();
    }

    fn row(&self, what: &str, decimals: usize, value: impl Fn(Kind) -> f64) {
        let values = KINDS.map(value);
        if values.iter().any(|value| !value.is_nan()) {
            println!("{what:<43}{}", values.map(|value| format!("{value:>12.decimals$}")).concat());
        }
    }

    fn print_targets(&self) {
        let ours = |load, value: fn(&Figures) -> f64| self.median(Kind::Jackfield, load, value);
        let ratio = |load| {
            let rate = |kind| self.median(kind, load, |figures| figures.deliveries_per_second);
            rate(Kind::Jackfield) / rate(Kind::Nchan)
        };
        let stalled = |value: fn(&Stalled) -> f64| median(self.stalled.iter().map(value));
        println!("\ntargets");
        at_least("of nchan's deliveries/s, few subscribers", ratio("saturating"), TARGET_RATIO);
        at_least("of nchan's deliveries/s, many subscribers", ratio("saturating, many"), TARGET_RATIO_MANY);
        at_most("CPU µs a delivery, one event a write", ours("steady", |f| f.cpu_us), TARGET_CPU_US);
        at_most("CPU µs a delivery, ten events a write", ours("bursts", |f| f.cpu_us), TARGET_CPU_US_OF_TEN);
        at_most("p99 ms at a steady rate", ours("steady", |f| f.p99_ms), TARGET_P99_MS);
        at_most("KiB an idle connection", self.idle(Kind::Jackfield), TARGET_IDLE_KIB);
        at_most(
            "p99 beside a stalled reader, to without",
            stalled(|s| s.with.p99_ms / s.without.p99_ms),
            TARGET_STALLED_RATIO,
        );
        at_most("KiB that the stalled reader costs", stalled(|s| s.cost_kib), TARGET_STALLED_KIB);
    }
}

fn at_least(what: &str, value: f64, target: f64) {
    print_target(what, value, "≥", target, value >= target);
}

fn at_most(what: &str, value: f64, target: f64) {
    print_target(what, value, "≤", target, value <= target);
}

fn print_target(what: &str, value: f64, sign: &str, target: f64, reached: bool) {
    // A part that was not asked for.
    if value.is_nan() {
        return;
    }
    let verdict = if reached { "reached" } else { "NOT reached" };
    println!("   {what:<45} {value:>9.2}   {sign} {target:<7} {verdict}");
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
