//! The launcher: a whole cluster in one process, as the binary `minik` and as a library for tests.
//!
//! **Contract**: the only place that knows every component and the only one that decides how they reach the API server
//! (architecture, invariant 2). Nothing is global: fifty clusters run side by side in one process.
//! **Not here**: what a component does.

mod access;
mod cache;
pub mod cluster;
pub mod commands;
mod companion;
mod control_plane;
mod daemon;
mod etcd;
mod extra_config;
mod feature_gates;
mod memory;
mod mounts;
mod nodes;
pub mod pki;
mod ports;
mod preferences;
mod preflight;
mod problem;
pub mod profile;
mod readiness;
mod registries;
mod registry;
mod server;
mod template;
mod terminal;

pub use cluster::{Builder, Cluster, Ingress, IpFamily, NodeRuntime, Runtime};
