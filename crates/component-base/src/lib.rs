//! What every component is handed: clock, randomness, shutdown, metrics, health, logging, TLS that verifies nobody.
//!
//! **Contract**: a component takes time, randomness and its end from a [`Context`] and from nowhere else, so that a
//! test can pause time, seed a run, or run fifty clusters in one process (architecture, invariants 4 and 8).
//! **Upstream**: `k8s.io/component-base`.

mod clock;
mod folder;
pub mod health;
pub mod logging;
pub mod metrics;
mod pages;
mod rng;
mod shutdown;
pub mod tls;

pub use clock::Clock;
pub use folder::Folder;
pub use health::Health;
pub use metrics::Metrics;
pub use pages::Pages;
pub use rng::Rng;
pub use shutdown::Shutdown;

/// Everything that a component may not take from its environment. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Context {
    /// The time.
    pub clock: Clock,
    /// Randomness for names, identities and jitter.
    pub rng: Rng,
    /// Tells the component to end, and is told that it has ended.
    pub shutdown: Shutdown,
    /// Where the component registers its metrics.
    pub metrics: Metrics,
    /// Where the component registers its health checks.
    pub health: Health,
    /// Where the component registers what it tells about itself.
    pub pages: Pages,
}

impl Context {
    /// The context of a real process: system clock, operating system's randomness.
    pub fn system() -> Self {
        Self::with(Clock::system(), Rng::system())
    }

    /// The context of a test: simulated time that follows tokio's (pausable) clock, seeded randomness.
    pub fn simulated(seed: u64) -> Self {
        Self::with(Clock::simulated(), Rng::seeded(seed))
    }

    fn with(clock: Clock, rng: Rng) -> Self {
        Self {
            clock,
            rng,
            shutdown: Shutdown::default(),
            metrics: Metrics::default(),
            health: Health::default(),
            pages: Pages::default(),
        }
    }

    /// The same context under a shutdown of its own that the parent's shutdown also ends.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { shutdown: self.shutdown.child(), ..self.clone() }
    }
}
