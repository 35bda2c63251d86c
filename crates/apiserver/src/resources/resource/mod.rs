//! `resource.k8s.io`: devices, and who may use them.
//!
//! **Not here**: who allocates (the scheduler), and who makes claims for pods (a controller).
//! **Upstream**: `pkg/apis/resource/validation`.

mod claim_spec;
pub(crate) mod device_class;
pub(crate) mod resource_claim;
pub(crate) mod resource_claim_template;
pub(crate) mod resource_slice;

const GROUP: &str = "resource.k8s.io";
