//! The scheduler: decides on which node each pod runs.
//!
//! **Contract**: a decision is a pure function of the cache's snapshot and the pod; what it decides is assumed in the
//! cache at once and bound through the API. Killed at any instant, it loses nothing: the API has all its state.
//! **Not here**: whether a node takes the pod in the end (the kubelet).
//! **Upstream**: `pkg/scheduler`.

mod binding;
mod cache;
mod configuration;
mod cycle;
mod decisions;
mod diagnosis;
mod error;
mod extender;
pub mod framework;
mod memory;
mod plugins;
mod pod_status;
mod preemption;
mod profile;
mod queue;
mod scheduler;
mod simulation;
mod watches;

pub use configuration::{Configuration, ConfigurationError};
pub use error::Error;
pub use scheduler::{Config, run};
pub use simulation::{Outcome, Simulation};
