//! The gates of the scheduler's webhooks: reports come in, and what other nodes told.

use std::time::{Duration, Instant};

use super::{Job, Scheduler, endpoint::Pass};
use crate::{
    event::{WebhookId, now_ms},
    store::GateRow,
    webhook::gate::{Circuit, Consequence, Gate, Report},
};

/// What this node has just said itself is not taken back by a row that was read a moment before; what others said is added.
const OWN_WORD: Duration = Duration::from_secs(5);

/// How a webhook stands, beside what the table says of it.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub gate: Gate,
    /// The row as this node last read or wrote it. A row that says the same again says nothing: what was not told yet, a
    /// first failure, would be forgotten with every look.
    told: GateRow,
    /// When this node last wrote it.
    said: Option<Instant>,
}

pub(super) fn pass(gate: &Gate, now: i64) -> Pass {
    match gate.held_until_ms(now) {
        Some(until_ms) => Pass::ByHand { until_ms },
        None if gate.circuit(now) == Circuit::HalfOpen => Pass::Probe,
        None => Pass::All,
    }
}

impl Scheduler {
    /// Takes an attempt's result; with what follows from it, and the jobs that go back to the table.
    pub fn report(&self, webhook: WebhookId, report: Report) -> (Consequence, GateRow, Vec<Job>) {
        let (consequence, row) = {
            let mut state = self.state();
            if report == Report::Success && !state.gates.contains_key(&webhook) {
                return (Consequence::default(), GateRow::default(), Vec::new());
            }
            let kept = state.gates.entry(webhook).or_default();
            let mut consequence = kept.gate.report(report, now_ms());
            let row = kept.gate.row();
            // A success ends the streak that the table knows of, whoever told it, before a restart too.
            consequence.changed |= report == Report::Success && row != kept.told;
            if consequence.changed {
                (kept.told, kept.said) = (row, Some(Instant::now()));
            } else if kept.gate.is_default() {
                state.gates.remove(&webhook);
            }
            if consequence.has_opened {
                self.wake(&mut state, webhook);
            }
            (consequence, row)
        };
        let drained = if consequence.has_closed { self.drain(Some(webhook)) } else { Vec::new() };
        self.dues.notify_one();
        (consequence, row, drained)
    }

    /// Takes what all nodes said; the jobs of webhooks that are held now go back to the table.
    pub fn take_gates(&self, rows: Vec<(WebhookId, GateRow)>) -> Vec<Job> {
        let now = now_ms();
        let mut held = Vec::new();
        {
            let mut state = self.state();
            for (webhook, row) in rows {
                let kept = state.gates.entry(webhook).or_default();
                let before = kept.gate.held_until_ms(now);
                let has_just_said = kept.said.is_some_and(|said| said.elapsed() < OWN_WORD);
                if has_just_said {
                    kept.gate.add(row);
                } else if row != kept.told {
                    kept.told = row;
                    kept.gate.take(row);
                }
                if kept.gate.held_until_ms(now) > before {
                    held.push(webhook);
                }
                if kept.gate.is_default() && !has_just_said {
                    state.gates.remove(&webhook);
                }
            }
        }
        self.dues.notify_one();
        held.into_iter().flat_map(|webhook| self.drain(Some(webhook))).collect()
    }

    /// How a webhook stands, for its statistics.
    pub fn gate_of(&self, webhook: WebhookId) -> Gate {
        self.state().gate(webhook)
    }

    /// A webhook that was switched on, or changed, gets a new chance.
    pub fn forget_gate(&self, webhook: WebhookId) {
        let mut state = self.state();
        state.gates.remove(&webhook);
        self.wake(&mut state, webhook);
        drop(state);
        self.dues.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::{super::InFlight, *};

    const WEBHOOK: WebhookId = WebhookId(1);
    const LIMITS: InFlight = InFlight { per_webhook: 16, per_tenant: 384 };

    #[test]
    fn a_row_that_says_nothing_new_ends_no_streak() {
        let scheduler = Scheduler::new(LIMITS);
        for _ in 0..10 {
            assert_eq!(scheduler.gate_of(WEBHOOK).circuit(now_ms()), Circuit::Closed);
            scheduler.report(WEBHOOK, Report::Failure);
            // As after a success some time ago, or for a rate limit.
            let row = if scheduler.gate_of(WEBHOOK).failures_in_a_row() < 2 {
                GateRow::default()
            } else {
                scheduler.gate_of(WEBHOOK).row()
            };
            scheduler.take_gates(vec![(WEBHOOK, row)]);
        }
        assert!(matches!(scheduler.gate_of(WEBHOOK).circuit(now_ms()), Circuit::Open { .. }));
    }

    #[test]
    fn a_success_ends_the_streak_that_the_table_tells_of() {
        let scheduler = Scheduler::new(LIMITS);
        let failing = GateRow { failing_since_ms: Some(5), ..GateRow::default() };
        scheduler.take_gates(vec![(WEBHOOK, failing)]);
        let (consequence, row, _) = scheduler.report(WEBHOOK, Report::Success);
        assert!(consequence.changed, "the table is to be told");
        assert_eq!(row, GateRow::default());
        // Read a moment before that was written, twice.
        scheduler.take_gates(vec![(WEBHOOK, failing)]);
        scheduler.take_gates(vec![(WEBHOOK, failing)]);
        assert_eq!(scheduler.gate_of(WEBHOOK).failing_since_ms(), None);
    }

    #[test]
    fn single_failures_and_their_ends_are_told_to_nobody() {
        let scheduler = Scheduler::new(LIMITS);
        assert!(!scheduler.report(WEBHOOK, Report::Failure).0.changed);
        assert!(!scheduler.report(WEBHOOK, Report::Success).0.changed);
    }
}
