//! Times as this project keeps them: milliseconds since the Unix epoch, UTC.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

/// RFC 3339 in UTC with milliseconds. Times before 1970 are shown as 1970.
pub fn rfc3339_ms(ms: i64) -> String {
    let since_epoch = Duration::from_millis(ms.max(0).unsigned_abs());
    humantime::format_rfc3339_millis(UNIX_EPOCH + since_epoch).to_string()
}

/// # Errors
/// What is expected instead.
pub fn parse_rfc3339_ms(text: &str) -> Result<i64, &'static str> {
    let refused = "must be an RFC 3339 time in UTC such as 2026-11-22T05:14:09Z";
    let time = humantime::parse_rfc3339(text).map_err(|_| refused)?;
    let since_epoch = time.duration_since(UNIX_EPOCH).map_err(|_| refused)?;
    i64::try_from(since_epoch.as_millis()).map_err(|_| refused)
}
