//! The time, as a value that is handed on.
//!
//! **Contract**: `now` is wall-clock time, `sleep` waits on tokio's clock. A simulated clock derives the former from
//! the latter, so a test that pauses and advances tokio's time moves both.

use jiff::{SignedDuration, Timestamp};
use std::time::Duration;
use tokio::time::Instant;

/// 2026-01-01T00:00:00Z: where simulated time starts, so that printed ages are stable.
const SIMULATED_START: i64 = 1_767_225_600;

/// A source of time; cheap to clone.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Simulated { start: Timestamp, origin: Instant },
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that starts at 2026-01-01T00:00:00Z and advances with tokio's time.
    ///
    /// Must be called inside a tokio runtime if that runtime's time is paused.
    pub fn simulated() -> Self {
        let start = Timestamp::from_second(SIMULATED_START).expect("a constant within range");
        Self(Source::Simulated { start, origin: Instant::now() })
    }

    /// The wall-clock time.
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the system clock")]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => Timestamp::now(),
            Source::Simulated { start, origin } => {
                let elapsed = SignedDuration::try_from(origin.elapsed()).unwrap_or(SignedDuration::MAX);
                start.checked_add(elapsed).unwrap_or(Timestamp::MAX)
            }
        }
    }

    /// A monotonic instant on tokio's clock, for measuring spans.
    pub fn instant(&self) -> Instant {
        Instant::now()
    }

    /// Waits for a span on tokio's clock.
    pub async fn sleep(&self, span: Duration) {
        tokio::time::sleep(span).await;
    }

    /// Waits for an instant on tokio's clock.
    pub async fn sleep_until(&self, instant: Instant) {
        tokio::time::sleep_until(instant).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn simulated_time_follows_tokios() {
        let clock = Clock::simulated();
        let before = clock.now();
        clock.sleep(Duration::from_secs(90)).await;
        assert_eq!(clock.now().as_second() - before.as_second(), 90);
    }
}
