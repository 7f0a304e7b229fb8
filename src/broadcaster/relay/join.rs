//! Going over: from alone to shared when Redis is there, and back when it is away.

use std::sync::Arc;

use super::{
    Mode, Relay,
    heard::{head_of, timestamp_of},
    rooms::{Room, position},
};
use crate::{
    bus::{Away, Bus, Entry, Publication},
    event::{Event, TenantId},
    hub::{Frame, Position, Routing, Taken},
};

/// Events of the backlog that are sent in one go, and of a stream that are read in one.
const BATCH: usize = 200;

/// Events that this node no longer has.
pub struct Older {
    /// Each with who may see it.
    pub events: Vec<(Routing, Frame)>,
    /// The offset up to which these are all.
    pub next: u64,
    /// Something before them is not to be had.
    pub has_gap: bool,
}

impl Relay {
    /// Becomes one of the nodes, by the connection of this number.
    pub(super) async fn join(&self, number: u64) -> Result<(), Away> {
        let Some(bus) = &self.bus else { return Ok(()) };
        if *self.mode.read().await == Mode::Shared {
            // Redis was away for a moment only.
            for room in self.rooms.all() {
                self.attach(&room).await?;
            }
            return Ok(());
        }
        for room in self.rooms.all() {
            bus.listen(&room.tenant).await?;
        }
        for room in self.rooms.all() {
            if let Some(last) = &room.state.lock().await.left_at {
                self.renew_if_set_back(bus, &room.tenant, last).await?;
            }
        }
        // Publishers wait from here on: a second for each call at most, and one call tells whether Redis is there.
        let mut mode = self.mode.write().await;
        self.flush(bus).await?;
        let rooms = self.rooms.all();
        for room in &rooms {
            if let Err(error) = self.share(bus, room, number).await {
                rooms.iter().for_each(|room| self.hub.go_alone(&room.tenant, "redis_unavailable"));
                return Err(error);
            }
        }
        *mode = Mode::Shared;
        drop(mode);
        tracing::info!("this node shares its events with the others");
        for room in &rooms {
            // What came between the reading and the sharing.
            self.catch_up(&room.tenant).await?;
        }
        Ok(())
    }

    /// Publishes what was kept for the others; this node's own sockets have it.
    async fn flush(&self, bus: &Bus) -> Result<(), Away> {
        loop {
            let (events, lost) = self.backlog.look(BATCH);
            for tenant in &lost {
                bus.lose(tenant).await?;
            }
            self.backlog.done(0, &lost);
            if events.is_empty() {
                return Ok(());
            }
            for event in &events {
                if let Some(room) = self.rooms.get(&event.tenant) {
                    room.recent().doubt(event.id.as_str());
                }
            }
            let publications = events.iter().map(|event| {
                // Who is away has it in the database.
                Publication {
                    tenant: &event.tenant,
                    id: &event.id,
                    event_type: &event.event_type,
                    waits_for: None,
                    open: &event.open,
                    again: event.again,
                }
            });
            if let Err(error) = bus.publish_all(publications).await {
                self.backlog.doubt(events.len());
                return Err(error);
            }
            self.backlog.done(events.len(), &[]);
        }
    }

    /// Shows what the others published meanwhile, and goes over to their offsets.
    async fn share(&self, bus: &Bus, room: &Room, number: u64) -> Result<(), Away> {
        let mut state = room.state.lock().await;
        let mut top = bus.read(&room.tenant, 0, 0).await?.top;
        if let Some(left_at) = &state.left_at {
            let left_at = &left_at.position;
            let mut after = if *left_at.epoch == *top.epoch { left_at.offset } else { 0 };
            loop {
                let page = bus.read(&room.tenant, after, BATCH).await?;
                let Some(last) = page.entries.last() else { break };
                after = last.offset;
                top = page.top;
                for (id, open) in page.entries.into_iter().filter_map(|entry| entry.event) {
                    if let Some(head) = head_of(&open)
                        && room.recent().add(&id)
                    {
                        self.hub.publish(&room.tenant, &head, &open, false);
                    }
                }
            }
            // What was read is what is shown.
            top.offset = top.offset.min(after);
        }
        self.hub.share(&room.tenant, &position(&top));
        room.attach_by(Some(number));
        state.left_at = None;
        Ok(())
    }

