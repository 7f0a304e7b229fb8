//! The memory that all webhooks share, and what of it each may hold.

use super::{State, endpoint::Endpoint};

/// Jobs in memory, and bytes of their events.
pub(super) const MAX_QUEUED: usize = 20_000;
pub(super) const MAX_QUEUED_BYTES: usize = 64 << 20;
/// As much again is kept for webhooks that hold next to nothing, so many jobs and bytes for each.
const MIN_JOBS: usize = 8;
const MIN_BYTES: usize = 512 << 10;

/// Memory that is free.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    pub jobs: usize,
    pub bytes: usize,
    pub spare_jobs: usize,
    pub spare_bytes: usize,
}

impl Share {
    /// A webhook may hold as much as is free besides, and no more: a slow one never takes the last place. However many slow
    /// ones there are, one that holds next to nothing finds room.
    pub fn share_of(self, endpoint: &Endpoint) -> Self {
        let (jobs, bytes) = (endpoint.jobs(), endpoint.bytes);
        let least_jobs = MIN_JOBS.saturating_sub(jobs).min(self.spare_jobs);
        let least_bytes = MIN_BYTES.saturating_sub(bytes).min(self.spare_bytes);
        Self {
            jobs: self.jobs.saturating_sub(jobs).max(least_jobs),
            bytes: self.bytes.saturating_sub(bytes).max(least_bytes),
            ..self
        }
    }

    pub fn is_nothing(self) -> bool {
        self.jobs == 0 || self.bytes == 0
    }
}

impl State {
    pub(super) fn free(&self) -> Share {
        Share {
            jobs: MAX_QUEUED.saturating_sub(self.queued),
            bytes: MAX_QUEUED_BYTES.saturating_sub(self.queued_bytes),
            spare_jobs: (2 * MAX_QUEUED).saturating_sub(self.queued),
            spare_bytes: (2 * MAX_QUEUED_BYTES).saturating_sub(self.queued_bytes),
        }
    }

    /// True once, when a quarter of what was held has gone since claims had to wait for it.
    pub(super) fn has_just_made_room(&mut self) -> bool {
        let has_room = self
            .claims_wait
            .is_some_and(|(jobs, bytes)| self.queued * 4 <= jobs * 3 || self.queued_bytes * 4 <= bytes * 3);
        if has_room {
            self.claims_wait = None;
        }
        has_room
    }
}
