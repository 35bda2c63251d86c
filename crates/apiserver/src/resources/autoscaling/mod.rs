//! `autoscaling`: stored as version 2, served as version 1 as well.

pub(crate) mod horizontal_pod_autoscaler;
mod metrics;
mod v1;
