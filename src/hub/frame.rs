//! One message for a client, encoded once and shared by every connection that gets it.

use std::{fmt::Write, sync::Arc};

use bytes::Bytes;

/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct Frame(Arc<Encoded>);

#[derive(Debug)]
struct Encoded {
    text: Bytes,
    position: Option<Position>,
}

/// A place in a tenant's events. Another epoch's offsets mean nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    pub epoch: Arc<str>,
    pub offset: u64,
}

impl Position {
    /// Reads `<epoch>:<offset>`.
    pub fn parse(text: &str) -> Option<Self> {
        let (epoch, offset) = text.split_once(':')?;
        Some(Self { epoch: epoch.into(), offset: offset.parse().ok()? })
    }
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.epoch, self.offset)
    }
}

impl Frame {
    /// What clients are told to expect at most. An event is taken up to this size as it was sent, so a frame may be longer
    /// by what the envelope adds: its id, time and offset.
    pub const MAX_BYTES: usize = 256 * 1024;

    /// A frame that moves no position: control words, ephemeral events, what waited for a user.
    pub fn new(text: String) -> Self {
        Self(Arc::new(Encoded { text: text.into(), position: None }))
    }

    /// An event at its place; `open` is its envelope without the closing brace.
    pub fn at(open: &str, position: Position) -> Self {
        let mut text = String::with_capacity(open.len() + 32);
        text.push_str(open);
        // Writing to a String cannot fail.
        let _ = write!(text, r#","offset":{}}}"#, position.offset);
        Self(Arc::new(Encoded { text: text.into(), position: Some(position) }))
    }

    /// Says that events from `from` on are not to be had.
    pub fn gap(epoch: &str, from: u64, reason: &str) -> Self {
        // Ours: neither has a character that JSON escapes.
        Self::new(format!(r#"{{"type":"gap","epoch":"{epoch}","from":{from},"reason":"{reason}"}}"#))
    }

    /// An event without its closing brace and its place.
    pub fn open(&self) -> &str {
        let text = self.text();
        text.rfind(r#","offset":"#).map_or(text, |at| &text[..at])
    }

    pub fn len(&self) -> usize {
        self.0.text.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.text.is_empty()
    }

    pub fn position(&self) -> Option<&Position> {
        self.0.position.as_ref()
    }

    pub fn text(&self) -> &str {
        // Made from a String.
        std::str::from_utf8(&self.0.text).unwrap_or_default()
    }

    /// UTF-8: made from a `String`.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0.text
    }

    /// UTF-8: made from a `String`.
    pub fn bytes(&self) -> Bytes {
        self.0.text.clone()
    }
}
