//! The only reader of the clocks.
//!
//! Monotonic time is tokio's, so that a test can pause it; wall time is for people and for the backend's time stamps only.
#![expect(clippy::disallowed_methods, reason = "this is the one place that reads the clocks")]

use std::time::{Duration, Instant};

use jiff::Timestamp;

/// Monotonic time. It does not go backwards and does not jump with the wall clock.
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// The wall clock.
pub fn wall() -> Timestamp {
    Timestamp::now()
}

/// The wall time of a monotonic moment, as the clocks stand now.
pub fn wall_of(moment: Instant) -> Timestamp {
    let now = now();
    let shifted = if moment <= now {
        wall().checked_sub(now.saturating_duration_since(moment))
    } else {
        wall().checked_add(moment.saturating_duration_since(now))
    };
    shifted.unwrap_or(Timestamp::MAX)
}

/// Waits until a moment; for ever if it is `None`.
pub async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}

/// Waits for a while.
pub async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Stops this thread for a while: for threads and moments that nothing else waits for.
pub fn pause(duration: Duration) {
    std::thread::sleep(duration);
}
