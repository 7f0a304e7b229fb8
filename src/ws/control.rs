//! Control frames: what the server says that is no event. None of them has an `id`.

use serde_json::{Value, json};

use crate::hub::Close;

pub struct Welcome<'a> {
    pub connection_id: &'a str,
    pub user_id: Option<&'a str>,
    pub tenant_id: &'a str,
    pub epoch: &'a str,
    pub offset: u64,
    pub ping_interval_ms: u64,
    pub expires_in_ms: Option<i64>,
}

pub fn welcome(welcome: &Welcome) -> String {
    json!({
        "type": "welcome",
        "connection_id": welcome.connection_id,
        "user_id": welcome.user_id,
        "tenant_id": welcome.tenant_id,
        "epoch": welcome.epoch,
        "offset": welcome.offset,
        "ping_interval_ms": welcome.ping_interval_ms,
        "expires_in_ms": welcome.expires_in_ms,
        "offline": 0,
    })
    .to_string()
}

pub fn subscribed(events: &[String], reference: &Value) -> String {
    json!({"type": "subscribed", "events": events, "ref": reference}).to_string()
}

/// Events from `from` on are not to be had here.
pub fn gap(epoch: &str, from: u64, reason: &str) -> String {
    json!({"type": "gap", "epoch": epoch, "from": from, "reason": reason}).to_string()
}

pub fn pong(reference: &Value) -> String {
    json!({"type": "pong", "ref": reference}).to_string()
}

pub fn auth_expiring(expires_in_ms: i64) -> String {
    json!({"type": "auth_expiring", "expires_in_ms": expires_in_ms}).to_string()
}

pub fn auth_ok(expires_in_ms: i64) -> String {
    json!({"type": "auth_ok", "expires_in_ms": expires_in_ms}).to_string()
}

pub fn error(code: &str, message: &str, reference: &Value) -> String {
    json!({"type": "error", "code": code, "message": message, "ref": reference}).to_string()
}

pub fn bye(close: &Close) -> String {
    json!({
        "type": "bye",
        "code": close.code,
        "reason": close.reason,
        "reconnect": may_reconnect(close.code),
        "after_ms": close.after_ms,
    })
    .to_string()
}

/// Whether coming back with the same token makes sense.
fn may_reconnect(code: u16) -> bool {
    matches!(code, 1012 | 1013 | 4419 | 4429 | 4500 | 4508 | 4512)
}
