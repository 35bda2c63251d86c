//! How long to wait after failures in a row.
//!
//! **Upstream**: `apimachinery/pkg/util/wait.BackoffManager`, with the reflector's constants.

use component_base::Rng;
use std::time::Duration;
use tokio::time::Instant;

/// A growing, jittered delay that starts over after a quiet time.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    factor: f64,
    jitter: f64,
    reset: Duration,
    next: Duration,
    last: Option<Instant>,
}

impl Backoff {
    /// A backoff from `first` to `most`, doubled each time, with a jitter of up to 100 %; it starts over after
    /// `reset` without a call.
    pub fn new(first: Duration, most: Duration, reset: Duration) -> Self {
        Self { first, most, factor: 2.0, jitter: 1.0, reset, next: first, last: None }
    }

    /// The reflector's: 800 ms to 30 s, reset after 2 minutes (`client-go/tools/cache/reflector.go`).
    pub fn reflector() -> Self {
        Self::new(Duration::from_millis(800), Duration::from_secs(30), Duration::from_secs(120))
    }

    /// The delay after one more failure.
    pub fn next(&mut self, now: Instant, rng: &Rng) -> Duration {
        if self.last.is_some_and(|last| now.duration_since(last) > self.reset) {
            self.next = self.first;
        }
        self.last = Some(now);
        let delay = self.next;
        self.next = self.next.mul_f64(self.factor).min(self.most);
        rng.jitter(delay, self.jitter)
    }

    /// Starts over, after a success.
    pub fn reset(&mut self) {
        self.next = self.first;
        self.last = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn grows_to_its_limit_and_starts_over_after_a_quiet_time() {
        let rng = Rng::seeded(1);
        let mut backoff = Backoff::reflector();
        let clock = component_base::Clock::simulated();
        let within = |delay: Duration, base: f64| (base..=base * 2.0).contains(&delay.as_secs_f64());
        assert!(within(backoff.next(clock.instant(), &rng), 0.8));
        assert!(within(backoff.next(clock.instant(), &rng), 1.6));
        for _ in 0..10 {
            backoff.next(clock.instant(), &rng);
        }
        assert!(within(backoff.next(clock.instant(), &rng), 30.0));
        tokio::time::advance(Duration::from_secs(121)).await;
        assert!(within(backoff.next(clock.instant(), &rng), 0.8));
    }
}
