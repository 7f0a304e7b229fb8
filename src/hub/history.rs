//! A tenant's last events, so that whoever was away for a moment misses nothing: a ring that is bounded in events and bytes.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{Frame, Routing};

/// Of one tenant.
const MAX_EVENTS: usize = 10_000;
const MAX_BYTES: usize = 8 * 1024 * 1024;
/// Of all tenants of this node.
const MAX_TOTAL_BYTES: usize = 256 * 1024 * 1024;
/// A tenant keeps this much, whatever the others use.
const MIN_BYTES: usize = 64 * 1024;
/// What an entry takes besides its text.
const ENTRY_BYTES: usize = 160;

/// Bytes that all rings of a node hold.
pub type TotalBytes = Arc<AtomicUsize>;

pub struct History {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// Everything after this offset is here.
    start: u64,
    total: TotalBytes,
}

pub struct Entry {
    pub offset: u64,
    pub routing: Routing,
    pub frame: Frame,
}

impl Entry {
    fn bytes(&self) -> usize {
        self.frame.len() + ENTRY_BYTES
    }
}

impl History {
    pub fn new(start: u64, total: TotalBytes) -> Self {
        Self { entries: VecDeque::new(), bytes: 0, start, total }
    }

    /// Everything after this offset is here.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Adds the next event; the oldest make room.
    pub fn push(&mut self, entry: Entry) {
        self.bytes += entry.bytes();
        self.total.fetch_add(entry.bytes(), Ordering::Relaxed);
        self.entries.push_back(entry);
        while self.entries.len() > MAX_EVENTS
            || self.bytes > MAX_BYTES
            || (self.bytes > MIN_BYTES && self.total.load(Ordering::Relaxed) > MAX_TOTAL_BYTES)
        {
            let Some(oldest) = self.entries.pop_front() else { return };
            self.start = oldest.offset;
            self.forget(oldest.bytes());
        }
    }

    /// Forgets all: what comes next begins after `start`.
    pub fn restart(&mut self, start: u64) {
        self.entries.clear();
        self.forget(self.bytes);
        self.start = start;
    }

    pub fn last(&self) -> Option<&Entry> {
        self.entries.back()
    }

    /// What came after an offset, oldest first.
    pub fn after(&self, offset: u64) -> impl Iterator<Item = &Entry> {
        let first = self.entries.partition_point(|entry| entry.offset <= offset);
        self.entries.range(first..)
    }

    fn forget(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.total.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for History {
    fn drop(&mut self) {
        self.total.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        event::EventType,
        hub::{Position, Routing},
    };

    use super::*;

    fn entry(offset: u64, bytes: usize) -> Entry {
        let position = Position { epoch: "e".into(), offset };
        let event_type = EventType::parse("call.incoming").unwrap();
        let frame = Frame::at(&format!("{{{}", " ".repeat(bytes)), position);
        Entry { offset, routing: Routing { event_type, user: None, session: None }, frame }
    }

    #[test]
    fn the_oldest_make_room_and_what_is_gone_is_known() {
        let total = TotalBytes::default();
        let mut history = History::new(5, total.clone());
        for offset in 6..=5 + 2 * MAX_EVENTS as u64 {
            history.push(entry(offset, 10));
        }
        assert_eq!(history.start(), 5 + MAX_EVENTS as u64);
        assert_eq!(history.after(history.start()).count(), MAX_EVENTS);
        assert_eq!(history.after(history.start() + 7).next().unwrap().offset, history.start() + 8);
        let before = total.load(Ordering::Relaxed);
        history.push(entry(99_999, MAX_BYTES - 4096));
        assert!(history.after(0).count() < 30, "bytes are bounded too");
        assert!(total.load(Ordering::Relaxed) > before);
        history.restart(3);
        assert_eq!((history.start(), total.load(Ordering::Relaxed)), (3, 0));
    }
}
