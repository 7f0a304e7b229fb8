//! The books that this node keeps about each tenant's plugins: counters, breakers and the journal.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use super::{
    Failure, Plugins,
    breaker::{self, Breakers, Turn},
    call::{CallLog, LogLine},
    journal::{Call, Entry, Journals, Level},
    stats::{CallStats, CallSummary},
};
use crate::event::{Event, TenantId, now_ms};

/// Accounts over all tenants; beyond it the one that was not used for longest is forgotten.
const MAX_ACCOUNTS: usize = 10_000;
/// Openings that may wait to be heard of; one more is in the journal only.
pub const OPENINGS: usize = 256;

/// A version that rests for a tenant from now on.
#[derive(Debug)]
pub struct Opened {
    pub tenant: TenantId,
    pub plugin: String,
    pub version: u32,
    /// What its events fail with, and the last of its faults.
    pub failure: Failure,
}

impl Plugins {
    /// What a plugin logged on a tenant's events, from `level` up, newest first, each with its cursor.
    pub fn log(
        &self,
        tenant: &TenantId,
        plugin: &str,
        level: Level,
        before: Option<u64>,
        limit: usize,
    ) -> Vec<(u64, Entry)> {
        self.books.journals.page(tenant, plugin, level, before, limit)
    }

    /// Enters a failure that was found after the call: what a plugin emitted does not do for the sockets.
    pub fn charge(&self, event: &Event, plugin: &str, version: u32, failure: &Failure) {
        let call = Call { tenant: &event.tenant, plugin, version, event: Some(&event.id) };
        self.books.journals.failure(call, failure);
    }
}

/// A plugin's, for one tenant.
pub struct Account {
    pub stats: CallStats,
    /// Held for moments.
    breakers: Mutex<Breakers>,
    used_ms: AtomicI64,
}

/// How a call ended.
pub struct Ended<'a> {
    pub took: Duration,
    pub cpu: Duration,
    pub memory_bytes: usize,
    pub dropped: bool,
    pub failure: Option<&'a Failure>,
    /// It trapped or broke a bound: not the guest's own no.
    pub fault: bool,
    pub log: CallLog,
}

pub struct Books {
    /// Written when a tenant first uses a plugin.
    accounts: RwLock<HashMap<TenantId, HashMap<String, Arc<Account>>>>,
    pub journals: Journals,
    openings: mpsc::Sender<Opened>,
}

impl Books {
    pub fn new(openings: mpsc::Sender<Opened>) -> Self {
        Self { accounts: RwLock::default(), journals: Journals::default(), openings }
    }

    /// The tenant's account with a plugin, from now on if there was none.
    pub fn account(&self, tenant: &TenantId, plugin: &str) -> Arc<Account> {
        if let Some(account) = self.known(tenant, plugin) {
            account.used_ms.store(now_ms(), Ordering::Relaxed);
            return account;
        }
        let mut accounts = self.accounts.write().unwrap_or_else(PoisonError::into_inner);
        if accounts.values().map(HashMap::len).sum::<usize>() >= MAX_ACCOUNTS {
            forget_oldest(&mut accounts);
        }
        let of_tenant = accounts.entry(tenant.clone()).or_default();
        of_tenant.entry(plugin.to_owned()).or_insert_with(|| Arc::new(Account::new())).clone()
    }

    fn known(&self, tenant: &TenantId, plugin: &str) -> Option<Arc<Account>> {
        self.accounts.read().unwrap_or_else(PoisonError::into_inner).get(tenant)?.get(plugin).cloned()
    }

    /// `active` is the version whose breaker is shown.
    pub fn summary(&self, tenant: &TenantId, plugin: &str, active: Option<u32>) -> CallSummary {
        let Some(account) = self.known(tenant, plugin) else { return CallStats::default().summary(false) };
        let is_open = active.is_some_and(|version| account.breakers().is_open(version));
        account.stats.summary(is_open)
    }

    /// Somebody has chosen another version: of a tenant's plugin, or of a shared one where there is no tenant.
    pub fn activated(&self, tenant: Option<&TenantId>, plugin: &str) {
        let accounts = self.accounts.read().unwrap_or_else(PoisonError::into_inner);
        let of_all = accounts.iter().filter(|(owner, _)| tenant.is_none_or(|tenant| tenant == *owner));
        of_all.filter_map(|(_, plugins)| plugins.get(plugin)).for_each(|account| account.breakers().reset());
    }

    /// Enters a call that has ended.
    pub fn enter(&self, account: &Account, call: Call, ended: Ended) {
        account.stats.record(&ended);
        tell(call.plugin, &ended.log);
        self.journals.lines(call, ended.log);
        if let Some(failure) = ended.failure {
            self.journals.failure(call, failure);
        }
        let turn = account.breakers().note(call.version, ended.fault, Instant::now());
        match turn {
            None => {}
            Some(Turn::Closed) => {
                self.journals.note(call, Level::Info, "it serves again: its breaker closed".to_owned())
            }
            Some(Turn::Opened) => self.opened(call, ended.failure),
        }
    }

    fn opened(&self, call: Call, failure: Option<&Failure>) {
        let Some(failure) = failure else { return };
        let rest = breaker::rest(call.version);
        let failure = Failure::new(rest.code, format!("{}; the last time: {failure}", rest.message));
        self.journals.note(call, Level::Error, failure.message.clone());
        let opened =
            Opened { tenant: call.tenant.clone(), plugin: call.plugin.to_owned(), version: call.version, failure };
        // Full: whoever listens has enough to do, and the journal has it.
        let _ = self.openings.try_send(opened);
    }
}

impl Account {
    fn new() -> Self {
        Self { stats: CallStats::default(), breakers: Mutex::default(), used_ms: AtomicI64::new(now_ms()) }
    }

    fn breakers(&self) -> MutexGuard<'_, Breakers> {
        self.breakers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this version may be called now; one that may must be entered when it ended.
    ///
    /// # Errors
    /// What the event fails with instead.
    pub fn admit(&self, version: u32) -> Result<(), Failure> {
        self.breakers().admit(version, Instant::now())
    }
}

fn forget_oldest(accounts: &mut HashMap<TenantId, HashMap<String, Arc<Account>>>) {
    let each =
        accounts.iter().flat_map(|(tenant, of)| of.iter().map(move |(plugin, account)| (tenant, plugin, account)));
    let oldest = each.min_by_key(|(_, _, account)| account.used_ms.load(Ordering::Relaxed));
    let Some((tenant, plugin)) = oldest.map(|(tenant, plugin, _)| (tenant.clone(), plugin.clone())) else { return };
    let Some(of_tenant) = accounts.get_mut(&tenant) else { return };
    of_tenant.remove(&plugin);
    if of_tenant.is_empty() {
        accounts.remove(&tenant);
    }
}

/// The server's own log has it at level `debug`.
fn tell(plugin: &str, log: &CallLog) {
    for LogLine { level, message } in &log.lines {
        tracing::debug!(target: "jackfield::plugin::log", plugin, level, "{message}");
    }
    if log.dropped > 0 {
        tracing::debug!(target: "jackfield::plugin::log", plugin, dropped = log.dropped, "logged more than is kept");
    }
}
