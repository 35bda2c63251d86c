//! `resource.k8s.io`: devices, and who may use them.
//!
//! **Not here**: who allocates (the scheduler), and who makes claims for pods (a controller).
//! **Upstream**: `pkg/apis/resource/validation`.

mod binding;
mod bounded;
mod claim_spec;
mod claim_status;
mod device;
pub(crate) mod device_class;
mod names;
mod request_policy;
pub(crate) mod resource_claim;
pub(crate) mod resource_claim_template;
pub(crate) mod resource_slice;
mod taints;

pub(crate) use claim_status::is_deallocated;

const GROUP: &str = "resource.k8s.io";
