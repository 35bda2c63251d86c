//! The part of a Pod that templates carry too: defaults and validation of a PodSpec.
//!
//! **Upstream**: `pkg/apis/core/v1/defaults.go`, `pkg/apis/core/validation`.

mod affinity;
mod annotations;
mod container;
mod defaults;
mod environment;
mod probe;
mod resources;
mod security;
mod validation;
mod volume;

pub(crate) use affinity::{apply_label_keys, check_node_selector};
pub(crate) use annotations::{check_annotations, check_apparmor_agrees, deprecated_apparmor, sync_apparmor};
pub(crate) use defaults::{canonical_amounts, default_pod_spec, default_template_spec, sync_service_account};
pub(crate) use resources::{check_amount, parse_amount};
pub(crate) use validation::{EFFECTS, check_pod_spec, check_toleration};

#[cfg(test)]
mod tests;
