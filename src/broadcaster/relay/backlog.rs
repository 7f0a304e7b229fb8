//! What was published while this node was alone, for the other nodes.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::event::{EventId, EventType, TenantId};

const MAX_EVENTS: usize = 10_000;
const MAX_BYTES: usize = 32 * 1024 * 1024;

#[derive(Debug, Clone)]
pub struct Waiting {
    pub tenant: TenantId,
    pub id: EventId,
    pub event_type: EventType,
    pub open: String,
    /// It may have been published already, by a call that was not answered.
    pub again: bool,
}

/// Bounded: the oldest are given up, and whose they were is told as a loss.
#[derive(Default)]
pub struct Backlog(Mutex<State>);

#[derive(Default)]
struct State {
    waiting: VecDeque<Waiting>,
    bytes: usize,
    /// Tenants that lost events.
    lost: HashSet<TenantId>,
}

impl Backlog {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn push(&self, event: Waiting) {
        let mut state = self.state();
        state.bytes += event.open.len();
        state.waiting.push_back(event);
        while state.waiting.len() > MAX_EVENTS || state.bytes > MAX_BYTES {
            let Some(oldest) = state.waiting.pop_front() else { return };
            state.bytes -= oldest.open.len();
            state.lost.insert(oldest.tenant);
        }
    }

    /// The oldest, and who lost events before them.
    pub fn look(&self, limit: usize) -> (Vec<Waiting>, Vec<TenantId>) {
        let state = self.state();
        (state.waiting.iter().take(limit).cloned().collect(), state.lost.iter().cloned().collect())
    }

    /// The oldest may have been published now.
    pub fn doubt(&self, events: usize) {
        self.state().waiting.iter_mut().take(events).for_each(|event| event.again = true);
    }

    /// The oldest are published, and the losses told.
    pub fn done(&self, events: usize, lost: &[TenantId]) {
        let mut state = self.state();
        for _ in 0..events {
            if let Some(event) = state.waiting.pop_front() {
                state.bytes -= event.open.len();
            }
        }
        for tenant in lost {
            state.lost.remove(tenant);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_given_up_and_their_tenants_are_known() {
        let backlog = Backlog::default();
        let event = |n: usize| Waiting {
            tenant: TenantId::parse(if n < 5 { "acme" } else { "globex" }).unwrap(),
            id: EventId::parse(&format!("evt_{n}")).unwrap(),
            event_type: EventType::parse("call.incoming").unwrap(),
            open: "{".to_owned(),
            again: false,
        };
        (0..MAX_EVENTS + 3).for_each(|n| backlog.push(event(n)));
        let (oldest, lost) = backlog.look(1);
        assert_eq!((oldest[0].id.as_str(), lost.len()), ("evt_3", 1));
        backlog.done(1, &lost);
        let (oldest, lost) = backlog.look(usize::MAX);
        assert_eq!((oldest[0].id.as_str(), oldest.len(), lost.len()), ("evt_4", MAX_EVENTS - 1, 0));
    }
}
