//! What holds a whole webhook back, as plain values: a pause that its receiver asked for, and the circuit breaker; and since
//! when nothing but failures came. Time is passed in.

use std::time::Duration;

use crate::store::GateRow;

/// Failures in a row that open the circuit.
const OPEN_AFTER: u32 = 10;
const FIRST_OPEN_MS: i64 = 30_000;
const MAX_OPEN_MS: i64 = 10 * 60_000;
/// Nothing but failures for so long disables the webhook.
const DISABLE_AFTER: Duration = Duration::from_secs(5 * 24 * 3600);
/// A streak is told to the other nodes, and kept over a restart, from here on: single failures are everyday.
const TELL_AFTER: u32 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Circuit {
    Closed,
    /// Nothing is sent until then.
    Open {
        until_ms: i64,
    },
    /// One delivery at a time tries whether the receiver is back.
    HalfOpen,
}

/// How one webhook stands. Milliseconds since the epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gate {
    paused_until_ms: i64,
    open_until_ms: i64,
    /// 0: the circuit is closed.
    open_for_ms: i64,
    failing_since_ms: Option<i64>,
    failures_in_a_row: u32,
}

/// What an attempt came to, as far as the gate is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    Success,
    Failure,
    /// The receiver lives, and wants to be left alone until then.
    Pause {
        until_ms: i64,
    },
}

/// What follows from a report.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Consequence {
    /// To be told to the other nodes. Of a success, what they know decides.
    pub changed: bool,
    /// Nothing is sent any more: what waits in memory goes back.
    pub has_closed: bool,
    /// Everything may be sent again.
    pub has_opened: bool,
    /// Nothing but failures for five days.
    pub disable: bool,
}

impl Gate {
    pub fn report(&mut self, report: Report, now_ms: i64) -> Consequence {
        match report {
            Report::Success => self.succeed(now_ms),
            Report::Failure => self.fail(now_ms, true),
            Report::Pause { until_ms } => {
                let longer = until_ms > self.paused_until_ms;
                self.paused_until_ms = self.paused_until_ms.max(until_ms);
                let failed = self.fail(now_ms, false);
                Consequence { changed: failed.changed || longer, has_closed: longer, ..failed }
            }
        }
    }

    fn succeed(&mut self, now_ms: i64) -> Consequence {
        let was_held = self.held_until_ms(now_ms).is_some() || self.circuit(now_ms) == Circuit::HalfOpen;
        let paused_until_ms = self.paused_until_ms;
        // A pause is the receiver's own wish: one late success does not end it.
        *self = Self { paused_until_ms, ..Self::default() };
        Consequence { has_opened: was_held && self.held_until_ms(now_ms).is_none(), ..Consequence::default() }
    }

    fn fail(&mut self, now_ms: i64, counts: bool) -> Consequence {
        let since = *self.failing_since_ms.get_or_insert(now_ms);
        let disable = now_ms.saturating_sub(since) >= i64::try_from(DISABLE_AFTER.as_millis()).unwrap_or(i64::MAX);
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        let mut changed = self.failures_in_a_row == TELL_AFTER;
        let mut has_closed = false;
        let opens = match self.circuit(now_ms) {
            Circuit::Closed => self.failures_in_a_row >= OPEN_AFTER,
            Circuit::HalfOpen => true,
            // What was under way when it opened says nothing new.
            Circuit::Open { .. } => false,
        };
        if counts && opens {
            self.open_for_ms = (self.open_for_ms * 2).clamp(FIRST_OPEN_MS, MAX_OPEN_MS);
            self.open_until_ms = now_ms.saturating_add(self.open_for_ms);
            (changed, has_closed) = (true, true);
        }
        Consequence { changed, has_closed, has_opened: false, disable }
    }

    pub fn circuit(&self, now_ms: i64) -> Circuit {
        match self.open_for_ms {
            0 => Circuit::Closed,
            _ if now_ms < self.open_until_ms => Circuit::Open { until_ms: self.open_until_ms },
            _ => Circuit::HalfOpen,
        }
    }

    /// Until when nothing is sent; none: it may be.
    pub fn held_until_ms(&self, now_ms: i64) -> Option<i64> {
        let until_ms = self.paused_until_ms.max(if self.open_for_ms > 0 { self.open_until_ms } else { 0 });
        (until_ms > now_ms).then_some(until_ms)
    }