    /// Goes on without the others.
    pub(super) async fn go_alone(&self) {
        let mut mode = self.mode.write().await;
        if *mode == Mode::Alone {
            return;
        }
        *mode = Mode::Alone;
        for room in self.rooms.all() {
            let mut state = room.state.lock().await;
            room.attach_by(None);
            state.left_at = self.last(&room.tenant);
            self.hub.go_alone(&room.tenant, "redis_unavailable");
        }
        tracing::warn!("Redis is away: this node goes on alone");
    }

    /// Shows what is in a tenant's stream and was not heard.
    pub(super) async fn catch_up(&self, tenant: &TenantId) -> Result<(), Away> {
        let (Some(bus), Some(room)) = (&self.bus, self.rooms.get(tenant)) else { return Ok(()) };
        let _reading = room.reading.lock().await;
        loop {
            let Some((here, true)) = self.hub.position(tenant) else { return Ok(()) };
            let page = bus.read(tenant, here.offset, BATCH).await?;
            if *page.top.epoch != *here.epoch {
                let start = Position { epoch: page.top.epoch.as_str().into(), offset: 0 };
                self.hub.share(tenant, &start);
                continue;
            }
            if page.top.offset < here.offset {
                tracing::warn!("Redis has lost the last events of {tenant}: a new epoch begins");
                bus.renew(tenant, &page.top.epoch).await?;
                continue;
            }
            let whole = page.entries.len() < BATCH;
            for entry in page.entries {
                self.take_entry(&room, &here, entry);
            }
            if whole {
                // Whatever is not in the stream any more.
                self.hub.skip_to(tenant, &position(&page.top), "trimmed");
                return Ok(());
            }
        }
    }

    fn take_entry(&self, room: &Room, here: &Position, entry: Entry) {
        let tenant = &room.tenant;
        let at = |offset| Position { epoch: here.epoch.clone(), offset };
        if entry.offset > 1 {
            self.hub.skip_to(tenant, &at(entry.offset - 1), "trimmed");
        }
        match entry.event.and_then(|(id, open)| Some((head_of(&open)?, id, open))) {
            Some((routing, id, open)) => {
                if let Taken::Sent(_) = self.take_once(room, &routing, &open, &at(entry.offset), &id) {
                    self.close_ended(tenant, &routing);
                }
            }
            None => self.hub.skip_to(tenant, &at(entry.offset), "lost"),
        }
    }

    /// Events between an offset and the beginning of this node's history, from those that Redis keeps. None: they are not
    /// there either.
    pub async fn older(&self, tenant: &TenantId, epoch: &str, after: u64, start: u64) -> Option<Older> {
        let page = self.bus.as_ref()?.read(tenant, after, BATCH).await.ok()?;
        if *page.top.epoch != *epoch {
            return None;
        }
        let epoch: Arc<str> = epoch.into();
        let mut older = Older { events: Vec::new(), next: after, has_gap: false };
        for entry in page.entries.into_iter().take_while(|entry| entry.offset <= start) {
            if entry.offset > older.next + 1 || entry.event.is_none() {
                if !older.events.is_empty() {
                    // The gap is told before what comes behind it.
                    break;
                }
                older.has_gap = true;
            }
            older.next = entry.offset;
            let at = Position { epoch: epoch.clone(), offset: entry.offset };
            let event = entry.event.and_then(|(_, open)| Some((head_of(&open)?, Frame::at(&open, at))));
            older.events.extend(event);
        }
        (older.next > after).then_some(older)
    }

    /// Whether an event is in the tenant's stream. None: nobody can say, since it may have left the stream already, or Redis
    /// is away.
    pub async fn has_shown(&self, event: &Event) -> Option<bool> {
        let bus = self.bus.as_ref()?;
        if *self.mode.read().await == Mode::Alone {
            return None;
        }
        let (mut after, mut complete) = (0, None);
        loop {
            let page = bus.read(&event.tenant, after, BATCH).await.ok()?;
            let Some(last) = page.entries.last() else { break };
            after = last.offset;
            for entry in page.entries {
                let Some((id, open)) = entry.event else { continue };
                // The oldest that is there tells how far back the stream goes.
                complete.get_or_insert_with(|| {
                    entry.offset == 1 || timestamp_of(&open).is_some_and(|at_ms| at_ms < event.timestamp_ms)
                });
                if id == event.id.as_str() {
                    return Some(true);
                }
            }
        }
        complete.unwrap_or(true).then_some(false)
    }
}
