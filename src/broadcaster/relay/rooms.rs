//! Which tenants this node listens to: those with a connection here, and for a little longer.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use super::{Mode, Relay};
use crate::{
    bus::{Away, LinkState, Placed},
    event::TenantId,
    hub::Position,
};

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
    /// Held while listening begins or ends, over the calls to Redis, each of which has its end.
    pub state: tokio::sync::Mutex<RoomState>,
}

#[derive(Default)]
pub struct RoomState {
    /// The number of the connection to Redis that it is listened to by.
    pub attached: Option<u64>,
    /// Where the tenant was when this node went on alone.
    pub left_at: Option<Position>,
    idle_since: Option<Instant>,
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
            let state = tokio::sync::Mutex::default();
            Arc::new(Room { tenant: tenant.clone(), stays: AtomicUsize::new(0), state })
        };
        let room = rooms.entry(tenant.clone()).or_insert_with(new).clone();
        room.stays.fetch_add(1, Ordering::AcqRel);
        room
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
        let stay = Stay(Some(self.rooms.enter(tenant)));
        let mode = self.mode.read().await;
        if let (Mode::Shared, Some(room)) = (*mode, &stay.0) {
            self.attach(room).await?;
        }
        Ok(stay)
    }

    /// Listens to a room's tenant by the present connection, and shows what was missed.
    pub(super) async fn attach(&self, room: &Room) -> Result<(), Away> {
        let Some(bus) = &self.bus else { return Ok(()) };
        let LinkState::Up(number) = *bus.state().borrow() else { return Err(Away::unconnected()) };
        let mut state = room.state.lock().await;
        if state.attached == Some(number) {
            return Ok(());
        }
        bus.listen(&room.tenant).await?;
        let top = bus.read(&room.tenant, 0, 0).await?.top;
        self.align(&room.tenant, &top).await?;
        state.attached = Some(number);
        self.catch_up(&room.tenant).await
    }

    /// Brings the hub to the epoch of all nodes.
    async fn align(&self, tenant: &TenantId, top: &Placed) -> Result<(), Away> {
        let Some(bus) = &self.bus else { return Ok(()) };
        let here = self.hub.position(tenant);
        match here {
            Some((here, true)) if *here.epoch == *top.epoch && here.offset <= top.offset => {}
            Some((here, true)) if *here.epoch == *top.epoch => {
                tracing::warn!("Redis has lost the last events of {tenant}: a new epoch begins");
                bus.renew(tenant, &top.epoch).await?;
                let top = bus.read(tenant, 0, 0).await?.top;
                self.hub.share(tenant, &position(&top));
            }
            _ => self.hub.share(tenant, &position(top)),
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
                state.attached = None;
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
