//! `autoscaling`.
//!
//! **Not here**: version 1 of the kind, which needs conversion between versions.

pub(crate) mod horizontal_pod_autoscaler;
mod metrics;
