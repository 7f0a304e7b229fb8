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
            let (gate, said) = state.gates.entry(webhook).or_default();
            let consequence = gate.report(report, now_ms());
            let row = gate.row();
            if consequence.changed {
                *said = Some(Instant::now());
            }
            if gate.is_default() && !consequence.changed {
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
                let (gate, said) = state.gates.entry(webhook).or_default();
                let before = gate.held_until_ms(now);
                if said.is_some_and(|said| said.elapsed() < OWN_WORD) {
                    gate.add(row);
                } else {
                    gate.take(row);
                }
                if gate.held_until_ms(now) > before {
                    held.push(webhook);
                }
                if gate.is_default() {
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
