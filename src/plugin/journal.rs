//! What plugins wrote to the log and how they failed, for the tenant whose events they ran on: the last of it, in memory,
//! on this node.
//!
//! Bounded four times: bytes a second and lines and bytes kept for each (tenant, plugin), bytes for each tenant, bytes in
//! all. What is over a rate is counted in an entry; what is over a size goes, the oldest first.

use std::{
    collections::{HashMap, VecDeque},
    mem,
    num::NonZeroU32,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use serde::Serialize;

use super::{Failure, call::CallLog};
use crate::event::{EventId, TenantId, now_ms, rfc3339_ms};

const MAX_ENTRIES: usize = 1000;
const MAX_PLUGIN_BYTES: usize = 256 << 10;
const MAX_TENANT_BYTES: usize = 2 << 20;
const MAX_BYTES: usize = 64 << 20;
const BYTES_PER_SECOND: NonZeroU32 = NonZeroU32::new(64 << 10).expect("it is not 0");
/// Failures have a rate of their own, so that no flood of lines hides them.
const FAILURE_BYTES_PER_SECOND: NonZeroU32 = NonZeroU32::new(16 << 10).expect("it is not 0");
/// What an entry takes besides its words.
const ENTRY_BYTES: usize = mem::size_of::<Entry>();

/// What a plugin wrote, or how it failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    #[serde(rename = "at", serialize_with = "as_rfc3339")]
    at_ms: i64,
    pub level: Level,
    pub message: String,
    /// Of a failure.
    code: Option<String>,
    pub version: u32,
    #[serde(serialize_with = "as_text")]
    event_id: Option<EventId>,
    /// Lines that are not kept, where this entry stands for them.
    dropped: u64,
    #[serde(skip)]
    seq: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

impl Level {
    /// Another word is shown as info.
    pub fn of(word: &str) -> Self {
        Self::parse(word).unwrap_or(Self::Info)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "debug" => Some(Self::Debug),
            "info" => Some(Self::Info),
            "warn" => Some(Self::Warn),
            "error" => Some(Self::Error),
            _ => None,
        }
    }
}

/// Which call it was.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    pub tenant: &'a TenantId,
    pub plugin: &'a str,
    pub version: u32,
    pub event: Option<&'a EventId>,
}

#[derive(Default)]
pub struct Journals {
    /// Held for an entry or a page.
    all: Mutex<All>,
}

#[derive(Default)]
struct All {
    tenants: HashMap<TenantId, OfTenant>,
    bytes: usize,
    next_seq: u64,
}

struct OfTenant {
    plugins: HashMap<String, Journal>,
    bytes: usize,
    written: Instant,
}

struct Journal {
    entries: VecDeque<Entry>,
    bytes: usize,
    written: Instant,
    lines: DefaultDirectRateLimiter,
    failures: DefaultDirectRateLimiter,
}

impl Journals {
    pub fn lines(&self, call: Call, log: CallLog) {
        if log.lines.is_empty() && log.dropped == 0 {
            return;
        }
        let mut all = self.lock();
        let mut dropped = log.dropped as u64;
        for line in log.lines {
            let entry = call.entry(Level::of(&line.level), line.message);
            if all.journal(call).may(Journal::lines, &entry) {
                all.put(call, entry);
            } else {
                dropped += 1;
            }
        }
        if dropped > 0 {
            all.put_dropped(call, dropped);
        }
        all.shrink();
    }

    pub fn failure(&self, call: Call, failure: &Failure) {
        let entry = Entry { code: Some(failure.code.clone()), ..call.entry(Level::Error, failure.message.clone()) };
        let mut all = self.lock();
        if all.journal(call).may(Journal::failures, &entry) {
            all.put(call, entry);
        } else {
            all.put_dropped(call, 1);
        }
        all.shrink();
    }

    /// A word of the host.
    pub fn note(&self, call: Call, level: Level, message: String) {
        let mut all = self.lock();
        all.put(call, call.entry(level, message));
        all.shrink();
    }

