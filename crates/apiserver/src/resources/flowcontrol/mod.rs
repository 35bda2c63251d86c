//! `flowcontrol.apiserver.k8s.io`.
//!
//! **Not here**: the queues; requests are not sorted by these objects.

pub(crate) mod flow_schema;
pub(crate) mod priority_level_configuration;

const GROUP: &str = "flowcontrol.apiserver.k8s.io";
