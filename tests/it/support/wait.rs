//! Waiting for what can be observed, never for time to pass: every wait has an end, and its failure names what did not come.

use std::future::Future;
use std::time::Duration;

/// How long an observable thing may take on a loaded two-core machine. A healthy server needs milliseconds.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// Awaits `future`, or fails the test saying what did not happen in time.
pub async fn within<T>(limit: Duration, what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(limit, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {limit:?} in vain for {what}"),
    }
}

/// Asks again every 20 ms until `probe` answers something, or fails the test after [`PATIENCE`].
pub async fn eventually<T, F>(what: &str, mut probe: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    within(PATIENCE, what, async {
        loop {
            ticks.tick().await;
            if let Some(value) = probe().await {
                return value;
            }
        }
    })
    .await
}
