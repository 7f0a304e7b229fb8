//! The names of keys and channels. A tenant's name has no colon in it, so no two of these can be confused.

use crate::event::{EventType, TenantId};

pub const PREFIX: &str = "callcenter:";
/// All events that have no channel of their own.
pub const EVENTS: &str = "callcenter:events";
/// What nodes tell each other.
pub const CONTROL: &str = "callcenter:control";
pub const NODES: &str = "callcenter:nodes";

const AGENTS: &str = "callcenter:agents:";
const CALLS: &str = "callcenter:calls:";

pub fn probe(node: &str) -> String {
    format!("{PREFIX}probe:{node}")
}

/// The one channel of an event.
pub fn channel(tenant: &TenantId, event_type: &EventType) -> String {
    match event_type.as_str().split_once('.') {
        Some(("agent", _)) => format!("{AGENTS}{tenant}"),
        Some(("call", _)) => format!("{CALLS}{tenant}"),
        _ => EVENTS.to_owned(),
    }
}

/// The channels that only one tenant's events are on.
pub fn channels(tenant: &TenantId) -> [String; 2] {
    [format!("{AGENTS}{tenant}"), format!("{CALLS}{tenant}")]
}

/// Whose channel it is, where it is one tenant's.
pub fn tenant_of_channel(channel: &str) -> Option<&str> {
    channel.strip_prefix(AGENTS).or_else(|| channel.strip_prefix(CALLS))
}

macro_rules! keys {
    ($($(#[$doc:meta])* $name:ident($($part:ident),+);)+) => {
        $(
            $(#[$doc])*
            pub fn $name($($part: &str),+) -> String {
                let mut key = format!("{PREFIX}{}", stringify!($name));
                $( key.push(':'); key.push_str($part); )+
                key
            }
        )+
    };
}

keys! {
    /// SET of users with a live connection.
    online(tenant);
    /// STRING: when the user was last seen, in seconds; runs out by itself.
    presence(tenant, user);
    /// LIST of events that wait for the user, oldest first.
    offline(tenant, user);
    /// STRING: events that found no room in the tenant's lists.
    offline_dropped(tenant);
    /// STRING: the connection that is shown them.
    offline_owner(tenant, user);
    /// ZSET: connections of the user, until when each is leased (ms).
    conns(tenant, user);
    /// SET: what a node has leased, as `tenant|connection|user`.
    node_conns(node);
    /// HASH: connections of each tenant on a node.
    clients(node);
    /// HASH: the tenant's epoch `e`, last offset `o` and bytes kept `b`.
    meta(tenant);
    /// STREAM: the tenant's last events, by offset.
    stream(tenant);
}
