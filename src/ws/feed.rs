//! What one connection is shown, in order: what it missed, paced by its reader, and then what comes. Sockets and streams
//! have the same.

use std::sync::Arc;

use super::replay::{Replay, Step};
use crate::{
    http::Api,
    hub::{Closing, Connection, Frame, Joined, Mailbox, Outbox, Page, Position, Resume},
};

/// Frames put into one write.
pub const MAX_FRAMES_PER_WRITE: usize = 64;

pub struct Feed {
    pub connection: Arc<Connection>,
    /// Where the tenant was when the connection came.
    pub position: Position,
    mailbox: Mailbox,
    /// What it missed and has not been shown yet.
    replay: Option<Replay>,
}

/// A resume is under way already.
pub struct Busy;

impl Feed {
    /// Tells, too, what could not be replayed: it goes right behind the welcome.
    pub fn new(joined: Joined) -> (Self, Closing, Option<Frame>) {
        let Joined { connection, mailbox, closing, position, resume } = joined;
        let replay = Replay::at_start(resume, &position);
        let gap = gap(resume, &position);
        (Self { connection, position, mailbox, replay }, closing, gap)
    }

    /// What came after it is seen live, or by the replay.
    pub fn covered_from(&self) -> Position {
        let after = self.replay.as_ref().map_or(self.position.offset, |replay| replay.after);
        Position { offset: after, ..self.position.clone() }
    }

    pub fn is_replaying(&self) -> bool {
        self.replay.is_some()
    }

    /// Goes back to a position; answers what cannot be replayed.
    ///
    /// # Errors
    /// [`Busy`].
    pub fn rewind(&mut self, api: &Api, since: &Position) -> Result<Option<Frame>, Busy> {
        if self.is_replaying() {
            return Err(Busy);
        }
        let (resume, top) = api.hub.rewind(&self.connection, since);
        self.replay = Replay::later(resume, &self.position, &top);
        Ok(gap(resume, &top))
    }

    /// Waits for what comes next: frames for one write. May be given up at any time without losing anything.
    pub async fn next(&mut self, api: &Api, into: &mut Vec<Frame>) {
        if !self.missed(api, into).await {
            self.mailbox.frames(into, MAX_FRAMES_PER_WRITE).await;
        }
    }

    /// Where what comes live waits, for whoever takes it from there.
    pub fn outbox(&self) -> Arc<Outbox> {
        self.mailbox.outbox()
    }

    /// The next of what it missed; false when nothing of that is left. May be given up at any time.
    pub async fn missed(&mut self, api: &Api, into: &mut Vec<Frame>) -> bool {
        while let Some(replay) = &mut self.replay {
            match replay.step() {
                Step::Drain => self.mailbox.waiting(into),
                Step::Page { after, until } => match api.hub.page(&self.connection, &replay.epoch, after, until) {
                    Page::Frames(frames, next) => {
                        replay.after = next;
                        into.extend(frames);
                    }
                    Page::Live => {
                        self.replay = None;
                        return false;
                    }
                    // Of what came live no more is to be shown than of the pages.
                    Page::Trimmed { start } => {
                        let span = (after, start, until.map_or(start, |until| until.min(start)));
                        Box::pin(older(api, &self.connection, replay, span, into)).await;
                    }
                },
            }
            if !into.is_empty() {
                return true;
            }
            // A page of other people's events: somebody else's turn.
            tokio::task::yield_now().await;
        }
        false
    }
}

/// What this node no longer has, which is before `start`, as far as `last`: from the other nodes' stream, or else it is a gap.
async fn older(
    api: &Api,
    connection: &Connection,
    replay: &mut Replay,
    (after, start, last): (u64, u64, u64),
    into: &mut Vec<Frame>,
) {
    match api.relay.older(&connection.tenant, &replay.epoch, after, last).await {
        Some(older) => {
            if older.has_gap {
                into.push(Frame::gap(&replay.epoch, after + 1, "trimmed"));
            }
            let seen = older.events.into_iter().filter(|(routing, _)| connection.sees(routing));
            into.extend(seen.map(|(_, frame)| frame));
            replay.after = older.next;
        }
        None => {
            into.push(Frame::gap(&replay.epoch, after + 1, "trimmed"));
            replay.after = start;
        }
    }
}

fn gap(resume: Resume, top: &Position) -> Option<Frame> {
    match resume {
        Resume::Gap { from, reason } => Some(Frame::gap(&top.epoch, from, reason)),
        Resume::None | Resume::After(_) => None,
    }
}