    /// Newest first, from `level` up, each with its cursor; `before` is the cursor of the page before.
    pub fn page(
        &self,
        tenant: &TenantId,
        plugin: &str,
        level: Level,
        before: Option<u64>,
        limit: usize,
    ) -> Vec<(u64, Entry)> {
        let all = self.lock();
        let Some(journal) = all.tenants.get(tenant).and_then(|of| of.plugins.get(plugin)) else { return Vec::new() };
        let newest_first = journal.entries.iter().rev();
        newest_first
            .filter(|entry| entry.level >= level && before.is_none_or(|before| entry.seq < before))
            .take(limit)
            .map(|entry| (entry.seq, entry.clone()))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Call<'_> {
    fn entry(self, level: Level, message: String) -> Entry {
        Entry {
            at_ms: now_ms(),
            level,
            message,
            code: None,
            version: self.version,
            event_id: self.event.cloned(),
            dropped: 0,
            seq: 0,
        }
    }
}

impl Entry {
    fn bytes(&self) -> usize {
        self.message.len() + self.code.as_ref().map_or(0, String::len) + ENTRY_BYTES
    }
}

impl Journal {
    fn new() -> Self {
        Self {
            entries: VecDeque::new(),
            bytes: 0,
            written: Instant::now(),
            lines: RateLimiter::direct(Quota::per_second(BYTES_PER_SECOND)),
            failures: RateLimiter::direct(Quota::per_second(FAILURE_BYTES_PER_SECOND)),
        }
    }

    fn lines(&self) -> &DefaultDirectRateLimiter {
        &self.lines
    }

    fn failures(&self) -> &DefaultDirectRateLimiter {
        &self.failures
    }

    fn may(&self, rate: impl Fn(&Self) -> &DefaultDirectRateLimiter, entry: &Entry) -> bool {
        let bytes = u32::try_from(entry.bytes()).ok().and_then(NonZeroU32::new);
        bytes.is_some_and(|bytes| matches!(rate(self).check_n(bytes), Ok(Ok(()))))
    }
}

impl All {
    fn of_tenant(&mut self, tenant: &TenantId) -> &mut OfTenant {
        let new = || OfTenant { plugins: HashMap::new(), bytes: 0, written: Instant::now() };
        self.tenants.entry(tenant.clone()).or_insert_with(new)
    }

    fn journal(&mut self, call: Call) -> &mut Journal {
        let plugins = &mut self.of_tenant(call.tenant).plugins;
        plugins.entry(call.plugin.to_owned()).or_insert_with(Journal::new)
    }

    /// Adds to the entry that stands for lines which are not kept, or makes one.
    fn put_dropped(&mut self, call: Call, dropped: u64) {
        let newest = self.journal(call).entries.back_mut();
        if let Some(entry) = newest.filter(|entry| entry.dropped > 0 && entry.version == call.version) {
            entry.dropped += dropped;
            entry.at_ms = now_ms();
            return;
        }
        let message =
            "more was written than is kept: 100 lines and 4 KiB a call, 64 KiB a second, failures 16 KiB a second";
        let entry = call.entry(Level::Warn, message.to_owned());
        // It stands for many events.
        self.put(call, Entry { event_id: None, dropped, ..entry });
    }

    fn put(&mut self, call: Call, entry: Entry) {
        let (seq, bytes) = (self.next_seq, entry.bytes());
        self.next_seq += 1;
        let of = self.of_tenant(call.tenant);
        of.written = Instant::now();
        let journal = of.plugins.entry(call.plugin.to_owned()).or_insert_with(Journal::new);
        journal.written = of.written;
        journal.bytes += bytes;
        journal.entries.push_back(Entry { seq, ..entry });
        let mut gone = 0;
        while journal.entries.len() > MAX_ENTRIES || journal.bytes > MAX_PLUGIN_BYTES {
            let Some(oldest) = journal.entries.pop_front() else { break };
            journal.bytes -= oldest.bytes();
            gone += oldest.bytes();
        }
        of.bytes = of.bytes + bytes - gone;
        self.bytes = self.bytes + bytes - gone;
        if self.of_tenant(call.tenant).bytes > MAX_TENANT_BYTES {
            self.forget_a_plugin(call.tenant);
        }
    }