    pub fn paused_until_ms(&self, now_ms: i64) -> Option<i64> {
        (self.paused_until_ms > now_ms).then_some(self.paused_until_ms)
    }

    pub fn failures_in_a_row(&self) -> u32 {
        self.failures_in_a_row
    }

    pub fn failing_since_ms(&self) -> Option<i64> {
        self.failing_since_ms
    }

    /// What another node told, or this one before a restart.
    pub fn take(&mut self, row: GateRow) {
        self.paused_until_ms = row.paused_until_ms;
        self.open_until_ms = row.open_until_ms;
        self.open_for_ms = row.open_for_ms;
        // The longer streak is the true one; none ends it.
        self.failing_since_ms = match (row.failing_since_ms, self.failing_since_ms) {
            (Some(theirs), Some(ours)) => Some(theirs.min(ours)),
            (theirs, _) => theirs,
        };
        if row.failing_since_ms.is_none() {
            self.failures_in_a_row = 0;
        }
    }

    /// What other nodes told beside what this one has just said itself, which may not stand there yet. After a success, an
    /// open circuit there may be the old one.
    pub fn add(&mut self, row: GateRow) {
        self.paused_until_ms = self.paused_until_ms.max(row.paused_until_ms);
        if self.failing_since_ms.is_some() {
            self.open_until_ms = self.open_until_ms.max(row.open_until_ms);
            self.open_for_ms = self.open_for_ms.max(row.open_for_ms);
        }
    }

    pub fn row(&self) -> GateRow {
        GateRow {
            paused_until_ms: self.paused_until_ms,
            open_until_ms: self.open_until_ms,
            open_for_ms: self.open_for_ms,
            failing_since_ms: self.failing_since_ms,
        }
    }

    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(gate: &mut Gate, times: u32, now_ms: i64) -> Consequence {
        (0..times).map(|_| gate.report(Report::Failure, now_ms)).last().unwrap_or_default()
    }

    #[test]
    fn ten_failures_in_a_row_open_the_circuit_and_one_success_between_them_does_not() {
        let mut gate = Gate::default();
        failed(&mut gate, 9, 1_000);
        gate.report(Report::Success, 1_000);
        assert!(!failed(&mut gate, 9, 1_000).has_closed);
        assert_eq!(gate.circuit(1_000), Circuit::Closed);
        assert!(failed(&mut gate, 1, 1_000).has_closed);
        assert_eq!(gate.circuit(1_000), Circuit::Open { until_ms: 31_000 });
        assert_eq!(gate.held_until_ms(1_000), Some(31_000));
    }

    #[test]
    fn probes_that_fail_double_the_wait_up_to_ten_minutes() {
        let mut gate = Gate::default();
        failed(&mut gate, 10, 0);
        let mut waits = Vec::new();
        for _ in 0..7 {
            let until = gate.held_until_ms(gate.open_until_ms - 1).expect("open");
            waits.push(gate.open_for_ms / 1_000);
            assert_eq!(gate.circuit(until), Circuit::HalfOpen);
            failed(&mut gate, 1, until);
        }
        assert_eq!(waits, [30, 60, 120, 240, 480, 600, 600]);
    }

    #[test]
    fn a_probe_that_succeeds_closes_the_circuit() {
        let mut gate = Gate::default();
        failed(&mut gate, 10, 0);
        let consequence = gate.report(Report::Success, 30_000);
        assert!(consequence.has_opened);
        assert!(gate.is_default());
    }

    #[test]
    fn what_was_under_way_when_it_opened_changes_nothing() {
        let mut gate = Gate::default();
        failed(&mut gate, 10, 0);
        let open = gate.open_until_ms;
        assert_eq!(failed(&mut gate, 5, 100), Consequence::default());
        assert_eq!(gate.open_until_ms, open);
    }

