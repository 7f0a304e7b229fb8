//! What goes into a plugin and what comes out of it, apart from any interface version.

use bytes::Bytes;

/// What a plugin says of itself.
#[derive(Debug, Clone)]
pub struct About {
    pub name: String,
    pub version: String,
    /// Patterns it understands; empty means all.
    pub events: Vec<String>,
    pub config_schema: Option<String>,
}

/// Where the result goes.
#[derive(Debug, Clone)]
pub struct Destination {
    /// `webhook` or `sockets`.
    pub kind: &'static str,
    /// The webhook's id; empty for sockets.
    pub id: String,
    pub name: String,
}

impl Destination {
    pub fn sockets() -> Self {
        Self { kind: "sockets", id: String::new(), name: String::new() }
    }
}

/// One event as the next plugin of a chain sees it.
pub struct Input<'a> {
    pub id: &'a str,
    pub event_type: &'a str,
    pub tenant: &'a str,
    pub user: Option<&'a str>,
    pub session: Option<&'a str>,
    pub key: Option<&'a str>,
    pub source: Option<&'a str>,
    pub time_ms: u64,
    pub attributes: &'a [(String, String)],
    pub data: &'a str,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emitted {
    pub content_type: String,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
    /// Given as text, so it is UTF-8.
    pub is_text: bool,
    pub attributes: Vec<(String, String)>,
}

impl Emitted {
    /// Bytes of all it holds.
    pub fn size(&self) -> usize {
        let pairs = self.headers.iter().chain(&self.attributes);
        self.body.len() + self.content_type.len() + pairs.map(|(key, value)| key.len() + value.len()).sum::<usize>()
    }
}

/// What a plugin logged in one call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallLog {
    pub lines: Vec<LogLine>,
    /// Lines over the bound.
    pub dropped: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    pub level: String,
    pub message: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Emit(Emitted),
    Pass,
    Drop(Option<String>),
}
