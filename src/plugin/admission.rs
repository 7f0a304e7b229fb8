//! How many components may be on their way to this node at once: each is held in memory whole.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::{Semaphore, SemaphorePermit};

use super::PluginError;
use crate::event::TenantId;

const MAX_UPLOADS: usize = 8;
const MAX_UPLOADS_PER_TENANT: usize = 2;
/// For one of the places of all.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Admissions {
    places: Semaphore,
    /// Those that have uploads under way. Locked for moments.
    tenants: Mutex<HashMap<TenantId, usize>>,
}

/// A place, until it is dropped.
pub struct Admission<'a> {
    _place: SemaphorePermit<'a>,
    _turn: Turn<'a>,
}

struct Turn<'a> {
    admissions: &'a Admissions,
    tenant: TenantId,
}

impl Default for Admissions {
    fn default() -> Self {
        Self { places: Semaphore::new(MAX_UPLOADS), tenants: Mutex::default() }
    }
}

impl Admissions {
    /// To be asked before the body is read. One tenant may not take all places.
    ///
    /// # Errors
    /// [`PluginError::TooManyUploads`] of this tenant; [`PluginError::Busy`] when all places are taken for long.
    pub async fn admit(&self, tenant: &TenantId) -> Result<Admission<'_>, PluginError> {
        let turn = {
            let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
            let under_way = tenants.entry(tenant.clone()).or_default();
            if *under_way >= MAX_UPLOADS_PER_TENANT {
                return Err(PluginError::TooManyUploads { max: MAX_UPLOADS_PER_TENANT });
            }
            *under_way += 1;
            Turn { admissions: self, tenant: tenant.clone() }
        };
        match tokio::time::timeout(PATIENCE, self.places.acquire()).await {
            Ok(Ok(place)) => Ok(Admission { _place: place, _turn: turn }),
            _ => Err(PluginError::Busy),
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut tenants = self.admissions.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(under_way) = tenants.get_mut(&self.tenant) {
            *under_way -= 1;
            if *under_way == 0 {
                tenants.remove(&self.tenant);
            }
        }
    }
}