    #[test]
    fn a_pause_holds_everything_and_never_opens_the_circuit() {
        let mut gate = Gate::default();
        for n in 0..30 {
            gate.report(Report::Pause { until_ms: 5_000 }, n);
        }
        assert_eq!(gate.circuit(100), Circuit::Closed);
        assert_eq!(gate.held_until_ms(100), Some(5_000));
        assert!(!gate.report(Report::Pause { until_ms: 4_000 }, 100).has_closed, "a shorter one changes nothing");
        gate.report(Report::Success, 200);
        assert_eq!(gate.held_until_ms(200), Some(5_000), "it is the receiver's wish");
        assert_eq!(gate.held_until_ms(5_000), None);
    }

    #[test]
    fn five_days_of_nothing_but_failures_disable_and_a_success_starts_them_anew() {
        let day = 24 * 3600 * 1_000;
        let mut gate = Gate::default();
        assert!(!failed(&mut gate, 1, 0).disable);
        assert!(!failed(&mut gate, 1, 5 * day - 1).disable);
        assert!(failed(&mut gate, 1, 5 * day).disable);
        gate.report(Report::Success, 5 * day);
        assert!(!failed(&mut gate, 1, 6 * day).disable);
    }

    #[test]
    fn what_another_node_told_counts() {
        let mut gate = Gate::default();
        let row = GateRow { open_until_ms: 90, open_for_ms: 30, failing_since_ms: Some(5), ..GateRow::default() };
        gate.take(row);
        assert_eq!((gate.circuit(50), gate.row()), (Circuit::Open { until_ms: 90 }, row));
        gate.take(GateRow::default());
        assert!(gate.is_default());
    }

    #[test]
    fn what_another_node_told_is_added_to_what_this_one_has_just_said() {
        let told = GateRow { paused_until_ms: 70, open_until_ms: 90, open_for_ms: 30, failing_since_ms: Some(5) };
        let mut gate = Gate::default();
        failed(&mut gate, 2, 10);
        gate.add(told);
        assert_eq!((gate.circuit(50), gate.paused_until_ms(50)), (Circuit::Open { until_ms: 90 }, Some(70)));
        gate.report(Report::Success, 60);
        gate.add(told);
        assert_eq!((gate.circuit(60), gate.paused_until_ms(60)), (Circuit::Closed, Some(70)), "that was before");
    }

    fn any_report() -> impl proptest::strategy::Strategy<Value = Option<i64>> {
        use proptest::prelude::*;
        // Some: the receiver asks for so long a pause; weighted so that streaks come up.
        prop_oneof![6 => Just(None), 1 => (0_i64..86_400_000).prop_map(Some)]
    }

    proptest::proptest! {
        /// Whatever comes: an open circuit follows ten failures in a row and ends with a success, nothing is held longer than
        /// it may be, and only a streak of five days disables.
        #[test]
        fn no_history_breaks_the_promises(
            history in proptest::collection::vec((any_report(), 0..8_u8, 0..40_000_000_i64), 1..120),
        ) {
            let (mut gate, mut now_ms) = (Gate::default(), 1);
            let (mut streak, mut since_ms, mut pause_ms) = (0_u32, None, 0);
            for (pause, luck, later_ms) in history {
                now_ms += later_ms;
                let report = match pause {
                    Some(wait_ms) => Report::Pause { until_ms: now_ms + wait_ms },
                    None if luck == 0 => Report::Success,
                    None => Report::Failure,
                };
                let consequence = gate.report(report, now_ms);
                if report == Report::Success {
                    (streak, since_ms) = (0, None);
                } else {
                    streak += 1;
                    since_ms.get_or_insert(now_ms);
                }
                if let Report::Pause { until_ms } = report {
                    pause_ms = pause_ms.max(until_ms);
                }
                proptest::prop_assert!(gate.circuit(now_ms) == Circuit::Closed || streak >= OPEN_AFTER);
                let five_days = since_ms.is_some_and(|since| now_ms - since >= 5 * 24 * 3_600_000);
                proptest::prop_assert_eq!(consequence.disable, five_days);
                let longest_ms = pause_ms.max(now_ms + MAX_OPEN_MS);
                proptest::prop_assert!(gate.held_until_ms(now_ms).is_none_or(|until_ms| until_ms <= longest_ms));
                proptest::prop_assert!(pause_ms <= now_ms || gate.held_until_ms(now_ms) >= Some(pause_ms));
            }
        }
    }
}
