//! The controllers that keep the cluster as it was asked to be.
//!
//! **Contract**: one process, one set of shared informers, THE LIST of controllers in [`controllers`]. A controller
//! is a pure plan (`controllers/<name>/plan.rs`, tables of cases beside it) and a thin shell that carries it out
//! (`controllers/<name>/mod.rs`). Work is keyed, level-triggered, deduplicated and retried with backoff.
//! **Upstream**: `cmd/kube-controller-manager`, `pkg/controller`.

pub mod controllers;
mod discovery;
mod error;
mod manager;
mod workload;

pub use error::Error;
pub use manager::{Config, Manager, SigningKey, run};
