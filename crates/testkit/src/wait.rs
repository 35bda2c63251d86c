//! Waiting for a condition, with a deadline.

use std::future::Future;
use std::panic::Location;
use std::time::Duration;
use tokio::time::Instant;

/// Between the first two looks; doubled up to [`MOST`], so that long waits on a paused clock stay cheap.
const FIRST: Duration = Duration::from_millis(1);
const MOST: Duration = Duration::from_millis(100);

/// Waits until a condition holds.
///
/// # Panics
/// At the caller's line, if it does not hold within the deadline.
#[track_caller]
pub fn eventually<F>(deadline: Duration, mut holds: impl FnMut() -> F) -> impl Future<Output = ()>
where
    F: Future<Output = bool>,
{
    let caller = Location::caller();
    async move {
        let (until, mut pause) = (Instant::now() + deadline, FIRST);
        while !holds().await {
            assert!(Instant::now() < until, "{caller}: the condition did not hold within {deadline:?}");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(MOST);
        }
    }
}

/// Waits until there is a value.
///
/// # Panics
/// At the caller's line, if there is none within the deadline.
#[track_caller]
pub fn eventually_some<T, F>(deadline: Duration, mut look: impl FnMut() -> F) -> impl Future<Output = T>
where
    F: Future<Output = Option<T>>,
{
    let caller = Location::caller();
    async move {
        let (until, mut pause) = (Instant::now() + deadline, FIRST);
        loop {
            if let Some(value) = look().await {
                return value;
            }
            assert!(Instant::now() < until, "{caller}: there was nothing within {deadline:?}");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(MOST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test]
    async fn looks_until_it_holds() {
        let looks = AtomicU32::new(0);
        eventually(Duration::from_secs(10), async || looks.fetch_add(1, Ordering::SeqCst) == 3).await;
        assert_eq!(eventually_some(Duration::from_secs(10), async || Some(1)).await, 1);
    }

    #[tokio::test]
    #[should_panic(expected = "did not hold within")]
    async fn gives_up_at_the_deadline() {
        eventually(Duration::from_millis(20), async || false).await;
    }
}
