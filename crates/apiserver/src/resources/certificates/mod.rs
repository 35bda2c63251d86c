//! `certificates.k8s.io`.
//!
//! **Not here**: who signs.

pub(crate) mod certificate_signing_request;
pub(crate) mod conditions;

const GROUP: &str = "certificates.k8s.io";
