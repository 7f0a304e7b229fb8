//! One encoded message for a client. Encoded once, shared by every connection that gets it.

use bytes::Bytes;

#[derive(Debug, Clone)]
pub struct Frame(Bytes);

impl Frame {
    /// What clients are told to expect at most. An event is taken up to this size as it was sent, so a frame may be longer
    /// by what the envelope adds: its id, time and offset.
    pub const MAX_BYTES: usize = 256 * 1024;

    pub fn new(text: String) -> Self {
        Self(text.into())
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// UTF-8: made from a `String`.
    pub fn into_bytes(self) -> Bytes {
        self.0
    }
}
