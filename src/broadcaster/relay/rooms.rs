//! Which tenants this node listens to: those with a connection here, and for a little longer.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use super::{LOOK_AGAIN, Mode, Relay, recent::Recent};
use crate::{
    bus::{Away, Bus, LinkState, Placed},
    event::TenantId,
    hub::{Frame, Position},
};

/// Whoever comes while Redis breaks off waits so long: by then it is back, or this node is on its own.
const ENTER_PATIENCE: Duration = Duration::from_secs(4);
/// A tenant without a connection is listened to for this long: most come back at once.
const LINGER: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, thiserror::Error)]
#[error("the tenant's events cannot be followed now: {0}")]
pub struct RoomError(#[from] Away);

#[derive(Default)]
pub struct Rooms(Mutex<HashMap<TenantId, Arc<Room>>>);

/// A tenant that is listened to.
pub struct Room {
    pub tenant: TenantId,
    stays: AtomicUsize,
    /// The number of the connection to Redis that it is listened to by; 0 is none.
    attached: AtomicU64,
    /// What its sockets have had. Locked for moments.
    pub recent: Mutex<Recent>,
    /// Held while its stream is read and shown: one at a time.
    pub reading: tokio::sync::Mutex<()>,
    /// Held while listening begins or ends, over the calls to Redis, each of which has its end.
    pub state: tokio::sync::Mutex<RoomState>,
}

#[derive(Default)]
pub struct RoomState {
    /// Where the tenant was when this node went on alone.
    pub left_at: Option<Last>,
    idle_since: Option<Instant>,
}

/// Where a tenant is, and the event at that place where this node has it.
pub struct Last {
    pub position: Position,
    pub frame: Option<Frame>,
}

impl Room {
    pub fn attach_by(&self, number: Option<u64>) {
        self.attached.store(number.unwrap_or_default(), Ordering::Release);
    }

    pub fn is_attached_by(&self, number: u64) -> bool {
        self.attached.load(Ordering::Acquire) == number
    }

    pub fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a tenant listened to for as long as it lives.
pub struct Stay(Option<Arc<Room>>);

impl Drop for Stay {
    fn drop(&mut self) {
        if let Some(room) = &self.0 {
            room.stays.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl Rooms {
    fn enter(&self, tenant: &TenantId) -> Arc<Room> {
        let mut rooms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || {
            Arc::new(Room {
                tenant: tenant.clone(),
                stays: AtomicUsize::new(0),
                attached: AtomicU64::new(0),
                recent: Mutex::default(),
                reading: tokio::sync::Mutex::default(),
                state: tokio::sync::Mutex::default(),
            })
        };
        let room = rooms.entry(tenant.clone()).or_insert_with(new).clone();
        room.stays.fetch_add(1, Ordering::AcqRel);
        room
    }

    pub fn get(&self, tenant: &TenantId) -> Option<Arc<Room>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(tenant).cloned()
    }

    pub fn all(&self) -> Vec<Arc<Room>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Forgets a room that nobody stays in.
    fn forget(&self, room: &Room) {
        let mut rooms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if room.stays.load(Ordering::Acquire) == 0 {
            rooms.remove(&room.tenant);
        }
    }
}

impl Relay {
    /// Follows a tenant's events from now on, for as long as the answer is kept.
    ///
    /// # Errors
    /// Redis does not answer, and this node is not on its own yet.
    pub async fn enter(&self, tenant: &TenantId) -> Result<Stay, RoomError> {
        if self.bus.is_none() {
            return Ok(Stay(None));
        }
        let room = self.rooms.enter(tenant);
        let stay = Stay(Some(room.clone()));
        let patience = Instant::now() + ENTER_PATIENCE;
        loop {
            let mode = self.mode.read().await;
            let attached = match *mode {
                Mode::Alone => Ok(()),
                Mode::Shared => self.attach(&room).await,
            };
            drop(mode);
            match attached {
                Ok(()) => return Ok(stay),
                Err(error) if Instant::now() >= patience => return Err(error.into()),
                // Redis is back in a moment, or this node goes on alone.
                Err(_) => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
    }

    /// Listens to a room's tenant by the present connection, and shows what was missed.
    pub(super) async fn attach(&self, room: &Room) -> Result<(), Away> {
        let Some(bus) = &self.bus else { return Ok(()) };
        let LinkState::Up(number) = *bus.state().borrow() else { return Err(Away::unconnected()) };
        let _state = room.state.lock().await;
        if room.is_attached_by(number) {
            return Ok(());
        }
        bus.listen(&room.tenant).await?;
        match self.last(&room.tenant) {
            Some(last) => self.renew_if_set_back(bus, &room.tenant, &last).await?,
            None => {
                let top = bus.read(&room.tenant, 0, 0).await?.top;
                self.hub.share(&room.tenant, &position(&top));
            }
        }
        room.attach_by(Some(number));
        self.catch_up(&room.tenant).await
    }

    /// Where a tenant is among the offsets of all nodes.
    pub(super) fn last(&self, tenant: &TenantId) -> Option<Last> {
        let (position, is_shared, frame) = self.hub.last(tenant)?;
        is_shared.then_some(Last { position, frame })
    }

    /// A Redis that was put back in time has another event at the last place that this node knows, or is not there yet: it
    /// gives offsets twice, and so they need a new epoch.
    pub(super) async fn renew_if_set_back(&self, bus: &Bus, tenant: &TenantId, last: &Last) -> Result<(), Away> {
        let Last { position, frame } = last;
        let page = bus.read(tenant, position.offset.saturating_sub(1), 1).await?;
        if *page.top.epoch != *position.epoch {
            return Ok(());
        }
        let entry = page.entries.into_iter().next().filter(|entry| entry.offset == position.offset);
        let there = entry.and_then(|entry| entry.event).map(|(_, open)| Frame::at(&open, position.clone()));
        let is_another = match (frame, &there) {
            (Some(here), Some(there)) => here.text() != there.text(),
            _ => false,
        };
        if page.top.offset < position.offset || is_another {
            tracing::warn!("Redis has lost the last events of {tenant}: a new epoch begins");
            bus.renew(tenant, &page.top.epoch).await?;
        }
        Ok(())
    }

    /// Gives up tenants that nobody is here for, and compares where the others are: a message may have been lost.
    pub(super) async fn keep_house(&self) {
        let Some(bus) = &self.bus else { return };
        for room in self.rooms.all() {
            let mode = self.mode.read().await;
            if *mode == Mode::Alone {
                return;
            }
            if room.stays.load(Ordering::Acquire) > 0 {
                room.state.lock().await.idle_since = None;
                if let Err(error) = self.catch_up(&room.tenant).await {
                    tracing::debug!("{}: {error}", room.tenant);
                    return;
                }
                continue;
            }
            let mut state = room.state.lock().await;
            let since = *state.idle_since.get_or_insert_with(Instant::now);
            if since.elapsed() < LINGER || room.stays.load(Ordering::Acquire) > 0 {
                continue;
            }
            if bus.unlisten(&room.tenant).await.is_ok() {
                room.attach_by(None);
                self.hub.go_alone(&room.tenant, "idle");
                drop(state);
                self.rooms.forget(&room);
            }
        }
    }
}

pub fn position(placed: &Placed) -> Position {
    Position { epoch: placed.epoch.as_str().into(), offset: placed.offset }
}