    /// What nobody wrote to for longest goes.
    fn forget_a_plugin(&mut self, tenant: &TenantId) {
        let of = self.of_tenant(tenant);
        let oldest = of.plugins.iter().min_by_key(|(_, journal)| journal.written).map(|(plugin, _)| plugin.clone());
        if let Some(journal) = oldest.and_then(|plugin| of.plugins.remove(&plugin)) {
            of.bytes -= journal.bytes;
            self.bytes -= journal.bytes;
        }
    }

    fn shrink(&mut self) {
        while self.bytes > MAX_BYTES {
            let oldest = self.tenants.iter().min_by_key(|(_, of)| of.written).map(|(tenant, _)| tenant.clone());
            let Some(of) = oldest.and_then(|tenant| self.tenants.remove(&tenant)) else { return };
            self.bytes -= of.bytes;
        }
    }
}

fn as_rfc3339<S: serde::Serializer>(at_ms: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339_ms(*at_ms))
}

fn as_text<S: serde::Serializer>(id: &Option<EventId>, serializer: S) -> Result<S::Ok, S::Error> {
    id.as_ref().map(EventId::as_str).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::call::LogLine;

    fn tenant(name: &str) -> TenantId {
        TenantId::parse(name).unwrap()
    }

    fn write(journals: &Journals, tenant: &TenantId, plugin: &str, message: &str) {
        let call = Call { tenant, plugin, version: 1, event: None };
        let line = LogLine { level: "info".to_owned(), message: message.to_owned() };
        journals.lines(call, CallLog { lines: vec![line], dropped: 0 });
    }

    #[test]
    fn what_is_over_the_rate_is_counted_and_hides_no_failure() {
        let (journals, acme) = (Journals::default(), tenant("acme"));
        for _ in 0..100 {
            write(&journals, &acme, "loud", &"x".repeat(4000));
        }
        let call = Call { tenant: &acme, plugin: "loud", version: 1, event: None };
        journals.failure(call, &Failure::new("trap", "trapped"));
        let page = journals.page(&acme, "loud", Level::Debug, None, 200);
        assert_eq!(page[0].1.code.as_deref(), Some("trap"));
        let kept = page.iter().filter(|(_, entry)| entry.message.starts_with('x')).count() as u64;
        let dropped: u64 = page.iter().map(|(_, entry)| entry.dropped).sum();
        assert!(kept + dropped == 100 && (14..40).contains(&kept), "{kept} kept, {dropped} dropped");
    }

    #[test]
    fn nobody_sees_anothers_lines_and_a_page_goes_on_where_the_last_ended() {
        let journals = Journals::default();
        for n in 0..5 {
            write(&journals, &tenant("acme"), "shared/slack", &n.to_string());
            write(&journals, &tenant("globex"), "shared/slack", "theirs");
        }
        let page = |before| journals.page(&tenant("acme"), "shared/slack", Level::Info, before, 3);
        let words = |page: &[(u64, Entry)]| page.iter().map(|(_, entry)| entry.message.clone()).collect::<Vec<_>>();
        let first = page(None);
        assert_eq!(words(&first), ["4", "3", "2"]);
        assert_eq!(words(&page(Some(first[2].0))), ["1", "0"]);
        assert!(journals.page(&tenant("acme"), "shared/slack", Level::Warn, None, 3).is_empty());
    }

    #[test]
    fn whatever_is_written_what_is_kept_has_a_bound() {
        let (journals, acme) = (Journals::default(), tenant("acme"));
        let put = |plugin: &str| {
            let call = Call { tenant: &acme, plugin, version: 1, event: None };
            journals.note(call, Level::Info, "x".repeat(4000));
        };
        for plugin in 0..20 {
            (0..100).for_each(|_| put(&plugin.to_string()));
        }
        let all = journals.lock();
        let of = &all.tenants[&acme];
        let sum = |of: &OfTenant| of.plugins.values().map(|journal| journal.bytes).sum::<usize>();
        assert!(of.bytes <= MAX_TENANT_BYTES && of.bytes == sum(of) && of.bytes == all.bytes);
        assert!(of.plugins.values().all(|journal| journal.bytes <= MAX_PLUGIN_BYTES));
        assert!(of.plugins.contains_key("19") && !of.plugins.contains_key("0"), "the latest stay");
    }
}
