//! `networking.k8s.io`.
//!
//! **Not here**: what acts on it; these are stored and validated only.

pub(crate) mod ingress;
pub(crate) mod ingress_class;
pub(crate) mod ip_address;
pub(crate) mod network_policy;
pub(crate) mod service_cidr;

const GROUP: &str = "networking.k8s.io";
