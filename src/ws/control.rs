//! Control frames: what the server says that is no event. None of them has an `id`.

use serde::Serialize;
use serde_json::Value;

use super::seat::Who;
use crate::hub::Close;

/// One control frame; its word stands in `type`, first.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Control<'a> {
    /// The first frame of every connection.
    Welcome {
        connection_id: &'a str,
        user_id: Option<&'a str>,
        tenant_id: &'a str,
        epoch: &'a str,
        /// The tenant's last offset: every later event reaches this connection.
        offset: u64,
        ping_interval_ms: u64,
        /// None without a token.
        expires_in_ms: Option<i64>,
        /// Events that wait for the user, and come next.
        offline: u64,
    },
    Subscribed {
        events: &'a [String],
        #[serde(rename = "ref")]
        reference: &'a Value,
    },
    Pong {
        #[serde(rename = "ref")]
        reference: &'a Value,
    },
    AuthExpiring {
        expires_in_ms: i64,
    },
    AuthOk {
        expires_in_ms: i64,
    },
    Error {
        code: &'a str,
        message: &'a str,
        #[serde(rename = "ref")]
        reference: &'a Value,
    },
    Bye {
        code: u16,
        reason: &'a str,
        reconnect: bool,
        after_ms: Option<u64>,
    },
}

impl Control<'_> {
    pub fn auth_expiring(who: &Who) -> Self {
        let expires_in_ms = match who {
            Who::Member(identity) => identity.expires_in_ms().max(0),
            Who::Visitor { .. } => 0,
        };
        Self::AuthExpiring { expires_in_ms }
    }

    pub fn bye(close: &Close) -> Self {
        let &Close { code, reason, after_ms } = close;
        Self::Bye { code, reason, reconnect: may_reconnect(code), after_ms }
    }

    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("text, numbers and JSON values can be written")
    }
}

/// Whether coming back with the same token makes sense.
fn may_reconnect(code: u16) -> bool {
    matches!(code, 1012 | 1013 | 4419 | 4429 | 4500 | 4508 | 4512)
}
