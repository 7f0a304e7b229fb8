//! What waited for a user and is shown now, and what a connection has confirmed: by a pong, or by its own clean close.
//!
//! Each ping carries a number; its pong says that everything written before it has been read.

use std::collections::VecDeque;

use crate::{
    event::UserId,
    hub::{Connection, Frame, Position, Routing},
    presence::{Letter, Mail, Passed},
};

/// Letters that are shown before their pong is waited for.
const BATCH: usize = 100;
/// Pings that may be without an answer before the oldest is forgotten: only its confirmation is lost.
const MAX_PINGS: usize = 64;

pub struct Letters {
    /// A visitor has none.
    user: Option<UserId>,
    /// There may be more.
    expected: bool,
    passed: Passed,
    /// Shown, and not confirmed.
    shown: Vec<Letter>,
    /// From where on events come live or by a replay.
    covered_from: Position,
    confirmed: Option<Position>,
    pings: VecDeque<(u64, Option<Position>)>,
    next_ping: u64,
    /// The ping that confirms what is shown.
    awaited: Option<u64>,
}

impl Letters {
    /// `covered_from`: what came after it is seen live, or by a replay.
    pub fn new(user: Option<UserId>, waiting: u64, covered_from: Position) -> Self {
        Self {
            expected: user.is_some() && waiting > 0,
            passed: Passed::default(),
            user,
            shown: Vec::new(),
            confirmed: Some(covered_from.clone()),
            covered_from,
            pings: VecDeque::new(),
            next_ping: 0,
            awaited: None,
        }
    }

    /// The next letters, as frames. They are to be followed by a ping at once.
    pub async fn next(&mut self, mail: &Mail, connection: &Connection) -> Vec<Frame> {
        if !self.expected || self.awaited.is_some() {
            return Vec::new();
        }
        let Some(user) = &self.user else { return Vec::new() };
        let mut frames = Vec::new();
        while self.shown.is_empty() {
            let letters = mail.claim(&connection.tenant, user, &connection.id, &mut self.passed, BATCH).await;
            // Another connection is shown them, perhaps one that is dead: it is asked again with the next pong.
            let Some(letters) = letters else { return frames };
            if letters.is_empty() {
                self.expected = false;
                return frames;
            }
            for letter in letters {
                match Routing::read(&letter.text) {
                    // It comes live, or by the replay, with its place.
                    Some((_, position)) if self.covers(position.as_ref()) => self.shown.push(letter),
                    // Another connection may see it.
                    Some((routing, _)) if !connection.sees(&routing) => self.passed.pass(&letter),
                    Some(_) => {
                        frames.push(frame(&letter.text));
                        self.shown.push(letter);
                    }
                    // Nobody could ever read it.
                    None => self.shown.push(letter),
                }
            }
        }
        self.awaited = Some(self.next_ping);
        frames
    }

    fn covers(&self, position: Option<&Position>) -> bool {
        let from = &self.covered_from;
        position.is_some_and(|at| at.epoch == from.epoch && at.offset > from.offset)
    }

    /// Whether a ping is due at once.
    pub fn wants_ping(&self) -> bool {
        self.awaited == Some(self.next_ping)
    }

    /// What the next ping carries; `written` is the last event before it.
    pub fn ping(&mut self, written: Option<Position>) -> Vec<u8> {
        let number = self.next_ping;
        self.next_ping += 1;
        self.pings.push_back((number, written));
        if self.pings.len() > MAX_PINGS {
            self.pings.pop_front();
        }
        number.to_be_bytes().to_vec()
    }

    /// A pong came: everything before its ping has been read.
    pub async fn pong(&mut self, payload: &[u8], mail: &Mail, connection: &Connection) {
        let Ok(number) = payload.try_into().map(u64::from_be_bytes) else { return };
        while let Some((ping, written)) = self.pings.front() {
            if *ping > number {
                break;
            }
            self.confirmed = written.clone().or(self.confirmed.take());
            self.pings.pop_front();
        }
        if self.awaited.is_some_and(|awaited| awaited <= number && number < self.next_ping) {
            self.awaited = None;
            self.remove_shown(mail, connection).await;
        }
    }

    async fn remove_shown(&mut self, mail: &Mail, connection: &Connection) {
        if let Some(user) = &self.user {
            let shown = std::mem::take(&mut self.shown);
            mail.remove(&connection.tenant, user, &connection.id, &shown).await;
        }
    }

    /// The client closed: it has read all that was written.
    pub async fn closed_cleanly(&mut self, written: Option<Position>, mail: &Mail, connection: &Connection) {
        self.remove_shown(mail, connection).await;
        self.confirmed = written.or(self.confirmed.take());
    }

    /// Up to where it has certainly read.
    pub fn confirmed(&self) -> Option<&Position> {
        self.confirmed.as_ref()
    }
}

/// Without the place that it had: it moves no position.
fn frame(text: &str) -> Frame {
    let open = text.rfind(r#","epoch":"#).map_or(text.trim_end_matches('}'), |at| &text[..at]);
    Frame::new(format!(r#"{open},"offline":true}}"#))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_shown_without_its_old_place() {
        let text =
            r#"{"id":"e","type":"call.incoming","user_id":"kim","session_id":null,"data":{},"epoch":"x","offset":7}"#;
        let (routing, position) = Routing::read(text).unwrap();
        assert_eq!((routing.user.unwrap().as_str(), position.unwrap().offset), ("kim", 7));
        let shown = frame(text);
        assert!(shown.text().ends_with(r#""data":{},"offline":true}"#), "{}", shown.text());
    }
}
